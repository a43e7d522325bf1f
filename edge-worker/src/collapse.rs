//! Which requests to the origin are under way in this isolate, so that others for the same wait for them (*collapse*).
//!
//! The first to ask *leads*; who comes meanwhile *follows*: it waits and then reads the store. Only keys and times are kept here,
//! never a promise or stream: those must not cross requests. So a follower polls, and the leader need not know of it.
//!
//! - Nobody waits for ever: a leader that does not report back (its client went away, the runtime cut it off) is replaced once its
//!   time is over, and a follower has a patience of its own.
//! - What came and may not be stored, or would have to be validated at once, is of no use to those that wait. They are let go, and for
//!   [`PASS_FOR`] nobody waits for that key: an uncacheable URL is not answered one client after the other (hit-for-miss).
//! - If the origin failed, they are told so, and for [`REST_FOR`] those that come: who can be served something stale need not find out.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// After so long a leader no longer counts, and a follower takes its place (nginx: `proxy_cache_lock_age`).
pub const LEAD_LIMIT: Duration = Duration::from_secs(5);

/// A follower waits so long in all before it asks by itself: for one leader that is lost, and for one more.
pub const FOLLOW_LIMIT: Duration = Duration::from_secs(10);

/// How long requests for what was not storable do not wait for each other.
pub const PASS_FOR: Duration = Duration::from_secs(5);

/// How long an origin that failed is not asked again by those that can be served something in its place.
pub const REST_FOR: Duration = Duration::from_secs(1);

/// More keys are not kept: beyond it requests do not collapse.
const MAX_KEYS: usize = 10_000;

/// The requests under way in one isolate.
#[derive(Debug, Clone, Default)]
pub struct Forwards(Rc<RefCell<State>>);

#[derive(Debug, Default)]
struct State {
    /// In the order of their keys.
    entries: Vec<Entry>,
    last_id: u64,
}

/// What is known of a key.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// The key's hash. Two keys with one wait for each other in vain, nothing more: a follower reads its own.
    key: u64,
    state: Progress,
    /// Until when that holds.
    until: SystemTime,
}

/// How far the request for a key has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Under way, by this leader.
    LedBy(u64),
    /// What came was of no use to others.
    Passed,
    /// The origin failed.
    Failed { disconnected: bool },
}

/// The part of a request that wants to ask the origin.
#[derive(Debug)]
pub enum Role {
    /// Ask, and store what comes.
    Lead(Lead),
    /// Another request asks: wait.
    Follow,
    /// Ask without anybody waiting: what came last was of no use to others.
    Pass,
    /// The origin has just failed: ask only if nothing can be served in its place.
    Failed {
        /// It could not be reached at all.
        disconnected: bool,
    },
}

/// The leader's part; ends when dropped.
#[derive(Debug)]
pub struct Lead {
    forwards: Forwards,
    key: u64,
    id: u64,
}

impl Forwards {
    /// The part of a request for `key`; a leader has `limit` to report back.
    pub fn join(&self, key: &str, now: SystemTime, limit: Duration) -> Role {
        let mut state = self.0.borrow_mut();
        let key = xxh3_64_with_seed(key.as_bytes(), 0);
        if let Some(entry) = state.entry(key).filter(|entry| entry.until > now) {
            return match entry.state {
                Progress::LedBy(_) => Role::Follow,
                Progress::Passed => Role::Pass,
                Progress::Failed { disconnected } => Role::Failed { disconnected },
            };
        }
        if state.entries.len() >= MAX_KEYS {
            state.entries.retain(|entry| entry.until > now);
            if state.entries.len() >= MAX_KEYS {
                return Role::Pass;
            }
        }
        state.last_id += 1;
        let id = state.last_id;
        let entry = Entry { key, state: Progress::LedBy(id), until: now + limit };
        match state.place(key) {
            Ok(place) => state.entries[place] = entry,
            Err(place) => state.entries.insert(place, entry),
        }
        Role::Lead(Lead { forwards: self.clone(), key, id })
    }

    /// Whether a leader is asking for `key`.
    pub fn is_led(&self, key: &str, now: SystemTime) -> bool {
        let mut state = self.0.borrow_mut();
        state
            .entry(xxh3_64_with_seed(key.as_bytes(), 0))
            .is_some_and(|entry| matches!(entry.state, Progress::LedBy(_)) && entry.until > now)
    }

    /// Nobody is to wait for what is being asked under `key` any more: it was invalidated meanwhile.
    pub fn forget(&self, key: &str) {
        self.0.borrow_mut().remove(xxh3_64_with_seed(key.as_bytes(), 0));
    }
}

impl State {
    fn place(&self, key: u64) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&key, |entry| entry.key)
    }

    fn entry(&mut self, key: u64) -> Option<&mut Entry> {
        let place = self.place(key).ok()?;
        self.entries.get_mut(place)
    }

    /// The entry of this leader, unless another has taken its place.
    fn led_by(&mut self, lead: &Lead) -> Option<&mut Entry> {
        self.entry(lead.key).filter(|entry| entry.state == Progress::LedBy(lead.id))
    }

    fn remove(&mut self, key: u64) {
        if let Ok(place) = self.place(key) {
            self.entries.remove(place);
        }
    }
}

