//! The store of an isolate: its memory in front of the Cache API. Small entries that are read or
//! put stay in memory.

use std::cell::OnceCell;
use std::rc::Rc;
use std::time::Duration;

use super::body::Body;
use super::cache_api::CacheApi;
use super::refresh_lease::RefreshLease;
use super::{now, timeout};
use crate::error::Error;
use crate::policy::StoredResponse;
use crate::policy::range::content_length;
use crate::store::memory::{MAX_BODY_BYTES, Memory, MemoryAt};
use crate::store::{Entry, Store};

/// The memory of an isolate that entries use at most. The runtime ends an isolate that uses more
/// than 128 MB.
const MAX_BYTES: usize = 16 << 20;

/// The timeout of a read from the Cache API. A later answer is not worth the wait: the request goes
/// to the origin.
pub(super) const CACHE_TIMEOUT: Duration = Duration::from_secs(2);

thread_local! {
    static MEMORY: Rc<Memory<Body>> = Rc::new(Memory::new(MAX_BYTES));
}

/// Both tiers, for one request. The Cache API is opened at its first use.
pub(super) struct Tiered {
    memory: Rc<Memory<Body>>,
    /// How long an entry in memory is valid after it was read from the Cache API.
    trust: Duration,
    cache: OnceCell<CacheApi>,
}

impl Tiered {
    /// Creates the store; memory is trusted for `trust` after an entry was read from the Cache API.
    pub(super) fn new(trust: Duration) -> Self {
        Self { memory: MEMORY.with(Rc::clone), trust, cache: OnceCell::new() }
    }

    /// Returns the memory alone, as it is now.
    pub(super) fn memory(&self) -> MemoryAt<'_, Body> {
        self.memory.at(now(), self.trust)
    }

    /// Removes the entry under `key` from memory.
    pub(super) fn forget(&self, key: &str) {
        self.memory.remove(key);
    }

    /// Returns the lease of a background refresh of the entry under `key`.
    pub(super) async fn refresh_lease(&self, key: &str) -> RefreshLease<'_> {
        RefreshLease::new(self.cache().await, key)
    }

    async fn cache(&self) -> &CacheApi {
        match self.cache.get() {
            Some(cache) => cache,
            None => {
                let cache = CacheApi::open().await;
                self.cache.get_or_init(|| cache)
            }
        }
    }
}

impl Store for Tiered {
    type Body = Body;

    async fn get(&self, key: &str) -> Result<Option<Entry<Body>>, Error> {
        let began = now();
        timeout(CACHE_TIMEOUT, async {
            let Some(mut entry) = self.cache().await.get(key).await? else { return Ok(None) };
            if let Entry::Response { response, body: body @ Some(_), .. } = &mut entry
                && is_small(response)
                && let Some(stream) = body.take()
            {
                *body = Some(Body::Whole(stream.whole(MAX_BODY_BYTES).await?));
            }
            Ok(Some(self.memory.put_read(key, entry, began, self.trust)))
        })
        .await
    }

    async fn put(&self, key: &str, entry: Entry<Body>, retention: Duration) -> Result<(), Error> {
        self.memory().put(key, entry.clone(), retention).await?;
        self.cache().await.put(key, entry, retention).await
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        self.memory.remove(key);
        self.cache().await.delete(key).await
    }
}

/// Returns whether the body is short enough to collect and to hold in memory. Every stored response
/// states its length.
fn is_small(response: &StoredResponse) -> bool {
    content_length(&response.headers).is_some_and(|bytes| bytes <= MAX_BODY_BYTES)
}
