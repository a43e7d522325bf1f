//! The store of an isolate: its memory in front of the Cache API, and below that the persistent
//! store, if one is bound. Small entries that are read or put stay in memory; an entry that another
//! data centre has stored is copied into this one's cache.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use worker::Env;

use super::body::Body;
use super::cache_api::CacheApi;
use super::persistent::Persistent;
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

/// All tiers, for one request.
pub(super) struct Tiered {
    memory: Rc<Memory<Body>>,
    /// How long an entry in memory is valid after it was read from the Cache API.
    trust: Duration,
    persistent: Option<Rc<Persistent>>,
}

impl Tiered {
    /// Creates the store; memory is trusted for `trust` after an entry was read from the Cache API.
    pub(super) fn new(trust: Duration, env: &Env) -> Self {
        Self { memory: MEMORY.with(Rc::clone), trust, persistent: Persistent::of(env) }
    }

    /// Returns the store for another request.
    pub(super) fn for_another_request(&self) -> Self {
        let (memory, persistent) = (Rc::clone(&self.memory), self.persistent.clone());
        Self { memory, trust: self.trust, persistent }
    }

    /// Returns the memory alone, as it is now.
    pub(super) fn memory(&self) -> MemoryAt<'_, Body> {
        self.memory.at(now(), self.trust)
    }

    /// Removes the entry under `key` from memory.
    pub(super) fn forget(&self, key: &str) {
        self.memory.remove(key);
    }

    /// Returns the entry under `key` in the persistent store if its response is later than `than`:
    /// another data centre has fetched it since. Copies it into this one's cache.
    pub(super) async fn newer(&self, key: &str, than: SystemTime) -> Option<Entry<Body>> {
        let began = now();
        let read = timeout(CACHE_TIMEOUT, async {
            let found = self.of_another_data_centre(key).await;
            let is_newer =
                |(entry, _): &(Entry<Body>, Duration)| entry.response_time().is_some_and(|time| time > than);
            Ok(match found.filter(is_newer) {
                Some(found) => {
                    Some(self.memory.put_read(key, self.copied(key, found).await, began, self.trust))
                }
                None => None,
            })
        });
        read.await.unwrap_or_default()
    }

    /// Reads an entry from the persistent store. If that fails, it counts as empty.
    async fn of_another_data_centre(&self, key: &str) -> Option<(Entry<Body>, Duration)> {
        let found = self.persistent.as_ref()?.get(key).await;
        found.unwrap_or_else(|error| {
            worker::console_warn!("not read from the persistent store: {error}");
            None
        })
    }

    /// Copies an entry into this data centre's cache for the time that is left, and returns it.
    async fn copied(&self, key: &str, (entry, left): (Entry<Body>, Duration)) -> Entry<Body> {
        if let Err(error) = CacheApi::open().await.put(key, entry.clone(), left).await {
            worker::console_warn!("not copied from the persistent store: {error}");
        }
        entry
    }
}

impl Store for Tiered {
    type Body = Body;

    async fn get(&self, key: &str) -> Result<Option<Entry<Body>>, Error> {
        let began = now();
        timeout(CACHE_TIMEOUT, async {
            let mut entry = match (CacheApi::open().await.get(key).await, self.of_another_data_centre(key)) {
                (Ok(Some(entry)), _) => entry,
                (cached, elsewhere) => match elsewhere.await {
                    Some(found) => self.copied(key, found).await,
                    None => return cached,
                },
            };
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

    /// Reads memory first. That a path has no marker is remembered too, since almost none has one.
    async fn recent_search_marker(&self, key: &str) -> Result<Option<SearchMarker>, Error> {
        let began = now();
        let entry = match self.memory.get(key, began) {
            Some(entry) => entry,
            None => match self.get(key).await? {
                Some(entry) => entry,
                None => {
                    self.memory.put_read(key, Entry::SearchMarker(SearchMarker::default()), began, self.trust)
                }
            },
        };
        Ok(entry.into_search_marker())
    }

    async fn put(&self, key: &str, entry: Entry<Body>, retention: Duration) -> Result<(), Error> {
        self.memory().put(key, entry.clone(), retention).await?;
        CacheApi::open().await.put(key, entry.clone(), retention).await?;
        if let Some(persistent) = &self.persistent
            && let Err(error) = persistent.put(key, &entry, retention).await
        {
            worker::console_warn!("not in the persistent store: {error}");
        }
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        self.memory.remove(key);
        let deleted = CacheApi::open().await.delete(key).await;
        match &self.persistent {
            Some(persistent) => deleted.and(persistent.delete(key).await),
            None => deleted,
        }
    }
}

/// Returns whether the body is short enough to collect and to hold in memory. Every stored response
/// states its length.
fn is_small(response: &StoredResponse) -> bool {
    content_length(&response.headers).is_some_and(|bytes| bytes <= MAX_BODY_BYTES)
}
