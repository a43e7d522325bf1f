//! The queue of invalidations that could not be appended to the store yet.

use std::collections::VecDeque;

use shared_keys::{Mode, Scope};

/// The most queued invalidations. One more replaces all of them with a single record of
/// [`Scope::All`].
const MAX_QUEUE: usize = 10_000;

/// A bounded queue of invalidations, oldest first.
#[derive(Default)]
pub(super) struct Queue {
    waiting: VecDeque<Queued>,
    /// The number of the next invalidation.
    count: u64,
}

/// A queued invalidation. It has no position yet.
#[derive(Clone)]
pub(super) struct Queued {
    /// Identifies the invalidation, because the queue can change while its first one is appended.
    pub(super) number: u64,
    pub(super) mode: Mode,
    pub(super) scopes: Vec<Scope>,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn first(&self) -> Option<&Queued> {
        self.waiting.front()
    }

    /// Adds an invalidation and returns it. If the queue is full, replaces its whole content with a
    /// single `remove all`.
    pub(super) fn push(&mut self, mode: Mode, scopes: Vec<Scope>) -> &Queued {
        let (mode, scopes) = if self.waiting.len() < MAX_QUEUE {
            (mode, scopes)
        } else {
            self.waiting.clear();
            (Mode::Remove, vec![Scope::All])
        };
        let number = self.count;
        self.count += 1;
        self.waiting.push_back_mut(Queued { number, mode, scopes })
    }

    /// Removes the first invalidation if it has this number. It has another number if the queue has
    /// overflowed in the meantime.
    pub(super) fn remove(&mut self, number: u64) {
        if self.first().is_some_and(|first| first.number == number) {
            self.waiting.pop_front();
        }
    }
}
