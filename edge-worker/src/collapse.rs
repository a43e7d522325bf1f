//! Request collapsing: the requests to the origin that this isolate has in progress.
//!
//! The first request for a key becomes its *leader* and is sent to the origin. Later requests for
//! the key are *waiters*: they wait for the leader, then read the store. The state holds keys and
//! times only. Promises and streams must not cross requests on this platform, so waiters poll, and
//! a leader does not know of them.
//!
//! - A leader that does not finish (its client disconnected, or the runtime cancelled it) is
//!   replaced after [`LEADER_TIMEOUT`]. A waiter gives up after [`WAIT_TIMEOUT`]. If the replaced
//!   leader was only slow and stores its response after all, the response answers the waiters of
//!   every leader, and the leader that replaced it.
//! - If the response may not be stored, or must be validated before each use, it cannot answer the
//!   waiters. They are released, and requests for the key do not collapse for [`UNCOLLAPSED_FOR`]
//!   (hit-for-miss), or for twice the time that the response took. Otherwise the clients of an
//!   uncacheable URL would be answered one after the other.
//! - They are also released if the body has not arrived when the leader would be replaced, or
//!   within [`UNKNOWN_LENGTH_TIMEOUT`] if its length is unknown: it may never end.
//! - If the origin failed, waiters and new requests learn that for [`FAILURE_BACKOFF`]. A request
//!   that a stale response can answer then does not try the origin. All others try it at once, each
//!   by itself, instead of one after the other.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How long a leader is waited for before a waiter replaces it (nginx: `proxy_cache_lock_age`).
pub const LEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a body of unknown length is waited for. Most are pages, which end soon; others are
/// feeds, which never end.
pub const UNKNOWN_LENGTH_TIMEOUT: Duration = Duration::from_secs(1);

/// How long before its replacement a leader whose body has not arrived releases the waiters, so
/// that all of them send their requests at once and not one after the other.
const RELEASE_MARGIN: Duration = Duration::from_millis(250);

/// How long a request waits in all before it is sent to the origin itself: for one lost leader and
/// one more.
pub const WAIT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long requests for a key do not collapse after a response that cannot answer waiters.
pub const UNCOLLAPSED_FOR: Duration = Duration::from_secs(5);

/// The longest time that requests for a key do not collapse after such a response. One that took
/// long, such as a long poll, is remembered for twice the time that it took: the next one will take
/// as long, and nothing of it could answer those that wait.
const MAX_UNCOLLAPSED_FOR: Duration = Duration::from_secs(120);

/// How long an origin that failed is not tried again by requests that a stale response can answer.
pub const FAILURE_BACKOFF: Duration = Duration::from_secs(1);

/// The number of keys that are tracked. Beyond it, requests do not collapse.
const MAX_KEYS: usize = 10_000;

/// The requests to the origin in progress in one isolate.
#[derive(Debug, Clone, Default)]
pub struct PendingFetches(Rc<RefCell<State>>);

#[derive(Debug, Default)]
struct State {
    /// Ordered by key.
    entries: Vec<Entry>,
    last_id: u64,
}

/// The state of one key.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// The key's hash. Requests for two keys with the same hash may wait for each other without
    /// need; each then reads its own key.
    key: u64,
    progress: Progress,
    /// When the entry expires.
    until: SystemTime,
}

/// The progress of the request for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// The leader with this number is in progress.
    Leading(u64),
    /// The last response could not answer waiters.
    Uncollapsed,
    /// The origin failed.
    Failed { is_disconnected: bool },
}

/// The role of a request that needs the origin.
#[derive(Debug)]
pub enum Role {
    /// Send the request, and store the response for the waiters.
    Leader(Leader),
    /// Wait for another request.
    Waiter,
    /// Send the request by itself: the last response could not answer waiters, or too many keys are
    /// tracked.
    Uncollapsed,
    /// The origin has just failed: send the request only if no stored response can be used.
    OriginFailed {
        /// The origin could not be reached at all.
        is_disconnected: bool,
    },
}

