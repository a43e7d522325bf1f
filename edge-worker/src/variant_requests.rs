//! The requests for variants that this isolate has counted. A marker records their magnitude (see
//! `policy::usage`).

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime};

use lru::LruCache;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::policy::usage::magnitude;

/// The number of variants that are counted; beyond it, the one requested longest ago is forgotten.
const MAX_COUNTED: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// How often the use of a variant is recorded at least, while it is in use.
const RECORD_EVERY: Duration = Duration::from_secs(20 * 60);

/// The requests for variants in one isolate.
#[derive(Debug)]
pub struct VariantRequests(RefCell<LruCache<u64, Count>>);

#[derive(Debug)]
struct Count {
    requests: u32,
    recorded: SystemTime,
}

impl Default for VariantRequests {
    fn default() -> Self {
        Self(RefCell::new(LruCache::new(MAX_COUNTED)))
    }
}

impl VariantRequests {
    /// Counts a request for the variant under `key`. Returns the magnitude of its requests if it is
    /// to be recorded: when it grows, and from time to time.
    pub fn count(&self, key: &str, now: SystemTime) -> Option<u8> {
        let mut counts = self.0.borrow_mut();
        let count = counts.get_or_insert_mut(hash(key), || Count { requests: 0, recorded: now });
        count.requests = count.requests.saturating_add(1);
        let is_due = now.duration_since(count.recorded).is_ok_and(|age| age >= RECORD_EVERY);
        let records = count.requests.is_power_of_two() || is_due;
        records.then(|| {
            count.recorded = now;
            magnitude(count.requests)
        })
    }

    /// Returns the magnitude of the requests for the variant under `key`.
    pub fn magnitude(&self, key: &str) -> u8 {
        self.0.borrow().peek(&hash(key)).map_or(0, |count| magnitude(count.requests))
    }
}

fn hash(key: &str) -> u64 {
    xxh3_64_with_seed(key.as_bytes(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::at;

    #[test]
    fn a_magnitude_is_recorded_when_it_grows_and_from_time_to_time() {
        let requests = VariantRequests::default();
        let recorded: Vec<_> = (0..8).map(|_| requests.count("a", at(100))).collect();
        assert_eq!(recorded, [Some(1), Some(2), None, Some(3), None, None, None, Some(4)]);
        assert_eq!(requests.count("a", at(100 + 1199)), None);
        assert_eq!(requests.count("a", at(100 + 1200)), Some(4));
        assert_eq!((requests.magnitude("a"), requests.magnitude("b")), (4, 0));
    }

    #[test]
    fn the_number_of_counted_variants_is_bounded() {
        let requests = VariantRequests::default();
        for number in 0..=MAX_COUNTED.get() {
            requests.count(&number.to_string(), at(100));
        }
        assert_eq!((requests.magnitude("0"), requests.magnitude("1")), (0, 1));
    }
}
