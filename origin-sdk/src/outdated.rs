//! Keys whose copy in the store is older than a value that the store could not take.
//!
//! A value that memory holds and the store does not is served until memory evicts it. Without a
//! mark, the older copy in the store would be served after that.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hashbrown::DefaultHashBuilder;

/// The most keys that are remembered. Beyond that, the older half is forgotten and counts as the
/// [floor](Marks::floor).
const MAX_MARKS: usize = 100_000;
/// The precision of a copy's age: Redis counts milliseconds.
const PRECISION: Duration = Duration::from_millis(1);

/// The marked keys. A mark only makes copies invalid, and a forgotten one makes more of them so.
#[derive(Default)]
pub(crate) struct OutdatedCopies {
    marks: Mutex<Marks>,
    hasher: DefaultHashBuilder,
}

#[derive(Default)]
struct Marks {
    /// The clock's reading at which each key's newer value began to be made, by the key's hash.
    since: HashMap<u64, Duration>,
    /// The latest of the marks that were forgotten. It holds for every key.
    floor: Option<Duration>,
    /// Whether the store has not answered since it failed to take a value.
    is_failing: bool,
    /// The clock's reading when the store answered again. It may run a command that was given up
    /// until then, so a copy of a marked key from before is not newer than the mark.
    answered_at: Duration,
}

impl OutdatedCopies {
    /// Marks the copies of the key that the store has had since before `since`. `is_failing` is
    /// whether it gave no answer, so that it may still run the command.
    pub(crate) fn mark(&self, key: &str, since: Duration, is_failing: bool) {
        let hash = self.hasher.hash_one(key);
        let mut marks = self.lock();
        marks.is_failing |= is_failing;
        let mark = marks.since.entry(hash).or_insert(since);
        *mark = since.max(*mark);
        if marks.since.len() > MAX_MARKS {
            marks.forget_older_half();
        }
    }

    /// Removes the mark, because the store has taken a newer value or removed the older copy.
    pub(crate) fn clear(&self, key: &str, now: Duration) {
        let hash = self.hasher.hash_one(key);
        let mut marks = self.lock();
        marks.note_answer(now);
        marks.since.remove(&hash);
    }

    /// Returns whether the key's copy is outdated that was `age` old when it was read.
    /// `requested_at` is the clock's reading before that, and `now` after it.
    pub(crate) fn contains(&self, key: &str, requested_at: Duration, now: Duration, age: Duration) -> bool {
        let mut marks = self.lock();
        marks.note_answer(now);
        if marks.floor.is_none() && marks.since.is_empty() {
            return false;
        }
        let mark = marks.since.get(&self.hasher.hash_one(key)).copied().max(marks.floor);
        mark.is_some_and(|mark| {
            requested_at <= mark.max(marks.answered_at).saturating_add(age).saturating_add(PRECISION)
        })
    }

    fn lock(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Marks {
    fn note_answer(&mut self, now: Duration) {
        if self.is_failing {
            (self.is_failing, self.answered_at) = (false, now);
        }
    }

    fn forget_older_half(&mut self) {
        let mut times: Vec<_> = self.since.values().copied().collect();
        let middle = times.len() / 2;
        let (_, &mut floor, _) = times.select_nth_unstable(middle);
        self.since.retain(|_, since| *since > floor);
        self.floor = self.floor.max(Some(floor));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_copy_is_outdated_if_it_was_stored_before_the_newer_value_began() {
        let copies = OutdatedCopies::default();
        assert!(!copies.contains("a", secs(100), secs(100), secs(90)));
        copies.mark("a", secs(50), false);
        // Read at 100: a copy that is 51 s old was stored at 49.
        let is_outdated = |key, age| copies.contains(key, secs(100), secs(100), age);
        assert_eq!(
            [is_outdated("a", secs(51)), is_outdated("a", secs(49)), is_outdated("b", secs(51))],
            [true, false, false]
        );
        assert!(is_outdated("a", Duration::MAX), "a copy older than the process");
        copies.mark("a", secs(40), false);
        assert!(is_outdated("a", secs(51)), "a mark never moves back");
        copies.clear("a", secs(100));
        assert!(!is_outdated("a", secs(51)));
    }

    #[test]
    fn a_copy_of_a_marked_key_is_outdated_if_it_was_stored_before_the_store_answered_again() {
        let copies = OutdatedCopies::default();
        copies.mark("a", secs(50), true);
        let is_outdated =
            |key, now, stored_at| copies.contains(key, secs(now), secs(now), secs(now - stored_at));
        assert_eq!(
            (is_outdated("b", 60, 55), is_outdated("a", 61, 55), is_outdated("a", 62, 61)),
            (false, true, false)
        );
        copies.mark("a", secs(70), true);
        copies.clear("b", secs(80));
        assert_eq!((is_outdated("a", 90, 79), is_outdated("a", 90, 81)), (true, false));
    }

    #[test]
    fn a_forgotten_mark_holds_for_every_key() {
        let copies = OutdatedCopies::default();
        for n in 0..=MAX_MARKS as u64 {
            copies.mark(&format!("key:{n}"), secs(n + 1), false);
        }
        let count = copies.lock().since.len();
        assert!(count <= MAX_MARKS / 2 + 1, "{count}");
        let half = MAX_MARKS as u64 / 2;
        let now = secs(1_000_000);
        let is_outdated = |key, stored_at: u64| copies.contains(key, now, now, now - secs(stored_at));
        assert!(is_outdated("key:0", 0) && is_outdated("another", half - 1));
        assert!(!is_outdated("another", half + 10));
        let last = format!("key:{MAX_MARKS}");
        assert!(is_outdated(&last, MAX_MARKS as u64 - 1), "the younger half is exact");
    }
}
