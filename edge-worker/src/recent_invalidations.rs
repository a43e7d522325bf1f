//! The targets that unsafe requests through this isolate invalidated recently (RFC 9111 section
//! 4.4).
//!
//! An unsafe request deletes the stored responses at once. A request that was sent to the origin
//! before it can still store its response afterwards. Such a response is recognised by its time: it
//! was requested no later than the invalidation.
//!
//! Any client can send unsafe requests, so the table of invalidated targets is bounded, and the
//! oldest target gives way. Two measures keep its responses out of use, and spare all others:
//!
//! - Responses that were requested up to its invalidation, for any target, are not stored any more.
//!   Stored ones remain: their own invalidations deleted those that were outdated.
//! - A target is pinned, and does not give way, while its stored responses are read, written or
//!   deleted ([`pin`](RecentInvalidations::pin)). Only if every target of a full table is pinned,
//!   what was requested up to the oldest invalidation is not used any more either.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How long an invalidation is remembered, and a target pinned, if the table is full: longer than a
/// request in progress takes to store its response.
const REMEMBERED_FOR: Duration = Duration::from_secs(120);

/// The number of targets that are remembered separately. Beyond it, the oldest gives way.
const MAX_TARGETS: usize = 1000;

/// The resolution of the runtime's clock.
pub const CLOCK_RESOLUTION: Duration = Duration::from_millis(1);

/// The recent invalidations of one isolate.
#[derive(Debug, Clone)]
pub struct RecentInvalidations(Rc<RefCell<State>>);

#[derive(Debug)]
struct State {
    /// Hashes of targets, in ascending order, each with the time of its invalidation. Targets with
    /// the same hash share their invalidations, which is safe.
    targets: Vec<(u64, SystemTime)>,
    /// The pinned hashes, each with the time since when. A hash is listed once per pin.
    pinned: Vec<(u64, SystemTime)>,
    /// Responses that were requested up to this time are not stored any more.
    stored_after: SystemTime,
    /// Responses that were requested up to this time are not used any more.
    used_after: SystemTime,
}

/// Keeps the invalidations of a target until it is dropped.
#[derive(Debug)]
pub struct Pin {
    invalidations: RecentInvalidations,
    pinned: (u64, SystemTime),
}

impl Default for RecentInvalidations {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(State {
            targets: Vec::new(),
            pinned: Vec::new(),
            stored_after: SystemTime::UNIX_EPOCH,
            used_after: SystemTime::UNIX_EPOCH,
        })))
    }
}

impl RecentInvalidations {
    /// Invalidates the responses for `target`, and returns the time of the invalidation. Of two
    /// invalidations within the clock's resolution, the second has a later time.
    pub fn add(&self, target: &str, now: SystemTime) -> SystemTime {
        let mut state = self.0.borrow_mut();
        let hash = hash(target);
        match state.find(hash) {
            Ok(index) => {
                let at = now.max(state.targets[index].1 + CLOCK_RESOLUTION);
                state.targets[index].1 = at;
                at
            }
            Err(_) => {
                state.make_room(now);
                let index = state.find(hash).unwrap_or_else(|index| index);
                state.targets.insert(index, (hash, now));
                now
            }
        }
    }

    /// Keeps the invalidations of `target` until the pin is dropped. Hold it from before the store
    /// is read, written or changed until the outcome is checked.
    ///
    /// The runtime may cancel a request without dropping its pins, so a pin expires by itself.
    #[must_use]
    pub fn pin(&self, target: &str, now: SystemTime) -> Pin {
        let pinned = (hash(target), now);
        self.0.borrow_mut().pinned.push(pinned);
        Pin { invalidations: self.clone(), pinned }
    }

    /// Returns whether a stored response for `target` that was requested at `request_time` is
    /// invalidated.
    pub fn covers_stored(&self, target: &str, request_time: SystemTime) -> bool {
        let state = self.0.borrow();
        request_time <= state.invalidated_at(target).max(state.used_after)
    }

    /// Returns whether a response for `target` that was requested at `request_time` must not be
    /// stored, because it is invalidated or may be.
    pub fn covers_unstored(&self, target: &str, request_time: SystemTime) -> bool {
        let state = self.0.borrow();
        request_time <= state.invalidated_at(target).max(state.used_after).max(state.stored_after)
    }
}

impl State {
    fn find(&self, hash: u64) -> Result<usize, usize> {
        self.targets.binary_search_by_key(&hash, |(hash, _)| *hash)
    }

    fn invalidated_at(&self, target: &str) -> SystemTime {
        if self.targets.is_empty() {
            return SystemTime::UNIX_EPOCH;
        }
        self.find(hash(target)).map_or(SystemTime::UNIX_EPOCH, |index| self.targets[index].1)
    }

