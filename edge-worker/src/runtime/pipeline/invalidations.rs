//! The invalidations by unsafe requests to this isolate (RFC 9111 section 4.4), and the store as
//! they allow it to be used.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use shared_keys::TargetKey;

use super::exchange::Exchange;
use crate::error::Error;
use crate::policy::search::SearchMarker;
use crate::recent_invalidations::{Pin, RecentInvalidations};
use crate::runtime::body::Body;
use crate::runtime::now;
use crate::runtime::tiered::Tiered;
use crate::store::{Entry, Store};

thread_local! {
    static INVALIDATIONS: RecentInvalidations = RecentInvalidations::default();
}

/// The isolate's store during one operation. The invalidations of every key that is read, written
/// or deleted are remembered until the operation ends.
pub(super) struct PinnedStore<'a> {
    store: &'a Tiered,
    pins: RefCell<Vec<Pin>>,
}

impl Exchange {
    /// Returns the store for one operation. Hold it until the outcome is checked.
    pub(super) fn pinned_store(&self) -> PinnedStore<'_> {
        PinnedStore { store: &self.store, pins: RefCell::default() }
    }

    /// Records that an unsafe request invalidates `key`, and returns when.
    pub(super) fn record_invalidation(key: &str) -> SystemTime {
        INVALIDATIONS.with(|invalidations| invalidations.add(key, now()))
    }

    /// Returns whether an unsafe request has invalidated stored responses that were requested at
    /// `request_time`, for this URL or for those that share `shared_key`.
    pub(super) fn is_invalidated(&self, shared_key: Option<&TargetKey>, request_time: SystemTime) -> bool {
        let covers = |key: &TargetKey| covers_stored(key.as_str(), request_time);
        covers(&self.target) || shared_key.is_some_and(covers)
    }
}

/// Returns whether an unsafe request has invalidated a stored response for `key` that was requested
/// at `request_time`.
pub(super) fn covers_stored(key: &str, request_time: SystemTime) -> bool {
    INVALIDATIONS.with(|invalidations| invalidations.covers_stored(key, request_time))
}

/// Keeps the invalidations of `key` until the pin is dropped.
pub(super) fn pin(key: &str) -> Pin {
    INVALIDATIONS.with(|invalidations| invalidations.pin(key, now()))
}

/// Returns whether an unsafe request may have invalidated a response for `key` that was requested
/// at `request_time` and is not stored yet.
pub(super) fn is_too_old_to_store(key: &str, request_time: SystemTime) -> bool {
    INVALIDATIONS.with(|invalidations| invalidations.covers_unstored(key, request_time))
}

impl PinnedStore<'_> {
    /// Keeps the invalidations of `key` until the operation ends.
    pub(super) fn pin(&self, key: &str) {
        self.pins.borrow_mut().push(pin(key));
    }

    /// Returns the result of reading the entry under `key`.
    async fn read<T>(&self, key: &str, read: impl Future<Output = T>) -> T {
        self.pin(key);
        let since = now();
        let result = read.await;
        // A read that an unsafe request overtook has put the deleted entry back into memory.
        if covers_stored(key, since) {
            self.store.forget(key);
        }
        result
    }
}

impl Store for PinnedStore<'_> {
    type Body = Body;

    async fn get(&self, key: &str) -> Result<Option<Entry<Body>>, Error> {
        self.read(key, self.store.get(key)).await
    }

    async fn recent_search_marker(&self, key: &str) -> Result<Option<SearchMarker>, Error> {
        self.read(key, self.store.recent_search_marker(key)).await
    }

    async fn put(&self, key: &str, entry: Entry<Body>, retention: Duration) -> Result<(), Error> {
        self.pin(key);
        self.store.put(key, entry, retention).await
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        self.pin(key);
        self.store.delete(key).await
    }
}
