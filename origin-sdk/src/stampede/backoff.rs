//! The backoff of keys whose loads fail.
//!
//! One failure may be the caller's own: its token has expired, or it was unlucky. The next caller
//! loads again at once. After two failures in a row, the source is taken to be failing: for a while
//! no loader runs for the key, and callers get the last error.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;

use crate::error::LoadError;

/// The most keys of a namespace whose failures are remembered.
const MAX_KEYS: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// The keys whose last load failed.
pub(crate) struct FailureBackoff {
    failures: Mutex<LruCache<Box<str>, Failure>>,
}

struct Failure {
    error: LoadError,
    /// The clock's reading from which on the key is loaded again.
    until: Duration,
}

impl FailureBackoff {
    pub(crate) fn new() -> Self {
        Self { failures: Mutex::new(LruCache::new(MAX_KEYS)) }
    }

    /// Returns the error of the key's last load if the key is not to be loaded now.
    pub(crate) fn error(&self, key: &str, now: Duration) -> Option<LoadError> {
        self.failures().get(key).filter(|failure| now < failure.until).map(|failure| failure.error.clone())
    }

    /// Notes a failure. The key is not loaded until `until` if its load before failed too, or if
    /// that is known from elsewhere.
    pub(crate) fn note_failure(&self, key: &str, error: &LoadError, until: Duration) {
        let mut failures = self.failures();
        let is_repeated = failures.contains(key) || error.is_repeated();
        let until = if is_repeated { until } else { Duration::ZERO };
        failures.put(key.into(), Failure { error: error.clone(), until });
    }

    pub(crate) fn note_success(&self, key: &str) {
        self.failures().pop(key);
    }

    fn failures(&self) -> MutexGuard<'_, LruCache<Box<str>, Failure>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Work;

    #[test]
    fn a_bounded_number_of_keys_is_remembered_and_the_oldest_is_forgotten() {
        let (backoff, until) = (FailureBackoff::new(), Duration::from_secs(1));
        for id in 0..2 * MAX_KEYS.get() {
            for _ in 0..2 {
                backoff.note_failure(&id.to_string(), &LoadError::panicked(Work::Loader), until);
            }
        }
        assert_eq!(backoff.failures().len(), MAX_KEYS.get());
        assert!(backoff.error("0", Duration::ZERO).is_none());
        assert!(backoff.error("19999", Duration::ZERO).is_some());
    }
}