/// The leader of a key. Dropping it ends its lead.
#[derive(Debug)]
pub struct Leader {
    pending: PendingFetches,
    key: u64,
    id: u64,
    since: SystemTime,
    /// When a waiter replaces it.
    until: SystemTime,
}

/// The identity of a leader.
#[derive(Debug, Clone, Copy)]
pub struct LeaderId {
    key: u64,
    id: u64,
}

impl PendingFetches {
    /// Returns the role of a request for `key`. A leader is replaced after `timeout`.
    pub fn join(&self, key: &str, now: SystemTime, timeout: Duration) -> Role {
        let mut state = self.0.borrow_mut();
        let key = hash(key);
        if let Some(entry) = state.entry(key).filter(|entry| entry.until > now) {
            return match entry.progress {
                Progress::Leading(_) => Role::Waiter,
                Progress::Uncollapsed => Role::Uncollapsed,
                Progress::Failed { is_disconnected } => Role::OriginFailed { is_disconnected },
            };
        }
        if state.entries.len() >= MAX_KEYS {
            state.entries.retain(|entry| entry.until > now);
            if state.entries.len() >= MAX_KEYS {
                return Role::Uncollapsed;
            }
        }
        state.last_id += 1;
        let id = state.last_id;
        let entry = Entry { key, progress: Progress::Leading(id), until: now + timeout };
        match state.find(key) {
            Ok(index) => state.entries[index] = entry,
            Err(index) => state.entries.insert(index, entry),
        }
        Role::Leader(Leader { pending: self.clone(), key, id, since: now, until: entry.until })
    }

    /// Returns whether `key` has a leader.
    pub fn has_leader(&self, key: &str, now: SystemTime) -> bool {
        let mut state = self.0.borrow_mut();
        state
            .entry(hash(key))
            .is_some_and(|entry| matches!(entry.progress, Progress::Leading(_)) && entry.until > now)
    }

    /// Returns whether the wait for a leader's key has ended otherwise, for example because the
    /// leader that it replaced has stored its response.
    pub fn is_superseded(&self, LeaderId { key, id }: LeaderId) -> bool {
        let mut state = self.0.borrow_mut();
        state.entry(key).is_none_or(|entry| matches!(entry.progress, Progress::Leading(other) if other != id))
    }

    /// Removes the state of `key`, because an unsafe request invalidated it: the response in
    /// progress must not answer any further request.
    pub fn forget(&self, key: &str) {
        self.forget_hash(hash(key));
    }

    fn forget_hash(&self, key: u64) {
        self.0.borrow_mut().remove(key);
    }
}

impl State {
    fn find(&self, key: u64) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&key, |entry| entry.key)
    }

    fn entry(&mut self, key: u64) -> Option<&mut Entry> {
        let index = self.find(key).ok()?;
        self.entries.get_mut(index)
    }

    /// Returns the entry of this leader, unless another leader has replaced it.
    fn entry_of(&mut self, leader: &Leader) -> Option<&mut Entry> {
        self.entry(leader.key).filter(|entry| entry.progress == Progress::Leading(leader.id))
    }

    fn remove(&mut self, key: u64) {
        if let Ok(index) = self.find(key) {
            self.entries.remove(index);
        }
    }
}

impl Leader {
    /// Returns the identity of this leader.
    pub fn id(&self) -> LeaderId {
        LeaderId { key: self.key, id: self.id }
    }

    /// Returns how long to wait for the body of the response before the waiters are released: for a
    /// moment if its length is unknown, and until shortly before a waiter replaces this leader.
    pub fn body_timeout(&self, has_known_length: bool, now: SystemTime) -> Duration {
        let left = self.until.duration_since(now).unwrap_or_default().saturating_sub(RELEASE_MARGIN);
        if has_known_length { left } else { left.min(UNKNOWN_LENGTH_TIMEOUT) }
    }

