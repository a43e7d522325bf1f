//! The journal in Redis: the effects of the Lua scripts, step by step.

use crate::bounds::{Bounds, Rule};
use crate::domain::{LastPositions, Mode, Position, SCOPES, Scope, Version, WriteSet};

/// A record of the feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Record {
    /// The position of the record.
    pub position: Position,
    /// The scope that the record covers.
    pub scope: Scope,
    /// The effect on the entries that it covers.
    pub mode: Mode,
    /// The writes that the record announces. Only properties read this; no process sees it.
    pub writes: WriteSet,
}

/// The two keys of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Journal {
    /// The stream.
    pub feed: Vec<Record>,
    /// The sorted set, or `None` if the key does not exist.
    pub ledger: Option<LastPositions>,
    /// The writes that this journal announces or has announced, by records in it or trimmed from
    /// it.
    pub writes: WriteSet,
}

/// The reply of `follow.lua`.
pub enum FollowReply {
    /// There is no new record.
    UpToDate,
    /// The next record.
    Next(Record),
    /// The whole ledger, the position of the reader afterwards, and the writes that it announces.
    Ledger(LastPositions, Position, WriteSet),
}

impl Journal {
    /// Returns the position of the last record, or 0 if the feed is empty.
    #[must_use]
    pub fn end(&self) -> Position {
        self.feed.last().map_or(0, |record| record.position)
    }

    /// Returns whether the feed contains a record.
    #[must_use]
    pub fn contains(&self, position: Position) -> bool {
        self.feed.iter().any(|record| record.position == position)
    }

    /// Runs `append.lua`: appends a record after everything that Redis and the caller have seen.
    ///
    /// `unless_covered` is the position at which a write began, and its key. The second value
    /// returned says whether the ledger has no record after that position that covers the key's
    /// value.
    pub fn append(
        &mut self,
        bounds: &Bounds,
        world: &mut World,
        seen: Position,
        record: (Scope, Mode, WriteSet),
        unless_covered: Option<(Position, usize)>,
    ) -> (Position, bool) {
        self.ensure(bounds, world, seen);
        let ledger = self.ledger.unwrap_or_default();
        let is_uncovered = bounds.breaks(Rule::WriteFence)
            || unless_covered.is_none_or(|(since, key)| {
                ledger.rows().all(|(scope, _, position)| position <= since || !scope.covers(key))
            });
        (self.push(bounds, world, seen, record), is_uncovered)
    }

    /// Runs `follow.lua`: returns the record after `cursor`, or the ledger if the feed was trimmed
    /// past it.
    pub fn follow(&mut self, bounds: &Bounds, world: &mut World, cursor: Position) -> FollowReply {
        self.ensure(bounds, world, cursor);
        if self.contains(cursor)
            || (bounds.breaks(Rule::DetectLostRecords) && cursor >= self.feed[0].position)
        {
            let next = self.feed.iter().find(|record| record.position > cursor);
            return next.map_or(FollowReply::UpToDate, |record| FollowReply::Next(*record));
        }
        if cursor != 0 && self.feed[0].position < cursor {
            let all = WriteSet::up_to(world.version);
            let position = self.push(bounds, world, cursor, (Scope::All, Mode::Remove, all));
            return FollowReply::Next(Record {
                position,
                scope: Scope::All,
                mode: Mode::Remove,
                writes: all,
            });
        }
        FollowReply::Ledger(self.ledger.unwrap_or_default(), self.end(), self.writes)
    }

    /// Creates a missing feed with a record that covers everything, and sets the floor of a missing
    /// ledger.
    fn ensure(&mut self, bounds: &Bounds, world: &mut World, seen: Position) {
        if self.feed.is_empty() {
            let writes = WriteSet::up_to(world.version);
            let record = if bounds.breaks(Rule::NewFeedRemovesAll) {
                // A record that covers no entry of the run, so that the feed exists at all.
                (Scope::Key1, Mode::Expire, WriteSet::default())
            } else {
                (Scope::All, Mode::Remove, writes)
            };
            self.push(bounds, world, seen, record);
        } else if self.ledger.is_none_or(|ledger| ledger.get(Scope::All, Mode::Remove) == 0) {
            let end = self.end();
            self.ledger.get_or_insert_default().raise(Scope::All, Mode::Remove, end);
        }
    }

    fn push(
        &mut self,
        bounds: &Bounds,
        world: &mut World,
        seen: Position,
        (scope, mode, writes): (Scope, Mode, WriteSet),
    ) -> Position {
        let position = world.clock.max(self.end()).max(seen) + 1;
        world.clock = position;
        self.writes = self.writes.union(writes);
        self.ledger.get_or_insert_default().raise(scope, mode, position);
        self.feed.push(Record { position, scope, mode, writes });
        if self.feed.len() > bounds.feed {
            self.feed.remove(0);
        }
        self.trim_ledger(bounds);
        position
    }

    /// Drops the oldest rows beyond the bound. They raise the floor, which is the row `remove all`.
    fn trim_ledger(&mut self, bounds: &Bounds) {
        let Some(ledger) = &mut self.ledger else { return };
        let mut rows: Vec<_> = ledger.rows().map(|(scope, mode, position)| (position, scope, mode)).collect();
        rows.sort_unstable_by_key(|(position, scope, mode)| {
            (*position, SCOPES.len() - *scope as usize, *mode)
        });
        let surplus = rows.len().saturating_sub(bounds.ledger);
        if surplus == 0 {
            return;
        }
        for (position, scope, mode) in rows.into_iter().take(surplus + 1) {
            if (scope, mode) != (Scope::All, Mode::Remove) {
                ledger.drop_row(scope, mode);
                if !bounds.breaks(Rule::Floor) {
                    ledger.raise(Scope::All, Mode::Remove, position);
                }
            }
        }
    }
}

/// The state outside the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct World {
    /// The last position that was taken from Redis's clock.
    pub clock: Position,
    /// The version of the database.
    pub version: Version,
}
