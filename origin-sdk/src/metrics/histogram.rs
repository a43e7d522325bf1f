//! A histogram of durations of fixed size, that many threads add to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

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

    /// Returns the counts so far.
    pub(crate) fn counts(&self) -> Durations {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed)).enumerate();
        Durations(counts.filter(|(_, count)| *count > 0).collect())
    }
}

/// Counts of durations, each within an eighth of its length from 4 µs to 18 minutes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Durations(
    /// The count of each bucket that is not empty, by its number.
    BTreeMap<usize, u64>,
);

impl Durations {
    /// Returns the number of durations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Returns the duration that this part of all durations does not exceed: 0.5 for the median.
    /// `None` without durations.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let rank = (self.count() as f64 * part.clamp(0.0, 1.0)).ceil().max(1.0) as u64;
        let mut passed = 0_u64;
        let bucket = self.0.iter().find(|(_, count)| {
            passed = passed.saturating_add(**count);
            passed >= rank
        });
        bucket.map(|(bucket, _)| Duration::from_secs_f64(middle_secs(*bucket)))
    }

    /// Combines the count of each bucket with that of `other`.
    pub(crate) fn combine(&mut self, other: &Self, combine: fn(u64, u64) -> u64) {
        for (bucket, count) in &other.0 {
            let own = self.0.entry(*bucket).or_default();
            *own = combine(*own, *count);
        }
        self.0.retain(|_, count| *count > 0);
    }

    /// Returns the buckets that are not empty, each with its count.
    #[cfg(feature = "metrics")]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, u64)> {
        self.0.iter().map(|(bucket, count)| (*bucket, *count))
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
    // A foreign report may have any number.
    let bucket = bucket.min(BUCKETS - 1);
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
        assert_eq!(histogram.counts().0, [(0, 1), (3, 1), (BUCKETS - 1, 1)].into());
    }

    #[test]
    fn quantiles_of_sums_and_differences_are_those_of_all_durations() {
        let histogram = |millis: std::ops::Range<u64>| {
            let histogram = Histogram::default();
            millis.for_each(|millis| histogram.add(Duration::from_millis(millis)));
            histogram.counts()
        };
        let mut all = histogram(0..40);
        all.combine(&histogram(40..100), u64::saturating_add);
        assert_eq!(all, histogram(0..100));
        for (part, millis) in [(0.0, 0.0), (0.5, 49.0), (0.99, 98.0), (1.0, 99.0)] {
            let quantile = all.quantile(part).unwrap().as_secs_f64() * 1e3;
            assert!((quantile - millis).abs() <= millis / 8.0 + 0.001, "{part}: {quantile}");
        }
        all.combine(&histogram(0..40), u64::saturating_sub);
        assert_eq!((&all, all.count()), (&histogram(40..100), 60));
        assert_eq!(Durations::default().quantile(0.5), None);
    }

    #[test]
    fn counts_of_foreign_buckets_are_read_without_harm() {
        let foreign: Durations =
            serde_json::from_str(r#"{"18446744073709551615": 18446744073709551615, "1": 5}"#).unwrap();
        assert_eq!(foreign.count(), u64::MAX);
        assert!(foreign.quantile(1.0).unwrap() > Duration::from_secs(1_000));
    }
}
