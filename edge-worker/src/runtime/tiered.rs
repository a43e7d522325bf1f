//! The store of an isolate: its memory in front of the Cache API. Small entries that are read or
//! put stay in memory.

use std::rc::Rc;
use std::time::Duration;

use super::body::Body;
use super::cache_api::CacheApi;
use super::{now, timeout};
use crate::error::Error;
use crate::policy::StoredResponse;
use crate::policy::range::content_length;
use crate::policy::search::SearchMarker;
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

/// Both tiers, for one request.
pub(super) struct Tiered {
    memory: Rc<Memory<Body>>,
    /// How long an entry in memory is valid after it was read from the Cache API.
    trust: Duration,
}

impl Tiered {
    /// Creates the store; memory is trusted for `trust` after an entry was read from the Cache API.
    pub(super) fn new(trust: Duration) -> Self {
        Self { memory: MEMORY.with(Rc::clone), trust }
    }

    /// Returns the memory alone, as it is now.
    pub(super) fn memory(&self) -> MemoryAt<'_, Body> {
        self.memory.at(now(), self.trust)
    }

    /// Removes the entry under `key` from memory.
    pub(super) fn forget(&self, key: &str) {
        self.memory.remove(key);
    }
}

impl Store for Tiered {
    type Body = Body;

    async fn get(&self, key: &str) -> Result<Option<Entry<Body>>, Error> {
        let trusted_until = now() + self.trust;
        timeout(CACHE_TIMEOUT, async {
            let Some(mut entry) = CacheApi::open().await.get(key).await? else { return Ok(None) };
            if let Entry::Response { response, body: body @ Some(_), .. } = &mut entry
                && is_small(response)
                && let Some(stream) = body.take()
            {
                *body = Some(Body::Whole(stream.whole(MAX_BODY_BYTES).await?));
            }
            Ok(Some(self.memory.put_read(key, entry, trusted_until)))
        })
        .await
    }

    /// Reads memory first. That a path has no marker is remembered too, since almost none has one.
    async fn recent_search_marker(&self, key: &str) -> Result<Option<SearchMarker>, Error> {
        let trusted_until = now() + self.trust;
        let entry = match self.memory.get(key, now()) {
            Some(entry) => entry,
            None => match self.get(key).await? {
                Some(entry) => entry,
                None => {
                    self.memory.put_read(key, Entry::SearchMarker(SearchMarker::default()), trusted_until)
                }
            },
        };
        Ok(entry.into_search_marker())
    }

    async fn put(&self, key: &str, entry: Entry<Body>, retention: Duration) -> Result<(), Error> {
        self.memory().put(key, entry.clone(), retention).await?;
        CacheApi::open().await.put(key, entry, retention).await
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        self.memory.remove(key);
        CacheApi::open().await.delete(key).await
    }
}

/// Returns whether the body is short enough to collect and to hold in memory. Every stored response
/// states its length.
fn is_small(response: &StoredResponse) -> bool {
    content_length(&response.headers).is_some_and(|bytes| bytes <= MAX_BODY_BYTES)
}
