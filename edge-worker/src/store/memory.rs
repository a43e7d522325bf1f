//! The isolate's memory: small, hot responses in front of the Cache API. A hit here costs no call.
//!
//! An entry is checked by the same rules as one from the Cache API. It is trusted for a short time
//! after it was read there, no longer than the journal's snapshot. So the isolate follows soon when
//! another isolate replaces or deletes the entry there.
//!
//! The memory is bounded in bytes; the least recently used entries are evicted first. Fields, keys
//! and bookkeeping are counted by an estimate.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use lru::LruCache;

use super::{BodyLength, Entry, Store};
use crate::error::Error;

/// The largest body that is stored, in bytes.
pub const MAX_BODY_BYTES: u64 = 64 << 10;

/// The estimated bytes of an entry besides its texts and body.
const OVERHEAD_BYTES: usize = 512;
/// The estimated bytes of a field besides its text.
const FIELD_BYTES: usize = 64;

/// The memory of one isolate.
#[derive(Debug)]
pub struct Memory<B>(RefCell<State<B>>);

#[derive(Debug)]
struct State<B> {
    entries: LruCache<String, Held<B>>,
    bytes: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Held<B> {
    entry: Entry<B>,
    bytes: usize,
    until: SystemTime,
}

impl<B: Clone + BodyLength> Memory<B> {
    /// Creates a memory of at most `max_bytes` bytes.
    pub fn new(max_bytes: usize) -> Self {
        Self(RefCell::new(State { entries: LruCache::unbounded(), bytes: 0, max_bytes }))
    }

    /// Returns the memory as a store at the time `now`. Entries that are put are trusted for
    /// `trust`.
    pub fn at(&self, now: SystemTime, trust: Duration) -> MemoryAt<'_, B> {
        MemoryAt { memory: self, now, trust }
    }

    /// Stores an entry until `until`. If it is too large, only removes the former entry.
    pub fn put(&self, key: &str, entry: Entry<B>, until: SystemTime) {
        let mut state = self.0.borrow_mut();
        state.remove(key);
        let Some(bytes) = size(key, &entry).filter(|bytes| *bytes <= state.max_bytes) else { return };
        while state.bytes + bytes > state.max_bytes
            && let Some((_, evicted)) = state.entries.pop_lru()
        {
            state.bytes -= evicted.bytes;
        }
        state.bytes += bytes;
        state.entries.put(key.to_owned(), Held { entry, bytes, until });
    }

    /// Stores an entry for `trust` after its read `began`, and returns it. Keeps and returns
    /// another one instead that was stored after the read began, or is a newer response: the read
    /// may have overtaken its write.
    pub fn put_read(&self, key: &str, entry: Entry<B>, began: SystemTime, trust: Duration) -> Entry<B> {
        let until = began + trust;
        let is_kept =
            |held: &&Held<B>| held.until >= until || (held.until > began && is_newer(&held.entry, &entry));
        if let Some(held) = self.0.borrow_mut().entries.get(key).filter(is_kept) {
            return held.entry.clone();
        }
        self.put(key, entry.clone(), until);
        entry
    }

    /// Returns the entry under `key`, if it is trusted at `now`.
    pub fn get(&self, key: &str, now: SystemTime) -> Option<Entry<B>> {
        let mut state = self.0.borrow_mut();
        let held = state.entries.get(key)?;
        if held.until > now {
            return Some(held.entry.clone());
        }
        state.remove(key);
        None
    }

    /// Removes the entry under `key`.
    pub fn remove(&self, key: &str) {
        self.0.borrow_mut().remove(key);
    }
}

impl<B> State<B> {
    fn remove(&mut self, key: &str) {
        if let Some(removed) = self.entries.pop(key) {
            self.bytes -= removed.bytes;
        }
    }
}

/// An isolate's memory as a [`Store`] at one point in time. Its futures are ready at once.
#[derive(Debug)]
pub struct MemoryAt<'a, B> {
    memory: &'a Memory<B>,
    now: SystemTime,
    trust: Duration,
}

impl<B: Clone + BodyLength> Store for MemoryAt<'_, B> {
    type Body = B;

    async fn get(&self, key: &str) -> Result<Option<Entry<B>>, Error> {
        Ok(self.memory.get(key, self.now))
    }

    async fn put(&self, key: &str, entry: Entry<B>, retention: Duration) -> Result<(), Error> {
        self.memory.put(key, entry, self.now + retention.min(self.trust));
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        self.memory.remove(key);
        Ok(())
    }
}

/// Returns whether both entries are responses, and `entry` was received after `other`.
fn is_newer<B>(entry: &Entry<B>, other: &Entry<B>) -> bool {
    match (entry, other) {
        (Entry::Response { response, .. }, Entry::Response { response: other, .. }) => {
            response.response_time > other.response_time
        }
        _ => false,
    }
}

