//! The isolate's memory in front of the Cache API: what is read or put there and is small stays in memory.

use std::cell::OnceCell;
use std::rc::Rc;
use std::time::Duration;

use http::header;
use shared_keys::RESERVED_PREFIX;

use super::cache_api::CacheApi;
use super::isolate::{AtTime, Isolate, MAX_BODY_BYTES};
use super::{Entry, Store};
use crate::error::Error;
use crate::policy::StoredResponse;
use crate::runtime::{Body, now, within};

/// What an isolate holds in memory at most. The runtime ends an isolate that takes more than 128 MB for all it does.
const MAX_BYTES: usize = 16 << 20;

/// A Cache API that takes longer to answer is worth no waiting.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

thread_local! {
    static MEMORY: Rc<Isolate<Body>> = Rc::new(Isolate::new(MAX_BYTES));
}

/// Both, for one request: the Cache API is opened when it is first asked.
pub(crate) struct Tiered {
    memory: Rc<Isolate<Body>>,
    /// How long memory is trusted.
    trust: Duration,
    cache: OnceCell<CacheApi>,
}

impl Tiered {
    /// Trusts memory for `trust` after it was read from the Cache API.
    pub(crate) fn new(trust: Duration) -> Self {
        Self { memory: MEMORY.with(Rc::clone), trust, cache: OnceCell::new() }
    }

    /// Only what is in memory now.
    pub(crate) fn memory(&self) -> AtTime<'_, Body> {
        self.memory.at(now(), self.trust)
    }

    /// Whether the caller is the one in the data centre that refreshes what stands under `key`, for so long or until it releases it.
    ///
    /// # Errors
    /// If the Cache API cannot be asked.
    pub(crate) async fn lease(&self, key: &str, duration: Duration) -> Result<bool, Error> {
        self.cache().await.put_if_absent(&lease_key(key), duration).await
    }

    /// The caller has the lease for so long from now.
    ///
    /// # Errors
    /// If the Cache API cannot be asked.
    pub(crate) async fn extend_lease(&self, key: &str, duration: Duration) -> Result<(), Error> {
        self.cache().await.put_empty(&lease_key(key), duration).await
    }

    /// The refresh is over.
    ///
    /// # Errors
    /// If the Cache API cannot be asked.
    pub(crate) async fn release(&self, key: &str) -> Result<(), Error> {
        self.cache().await.delete(&lease_key(key)).await
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
        let trusted_until = now() + self.trust;
        within(PATIENCE, async {
            let Some(mut entry) = self.cache().await.get(key).await? else { return Ok(None) };
            if let Entry::Response { response, body: body @ Some(_), .. } = &mut entry
                && is_small(response)
                && let Some(stream) = body.take()
            {
                *body = Some(Body::Whole(stream.whole(MAX_BODY_BYTES).await?));
            }
            self.memory.put(key, entry.clone(), trusted_until);
            Ok(Some(entry))
        })
        .await
    }

    async fn put(&self, key: &str, entry: Entry<Body>, keep_for: Duration) -> Result<(), Error> {
        self.memory().put(key, entry.clone(), keep_for).await?;
        self.cache().await.put(key, entry, keep_for).await
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        self.memory.remove(key);
        self.cache().await.delete(key).await
    }
}

/// Where the lease for what stands under `key` is: in a parameter that no client's request has.
fn lease_key(key: &str) -> String {
    let separator = if key.contains('?') { '&' } else { '?' };
    format!("{key}{separator}{RESERVED_PREFIX}lease")
}

/// Whether all of its body may be waited for, and kept in memory. What is stored says its length.
fn is_small(response: &StoredResponse) -> bool {
    let length = response.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    length.is_some_and(|bytes: u64| bytes <= MAX_BODY_BYTES)
}
