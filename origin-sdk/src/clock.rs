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
    System { start: Instant, coarse: CoarseClock },
    Manual(Arc<AtomicU64>),
}

/// The most nanoseconds that [`Clock::coarse_nanos`] is behind. Linux advances its coarse clock at
/// each tick, of 10 ms at most, and at the fifth missed tick if the core that does it is held up.
pub(crate) const COARSE_ERROR: u64 = 50_000_000;

impl Clock {
    /// Returns the system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System { start: Instant::now(), coarse: CoarseClock::start() })
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
            Source::System { start, .. } => start.elapsed(),
            Source::Manual(nanos) => Duration::from_nanos(nanos.load(Ordering::SeqCst)),
        }
    }

    /// Returns a reading in nanoseconds that is not ahead of [`now`](Self::now) and at most
    /// [`COARSE_ERROR`] behind it. It takes a fraction of the time.
    #[inline]
    pub(crate) fn coarse_nanos(&self) -> u64 {
        #[cfg(test)]
        READS.set(READS.get() + 1);
        match &self.0 {
            Source::System { coarse, .. } => coarse.elapsed_nanos(),
            Source::Manual(nanos) => nanos.load(Ordering::SeqCst),
        }
    }

    /// Returns the milliseconds since the Unix epoch. Those of a manual clock are the system's plus
    /// the time that it was moved forward, so that an age by this clock can be subtracted.
    pub(crate) fn unix_ms(&self) -> u64 {
        match &self.0 {
            Source::System { .. } => unix_ms(),
            Source::Manual(nanos) => unix_ms().saturating_add(nanos.load(Ordering::SeqCst) / 1_000_000),
        }
    }

    /// Moves a manual clock forward. Has no effect on the system's clock.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(reading) = &self.0 {
            reading.fetch_add(nanos(by), Ordering::SeqCst);
        }
    }
}

/// The system's monotonic clock as of the last tick.
#[cfg(target_os = "linux")]
#[derive(Debug, Clone)]
struct CoarseClock {
    start_nanos: u64,
}

#[cfg(target_os = "linux")]
impl CoarseClock {
    fn start() -> Self {
        Self { start_nanos: nanos_of(rustix::time::ClockId::Monotonic) }
    }

    #[inline]
    fn elapsed_nanos(&self) -> u64 {
        nanos_of(rustix::time::ClockId::MonotonicCoarse).saturating_sub(self.start_nanos)
    }
}

#[cfg(target_os = "linux")]
#[inline]
fn nanos_of(clock: rustix::time::ClockId) -> u64 {
    let time = rustix::time::clock_gettime(clock);
    // A monotonic clock counts up from the start of the machine.
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The precise clock, where there is no coarse one.
#[cfg(not(target_os = "linux"))]
#[derive(Debug, Clone)]
struct CoarseClock(Instant);

#[cfg(not(target_os = "linux"))]
impl CoarseClock {
    fn start() -> Self {
        Self(Instant::now())
    }

    #[inline]
    fn elapsed_nanos(&self) -> u64 {
        nanos(self.0.elapsed())
    }
}

/// Returns a duration in nanoseconds, at most 584 years.
pub(crate) fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(duration.subsec_nanos()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coarse_clock_is_never_ahead_and_at_most_its_error_behind() {
        let clock = Clock::system();
        for _ in 0..1_000 {
            let (before, coarse, after) = (nanos(clock.now()), clock.coarse_nanos(), nanos(clock.now()));
            assert!(coarse <= after, "{coarse} > {after}");
            assert!(coarse + COARSE_ERROR >= before, "{coarse} is too far behind {before}");
        }
    }

    #[test]
    fn both_readings_of_a_manual_clock_are_the_same() {
        let clock = Clock::manual();
        clock.advance(Duration::from_millis(7));
        assert_eq!(clock.coarse_nanos(), nanos(clock.now()));
    }
}
