//! The lease of a background refresh: a short-lived entry in the data centre's store that keeps other
//! isolates from the same refresh.
//!
//! Two isolates may acquire it at the same time, which costs one request to the origin.

use std::time::Duration;

use shared_keys::RESERVED_PREFIX;

use super::cache_api::CacheApi;
use crate::error::Error;

/// The lease for the entry under one key.
pub(super) struct RefreshLease<'a> {
    cache: &'a CacheApi,
    /// The lease's own key: the entry's, with a parameter that no client's request can have.
    key: String,
}

impl<'a> RefreshLease<'a> {
    /// Creates the lease for `key`, without acquiring it.
    pub(super) fn new(cache: &'a CacheApi, key: &str) -> Self {
        let separator = if key.contains('?') { '&' } else { '?' };
        Self { cache, key: format!("{key}{separator}{RESERVED_PREFIX}lease") }
    }

    /// Acquires the lease for `duration`. Returns `false` if another isolate holds it.
    ///
    /// # Errors
    /// If the Cache API fails.
    pub(super) async fn acquire(&self, duration: Duration) -> Result<bool, Error> {
        if self.cache.contains(&self.key).await? {
            return Ok(false);
        }
        self.renew(duration).await?;
        Ok(true)
    }

    /// Renews the lease: it expires after `duration` from now.
    ///
    /// # Errors
    /// If the Cache API fails.
    pub(super) async fn renew(&self, duration: Duration) -> Result<(), Error> {
        self.cache.put_empty(&self.key, duration).await
    }

    /// Releases the lease.
    ///
    /// # Errors
    /// If the Cache API fails.
    pub(super) async fn release(&self) -> Result<(), Error> {
        self.cache.remove(&self.key).await
    }
}
