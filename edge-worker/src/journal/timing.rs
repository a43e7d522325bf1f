//! When an isolate refreshes its snapshot of the journal, and how long it waits.
//!
//! A hit is checked against the isolate's snapshot. The snapshot is refreshed in the background at about
//! half the age that `JOURNAL_MAX_LAG_SECS` allows, and before anything is served once it is older. A
//! refresh reads the *recent* records; it reads the *whole* only if the recent records do not connect to
//! the snapshot. All isolates of a data centre share both texts through the Cache API, and while one of
//! them fetches a text the others wait for it. So the journal object's load does not grow with the number
//! of isolates, and a slow object gets no additional requests (`cargo xtask simulate`).
//!
//! The bound (G7): the snapshot that an isolate serves by was complete at most `JOURNAL_MAX_LAG_SECS`
//! ago, or [`RECENT_SHARED_FOR`] + [`OBJECT_TIMEOUT`] if that is longer. A text that takes longer to arrive is
//! discarded, and a shared text states when it was requested. Both are less than
//! `JOURNAL_MAX_LAG_SECS` + 5 s.

use std::time::Duration;

/// How long a data centre shares the recent records.
pub const RECENT_SHARED_FOR: Duration = Duration::from_secs(2);
/// The timeout of a read from the journal object.
pub const OBJECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the journal object is not read again after a read failed. Requests go to the origin meanwhile.
pub const OBJECT_BACKOFF: Duration = Duration::from_secs(1);
/// The timeout of an append to the journal object: enough for a message of the largest size.
pub const APPEND_TIMEOUT: Duration = Duration::from_secs(20);
/// The timeout of a call to the cache of shared texts.
pub const SHARED_CACHE_TIMEOUT: Duration = Duration::from_millis(500);
/// How long the cache of shared texts is not called again after a call failed.
pub const SHARED_CACHE_BACKOFF: Duration = Duration::from_secs(10);
/// The interval at which an isolate polls for a text that another isolate is fetching.
pub const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// The number of polls before an isolate gives up. They last as long as the other's own timeout.
pub const MAX_POLLS: u32 = 10;

/// Which records a text of the journal holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The records of the last [`recent_window`].
    Recent,
    /// All records that the journal object has.
    Whole,
}

impl Part {
    /// Returns the part's name in the key of the shared text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recent => "recent",
            Self::Whole => "whole",
        }
    }

    /// Returns how long a data centre shares the text.
    ///
    /// The whole is completed by the recent records. So it may be older than they are, but not older than
    /// the first of them.
    pub const fn shared_for(self, max_lag: Duration) -> Duration {
        match self {
            Self::Recent => RECENT_SHARED_FOR,
            Self::Whole => max_lag,
        }
    }
}

/// Returns how far back the recent records reach.
///
/// They cover everything that an isolate can miss between two refreshes in time, plus the largest age of
/// a shared text of either part.
pub fn recent_window(max_lag: Duration) -> Duration {
    2 * max_lag + Duration::from_secs(5)
}

/// Returns the age at which a snapshot is refreshed in the background: 40 to 60% of `max_lag`, by
/// `random` in `0.0..1.0`.
///
/// Chance spreads the refreshes. A shared text would otherwise bring all isolates of a data centre into step.
pub fn refresh_age(max_lag: Duration, random: f64) -> Duration {
    max_lag.mul_f64(0.4 + 0.2 * random)
}
