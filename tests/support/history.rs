//! What several processes did, and when: lines that they print, and events that a checker can judge.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment on the machine's monotonic clock, which all processes share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Moment(u64);

impl Moment {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        Self(now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs())
    }

    /// A moment by its milliseconds, for histories made by hand.
    #[must_use]
    pub const fn at_ms(ms: u64) -> Self {
        Self(ms * 1_000_000)
    }

    /// The time since an earlier moment.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// A later moment.
    #[must_use]
    pub fn plus(self, later: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(later.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// An earlier moment.
    #[must_use]
    pub fn minus(self, earlier: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(earlier.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// From when to when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// When it began.
    pub start: Moment,
    /// When it had ended.
    pub end: Moment,
}

impl Span {
    /// From a moment until now.
    #[must_use]
    pub fn until_now(start: Moment) -> Self {
        Self { start, end: Moment::now() }
    }

    /// Whether both were going on at some moment.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.start <= other.end && other.start <= self.end
    }
}

/// Items below this number are written and invalidated; those from it on are only ever read.
pub const WRITTEN: u64 = 4;

/// The group whose tag an item carries.
#[must_use]
pub fn group_of(item: u64) -> u64 {
    if item < WRITTEN { item % 2 } else { 2 }
}

/// Something that a process has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// It has read an item through the cache.
    Read {
        /// The item.
        item: u64,
        /// From the call to its return.
        span: Span,
        /// What came back.
        answer: Answer,
    },
    /// Its loader has run. Versions are the source's.
    Loaded {
        /// The item.
        item: u64,
        /// From the loader's call to its return.
        span: Span,
    },
    /// It has written a version to the source, and let everyone know.
    Invalidated {
        /// The item.
        item: u64,
        /// The version that the source had at least, before the invalidation began.
        version: u64,
        /// By which of the ways there are.
        way: String,
        /// Whether older versions are removed, or only expired.
        remove: bool,
        /// Whether the journal has it.
        done: bool,
        /// From the call to its return.
        span: Span,
    },
}

/// What a read gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// A value.
    Value {
        /// Its version.
        version: u64,
        /// Whether it was served as fresh.
        fresh: bool,
        /// The layer that answered.
        layer: String,
    },
    /// The loader's own error.
    LoaderFailed,
    /// Any other error.
    Error(String),
}
