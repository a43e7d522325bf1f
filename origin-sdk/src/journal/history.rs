//! The positions that a process has had, by the clock.

use std::collections::VecDeque;
use std::time::Duration;

use shared_keys::Position;

/// The most moves that are remembered. A position older than these counts as the first of all.
const MAX_HISTORY: usize = 100_000;

/// When the position moved, and where to, oldest first.
#[derive(Default)]
pub(super) struct History(VecDeque<(Duration, Position)>);

impl History {
    /// Adds a move, and drops the positions that were left before `needed_since`.
    pub(super) fn push(&mut self, now: Duration, position: Position, needed_since: Duration) {
        let moves = &mut self.0;
        moves.push_back((now, position));
        while moves.len() > MAX_HISTORY || moves.get(1).is_some_and(|&(left, _)| left <= needed_since) {
            moves.pop_front();
        }
    }

    /// Returns the position at this reading of the clock; the first of all if that is longer ago than is remembered.
    pub(super) fn position_at(&self, past: Duration) -> Position {
        let known = self.0.partition_point(|&(at, _)| at <= past);
        known.checked_sub(1).map_or(Position::ZERO, |last| self.0[last].1)
    }
}