impl Lead {
    /// What came is of no use to others: lets the followers go, and those that come soon.
    pub fn pass(self, now: SystemTime) {
        self.end(Progress::Passed, now + PASS_FOR);
    }

    /// The origin failed: tells the followers, and those that come soon.
    pub fn fail(self, disconnected: bool, now: SystemTime) {
        self.end(Progress::Failed { disconnected }, now + REST_FOR);
    }

    fn end(&self, state: Progress, until: SystemTime) {
        if let Some(entry) = self.forwards.0.borrow_mut().led_by(self) {
            (entry.state, entry.until) = (state, until);
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        let mut state = self.forwards.0.borrow_mut();
        if state.led_by(self).is_some() {
            state.remove(self.key);
        }
    }
}

#[cfg(target_arch = "wasm32")]
pub(crate) use adapter::{forwards, over};

#[cfg(target_arch = "wasm32")]
mod adapter {
    use std::time::{Duration, SystemTime};

    use worker::Delay;

    use super::Forwards;
    use crate::runtime::now;

    /// How long a follower waits between two looks: short at first, for origins that answer quickly.
    const LOOKS: std::ops::RangeInclusive<u64> = 4..=64;

    thread_local! {
        static FORWARDS: Forwards = Forwards::default();
    }

    /// This isolate's.
    pub(crate) fn forwards() -> Forwards {
        FORWARDS.with(Clone::clone)
    }

    /// Comes back when nobody asks for `key` any more, or at `deadline`.
    pub(crate) async fn over(key: &str, deadline: SystemTime) {
        let mut look_again = *LOOKS.start();
        while now() < deadline && FORWARDS.with(|forwards| forwards.is_led(key, now())) {
            Delay::from(Duration::from_millis(look_again)).await;
            look_again = (look_again * 2).min(*LOOKS.end());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::at;

    fn join(forwards: &Forwards, key: &str, secs: u64) -> Role {
        forwards.join(key, at(secs), LEAD_LIMIT)
    }

    #[track_caller]
    fn lead(forwards: &Forwards, key: &str, secs: u64) -> Lead {
        match join(forwards, key, secs) {
            Role::Lead(lead) => lead,
            other => panic!("expected to lead, got {other:?}"),
        }
    }

    #[test]
    fn one_leads_per_key_and_the_others_follow_until_it_ends() {
        let forwards = Forwards::default();
        let first = lead(&forwards, "a", 100);
        assert!(matches!(join(&forwards, "a", 101), Role::Follow));
        let other_key = lead(&forwards, "b", 101);
        drop(first);
        let second = lead(&forwards, "a", 102);
        assert!(forwards.is_led("a", at(102)) && forwards.is_led("b", at(102)));
        drop((second, other_key));
        assert!(!forwards.is_led("a", at(102)));
    }

    #[test]
    fn a_lost_leader_is_replaced_and_its_late_end_ends_nothing() {
        let forwards = Forwards::default();
        let lost = lead(&forwards, "a", 100);
        assert!(matches!(join(&forwards, "a", 104), Role::Follow));
        let next = lead(&forwards, "a", 105);
        drop(lost);
        assert!(matches!(join(&forwards, "a", 106), Role::Follow), "the next still leads");
        drop(next);
        let lost = lead(&forwards, "a", 200);
        let _next = lead(&forwards, "a", 205);
        lost.pass(at(205));
        assert!(matches!(join(&forwards, "a", 206), Role::Follow), "nor does it say what is storable");
    }

    #[test]
    fn nobody_waits_for_what_is_not_storable() {
        let forwards = Forwards::default();
        lead(&forwards, "a", 100).pass(at(101));
        assert!(!forwards.is_led("a", at(101)));
        assert!(matches!(join(&forwards, "a", 105), Role::Pass));
        let _tried_again = lead(&forwards, "a", 106);
    }

    #[test]
    fn an_origin_that_failed_rests() {
        let forwards = Forwards::default();
        lead(&forwards, "a", 100).fail(true, at(101));
        assert!(!forwards.is_led("a", at(101)));
        assert!(matches!(join(&forwards, "a", 101), Role::Failed { disconnected: true }));
        let _tried_again = lead(&forwards, "a", 102);
    }

    #[test]
    fn what_was_invalidated_is_not_waited_for() {
        let forwards = Forwards::default();
        let before = lead(&forwards, "a", 100);
        forwards.forget("a");
        let _after = lead(&forwards, "a", 100);
        drop(before);
        assert!(matches!(join(&forwards, "a", 101), Role::Follow));
    }

    #[test]
    fn beyond_the_bound_requests_do_not_collapse_and_what_is_over_gives_way() {
        let forwards = Forwards::default();
        let _leads: Vec<Lead> = (0..MAX_KEYS).map(|key| lead(&forwards, &key.to_string(), 100)).collect();
        assert!(matches!(join(&forwards, "one more", 104), Role::Pass));
        let _one_more = lead(&forwards, "one more", 105);
    }
}
