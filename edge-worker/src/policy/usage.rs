//! How much the variants of a URL are used, which decides the variant that gives way to a new one.
//!
//! Any client can make an origin vary by a value that no other client sends. The variant that is
//! used least therefore gives way, not the oldest: a stream of values that are requested once
//! displaces only itself. The use of a variant is the logarithm of its requests, so that it is
//! rarely written, and it decreases with time.

use std::time::{Duration, SystemTime};

use crate::time::unix_ms;

/// The time in which an unused variant loses half of its recorded requests.
const HALF_LIFE: Duration = Duration::from_secs(60 * 60);

/// How long the recorded time of a use stays as it is while the variant is in use.
const RECORDED_FOR: Duration = Duration::from_secs(10 * 60);

/// A stored variant of a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variant {
    /// The hash of its selecting values, which is part of its key.
    pub id: u128,
    /// The magnitude of its requests: the number of binary digits of their count.
    pub magnitude: u8,
    /// When the magnitude was recorded, in milliseconds since 1970.
    pub recorded_ms: u64,
}

/// Returns the magnitude of a number of requests.
pub fn magnitude(requests: u32) -> u8 {
    u8::try_from(u32::BITS - requests.leading_zeros()).unwrap_or(u8::MAX)
}

impl Variant {
    /// Records that the variant is in use, after requests of this magnitude. Returns whether that
    /// changes it.
    pub fn record(&mut self, magnitude: u8, now: SystemTime) -> bool {
        let current = self.magnitude_at(now);
        let age = Duration::from_millis(unix_ms(now).saturating_sub(self.recorded_ms));
        let changes = magnitude > current || age >= RECORDED_FOR;
        if changes {
            (self.magnitude, self.recorded_ms) = (magnitude.max(current), unix_ms(now));
        }
        changes
    }

    /// Returns the magnitude at `now`: one less for each half-life without a recorded use.
    fn magnitude_at(&self, now: SystemTime) -> u8 {
        let half_lives = unix_ms(now).saturating_sub(self.recorded_ms) / (HALF_LIFE.as_secs() * 1000);
        self.magnitude.saturating_sub(u8::try_from(half_lives).unwrap_or(u8::MAX))
    }
}

/// Returns the index of the variant that is used least; of equals, the one recorded first.
pub fn least_used(variants: &[Variant], now: SystemTime) -> Option<usize> {
    let use_of =
        |index: &usize| variants.get(*index).map(|variant| (variant.magnitude_at(now), variant.recorded_ms));
    (0..variants.len()).min_by_key(use_of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::at;

    fn variant(id: u128, magnitude: u8, secs: u64) -> Variant {
        Variant { id, magnitude, recorded_ms: secs * 1000 }
    }

    #[test]
    fn the_variant_with_fewer_requests_then_the_older_one_is_used_least() {
        let variants = [variant(1, 2, 100), variant(2, 1, 200), variant(3, 1, 150), variant(4, 9, 0)];
        assert_eq!(least_used(&variants, at(200)), Some(2));
        assert_eq!(least_used(&[], at(200)), None);
    }

    #[test]
    fn a_variant_that_is_not_used_any_more_loses_its_rank() {
        let variants = [variant(1, 9, 0), variant(2, 1, 8 * 3600)];
        assert_eq!(least_used(&variants, at(8 * 3600)), Some(0), "of equals, the older one");
        assert_eq!(least_used(&variants, at(7 * 3600)), Some(1));
    }

    #[test]
    fn a_use_is_recorded_if_it_changes_the_rank() {
        let mut used = variant(1, 3, 1000);
        assert!(!used.record(3, at(1001)) && !used.record(1, at(1599)));
        assert!(used.record(4, at(1001)));
        assert!(used.record(1, at(1601)), "it is still in use");
        assert_eq!(used, variant(1, 4, 1601));
    }

    #[test]
    fn the_magnitude_is_the_number_of_binary_digits() {
        let magnitudes = [0, 1, 2, 3, 4, 1023, 1024, u32::MAX].map(magnitude);
        assert_eq!(magnitudes, [0, 1, 2, 2, 3, 10, 11, 32]);
    }
}