/// Returns the estimated bytes of an entry; `None` if its body is too large or a stream.
fn size<B: BodyLength>(key: &str, entry: &Entry<B>) -> Option<usize> {
    let content = match entry {
        Entry::Marker(marker) => marker.fields.to_header().len(),
        Entry::SearchMarker(marker) => {
            marker.statements.iter().map(|statement| statement.variation.to_field().len()).sum()
        }
        Entry::Response { response, body, .. } => {
            let body = body.as_ref().map_or(Some(0), BodyLength::length)?;
            let fields =
                response.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_BYTES);
            (body as u64 <= MAX_BODY_BYTES).then_some(())?;
            body + fields.sum::<usize>() + size_of_val(response.scopes.as_slice())
        }
    };
    Some(OVERHEAD_BYTES + 2 * key.len() + content)
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use shared_keys::TargetKey;

    use super::*;
    use crate::policy::StoredResponse;
    use crate::policy::testing::{at, headers, stored};
    use crate::store::fake::{ready, selecting};
    use crate::store::variants;

    impl BodyLength for String {
        fn length(&self) -> Option<usize> {
            (self != "a stream").then_some(self.len())
        }
    }

    const TRUST: Duration = Duration::from_secs(5);

    fn response(body: &str) -> Entry<String> {
        Entry::Response { response: stored(&[("etag", "x")]), generation: None, body: Some(body.to_owned()) }
    }

    fn body(memory: &Memory<String>, key: &str, secs: u64) -> Option<String> {
        match memory.get(key, at(secs))? {
            Entry::Response { body, .. } => body,
            Entry::Marker(_) | Entry::SearchMarker(_) => None,
        }
    }

    #[test]
    fn an_entry_is_trusted_for_a_while_and_not_beyond_its_retention() {
        let memory = Memory::new(100_000);
        ready(memory.at(at(100), TRUST).put("a", response("x"), Duration::from_secs(60))).unwrap();
        ready(memory.at(at(100), TRUST).put("b", response("y"), Duration::from_secs(2))).unwrap();
        assert_eq!((body(&memory, "a", 104), body(&memory, "a", 105)), (Some("x".into()), None));
        assert_eq!((body(&memory, "b", 101), body(&memory, "b", 102)), (Some("y".into()), None));
    }

    #[test]
    fn a_read_does_not_replace_what_was_stored_after_it_began() {
        let memory = Memory::new(100_000);
        let read = |value: &str, began: u64| {
            let _ = memory.put_read("a", response(value), at(began), TRUST);
            body(&memory, "a", began)
        };
        assert_eq!(read("old", 100).as_deref(), Some("old"));
        ready(memory.at(at(102), TRUST).put("a", response("new"), Duration::from_secs(60))).unwrap();
        assert_eq!(read("old", 101).as_deref(), Some("new"));
        assert_eq!(read("newer", 103).as_deref(), Some("newer"));
    }

    #[test]
    fn a_read_does_not_replace_a_newer_response_whose_write_it_overtook() {
        let memory = Memory::new(100_000);
        let received_at = |secs: u64| Entry::Response {
            response: StoredResponse { response_time: at(secs), ..stored(&[]) },
            generation: None,
            body: Some(format!("received at {secs}")),
        };
        ready(memory.at(at(100), TRUST).put("a", received_at(100), Duration::from_secs(60))).unwrap();
        let _ = memory.put_read("a", received_at(50), at(101), TRUST);
        assert_eq!(body(&memory, "a", 101).as_deref(), Some("received at 100"));
        assert_eq!(body(&memory, "a", 105), None, "the read does not prolong the trust");
        let _ = memory.put_read("a", received_at(50), at(106), TRUST);
        assert_eq!(body(&memory, "a", 106).as_deref(), Some("received at 50"), "as the Cache API has it");
    }

    #[test]
    fn bytes_are_bounded_and_the_least_recently_used_entry_is_evicted_first() {
        let memory = Memory::new(10_000);
        for key in ["a", "b", "c"] {
            memory.put(key, response(&"x".repeat(2000)), at(200));
        }
        assert!(body(&memory, "a", 100).is_some());
        memory.put("d", response(&"x".repeat(2000)), at(200));
        let kept = ["a", "b", "c", "d"].map(|key| body(&memory, key, 100).is_some());
        assert_eq!(kept, [true, false, true, true]);
        memory.put("a", response(&"x".repeat(9000)), at(200));
        let kept = ["a", "c", "d"].map(|key| body(&memory, key, 100).is_some());
        assert_eq!(kept, [true, false, false], "a larger entry evicts several");
        assert!(memory.0.borrow().bytes <= 10_000);
        memory.remove("a");
        assert_eq!(memory.0.borrow().bytes, 0);
    }

    #[test]
    fn an_entry_that_is_large_or_a_stream_is_not_stored_and_removes_the_former() {
        let memory = Memory::new(1 << 20);
        for body_of in ["a stream", &"x".repeat(65_537)] {
            memory.put("a", response("old"), at(200));
            memory.put("a", response(body_of), at(200));
            assert_eq!(body(&memory, "a", 100), None);
        }
        memory.put("a", response(&"x".repeat(65_536)), at(200));
        assert!(body(&memory, "a", 100).is_some());
    }

    #[test]
    fn variants_are_looked_up_as_in_any_store() {
        let memory = Memory::new(100_000);
        let target = TargetKey::parse("https://shop.example/a").unwrap();
        let request = |language| headers(&[("accept-language", language)]);
        let find = |request: &HeaderMap| {
            ready(variants::lookup(&memory.at(at(100), TRUST), &target, selecting(request))).unwrap()
        };
        let varying = stored(&[("vary", "accept-language")]);
        let german = (varying, Some("Hallo".to_owned()));
        let store = memory.at(at(100), TRUST);
        let (request_de, minute) = (request("de"), Duration::from_secs(60));
        ready(variants::store(&store, &target, selecting(&request_de), german, minute, |_| 1)).unwrap();
        assert_eq!(find(&request("de")).stored.and_then(|stored| stored.body).as_deref(), Some("Hallo"));
        assert!(find(&request("en")).stored.is_none());
    }
}
