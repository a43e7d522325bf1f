//! The queue of invalidations that could not be appended to the store yet.

use std::collections::VecDeque;
use std::time::Duration;

use shared_keys::{Mode, Scope};

use super::records;
use crate::receipt::UnsentInvalidation;

/// The most queued records. One more replaces all of them with a single record of [`Scope::All`].
const MAX_RECORDS: usize = 10_000;
/// The most scopes of all queued records together, which bounds the queue's memory.
const MAX_SCOPES: usize = 1_000_000;

/// A bounded queue of records.
///
/// An invalidation of several records is appended after those of one, so that a large invalidation
/// never delays a small one.
#[derive(Default)]
pub(super) struct Queue {
    small: VecDeque<Queued>,
    large: VecDeque<Queued>,
    /// The number of scopes in the queue.
    scopes: usize,
    /// The number of the next record.
    count: u64,
    /// The clock's reading when a record was added to the empty queue.
    pub(super) filled_at: Duration,
}

/// A queued record. It has no position yet.
#[derive(Clone)]
pub(super) struct Queued {
    /// Identifies the record, because the queue can change while its first one is appended.
    pub(super) number: u64,
    pub(super) mode: Mode,
    pub(super) scopes: Vec<Scope>,
}

impl Queued {
    pub(super) fn to_unsent(&self) -> UnsentInvalidation {
        UnsentInvalidation::new(self.mode, self.scopes.clone())
    }
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of queued records.
    pub(super) fn len(&self) -> usize {
        self.small.len() + self.large.len()
    }

    /// Returns the number of scopes of all queued records.
    pub(super) fn scope_count(&self) -> usize {
        self.scopes
    }

    /// Returns the queued records in the order in which they are appended.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Queued> {
        self.small.iter().chain(&self.large)
    }

    /// Returns the number of the next record to be queued.
    pub(super) fn next_number(&self) -> u64 {
        self.count
    }

    /// Returns the record to append next.
    pub(super) fn first(&self) -> Option<&Queued> {
        self.small.front().or(self.large.front())
    }

    /// Adds an invalidation. If the queue has no room for it, replaces its whole content with a
    /// single `remove all` and returns `false`.
    pub(super) fn push(&mut self, mode: Mode, scopes: &[Scope]) -> bool {
        let added = records(scopes).count();
        let fits = self.len() + added <= MAX_RECORDS && self.scopes + scopes.len() <= MAX_SCOPES;
        if fits {
            records(scopes).for_each(|record| self.push_record(mode, record, added == 1));
        } else {
            self.small.clear();
            self.large.clear();
            self.scopes = 0;
            self.push_record(Mode::Remove, &[Scope::All], true);
        }
        fits
    }

    fn push_record(&mut self, mode: Mode, scopes: &[Scope], is_small: bool) {
        let lane = if is_small { &mut self.small } else { &mut self.large };
        lane.push_back(Queued { number: self.count, mode, scopes: scopes.to_vec() });
        self.scopes += scopes.len();
        self.count += 1;
    }

    /// Removes the record of this number if it is still in the queue. It is not if the queue has
    /// overflowed in the meantime.
    pub(super) fn remove(&mut self, number: u64) {
        for lane in [&mut self.small, &mut self.large] {
            if lane.front().is_some_and(|first| first.number == number)
                && let Some(removed) = lane.pop_front()
            {
                self.scopes -= removed.scopes.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use shared_keys::Tag;

    use super::*;
    use crate::{Cache, Delivery, Faults};

    fn tags(count: usize) -> Vec<Scope> {
        (0..count).map(|n| Scope::Tag(Tag::new(&format!("t:{n}")).unwrap())).collect()
    }

    #[test]
    fn a_small_invalidation_goes_before_a_large_one() {
        let mut queue = Queue::default();
        assert!(queue.push(Mode::Remove, &tags(5_000)));
        let large = queue.first().unwrap().clone();
        assert!(queue.push(Mode::Expire, &tags(1)));
        assert_eq!(queue.first().unwrap().mode, Mode::Expire);
        // The large one's first record was being appended when the small one came.
        queue.remove(large.number);
        queue.remove(queue.first().unwrap().number);
        let (first, before) = (queue.first().unwrap(), queue.scopes);
        assert_eq!((first.mode, before), (Mode::Remove, 5_000 - large.scopes.len()));
    }

    #[test]
    fn an_invalidation_beyond_the_bounds_becomes_remove_all() {
        for (pushes, scopes) in [(2, MAX_SCOPES * 2 / 3), (1, MAX_SCOPES + 1)] {
            let (mut queue, scopes) = (Queue::default(), tags(scopes));
            let fits = (0..pushes).map(|_| queue.push(Mode::Expire, &scopes)).last();
            let first = queue.first().unwrap();
            assert_eq!((fits, queue.len(), first.mode), (Some(false), 1, Mode::Remove));
            assert_eq!(first.scopes, [Scope::All]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn single_failures_do_not_queue_the_rest_of_a_large_invalidation() {
        let tags = || (0..10_000).map(|n| Tag::new(&format!("t:{n}")).unwrap());
        // With this seed the first append succeeds, and later ones fail now and then.
        let faults = Faults::seeded(1);
        let cache = Cache::builder("shop").faults(&faults).build().await.unwrap();
        faults.fail(0.2);
        let receipt = cache.invalidate(tags()).await;
        assert_eq!((receipt.journal, cache.stats().invalidations_queued), (Delivery::Done, 0));
        assert!(cache.stats().store_errors > 0, "appends have failed");

        faults.fail(1.0);
        assert_eq!(cache.invalidate(tags()).await.journal, Delivery::Queued);
    }
}