    /// Makes room for one more target.
    fn make_room(&mut self, now: SystemTime) {
        if self.targets.len() < MAX_TARGETS {
            return;
        }
        let is_recent = |since: &SystemTime| *since + REMEMBERED_FOR > now;
        self.targets.retain(|(_, at)| is_recent(at));
        self.pinned.retain(|(_, since)| is_recent(since));
        if self.targets.len() < MAX_TARGETS {
            return;
        }
        let is_pinned = |hash: u64| self.pinned.iter().any(|(pinned, _)| *pinned == hash);
        if let Some(index) = self.oldest(|hash| !is_pinned(hash)) {
            let (_, at) = self.targets.remove(index);
            self.stored_after = self.stored_after.max(at);
        } else if let Some(index) = self.oldest(|_| true) {
            let (_, at) = self.targets.remove(index);
            self.used_after = self.used_after.max(at);
        }
    }

    /// Returns the index of the target that was invalidated first, of those that may give way.
    fn oldest(&self, may_give_way: impl Fn(u64) -> bool) -> Option<usize> {
        let targets = self.targets.iter().enumerate().filter(|(_, (hash, _))| may_give_way(*hash));
        targets.min_by_key(|(_, (_, at))| *at).map(|(index, _)| index)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let pinned = &mut self.invalidations.0.borrow_mut().pinned;
        if let Some(index) = pinned.iter().position(|pinned| *pinned == self.pinned) {
            pinned.swap_remove(index);
        }
    }
}

fn hash(target: &str) -> u64 {
    xxh3_64_with_seed(target.as_bytes(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::at;

    /// Returns the invalidations of a full table: `0` is the oldest.
    fn full() -> RecentInvalidations {
        let invalidated = RecentInvalidations::default();
        invalidated.add("0", at(100));
        for number in 1..MAX_TARGETS {
            invalidated.add(&number.to_string(), at(101));
        }
        invalidated
    }

    #[test]
    fn rfc9111_4_4_a_response_requested_before_an_unsafe_request_is_not_used_after_it() {
        let invalidated = RecentInvalidations::default();
        invalidated.add("a", at(100));
        for covers in [RecentInvalidations::covers_stored, RecentInvalidations::covers_unstored] {
            assert!(covers(&invalidated, "a", at(99)));
            assert!(covers(&invalidated, "a", at(100)), "the order within the clock's resolution is unknown");
            assert!(!covers(&invalidated, "a", at(101)) && !covers(&invalidated, "b", at(99)));
        }
    }

    #[test]
    fn of_two_unsafe_requests_at_once_the_second_invalidates_the_answer_to_the_first() {
        let invalidated = RecentInvalidations::default();
        let answered = invalidated.add("a", at(100)) + CLOCK_RESOLUTION;
        assert!(!invalidated.covers_stored("a", answered));
        invalidated.add("a", at(100));
        assert!(invalidated.covers_stored("a", answered));
    }

    /// A stranger's unsafe requests must not empty the store.
    #[test]
    fn beyond_the_bound_the_stored_responses_of_other_targets_remain() {
        let invalidated = full();
        for number in 0..10 * MAX_TARGETS {
            invalidated.add(&format!("more {number}"), at(110));
        }
        assert!(!invalidated.covers_stored("other", at(99)));
        assert!(invalidated.covers_stored("more 9999", at(110)), "the latest are remembered");
    }

    #[test]
    fn beyond_the_bound_a_late_response_for_a_forgotten_target_is_not_stored() {
        let invalidated = full();
        assert!(!invalidated.covers_unstored("other", at(99)));
        invalidated.add("one more", at(111));
        assert!(invalidated.covers_unstored("0", at(100)), "it was requested before the invalidation");
        assert!(!invalidated.covers_unstored("0", at(101)), "it was requested after it");
        assert!(!invalidated.covers_stored("0", at(100)), "the stored ones were deleted");
        assert!(invalidated.covers_stored("1", at(100)), "only the oldest is forgotten");
    }

    #[test]
    fn a_target_whose_store_is_being_used_is_not_forgotten() {
        let invalidated = full();
        let pins = [invalidated.pin("0", at(99)), invalidated.pin("0", at(99))];
        for number in 0..MAX_TARGETS {
            invalidated.add(&format!("more {number}"), at(111));
        }
        assert!(invalidated.covers_stored("0", at(100)) && !invalidated.covers_stored("1", at(100)));
        drop(pins);
        invalidated.add("one more", at(112));
        assert!(!invalidated.covers_stored("0", at(100)) && invalidated.covers_unstored("0", at(100)));
    }

    #[test]
    fn if_every_target_is_in_use_what_was_requested_before_the_oldest_is_not_used() {
        let invalidated = full();
        let pins: Vec<_> =
            (0..MAX_TARGETS).map(|number| invalidated.pin(&number.to_string(), at(110))).collect();
        invalidated.add("one more", at(111));
        assert!(invalidated.covers_stored("0", at(100)) && invalidated.covers_stored("other", at(100)));
        assert!(!invalidated.covers_stored("other", at(101)));
        drop(pins);
    }

    #[test]
    fn old_invalidations_and_pins_make_room() {
        let invalidated = full();
        // The runtime drops no pin of a request that it cancels.
        std::mem::forget(invalidated.pin("0", at(100)));
        invalidated.add("one more", at(240));
        assert!(!invalidated.covers_unstored("other", at(99)));
        assert!(invalidated.0.borrow().pinned.is_empty());
    }
}
