//! One process: what it knows of the journal, what it holds, and what it is about.

use shared_keys::Verdict;

use crate::bounds::{Bounds, Rule};
use crate::words::{At, Entry, Marks, Mode, SCOPES, Scope, Version, Writes, scopes_of_key, scopes_of_value};

/// A process of the fleet. One that crashes is replaced by a new one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Process {
    /// What it takes as `loaded_at`.
    pub position: At,
    /// The record that it has applied last: the same, as long as positions come from records only.
    pub cursor: At,
    /// The records that it has appended itself and that have not come back to it from the feed.
    pub appended: Vec<At>,
    /// The records that it has applied.
    pub marks: Marks,
    /// Invalidations that wait for Redis, oldest first, each with its write.
    pub queue: Vec<(Scope, Mode, Version)>,
    /// The scopes of those, until all are appended.
    pub pending: [Option<Mode>; 4],
    /// Whether it may be further behind than `max_lag`.
    pub suspect: bool,
    /// Whether it has known all there was since `max_lag` passed last.
    pub confirmed: bool,
    /// Whether it can have got the entry that is watched: it has made it, or could ask Redis for it.
    pub got: bool,
    /// The load that is watched, if it runs here.
    pub flight: Option<Flight>,
    /// A write that it is about.
    pub writing: Option<Writing>,
    /// The writes that it must know of: their records applied, or its own invalidation has returned. Only properties see this.
    pub knows: Writes,
}

/// A load. It reads the database as it begins: later it could only read something newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flight {
    /// What it is of.
    pub key: usize,
    /// The position applied before it began, and the version that it has read.
    pub entry: Entry,
    /// Whether a verdict may have changed since it began.
    pub outdated: bool,
    /// What the process knew when a later caller joined it, if one has.
    pub joined: Option<Writes>,
}

/// How far a write has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Writing {
    /// A write-through of a key has taken its position, and is at the database.
    Begun {
        /// The key.
        key: usize,
        /// The position applied before it began.
        since: At,
    },
    /// The database has committed, and the record is not appended.
    Committed {
        /// What the record will cover.
        scope: Scope,
        /// What it will do.
        mode: Mode,
        /// The version that it made.
        version: Version,
        /// For a write-through its key, and the position applied before it began.
        through: Option<(usize, At)>,
    },
}

impl Default for Process {
    /// One that has just started. It has not reached the journal yet, so it is suspect.
    fn default() -> Self {
        Self {
            position: 0,
            cursor: 0,
            appended: Vec::new(),
            marks: Marks::default(),
            queue: Vec::new(),
            pending: [None; 4],
            suspect: true,
            confirmed: false,
            got: false,
            flight: None,
            writing: None,
            knows: Writes::default(),
        }
    }
}

impl Process {
    /// `Entry::verdict`: the rule, on what this process knows.
    #[must_use]
    pub fn verdict(&self, key: usize, at: At) -> Verdict {
        let pending =
            SCOPES.into_iter().filter(|scope| scope.covers(key)).filter_map(|scope| self.pending[scope as usize]);
        pending.map(Mode::verdict).fold(self.marks.verdict(scopes_of_value(key), at), Verdict::max)
    }

    /// What it does with an entry that it has got, from whatever tier.
    #[must_use]
    pub fn standing(&self, bounds: &Bounds, key: usize, entry: Entry) -> Verdict {
        if bounds.breaks(Rule::CheckOnRead) { Verdict::Valid } else { self.verdict(key, entry.at) }
    }

    /// Takes a record in. A record of its own does not move the position: records of others may stand before it.
    pub fn apply(&mut self, scope: Scope, mode: Mode, at: At, writes: Writes) {
        self.marks.raise(scope, mode, at);
        self.learn(writes);
    }

    /// Lets an invalidation wait for Redis. From now on it holds here.
    pub fn enqueue(&mut self, bounds: &Bounds, scope: Scope, mode: Mode, version: Version) {
        self.queue.push((scope, mode, version));
        if !bounds.breaks(Rule::QueuedCover) {
            let pending = &mut self.pending[scope as usize];
            *pending = (*pending).max(Some(mode));
        }
        self.learn(Writes::one(version));
    }

    /// Until it has asked the journal again it does not know what it missed.
    pub fn doubt(&mut self) {
        self.suspect = true;
        self.confirmed = false;
    }

    /// Moves on to a record of the journal.
    pub fn move_to(&mut self, at: At) {
        self.position = self.position.max(at);
        self.cursor = self.cursor.max(at);
        self.appended.retain(|own| *own > at);
    }

    /// Whether a later caller may join the flight (`take_seat`).
    #[must_use]
    pub fn may_join(&self, flight: &Flight) -> bool {
        let key = scopes_of_key(flight.key);
        let covered = [Scope::of_key(flight.key), Scope::All].map(|scope| self.pending[scope as usize].is_some());
        let covered = covered.contains(&true) || self.marks.verdict(key, flight.entry.at) != Verdict::Valid;
        !self.suspect && (!flight.outdated || !covered)
    }

    fn learn(&mut self, writes: Writes) {
        self.knows = self.knows.and(writes);
        if let Some(flight) = &mut self.flight {
            flight.outdated = true;
        }
    }
}
