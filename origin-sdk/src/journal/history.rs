//! The positions that this process has applied, by the time of the clock.

use std::collections::VecDeque;
use std::time::Duration;

use shared_keys::Position;

/// The most changes of position that are remembered. An older one counts as [`Position::ZERO`].
const MAX_HISTORY: usize = 100_000;

/// The history of this process's position: when it changed, and to which one, oldest first.
#[derive(Default)]
pub(super) struct History(VecDeque<(Duration, Position)>);

impl History {
    /// Adds a change of position. Drops each position that was replaced at or before
    /// `needed_since`.
    pub(super) fn push(&mut self, now: Duration, position: Position, needed_since: Duration) {
        let changes = &mut self.0;
        changes.push_back((now, position));
        while changes.len() > MAX_HISTORY || changes.get(1).is_some_and(|&(at, _)| at <= needed_since) {
            changes.pop_front();
        }
    }

    /// Returns the position at the clock's reading `past`, or [`Position::ZERO`] if `past` is
    /// before the remembered changes.
    pub(super) fn position_at(&self, past: Duration) -> Position {
        let known = self.0.partition_point(|&(at, _)| at <= past);
        known.checked_sub(1).map_or(Position::ZERO, |last| self.0[last].1)
    }
}
