//! The runtime's Cache API as a [`Store`]: one cache per data centre, shared by its isolates.
//!
//! It obeys the `Cache-Control: max-age` of an entry, so that field states the retention and
//! nothing else. [`metadata`] renames all other fields that it might act on. A `match` by URL
//! evaluates no conditions.

use std::cell::OnceCell;
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use worker::{Cache, Response, ResponseBody};

use super::body::Body;
use super::{from_runtime, response};
use crate::error::Error;
use crate::store::{Entry, Store, metadata};

/// The cache that this worker opens; not the default one, which the network also reads.
const CACHE_NAME: &str = "strata";

/// The field of a lease that names its holder.
const HOLDER: &str = "strata-holder";
const HOLDER_NAME: HeaderName = HeaderName::from_static(HOLDER);

/// A named cache of the Cache API.
pub(super) struct CacheApi {
    cache: Cache,
}

thread_local! {
    static OPEN: OnceCell<Rc<CacheApi>> = const { OnceCell::new() };
}

impl CacheApi {
    /// Opens the cache, or returns the one that this isolate has open. Costs no I/O. The runtime
    /// ties calls to a request, not the cache.
    pub(super) async fn open() -> Rc<Self> {
        if let Some(cache) = OPEN.with(|open| open.get().cloned()) {
            return cache;
        }
        let cache = Rc::new(Self { cache: Cache::open(CACHE_NAME.to_owned()).await });
        OPEN.with(|open| Rc::clone(open.get_or_init(|| cache)))
    }

    /// Returns the holder of the lease under `key`, empty if it is not stated; `None` if the lease
    /// is free.
    ///
    /// # Errors
    /// If the runtime refuses the call.
    pub(super) async fn lease_holder(&self, key: &str) -> Result<Option<String>, Error> {
        let Some(lease) = self.cache.get(key, false).await? else { return Ok(None) };
        Ok(Some(lease.headers().get(HOLDER)?.unwrap_or_default()))
    }

    /// Puts a lease of this holder under `key`.
    ///
    /// # Errors
    /// If the runtime refuses the call.
    pub(super) async fn put_lease(&self, key: &str, holder: &str, retention: Duration) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        headers.extend(HeaderValue::try_from(holder).ok().map(|holder| (HOLDER_NAME, holder)));
        self.put_message(key, headers, None, retention).await
    }

    /// Deletes the entry under `key`, if there is one.
    ///
    /// # Errors
    /// If the runtime refuses the call.
    pub(super) async fn remove(&self, key: &str) -> Result<(), Error> {
        self.cache.delete(key, false).await?;
        Ok(())
    }

    async fn put_message(
        &self,
        key: &str,
        mut headers: HeaderMap,
        body: Option<&Body>,
        retention: Duration,
    ) -> Result<(), Error> {
        if let Ok(value) = HeaderValue::try_from(format!("max-age={}", retention.as_secs())) {
            headers.insert(header::CACHE_CONTROL, value);
        }
        let response = response(StatusCode::OK, &headers, body)?;
        Ok(self.cache.put(key, Response::from(response)).await?)
    }
}

impl Store for CacheApi {
    type Body = Body;

    async fn get(&self, key: &str) -> Result<Option<Entry<Body>>, Error> {
        let Some(message) = self.cache.get(key, false).await? else { return Ok(None) };
        let headers = from_runtime(&message.headers().0);
        let body = match message.into_parts().1 {
            ResponseBody::Stream(stream) => Some(Body::Stream(stream)),
            ResponseBody::Body(_) | ResponseBody::Empty => None,
        };
        metadata::decode_entry(headers, body).map(Some)
    }

    async fn put(&self, key: &str, entry: Entry<Body>, retention: Duration) -> Result<(), Error> {
        self.put_message(key, metadata::encode_entry(&entry), entry.body(), retention).await
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        self.remove(key).await
    }
}
