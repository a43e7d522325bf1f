//! Invalidations that the store has not taken yet.

use std::collections::VecDeque;

use shared_keys::{Mode, Scope};

/// The most invalidations that wait. One more replaces all of them with a single one that covers everything.
const MAX_QUEUE: usize = 10_000;

/// A bounded queue of invalidations, oldest first.
#[derive(Default)]
pub(super) struct Queue {
    waiting: VecDeque<Queued>,
    /// The number that the next invalidation gets.
    count: u64,
}

/// An invalidation without a position.
#[derive(Clone)]
pub(super) struct Queued {
    /// Identifies it: the queue can change while it is being appended.
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

    /// Adds an invalidation, or one of everything in place of all if the queue is full. Returns what was added.
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

    /// Removes the first invalidation if it has this number. Otherwise the queue has overflowed since, and its first
    /// invalidation is another one.
    pub(super) fn remove(&mut self, number: u64) {
        if self.first().is_some_and(|first| first.number == number) {
            self.waiting.pop_front();
        }
    }
}
