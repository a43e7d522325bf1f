//! A histogram of durations of fixed size, that many threads add to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The buckets of one power of two. Their bounds are at most a quarter apart.
const PARTS: u64 = 4;
const PARTS_BITS: u32 = PARTS.trailing_zeros();
/// The buckets: microseconds up to 2^30, which is 18 minutes. The last one has all longer times.
const BUCKETS: usize = 30 * PARTS as usize;

/// Counts of durations, by buckets of about the same relative width.
#[derive(Debug)]
pub(crate) struct Histogram([AtomicU64; BUCKETS]);

impl Default for Histogram {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; BUCKETS])
    }
}

impl Histogram {
    pub(crate) fn add(&self, duration: Duration) {
        self.0[bucket(duration)].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the buckets that are not empty, each with its count so far.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (usize, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed)).enumerate();
        counts.filter(|(_, count)| *count > 0)
    }
}

/// Returns the bucket of a duration.
fn bucket(duration: Duration) -> usize {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    if micros < PARTS {
        return micros as usize;
    }
    let power = micros.ilog2();
    // The bits after the first one say which part of the power of two it is.
    let part = (micros >> (power - PARTS_BITS)) & (PARTS - 1);
    let bucket = u64::from(power - PARTS_BITS + 1) * PARTS + part;
    (bucket as usize).min(BUCKETS - 1)
}

/// Returns the shortest duration of a bucket, in microseconds.
fn lower_bound(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < PARTS { bucket } else { (PARTS + bucket % PARTS) << (bucket / PARTS - 1) }
}

/// Returns the middle of a bucket in seconds, which is within an eighth of each duration in it from
/// 4 µs on.
pub(crate) fn middle_secs(bucket: usize) -> f64 {
    (lower_bound(bucket) + lower_bound(bucket + 1)) as f64 / 2e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_a_bucket_is_within_an_eighth_of_its_durations() {
        for exponent in 2..30 {
            for micros in [1_u64 << exponent, (1 << exponent) + 1, 3 << (exponent - 1), (2 << exponent) - 1] {
                let duration = Duration::from_micros(micros);
                let bucket = bucket(duration);
                assert!(lower_bound(bucket) <= micros && micros < lower_bound(bucket + 1), "{duration:?}");
                let error = (middle_secs(bucket) / duration.as_secs_f64() - 1.0).abs();
                assert!(error <= 0.125, "{duration:?}: {error}");
            }
        }
    }

    #[test]
    fn every_duration_has_a_bucket() {
        let histogram = Histogram::default();
        for duration in [Duration::ZERO, Duration::from_micros(3), Duration::MAX] {
            histogram.add(duration);
        }
        let counts: Vec<_> = histogram.counts().collect();
        assert_eq!(counts, [(0, 1), (3, 1), (BUCKETS - 1, 1)]);
    }
}