    /// Ends the lead with a response that cannot answer waiters, even if another leader has
    /// replaced this one: the other's response will be of the same kind.
    pub fn release_uncollapsed(self, now: SystemTime) {
        let took = now.duration_since(self.since).unwrap_or_default();
        if let Some(entry) = self.pending.0.borrow_mut().entry(self.key)
            && matches!(entry.progress, Progress::Leading(_))
        {
            let until = now + (took * 2).clamp(UNCOLLAPSED_FOR, MAX_UNCOLLAPSED_FOR);
            (entry.progress, entry.until) = (Progress::Uncollapsed, until);
        }
    }

    /// Releases the waiters of this leader, because the body does not arrive in time, or not
    /// completely. The response may still be stored.
    pub fn stop_collapsing(&self, now: SystemTime) {
        if let Some(entry) = self.pending.0.borrow_mut().entry_of(self) {
            (entry.progress, entry.until) = (Progress::Uncollapsed, now + UNCOLLAPSED_FOR);
        }
    }

    /// Ends the wait for the key, since a response for it is stored, even if another leader has
    /// replaced this one.
    pub fn release_stored(self) {
        self.pending.forget_hash(self.key);
    }

    /// Ends the wait for the key because the origin failed, even if another leader has replaced
    /// this one.
    pub fn fail(self, is_disconnected: bool, now: SystemTime) {
        if let Some(entry) = self.pending.0.borrow_mut().entry(self.key)
            && matches!(entry.progress, Progress::Leading(_))
        {
            (entry.progress, entry.until) = (Progress::Failed { is_disconnected }, now + FAILURE_BACKOFF);
        }
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        let mut state = self.pending.0.borrow_mut();
        if state.entry_of(self).is_some() {
            state.remove(self.key);
        }
    }
}

