//! Responses in memory, bounded in bytes; the least recently used are evicted.

use std::time::{Duration, Instant};

use axum::http::{HeaderMap, header};
use lru::LruCache;
use shared_keys::Directives;

use super::message::StoredMessage;

/// The estimated bytes of an entry beside its key, fields and body: its share of the maps.
const ENTRY_BYTES: usize = 512;

/// Names a response: the cache and the URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The cache's name; empty for the default cache.
    pub(super) namespace: Box<[u8]>,
    pub(super) url: Box<str>,
}

/// The stored responses.
pub(super) struct Store {
    entries: LruCache<Key, Entry>,
    bytes: usize,
    max_bytes: usize,
}

struct Entry {
    response: StoredMessage,
    bytes: usize,
    stored: Instant,
    lifetime: Duration,
}

/// A stored response and its age.
#[derive(Debug, PartialEq)]
pub(super) struct Found {
    pub(super) response: StoredMessage,
    pub(super) age: Duration,
}

impl Store {
    /// Creates an empty store for at most this many bytes.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { entries: LruCache::unbounded(), bytes: 0, max_bytes }
    }

    /// Returns the response under `key` unless its lifetime has ended.
    pub(super) fn get(&mut self, key: &Key, now: Instant) -> Option<Found> {
        let entry = self.entries.get(key)?;
        let age = now.saturating_duration_since(entry.stored);
        if age < entry.lifetime {
            return Some(Found { response: entry.response.clone(), age });
        }
        self.remove(key);
        None
    }

    /// Stores a response in place of an older one. One without a lifetime, that sets a cookie, or
    /// that is larger than the store only removes the older one.
    pub(super) fn put(&mut self, key: Key, response: StoredMessage, now: Instant) {
        self.remove(&key);
        let Some(lifetime) = lifetime(&response.headers) else { return };
        let fields = response.headers.iter().map(|(name, value)| name.as_str().len() + value.len());
        let key_bytes = key.namespace.len() + key.url.len();
        let bytes = ENTRY_BYTES + key_bytes + fields.sum::<usize>() + response.body.len();
        if bytes > self.max_bytes {
            return;
        }
        self.bytes += bytes;
        self.entries.put(key, Entry { response, bytes, stored: now, lifetime });
        while self.bytes > self.max_bytes
            && let Some((_, evicted)) = self.entries.pop_lru()
        {
            self.bytes -= evicted.bytes;
        }
    }

    /// Removes the response under `key`, and returns whether there was one.
    pub(super) fn remove(&mut self, key: &Key) -> bool {
        let removed = self.entries.pop(key);
        self.bytes -= removed.as_ref().map_or(0, |entry| entry.bytes);
        removed.is_some()
    }
}

/// Returns how long a response is stored; `None` if it must not be.
fn lifetime(headers: &HeaderMap) -> Option<Duration> {
    let lines = headers.get_all(header::CACHE_CONTROL).iter().map(|line| line.as_bytes());
    let directives = Directives::from_cache_control(lines);
    let cookie = headers.contains_key(header::SET_COOKIE);
    if directives.no_store || directives.private || directives.no_cache || cookie {
        return None;
    }
    directives.s_maxage.or(directives.max_age).filter(|lifetime| !lifetime.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue, StatusCode};
    use bytes::Bytes;

    fn key(url: &str) -> Key {
        Key { namespace: Box::default(), url: url.into() }
    }

    fn response(cache_control: &'static str, len: usize) -> StoredMessage {
        let headers = [(header::CACHE_CONTROL, HeaderValue::from_static(cache_control))];
        StoredMessage {
            status: StatusCode::OK,
            headers: headers.into_iter().collect(),
            body: Bytes::from(vec![0; len]),
        }
    }

    #[test]
    fn a_response_is_dropped_at_the_end_of_its_lifetime() {
        let (mut store, now) = (Store::new(10_000), Instant::now());
        store.put(key("a"), response("max-age=10", 1), now);
        let age = Duration::from_millis(9_999);
        assert_eq!(store.get(&key("a"), now + age).map(|found| found.age), Some(age));
        assert_eq!(store.get(&key("a"), now + Duration::from_secs(10)), None);
        assert_eq!(store.bytes, 0);
    }

    #[test]
    fn a_response_that_must_not_be_stored_removes_the_older_one() {
        let now = Instant::now();
        let cookie = (HeaderName::from_static("set-cookie"), HeaderValue::from_static("a=b"));
        let mut with_cookie = response("max-age=10", 1);
        with_cookie.headers.extend([cookie]);
        for newer in [
            response("", 1),
            response("max-age=0", 1),
            response("max-age=10, no-store", 1),
            response("private, max-age=10", 1),
            response("max-age=10", 20_000),
            with_cookie,
        ] {
            let mut store = Store::new(10_000);
            store.put(key("a"), response("max-age=10", 1), now);
            store.put(key("a"), newer, now);
            assert_eq!((store.get(&key("a"), now), store.bytes), (None, 0));
        }
    }

    #[test]
    fn the_least_recently_used_are_evicted_and_the_bytes_stay_within_the_bound() {
        let (mut store, now) = (Store::new(10_000), Instant::now());
        for url in ["a", "b", "c"] {
            store.put(key(url), response("max-age=10", 2_500), now);
        }
        assert!(store.get(&key("a"), now).is_some());
        store.put(key("d"), response("max-age=10", 2_500), now);
        let found = ["a", "b", "c", "d"].map(|url| store.get(&key(url), now).is_some());
        assert_eq!(found, [true, false, true, true]);
        assert!(store.bytes <= 10_000);
    }

    #[test]
    fn caches_of_different_names_are_separate() {
        let (mut store, now) = (Store::new(10_000), Instant::now());
        store.put(key("a"), response("max-age=10", 1), now);
        let other = Key { namespace: Box::from(&b"strata"[..]), ..key("a") };
        assert_eq!(store.get(&other, now), None);
    }
}
