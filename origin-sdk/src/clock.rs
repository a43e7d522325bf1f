//! Time as an argument: the system's monotonic clock, or one that tests advance.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A monotonic clock. Only differences between its readings are meaningful, and no reading leaves
/// the process.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System(Instant),
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// Returns the system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System(Instant::now()))
    }

    /// Returns a clock that moves only by [`Clock::advance`]. Clones move together.
    ///
    /// ```
    /// use std::time::Duration;
    /// let clock = origin_sdk::Clock::manual();
    /// let before = clock.now();
    /// clock.advance(Duration::from_secs(61));
    /// assert_eq!(clock.now() - before, Duration::from_secs(61));
    /// ```
    #[must_use]
    pub fn manual() -> Self {
        Self(Source::Manual(Arc::new(AtomicU64::new(0))))
    }

    /// Returns the time since a fixed moment in the past.
    #[must_use]
    pub fn now(&self) -> Duration {
        #[cfg(test)]
        READS.set(READS.get() + 1);
        match &self.0 {
            Source::System(start) => start.elapsed(),
            Source::Manual(nanos) => Duration::from_nanos(nanos.load(Ordering::SeqCst)),
        }
    }

    /// Returns the milliseconds since the Unix epoch. Those of a manual clock are the system's plus
    /// the time that it was moved forward, so that an age by this clock can be subtracted.
    pub(crate) fn unix_ms(&self) -> u64 {
        match &self.0 {
            Source::System(_) => unix_ms(),
            Source::Manual(nanos) => unix_ms().saturating_add(nanos.load(Ordering::SeqCst) / 1_000_000),
        }
    }

    /// Moves a manual clock forward. Has no effect on the system's clock.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(nanos) = &self.0 {
            nanos.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
        }
    }
}

/// Returns the milliseconds since the Unix epoch by the system's clock.
pub(crate) fn unix_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
thread_local! {
    /// The number of clock readings of this thread. Each is a system call, or nearly one.
    pub(crate) static READS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}
