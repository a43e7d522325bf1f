//! Time as an argument: the system's monotonic clock, or one that tests move by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A monotonic clock. Only differences of its readings mean something; no reading ever leaves the process.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System(Instant),
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System(Instant::now()))
    }

    /// A clock that stands still until [`Clock::advance`] moves it. Clones move together.
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

    /// The time since some fixed moment in the past.
    #[must_use]
    pub fn now(&self) -> Duration {
        #[cfg(test)]
        READS.set(READS.get() + 1);
        match &self.0 {
            Source::System(start) => start.elapsed(),
            Source::Manual(nanos) => Duration::from_nanos(nanos.load(Ordering::SeqCst)),
        }
    }

    /// Moves a manual clock forward; the system's clock does not care.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(nanos) = &self.0 {
            nanos.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
thread_local! {
    /// How often this thread has read a clock: it is a system call, or nearly one.
    pub(crate) static READS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}
