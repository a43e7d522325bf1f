//! One process of the fleet: the records that it has applied, and its load and its write in
//! progress.

use shared_keys::Verdict;

use crate::bounds::{Bounds, Rule};
use crate::domain::{
    Entry, LastPositions, Mode, Position, SCOPES, Scope, Version, WriteSet, scopes_of_key, scopes_of_value,
};

/// A process of the fleet. A new process takes the place of one that crashes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Process {
    /// The position that a load takes as `loaded_at`.
    pub position: Position,
    /// The position of the last applied record. Equal to `position` while positions come from
    /// records only.
    pub cursor: Position,
    /// The positions of its own records that it has not read from the feed yet.
    pub appended: Vec<Position>,
    /// The records that it has applied.
    pub applied: LastPositions,
    /// The invalidations that wait for Redis, oldest first, each with the version of its write.
    pub queue: Vec<(Scope, Mode, Version)>,
    /// For each scope the mode of a queued invalidation, until the whole queue is appended.
    pub pending: [Option<Mode>; 4],
    /// Whether it may lag by more than `max_lag`.
    pub is_lagging: bool,
    /// Whether it has been up to date since `max_lag` elapsed last.
    pub is_confirmed: bool,
    /// Whether it may have the watched entry: it made the entry, or was able to read it from Redis.
    pub has_entry: bool,
    /// The watched load, if it runs in this process.
    pub load: Option<RunningLoad>,
    /// The write in progress.
    pub write: Option<WriteProgress>,
    /// The writes whose records it has applied, or whose invalidation it returned. Only properties
    /// read this.
    pub known: WriteSet,
}

/// A load in progress. It reads the database as it begins; a later read could only return newer
/// data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunningLoad {
    /// The key that is loaded.
    pub key: usize,
    /// The version that was read, and the position that was applied before the load began.
    pub entry: Entry,
    /// Whether a record was applied since the load began, so that the verdict may have changed.
    pub is_outdated: bool,
    /// The writes that the process knew when a later caller joined the load, if one did.
    pub joined_knowing: Option<WriteSet>,
}

/// The progress of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WriteProgress {
    /// A write-through has taken its position. The database has not committed.
    Started {
        /// The key that is written.
        key: usize,
        /// The position that was applied before the write began.
        since: Position,
    },
    /// The database has committed. The record is not appended.
    Committed {
        /// The scope that the record will cover.
        scope: Scope,
        /// The mode of the record.
        mode: Mode,
        /// The version that the write made.
        version: Version,
        /// For a write-through the key, and the position that was applied before it began.
        through: Option<(usize, Position)>,
    },
}

impl Default for Process {
    /// Returns a process that has just started. It has not reached the journal, so it counts as
    /// lagging.
    fn default() -> Self {
        Self {
            position: 0,
            cursor: 0,
            appended: Vec::new(),
            applied: LastPositions::default(),
            queue: Vec::new(),
            pending: [None; 4],
            is_lagging: true,
            is_confirmed: false,
            has_entry: false,
            load: None,
            write: None,
            known: WriteSet::default(),
        }
    }
}

impl Process {
    /// Returns the verdict of `Entry::verdict`: applied records and queued invalidations together.
    #[must_use]
    pub fn verdict(&self, key: usize, loaded_at: Position) -> Verdict {
        let covering = SCOPES.into_iter().filter(|scope| scope.covers(key));
        let pending = covering.filter_map(|scope| self.pending[scope as usize]).map(Mode::verdict);
        pending.fold(self.applied.verdict(scopes_of_value(key), loaded_at), Verdict::max)
    }

    /// Returns the verdict on an entry as a read would use it, from whatever layer the entry came.
    #[must_use]
    pub fn verdict_on_read(&self, bounds: &Bounds, key: usize, entry: Entry) -> Verdict {
        if bounds.breaks(Rule::CheckOnRead) { Verdict::Valid } else { self.verdict(key, entry.loaded_at) }
    }

    /// Applies a record without advancing the position: records of other processes may stand before
    /// it.
    pub fn apply(&mut self, scope: Scope, mode: Mode, position: Position, writes: WriteSet) {
        self.applied.raise(scope, mode, position);
        self.learn(writes);
    }

    /// Queues an invalidation that did not reach Redis. It takes effect in this process at once.
    pub fn enqueue(&mut self, bounds: &Bounds, scope: Scope, mode: Mode, version: Version) {
        self.queue.push((scope, mode, version));
        if !bounds.breaks(Rule::QueuedInvalidationCovers) {
            let pending = &mut self.pending[scope as usize];
            *pending = (*pending).max(Some(mode));
        }
        self.learn(WriteSet::of(version));
    }

    /// Marks the process as lagging until it has caught up with the journal again.
    pub fn disconnect(&mut self) {
        self.is_lagging = true;
        self.is_confirmed = false;
    }

    /// Advances to a record of the journal.
    pub fn advance_to(&mut self, position: Position) {
        self.position = self.position.max(position);
        self.cursor = self.cursor.max(position);
        self.appended.retain(|own| *own > position);
    }

    /// Returns whether a later caller may join the load.
    #[must_use]
    pub fn may_join(&self, load: &RunningLoad) -> bool {
        let is_pending =
            [Scope::of_key(load.key), Scope::All].map(|scope| self.pending[scope as usize].is_some());
        let verdict = self.applied.verdict(scopes_of_key(load.key), load.entry.loaded_at);
        let is_covered = is_pending.contains(&true) || verdict != Verdict::Valid;
        !self.is_lagging && (!load.is_outdated || !is_covered)
    }

    fn learn(&mut self, writes: WriteSet) {
        self.known = self.known.union(writes);
        if let Some(load) = &mut self.load {
            load.is_outdated = true;
        }
    }
}
