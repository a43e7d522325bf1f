//! What unsafe requests through this isolate have invalidated a moment ago (RFC 9111 section 4.4).
//!
//! The store drops what stands there, but a response that was asked for before can still arrive after that, from a request
//! that is under way. It is told by its time: what was asked for no later than the invalidation came from before it.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How long a target is remembered: longer than anything that was under way can still take to be stored.
const REMEMBER_FOR: Duration = Duration::from_secs(120);

/// More targets are not kept apart: beyond it, all that was asked for before counts as invalidated.
const MAX_TARGETS: usize = 1000;

/// The runtime's clock knows no less.
pub const TICK: Duration = Duration::from_millis(1);

/// The invalidations of one isolate.
#[derive(Debug)]
pub struct Invalidated(RefCell<State>);

#[derive(Debug)]
struct State {
    /// Hashes of targets, in order, and when each was invalidated. Two with one hash cover each other's, which is safe.
    targets: Vec<(u64, SystemTime)>,
    /// All that was asked for until then.
    floor: SystemTime,
}

impl Default for Invalidated {
    fn default() -> Self {
        Self(RefCell::new(State { targets: Vec::new(), floor: SystemTime::UNIX_EPOCH }))
    }
}

impl Invalidated {
    /// The responses for `target` are not to be used any more. When that was comes back: of two at once, the second is later.
    pub fn add(&self, target: &str, now: SystemTime) -> SystemTime {
        let mut state = self.0.borrow_mut();
        if state.targets.len() >= MAX_TARGETS {
            state.targets.retain(|(_, at)| *at + REMEMBER_FOR > now);
            if state.targets.len() >= MAX_TARGETS {
                state.targets.clear();
                state.floor = now;
            }
        }
        let hash = xxh3_64_with_seed(target.as_bytes(), 0);
        match state.place(hash) {
            Ok(place) => {
                let at = now.max(state.targets[place].1 + TICK);
                state.targets[place].1 = at;
                at
            }
            Err(place) => {
                state.targets.insert(place, (hash, now));
                now
            }
        }
    }

    /// Whether a response for `target` that was asked for at `request_time` is from before.
    pub fn covers(&self, target: &str, request_time: SystemTime) -> bool {
        let state = self.0.borrow();
        if state.targets.is_empty() {
            return request_time <= state.floor;
        }
        let at =
            state.place(xxh3_64_with_seed(target.as_bytes(), 0)).map_or(state.floor, |place| state.targets[place].1);
        request_time <= at.max(state.floor)
    }
}

impl State {
    fn place(&self, hash: u64) -> Result<usize, usize> {
        self.targets.binary_search_by_key(&hash, |(hash, _)| *hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::at;

    #[test]
    fn rfc9111_4_4_what_was_asked_for_before_an_unsafe_request_is_not_used_after_it() {
        let invalidated = Invalidated::default();
        invalidated.add("a", at(100));
        assert!(invalidated.covers("a", at(99)));
        assert!(invalidated.covers("a", at(100)), "nobody knows which came first");
        assert!(!invalidated.covers("a", at(101)) && !invalidated.covers("b", at(99)));
    }

    #[test]
    fn of_two_unsafe_requests_at_once_the_second_covers_what_the_first_answered() {
        let invalidated = Invalidated::default();
        let answered = invalidated.add("a", at(100)) + TICK;
        assert!(!invalidated.covers("a", answered));
        invalidated.add("a", at(100));
        assert!(invalidated.covers("a", answered));
    }

    #[test]
    fn what_is_forgotten_counts_as_invalidated() {
        let invalidated = Invalidated::default();
        for number in 0..MAX_TARGETS {
            invalidated.add(&number.to_string(), at(100));
        }
        assert!(!invalidated.covers("other", at(99)));
        invalidated.add("one more", at(101));
        assert!(invalidated.covers("0", at(99)) && invalidated.covers("other", at(101)));
        assert!(!invalidated.covers("other", at(102)));
    }

    #[test]
    fn what_is_long_over_makes_room() {
        let invalidated = Invalidated::default();
        for number in 0..MAX_TARGETS {
            invalidated.add(&number.to_string(), at(100));
        }
        invalidated.add("one more", at(221));
        assert!(!invalidated.covers("other", at(99)));
    }
}
