//! The targets that unsafe requests through this isolate invalidated recently (RFC 9111 section 4.4).
//!
//! An unsafe request deletes the stored responses at once. A request that was sent to the origin before
//! it can still store its response afterwards. Such a response is recognised by its time: it was requested
//! no later than the invalidation.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How long an invalidation is remembered: longer than a request in progress takes to store its response.
const REMEMBERED_FOR: Duration = Duration::from_secs(120);

/// The number of targets that are remembered separately. Beyond it, everything that was requested before
/// counts as invalidated.
const MAX_TARGETS: usize = 1000;

/// The resolution of the runtime's clock.
pub const CLOCK_RESOLUTION: Duration = Duration::from_millis(1);

/// The recent invalidations of one isolate.
#[derive(Debug)]
pub struct RecentInvalidations(RefCell<State>);

#[derive(Debug)]
struct State {
    /// Hashes of targets, in ascending order, each with the time of its invalidation. Targets with the same
    /// hash share their invalidations, which is safe.
    targets: Vec<(u64, SystemTime)>,
    /// Everything that was requested up to this time is invalidated.
    floor: SystemTime,
}

impl Default for RecentInvalidations {
    fn default() -> Self {
        Self(RefCell::new(State { targets: Vec::new(), floor: SystemTime::UNIX_EPOCH }))
    }
}

impl RecentInvalidations {
    /// Invalidates the responses for `target`, and returns the time of the invalidation. Of two invalidations
    /// within the clock's resolution, the second has a later time.
    pub fn add(&self, target: &str, now: SystemTime) -> SystemTime {
        let mut state = self.0.borrow_mut();
        if state.targets.len() >= MAX_TARGETS {
            state.targets.retain(|(_, at)| *at + REMEMBERED_FOR > now);
            if state.targets.len() >= MAX_TARGETS {
                state.targets.clear();
                state.floor = now;
            }
        }
        let hash = hash(target);
        match state.find(hash) {
            Ok(index) => {
                let at = now.max(state.targets[index].1 + CLOCK_RESOLUTION);
                state.targets[index].1 = at;
                at
            }
            Err(index) => {
                state.targets.insert(index, (hash, now));
                now
            }
        }
    }

    /// Returns whether a response for `target` that was requested at `request_time` is invalidated.
    pub fn covers(&self, target: &str, request_time: SystemTime) -> bool {
        let state = self.0.borrow();
        if state.targets.is_empty() {
            return request_time <= state.floor;
        }
        let at = state.find(hash(target)).map_or(state.floor, |index| state.targets[index].1);
        request_time <= at.max(state.floor)
    }
}

impl State {
    fn find(&self, hash: u64) -> Result<usize, usize> {
        self.targets.binary_search_by_key(&hash, |(hash, _)| *hash)
    }
}

fn hash(target: &str) -> u64 {
    xxh3_64_with_seed(target.as_bytes(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::at;

    #[test]
    fn rfc9111_4_4_a_response_requested_before_an_unsafe_request_is_not_used_after_it() {
        let invalidated = RecentInvalidations::default();
        invalidated.add("a", at(100));
        assert!(invalidated.covers("a", at(99)));
        assert!(invalidated.covers("a", at(100)), "the order within the clock's resolution is unknown");
        assert!(!invalidated.covers("a", at(101)) && !invalidated.covers("b", at(99)));
    }

    #[test]
    fn of_two_unsafe_requests_at_once_the_second_invalidates_the_answer_to_the_first() {
        let invalidated = RecentInvalidations::default();
        let answered = invalidated.add("a", at(100)) + CLOCK_RESOLUTION;
        assert!(!invalidated.covers("a", answered));
        invalidated.add("a", at(100));
        assert!(invalidated.covers("a", answered));
    }

    #[test]
    fn beyond_the_bound_everything_requested_before_counts_as_invalidated() {
        let invalidated = RecentInvalidations::default();
        for number in 0..MAX_TARGETS {
            invalidated.add(&number.to_string(), at(100));
        }
        assert!(!invalidated.covers("other", at(99)));
        invalidated.add("one more", at(101));
        assert!(invalidated.covers("0", at(99)) && invalidated.covers("other", at(101)));
        assert!(!invalidated.covers("other", at(102)));
    }

    #[test]
    fn old_invalidations_make_room() {
        let invalidated = RecentInvalidations::default();
        for number in 0..MAX_TARGETS {
            invalidated.add(&number.to_string(), at(100));
        }
        invalidated.add("one more", at(221));
        assert!(!invalidated.covers("other", at(99)));
    }
}