/// Returns the hash by which an isolate remembers a key.
pub(crate) fn hash(key: &str) -> u64 {
    xxh3_64_with_seed(key.as_bytes(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::at;

    fn join(pending: &PendingFetches, key: &str, secs: u64) -> Role {
        pending.join(key, at(secs), LEADER_TIMEOUT)
    }

    #[track_caller]
    fn lead(pending: &PendingFetches, key: &str, secs: u64) -> Leader {
        match join(pending, key, secs) {
            Role::Leader(leader) => leader,
            other => panic!("expected to lead, got {other:?}"),
        }
    }

    #[test]
    fn one_request_per_key_leads_and_the_others_wait_until_it_ends() {
        let pending = PendingFetches::default();
        let first = lead(&pending, "a", 100);
        assert!(matches!(join(&pending, "a", 101), Role::Waiter));
        let other_key = lead(&pending, "b", 101);
        drop(first);
        let second = lead(&pending, "a", 102);
        assert!(pending.has_leader("a", at(102)) && pending.has_leader("b", at(102)));
        drop((second, other_key));
        assert!(!pending.has_leader("a", at(102)));
    }

    #[test]
    fn a_lost_leader_is_replaced_and_its_late_end_has_no_effect() {
        let pending = PendingFetches::default();
        let lost = lead(&pending, "a", 100);
        assert!(matches!(join(&pending, "a", 104), Role::Waiter));
        let next = lead(&pending, "a", 105);
        drop(lost);
        assert!(matches!(join(&pending, "a", 106), Role::Waiter), "the new leader still leads");
        drop(next);
        let lost = lead(&pending, "a", 200);
        let _next = lead(&pending, "a", 205);
        lost.stop_collapsing(at(205));
        assert!(matches!(join(&pending, "a", 206), Role::Waiter), "nor does a late body mark the key");
    }

    #[test]
    fn requests_do_not_wait_for_a_response_that_cannot_be_stored() {
        let pending = PendingFetches::default();
        lead(&pending, "a", 100).release_uncollapsed(at(101));
        assert!(!pending.has_leader("a", at(101)));
        assert!(matches!(join(&pending, "a", 105), Role::Uncollapsed));
        let _tried_again = lead(&pending, "a", 106);
    }

    #[test]
    fn a_response_that_took_long_and_cannot_answer_waiters_is_remembered_for_longer() {
        for (took, until) in [(1, 5), (20, 40), (300, 120)] {
            let pending = PendingFetches::default();
            let poll = lead(&pending, "a", 1000);
            // Others have taken the lead meanwhile, and wait for the next event themselves.
            let next = (took > 5).then(|| lead(&pending, "a", 1000 + took - 1));
            poll.release_uncollapsed(at(1000 + took));
            assert!(matches!(join(&pending, "a", 1000 + took + until - 1), Role::Uncollapsed), "{took}");
            drop(next);
            assert!(matches!(join(&pending, "a", 1000 + took + until - 1), Role::Uncollapsed), "{took}");
            let _again = lead(&pending, "a", 1000 + took + until);
        }
    }

    #[test]
    fn waiters_are_released_before_a_leader_without_its_body_is_replaced() {
        let pending = PendingFetches::default();
        let leader = lead(&pending, "a", 100);
        for (has_known_length, secs, millis) in
            [(true, 101, 3750), (true, 104, 750), (true, 105, 0), (false, 101, 1000), (false, 104, 750)]
        {
            let timeout = leader.body_timeout(has_known_length, at(secs));
            assert_eq!(timeout, Duration::from_millis(millis), "{has_known_length} {secs}");
        }
    }

    #[test]
    fn an_origin_that_failed_is_not_tried_again_at_once() {
        let pending = PendingFetches::default();
        lead(&pending, "a", 100).fail(true, at(101));
        assert!(!pending.has_leader("a", at(101)));
        assert!(matches!(join(&pending, "a", 101), Role::OriginFailed { is_disconnected: true }));
        let _tried_again = lead(&pending, "a", 102);
    }

    #[test]
    fn a_late_response_that_is_stored_ends_the_wait_for_the_leader_that_replaced_it() {
        let pending = PendingFetches::default();
        let slow = lead(&pending, "a", 100);
        let next = lead(&pending, "a", 105);
        assert!(pending.is_superseded(slow.id()) && !pending.is_superseded(next.id()));
        slow.release_stored();
        assert!(!pending.has_leader("a", at(106)) && pending.is_superseded(next.id()));
        let latest = lead(&pending, "a", 106);
        drop(next);
        assert!(pending.has_leader("a", at(106)), "the latest leader still leads");
        drop(latest);
    }

    #[test]
    fn a_failure_ends_the_wait_for_every_leader() {
        let pending = PendingFetches::default();
        let slow = lead(&pending, "a", 100);
        let next = lead(&pending, "a", 105);
        slow.fail(false, at(106));
        assert!(!pending.is_superseded(next.id()), "its own request may still succeed");
        assert!(!pending.has_leader("a", at(106)));
        assert!(matches!(join(&pending, "a", 106), Role::OriginFailed { is_disconnected: false }));
    }

    #[test]
    fn an_invalidated_key_is_not_waited_for() {
        let pending = PendingFetches::default();
        let before = lead(&pending, "a", 100);
        pending.forget("a");
        let _after = lead(&pending, "a", 100);
        drop(before);
        assert!(matches!(join(&pending, "a", 101), Role::Waiter));
    }

    #[test]
    fn beyond_the_bound_requests_do_not_collapse_and_expired_keys_make_room() {
        let pending = PendingFetches::default();
        let _leads: Vec<Leader> = (0..MAX_KEYS).map(|key| lead(&pending, &key.to_string(), 100)).collect();
        assert!(matches!(join(&pending, "one more", 104), Role::Uncollapsed));
        let _one_more = lead(&pending, "one more", 105);
    }
}
