//! The runtime's Cache API as a [`Store`]: one cache per data centre, shared by its isolates.
//!
//! It obeys `Cache-Control: max-age` of what is put, so that field says how long to keep, and nothing else. What else it
//! might act on is hidden from it by [`metadata`]. A `match` by URL evaluates no conditions.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use worker::{Cache, Response, ResponseBody};

use super::{Entry, Store, metadata};
use crate::error::Error;
use crate::runtime::{self, Body};

/// The cache that this worker opens; not the default one, which the network also reads.
const CACHE_NAME: &str = "strata";

/// The Cache API's named cache.
pub(crate) struct CacheApi {
    cache: Cache,
}

impl CacheApi {
    /// Opens it. Costs no I/O.
    pub(crate) async fn open() -> Self {
        Self { cache: Cache::open(CACHE_NAME.to_owned()).await }
    }

    /// Puts an empty entry under `key` unless there is one; whether it did. Two that ask at once may both be told so.
    ///
    /// # Errors
    /// If the runtime refuses it.
    pub(crate) async fn put_if_absent(&self, key: &str, keep_for: Duration) -> Result<bool, Error> {
        if self.cache.get(key, false).await?.is_some() {
            return Ok(false);
        }
        self.put_empty(key, keep_for).await?;
        Ok(true)
    }

    /// Puts an empty entry under `key`.
    ///
    /// # Errors
    /// If the runtime refuses it.
    pub(crate) async fn put_empty(&self, key: &str, keep_for: Duration) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        keep(&mut headers, keep_for);
        let response = runtime::response(StatusCode::OK, &headers, None)?;
        Ok(self.cache.put(key, Response::from(response)).await?)
    }
}

impl Store for CacheApi {
    type Body = Body;

    async fn get(&self, key: &str) -> Result<Option<Entry<Body>>, Error> {
        let Some(kept) = self.cache.get(key, false).await? else { return Ok(None) };
        let headers = runtime::from_runtime(kept.headers().0.clone());
        if let Some(marker) = metadata::decode_marker(&headers)? {
            return Ok(Some(Entry::Marker(marker)));
        }
        let (response, generation) = metadata::decode(headers)?;
        let body = match kept.into_parts().1 {
            ResponseBody::Stream(stream) => Some(Body::Stream(stream)),
            ResponseBody::Body(_) | ResponseBody::Empty => None,
        };
        Ok(Some(Entry::Response { response, generation, body }))
    }

    async fn put(&self, key: &str, entry: Entry<Body>, keep_for: Duration) -> Result<(), Error> {
        let (mut headers, body) = match entry {
            Entry::Marker(marker) => (metadata::encode_marker(&marker), None),
            Entry::Response { response, generation, body } => (metadata::encode(&response, generation), body),
        };
        keep(&mut headers, keep_for);
        let response = runtime::response(StatusCode::OK, &headers, body.as_ref())?;
        Ok(self.cache.put(key, Response::from(response)).await?)
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        self.cache.delete(key, false).await?;
        Ok(())
    }
}

fn keep(headers: &mut HeaderMap, keep_for: Duration) {
    if let Ok(value) = HeaderValue::try_from(format!("max-age={}", keep_for.as_secs())) {
        headers.insert(header::CACHE_CONTROL, value);
    }
}
