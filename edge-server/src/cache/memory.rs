//! Responses in memory, bounded in bytes; the least recently used are evicted.

use std::time::{Duration, Instant};

use lru::LruCache;

use super::message::StoredMessage;
use super::statistics::Usage;

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
pub(super) struct Memory {
    entries: LruCache<Key, Entry>,
    bytes: usize,
    max_bytes: usize,
    evictions: u64,
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

impl Memory {
    /// Creates an empty store for at most this many bytes.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { entries: LruCache::unbounded(), bytes: 0, max_bytes, evictions: 0 }
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

    /// Stores a response for this time, in place of an older one. Returns `false` if it is larger
    /// than the store, and then only removes the older one.
    pub(super) fn put(
        &mut self,
        key: Key,
        response: StoredMessage,
        lifetime: Duration,
        now: Instant,
    ) -> bool {
        self.remove(&key);
        let fields = response.headers.iter().map(|(name, value)| name.as_str().len() + value.len());
        let key_bytes = key.namespace.len() + key.url.len();
        let bytes = ENTRY_BYTES + key_bytes + fields.sum::<usize>() + response.body.len();
        if bytes > self.max_bytes {
            return false;
        }
        self.bytes += bytes;
        self.entries.put(key, Entry { response, bytes, stored: now, lifetime });
        while self.bytes > self.max_bytes
            && let Some((_, evicted)) = self.entries.pop_lru()
        {
            self.bytes -= evicted.bytes;
            self.evictions += 1;
        }
        true
    }

    /// Removes the response under `key`, and returns whether there was one.
    pub(super) fn remove(&mut self, key: &Key) -> bool {
        let removed = self.entries.pop(key);
        self.bytes -= removed.as_ref().map_or(0, |entry| entry.bytes);
        removed.is_some()
    }

    pub(super) fn usage(&self) -> Usage {
        Usage {
            bytes: self.bytes as u64,
            capacity_bytes: self.max_bytes as u64,
            entries: self.entries.len() as u64,
            evictions: self.evictions,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderMap, StatusCode};
    use bytes::Bytes;

    const LIFETIME: Duration = Duration::from_secs(10);

    fn key(url: &str) -> Key {
        Key { namespace: Box::default(), url: url.into() }
    }

    fn response(len: usize) -> StoredMessage {
        StoredMessage { status: StatusCode::OK, headers: HeaderMap::new(), body: Bytes::from(vec![0; len]) }
    }

    #[test]
    fn a_response_is_dropped_at_the_end_of_its_lifetime() {
        let (mut store, now) = (Memory::new(10_000), Instant::now());
        store.put(key("a"), response(1), LIFETIME, now);
        let age = Duration::from_millis(9_999);
        assert_eq!(store.get(&key("a"), now + age).map(|found| found.age), Some(age));
        assert_eq!(store.get(&key("a"), now + Duration::from_secs(10)), None);
        assert_eq!(store.bytes, 0);
    }

    #[test]
    fn a_response_larger_than_the_store_removes_the_older_one() {
        let (mut store, now) = (Memory::new(10_000), Instant::now());
        assert!(store.put(key("a"), response(1), LIFETIME, now));
        assert!(!store.put(key("a"), response(20_000), LIFETIME, now));
        assert_eq!((store.get(&key("a"), now), store.bytes), (None, 0));
    }

    #[test]
    fn the_least_recently_used_are_evicted_and_the_bytes_stay_within_the_bound() {
        let (mut store, now) = (Memory::new(10_000), Instant::now());
        for url in ["a", "b", "c"] {
            store.put(key(url), response(2_500), LIFETIME, now);
        }
        assert!(store.get(&key("a"), now).is_some());
        store.put(key("d"), response(2_500), LIFETIME, now);
        let found = ["a", "b", "c", "d"].map(|url| store.get(&key(url), now).is_some());
        assert_eq!(found, [true, false, true, true]);
        assert!(store.bytes <= 10_000);
        assert_eq!(store.usage().evictions, 1);
    }

    #[test]
    fn caches_of_different_names_are_separate() {
        let (mut store, now) = (Memory::new(10_000), Instant::now());
        store.put(key("a"), response(1), LIFETIME, now);
        let other = Key { namespace: Box::from(&b"strata"[..]), ..key("a") };
        assert_eq!(store.get(&other, now), None);
    }
}
