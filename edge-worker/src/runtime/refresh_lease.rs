//! The lease of a background refresh: a short-lived entry in the data centre's store that keeps
//! other isolates from the same refresh.
//!
//! The store has no atomic step. The isolates of a data centre find a popular response stale at the
//! same moment, and all of them would find no lease. So each puts a lease with a name of its own,
//! waits for [`SETTLING_TIME`], and holds the lease only if its name is still there: the last of
//! them does. Two isolates may hold it if a write takes longer than that, which costs one request
//! to the origin.

use std::rc::Rc;
use std::time::Duration;

use shared_keys::RESERVED_PREFIX;
use worker::{Delay, js_sys};

use super::cache_api::CacheApi;
use crate::error::Error;

/// How long an isolate waits for others that have found no lease either.
const SETTLING_TIME: Duration = Duration::from_millis(50);

/// The lease for the entry under one key.
pub(super) struct RefreshLease {
    cache: Rc<CacheApi>,
    /// The lease's own key: the entry's, with a parameter that no client's request can have.
    key: String,
    /// A random name of this holder.
    holder: String,
}

impl RefreshLease {
    /// Creates the lease of a background refresh of the entry under `key`, without acquiring it.
    pub(super) async fn new(key: &str) -> Self {
        let separator = if key.contains('?') { '&' } else { '?' };
        let holder = js_sys::Math::random().to_string();
        Self { cache: CacheApi::open().await, key: format!("{key}{separator}{RESERVED_PREFIX}lease"), holder }
    }

    /// Acquires the lease for `duration`. Returns `false` if another isolate holds it.
    ///
    /// # Errors
    /// If the Cache API fails.
    pub(super) async fn acquire(&self, duration: Duration) -> Result<bool, Error> {
        if self.cache.lease_holder(&self.key).await?.is_some() {
            return Ok(false);
        }
        self.renew(duration).await?;
        Delay::from(SETTLING_TIME).await;
        let holder = self.cache.lease_holder(&self.key).await?;
        // A store that lost the lease at once cannot tell who holds it.
        Ok(holder.is_none_or(|holder| holder == self.holder))
    }

    /// Renews the lease: it expires after `duration` from now.
    ///
    /// # Errors
    /// If the Cache API fails.
    pub(super) async fn renew(&self, duration: Duration) -> Result<(), Error> {
        self.cache.put_lease(&self.key, &self.holder, duration).await
    }

    /// Releases the lease.
    ///
    /// # Errors
    /// If the Cache API fails.
    pub(super) async fn release(&self) -> Result<(), Error> {
        self.cache.remove(&self.key).await
    }
}
