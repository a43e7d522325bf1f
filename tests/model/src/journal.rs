//! The journal as Redis keeps it: what the Lua scripts do, step by step.

use crate::bounds::{Bounds, Rule};
use crate::words::{At, Marks, Mode, SCOPES, Scope, Version, Writes};

/// One record of the feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Record {
    /// Its position.
    pub at: At,
    /// What it covers.
    pub scope: Scope,
    /// What it does.
    pub mode: Mode,
    /// The writes that it lets know of. No process sees this: properties are told by it.
    pub writes: Writes,
}

/// What stands in the two keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Journal {
    /// The stream.
    pub feed: Vec<Record>,
    /// The sorted set; `None` if it is not there.
    pub ledger: Option<Marks>,
    /// All writes that this journal lets know of, by a record that it has or had.
    pub writes: Writes,
}

/// What `follow.lua` answers.
pub enum Answer {
    /// There is nothing new.
    Nothing,
    /// The next record.
    Next(Record),
    /// The ledger, and where its reader stands then.
    Ledger(Marks, At, Writes),
}

impl Journal {
    /// The position of the last record, 0 if there is none.
    #[must_use]
    pub fn end(&self) -> At {
        self.feed.last().map_or(0, |record| record.at)
    }

    /// Whether the record is there.
    #[must_use]
    pub fn has(&self, at: At) -> bool {
        self.feed.iter().any(|record| record.at == at)
    }

    /// `append.lua`, behind everything that Redis and the caller have seen. Also tells whether a record after `since` covers
    /// one of the scopes of the key's value.
    pub fn append(
        &mut self,
        bounds: &Bounds,
        world: &mut World,
        seen: At,
        record: (Scope, Mode, Writes),
        unless: Option<(At, usize)>,
    ) -> (At, bool) {
        self.ensure(bounds, world, seen);
        let ledger = self.ledger.unwrap_or_default();
        let clean = bounds.breaks(Rule::Fence)
            || unless.is_none_or(|(since, key)| ledger.rows().all(|(scope, _, at)| at <= since || !scope.covers(key)));
        (self.push(bounds, world, seen, record), clean)
    }

    /// `follow.lua`.
    pub fn follow(&mut self, bounds: &Bounds, world: &mut World, cursor: At) -> Answer {
        self.ensure(bounds, world, cursor);
        if self.has(cursor) || (bounds.breaks(Rule::Regression) && cursor >= self.feed[0].at) {
            let next = self.feed.iter().find(|record| record.at > cursor);
            return next.map_or(Answer::Nothing, |record| Answer::Next(*record));
        }
        if cursor != 0 && self.feed[0].at < cursor {
            let all = Writes::up_to(world.version);
            let at = self.push(bounds, world, cursor, (Scope::All, Mode::Remove, all));
            return Answer::Next(Record { at, scope: Scope::All, mode: Mode::Remove, writes: all });
        }
        Answer::Ledger(self.ledger.unwrap_or_default(), self.end(), self.writes)
    }

    /// Whoever finds no feed creates it with a record that covers everything; whoever finds no ledger sets the floor.
    fn ensure(&mut self, bounds: &Bounds, world: &mut World, seen: At) {
        if self.feed.is_empty() {
            let writes = Writes::up_to(world.version);
            let record = if bounds.breaks(Rule::NewFeedCoversAll) {
                // A record of nothing that anyone holds, so that there is a feed at all.
                (Scope::Key1, Mode::Expire, Writes::default())
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
        seen: At,
        (scope, mode, writes): (Scope, Mode, Writes),
    ) -> At {
        let at = world.clock.max(self.end()).max(seen) + 1;
        world.clock = at;
        self.writes = self.writes.and(writes);
        self.ledger.get_or_insert_default().raise(scope, mode, at);
        self.feed.push(Record { at, scope, mode, writes });
        if self.feed.len() > bounds.feed {
            self.feed.remove(0);
        }
        self.trim_ledger(bounds);
        at
    }

    /// Rows that are dropped raise the floor, which is the row `remove all`.
    fn trim_ledger(&mut self, bounds: &Bounds) {
        let Some(ledger) = &mut self.ledger else { return };
        let mut rows: Vec<_> = ledger.rows().map(|(scope, mode, at)| (at, scope, mode)).collect();
        rows.sort_unstable_by_key(|(at, scope, mode)| (*at, SCOPES.len() - *scope as usize, *mode));
        let surplus = rows.len().saturating_sub(bounds.ledger);
        if surplus == 0 {
            return;
        }
        for (at, scope, mode) in rows.into_iter().take(surplus + 1) {
            if (scope, mode) != (Scope::All, Mode::Remove) {
                ledger.drop_row(scope, mode);
                if !bounds.breaks(Rule::Floor) {
                    ledger.raise(Scope::All, Mode::Remove, at);
                }
            }
        }
    }
}

/// What there is besides the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct World {
    /// Redis's clock: the last position that was taken from it.
    pub clock: At,
    /// The database's version.
    pub version: Version,
}
