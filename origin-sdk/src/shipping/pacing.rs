//! The pace of calls to a target: a token bucket while calls succeed, exponential backoff while
//! they fail. Pure: the time and the random draw are arguments.

use std::time::Duration;

/// The backoff before the first retry. It doubles with each failed attempt.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// The longest backoff.
const LAST_BACKOFF: Duration = Duration::from_secs(30);
/// The longest `Retry-After` that is obeyed. A longer one is cut to this.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(600);

/// The rate of calls that a target accepts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rate {
    pub(crate) per_second: f64,
    /// How many calls may be made at once, after a pause.
    pub(crate) burst: u32,
}

/// A token bucket. It starts full.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    rate: Rate,
    tokens: f64,
    /// The time up to which tokens have been added.
    filled_at: Duration,
}

impl TokenBucket {
    pub(crate) fn new(rate: Rate, now: Duration) -> Self {
        Self { rate, tokens: f64::from(rate.burst), filled_at: now }
    }

    /// Takes a token and returns how long to wait before using it. Zero while the bucket has
    /// tokens.
    pub(crate) fn take(&mut self, now: Duration) -> Duration {
        let passed = now.saturating_sub(self.filled_at).as_secs_f64();
        self.filled_at = self.filled_at.max(now);
        self.tokens = (self.tokens + passed * self.rate.per_second).min(f64::from(self.rate.burst)) - 1.0;
        Duration::from_secs_f64((-self.tokens / self.rate.per_second).max(0.0))
    }
}

/// An exponential backoff. Holds the next delay, before jitter.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST_BACKOFF)
    }
}

impl Backoff {
    /// Returns the delay before the next attempt, and doubles the one after it up to
    /// [`LAST_BACKOFF`].
    ///
    /// `chance` (0 to 1) adds jitter, so that processes that failed together do not retry together:
    /// it scales the delay to between a half and the whole. With a `retry_after` the delay is that
    /// time, at most [`LONGEST_RETRY_AFTER`], plus the own delay, at most one second.
    pub(crate) fn next(&mut self, retry_after: Option<Duration>, chance: f64) -> Duration {
        let own = self.0.mul_f64(0.5 + chance / 2.0);
        self.0 = (self.0 * 2).min(LAST_BACKOFF);
        match retry_after {
            Some(requested) => requested.min(LONGEST_RETRY_AFTER) + own.min(FIRST_BACKOFF * 10),
            None => own,
        }
    }

    /// Starts again from [`FIRST_BACKOFF`], after a successful attempt.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_backoff_doubles_to_its_limit_and_starts_again_after_a_success() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..12).map(|_| backoff.next(None, 1.0).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000, 30_000]);
        backoff.reset();
        assert_eq!(backoff.next(None, 0.0), Duration::from_millis(50));
    }

    #[test]
    fn a_retry_after_is_obeyed_up_to_its_limit() {
        for chance in [0.0, 1.0] {
            let wait = Backoff::default().next(Some(Duration::from_secs(20)), chance);
            assert!(wait >= Duration::from_secs(20) && wait <= Duration::from_secs(21), "{wait:?}");
        }
        assert!(
            Backoff::default().next(Some(Duration::MAX), 1.0) < LONGEST_RETRY_AFTER + Duration::from_secs(1)
        );
    }

    proptest! {
        /// Any interval has at most the burst plus the calls that the rate allows in its length.
        #[test]
        fn a_bucket_never_exceeds_its_rate(gaps in prop::collection::vec(0u64..3000, 1..80), burst in 1u32..9) {
            let rate = Rate { per_second: 2.0, burst };
            let mut bucket = TokenBucket::new(rate, Duration::ZERO);
            let (mut now, mut calls) = (Duration::ZERO, Vec::new());
            for gap in gaps {
                now += Duration::from_millis(gap);
                now += bucket.take(now);
                calls.push(now.as_secs_f64());
            }
            for (first, &from) in calls.iter().enumerate() {
                for (last, &to) in calls.iter().enumerate().skip(first) {
                    let allowed = f64::from(burst) + (to - from) * rate.per_second + 1e-6;
                    prop_assert!((last - first + 1) as f64 <= allowed, "{} calls in {} s", last - first + 1, to - from);
                }
            }
        }
    }
}
