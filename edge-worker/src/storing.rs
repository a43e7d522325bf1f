//! The responses that an isolate is storing.
//!
//! A response is stored after it went out to its client. A client that has received all of it may
//! send its next request at once, and would find the store as it was before. Two kinds of requests
//! wait for that, but not for long ([`STORING_TIMEOUT`]):
//!
//! - Every request that arrives after a client of the same URL has received its whole response. If
//!   a fresh response in memory can answer it, it waits only if that response is being replaced.
//! - A request that does not collapse, such as one for a part, while the body of a short response
//!   still arrives: its answer can be cut from that.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use crate::collapse::hash;

/// How long a request waits for a response to be stored.
pub const STORING_TIMEOUT: Duration = Duration::from_millis(200);

/// After which time a response is removed whose request the runtime cancelled, without running
/// `Drop`: longer than a body is collected.
const CANCELLED_AFTER: Duration = Duration::from_secs(120);

/// The responses that an isolate is storing.
#[derive(Debug, Clone, Default)]
pub struct PendingStores(Rc<RefCell<State>>);

#[derive(Debug, Default)]
struct State {
    entries: Vec<Entry>,
    last_id: u64,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    /// The hashes of the keys under which later requests look for the response.
    keys: Vec<u64>,
    /// The hash of the key of the stored response that it replaces.
    replaced: Option<u64>,
    is_short: bool,
    /// Whether its client has received all of it.
    is_received: bool,
    /// When it is no longer waited for.
    until: SystemTime,
}

/// A response that is being stored. Dropping it ends the wait for it.
#[derive(Debug)]
pub struct Storing {
    pending: PendingStores,
    id: u64,
}

impl PendingStores {
    /// Records that a response is being stored, which later requests look for under `keys`. It
    /// replaces the stored response under `replaced`.
    pub fn begin<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a str>,
        replaced: Option<&str>,
        is_short: bool,
        now: SystemTime,
    ) -> Storing {
        let mut state = self.0.borrow_mut();
        state.entries.retain(|entry| entry.until + CANCELLED_AFTER > now);
        state.last_id += 1;
        let id = state.last_id;
        let keys = keys.into_iter().map(hash).collect();
        let (replaced, until) = (replaced.map(hash), now + STORING_TIMEOUT);
        state.entries.push(Entry { id, keys, replaced, is_short, is_received: false, until });
        Storing { pending: self.clone(), id }
    }

    /// Returns whether no response is being stored.
    pub fn is_empty(&self) -> bool {
        self.0.borrow().entries.is_empty()
    }

    /// Returns whether a short response for `key` is being stored, received or not.
    pub fn is_storing_short(&self, key: &str, now: SystemTime) -> bool {
        !self.is_empty() && self.any(now, |entry| entry.is_short && entry.keys.contains(&hash(key)))
    }

    /// Returns whether a response that its client has received replaces the one under `key`.
    pub fn is_replacing(&self, key: &str, now: SystemTime) -> bool {
        !self.is_empty() && self.any(now, |entry| entry.is_received && entry.replaced == Some(hash(key)))
    }

    /// Returns the responses for any of `keys` that their clients have received.
    pub fn received<'a>(&self, keys: impl IntoIterator<Item = &'a str>, now: SystemTime) -> Vec<u64> {
        let keys: Vec<u64> = keys.into_iter().map(hash).collect();
        let is_received = |entry: &&Entry| {
            entry.is_received && entry.until > now && entry.keys.iter().any(|key| keys.contains(key))
        };
        self.0.borrow().entries.iter().filter(is_received).map(|entry| entry.id).collect()
    }

    /// Returns whether one of these responses is still being stored.
    pub fn is_any_pending(&self, ids: &[u64], now: SystemTime) -> bool {
        self.any(now, |entry| ids.contains(&entry.id))
    }

    fn any(&self, now: SystemTime, matches: impl Fn(&Entry) -> bool) -> bool {
        self.0.borrow().entries.iter().any(|entry| entry.until > now && matches(entry))
    }
}

impl Storing {
    /// Records that the client has received the whole response, or is about to.
    pub fn receive(&self, now: SystemTime) {
        let mut state = self.pending.0.borrow_mut();
        if let Some(entry) = state.entries.iter_mut().find(|entry| entry.id == self.id) {
            (entry.is_received, entry.until) = (true, now + STORING_TIMEOUT);
        }
    }
}

impl Drop for Storing {
    fn drop(&mut self) {
        self.pending.0.borrow_mut().entries.retain(|entry| entry.id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::at;

    #[test]
    fn a_request_waits_for_what_clients_received_before_it_arrived() {
        let pending = PendingStores::default();
        let first = pending.begin(["a"], None, true, at(100));
        assert!(pending.received(["a"], at(100)).is_empty(), "its body still arrives");
        first.receive(at(100));
        let before = pending.received(["a", "path"], at(100));
        let second = pending.begin(["b", "path"], None, false, at(100));
        second.receive(at(100));
        assert!(pending.received(["c"], at(100)).is_empty());
        assert_eq!(pending.received(["a", "path"], at(100)).len(), 2);
        drop(first);
        assert!(!pending.is_any_pending(&before, at(100)), "the second was received after it arrived");
        drop(second);
        assert!(pending.is_empty());
    }

    #[test]
    fn a_slow_store_is_waited_for_until_its_timeout() {
        let pending = PendingStores::default();
        let slow = pending.begin(["a"], Some("old"), true, at(100));
        // The body takes longer than the timeout, and other responses are stored meanwhile.
        drop(pending.begin(["b"], None, true, at(105)));
        slow.receive(at(110));
        let received = pending.received(["a"], at(110));
        assert!(pending.is_any_pending(&received, at(110)) && pending.is_replacing("old", at(110)));
        let after = at(110) + STORING_TIMEOUT;
        assert!(!pending.is_any_pending(&received, after) && !pending.is_replacing("old", after));
        assert!(pending.received(["a"], after).is_empty());
    }

    #[test]
    fn only_the_response_that_is_being_replaced_is_not_served_from_memory() {
        let pending = PendingStores::default();
        let storing = pending.begin(["a"], Some("a, in English"), true, at(100));
        assert!(!pending.is_replacing("a, in English", at(100)), "no client has its successor yet");
        storing.receive(at(100));
        assert!(pending.is_replacing("a, in English", at(100)));
        assert!(!pending.is_replacing("a, in German", at(100)));
    }

    #[test]
    fn a_short_response_is_being_stored_until_that_ends_or_takes_long() {
        let pending = PendingStores::default();
        let first = pending.begin(["a"], None, true, at(100));
        let second = pending.begin(["a"], None, true, at(100));
        let _long = pending.begin(["b"], None, false, at(100));
        assert!(pending.is_storing_short("a", at(100)) && !pending.is_storing_short("b", at(100)));
        drop(first);
        assert!(pending.is_storing_short("a", at(100)), "the second is still being stored");
        assert!(!pending.is_storing_short("a", at(100) + STORING_TIMEOUT));
        drop(second);
        assert!(!pending.is_storing_short("a", at(100)));
    }

    #[test]
    fn a_cancelled_response_is_removed_in_the_end() {
        let pending = PendingStores::default();
        std::mem::forget(pending.begin(["a"], None, true, at(100)));
        drop(pending.begin(["b"], None, true, at(300)));
        assert!(pending.is_empty());
    }
}
