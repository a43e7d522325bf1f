//! The store that all data centres share: what a KV namespace is on the platform.
//!
//! workerd sends `GET`, `PUT` and `DELETE` for the calls of the same names, with the key as the
//! path and the time to live as the parameter `expiration_ttl`.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Method, Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use lru::LruCache;

use crate::serving::serve_at;

/// The longest value, in bytes: the platform's limit.
const MAX_VALUE_BYTES: usize = 25 * 1024 * 1024;
/// The estimated bytes of an entry beside its key and value: its share of the maps.
const ENTRY_BYTES: usize = 256;

/// Values in memory, bounded in bytes; the least recently used are evicted.
pub(crate) struct SharedStore(Mutex<Values>);

struct Values {
    entries: LruCache<String, Value>,
    bytes: usize,
    max_bytes: usize,
}

struct Value {
    bytes: Bytes,
    /// When it ends; `None` if the call stated no time to live.
    expires: Option<Instant>,
}

impl SharedStore {
    /// Creates an empty store for at most this many bytes.
    pub(crate) fn new(max_bytes: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Values { entries: LruCache::unbounded(), bytes: 0, max_bytes })))
    }

    /// Binds the socket and returns the service's run, which ends only for an error.
    pub(crate) fn serve(
        self: Arc<Self>,
        socket: &Path,
    ) -> Result<impl Future<Output = String> + use<>, String> {
        serve_at(socket, Router::new().fallback(answer).with_state(self))
    }

    fn values(&self) -> MutexGuard<'_, Values> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Values {
    fn get(&mut self, key: &str, now: Instant) -> Option<Bytes> {
        let value = self.entries.get(key)?;
        if value.expires.is_none_or(|expires| expires > now) {
            return Some(value.bytes.clone());
        }
        self.remove(key);
        None
    }

    /// Stores a value in place of an older one. If it is larger than the store, only removes the
    /// older one.
    fn put(&mut self, key: String, bytes: Bytes, expires: Option<Instant>) {
        self.remove(&key);
        let size = size_of(&key, &bytes);
        if size > self.max_bytes {
            return;
        }
        self.bytes += size;
        self.entries.put(key, Value { bytes, expires });
        while self.bytes > self.max_bytes
            && let Some((key, evicted)) = self.entries.pop_lru()
        {
            self.bytes -= size_of(&key, &evicted.bytes);
        }
    }

    fn remove(&mut self, key: &str) {
        if let Some(removed) = self.entries.pop(key) {
            self.bytes -= size_of(key, &removed.bytes);
        }
    }
}

/// Returns the bytes that an entry counts for.
fn size_of(key: &str, value: &Bytes) -> usize {
    ENTRY_BYTES + key.len() + value.len()
}

async fn answer(State(store): State<Arc<SharedStore>>, request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let key = head.uri.path().to_owned();
    match head.method {
        Method::GET => match store.values().get(&key, Instant::now()) {
            Some(bytes) => response(StatusCode::OK, Body::from(bytes)),
            None => response(StatusCode::NOT_FOUND, Body::empty()),
        },
        Method::PUT => {
            let Ok(value) = Limited::new(body, MAX_VALUE_BYTES).collect().await else {
                return response(StatusCode::PAYLOAD_TOO_LARGE, Body::empty());
            };
            let expires = time_to_live(head.uri.query()).map(|ttl| Instant::now() + ttl);
            store.values().put(key, value.to_bytes(), expires);
            response(StatusCode::NO_CONTENT, Body::empty())
        }
        Method::DELETE => {
            store.values().remove(&key);
            response(StatusCode::NO_CONTENT, Body::empty())
        }
        _ => response(StatusCode::METHOD_NOT_ALLOWED, Body::empty()),
    }
}

/// Returns the time to live that a query states.
fn time_to_live(query: Option<&str>) -> Option<Duration> {
    let stated = query?.split('&').find_map(|parameter| parameter.strip_prefix("expiration_ttl="))?;
    stated.parse().ok().map(Duration::from_secs)
}

fn response(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(max_bytes: usize) -> Values {
        Values { entries: LruCache::unbounded(), bytes: 0, max_bytes }
    }

    #[test]
    fn a_value_ends_with_its_time_to_live() {
        let (mut values, now) = (values(10_000), Instant::now());
        let ttl = time_to_live(Some("urlencoded=true&expiration_ttl=60")).unwrap();
        values.put("/a".to_owned(), Bytes::from_static(b"x"), Some(now + ttl));
        values.put("/b".to_owned(), Bytes::from_static(b"y"), None);
        let later = now + Duration::from_secs(60);
        assert!(values.get("/a", later - Duration::from_millis(1)).is_some());
        assert_eq!((values.get("/a", later), values.get("/b", later).is_some()), (None, true));
        values.remove("/b");
        assert_eq!((values.bytes, values.entries.len()), (0, 0));
    }

    #[test]
    fn a_value_larger_than_the_store_removes_the_older_one_and_no_other() {
        let (mut values, now) = (values(3 * (ENTRY_BYTES + 3)), Instant::now());
        for key in ["/a", "/b"] {
            values.put(key.to_owned(), Bytes::from_static(b"x"), None);
        }
        values.put("/a".to_owned(), Bytes::from(vec![0; 3 * ENTRY_BYTES + 10]), None);
        assert_eq!((values.get("/a", now), values.get("/b", now).is_some()), (None, true));
        assert_eq!(values.bytes, ENTRY_BYTES + 3);
    }

    #[test]
    fn the_least_recently_used_value_gives_way() {
        let (mut values, now) = (values(3 * (ENTRY_BYTES + 3)), Instant::now());
        for key in ["/a", "/b", "/c"] {
            values.put(key.to_owned(), Bytes::from_static(b"x"), None);
        }
        values.get("/a", now);
        values.put("/d".to_owned(), Bytes::from_static(b"x"), None);
        let held = ["/a", "/b", "/c", "/d"].map(|key| values.get(key, now).is_some());
        assert_eq!(held, [true, false, true, true]);
    }
}
