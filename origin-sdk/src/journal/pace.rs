//! How often the follower fetches records: at once while the store is fast, and in batches while it
//! is busy.

use std::time::Duration;

/// How many times as long as a fetch the pause after it lasts. A process so spends at most a
/// quarter of the time fetching, however many records there are.
const PAUSE: u32 = 3;
/// A shorter pause is left out. Tokio's timer would make a millisecond of it.
const MIN_PAUSE: Duration = Duration::from_millis(1);
/// The fetches of which the fastest counts. A store that is busy is slow in all of them; a process
/// that did not run for a moment is slow in one.
const RECENT: usize = 4;

/// The durations of the recent fetches; zero for those that have not been made yet.
#[derive(Default)]
pub(super) struct Pace {
    recent: [Duration; RECENT],
    next: usize,
}

impl Pace {
    /// Notes how long a fetch took.
    pub(super) fn note(&mut self, fetch: Duration) {
        self.recent[self.next] = fetch;
        self.next = (self.next + 1) % RECENT;
    }

    /// Returns the shortest time between the end of a fetch and the next one, at most `max`.
    pub(super) fn pause(&self, max: Duration) -> Duration {
        let fastest = self.recent.into_iter().min().unwrap_or_default();
        let pause = fastest.saturating_mul(PAUSE).min(max);
        if pause < MIN_PAUSE { Duration::ZERO } else { pause }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn fetches_of_a_fast_store_follow_each_other_at_once() {
        let mut pace = Pace::default();
        (0..10).for_each(|_| pace.note(MS / 4));
        assert_eq!(pace.pause(250 * MS), Duration::ZERO);
    }

    #[test]
    fn fetches_of_a_busy_store_are_spaced_by_their_duration() {
        let mut pace = Pace::default();
        (0..RECENT).for_each(|_| pace.note(20 * MS));
        assert_eq!(pace.pause(250 * MS), 60 * MS);
        (0..RECENT).for_each(|_| pace.note(10_000 * MS));
        assert_eq!(pace.pause(250 * MS), 250 * MS);
    }

    #[test]
    fn a_single_slow_fetch_causes_no_pause() {
        let mut pace = Pace::default();
        for fetch in [MS / 4, 20 * MS, MS / 4, MS / 4, MS / 4, 20 * MS] {
            pace.note(fetch);
            assert_eq!(pace.pause(250 * MS), Duration::ZERO);
        }
    }
}
