//! The bounds of a run: processes, writes, faults, and the rule that is left out.

use crate::domain::{Mode, Scope};

/// A rule of the protocol. A run without it shows which promise depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// An entry is checked against the applied records on every read.
    CheckOnRead,
    /// `loaded_at` is taken before the load begins.
    StampBeforeLoad,
    /// A process whose last applied record is missing from the feed, and was not trimmed, appends
    /// `all`.
    DetectLostRecords,
    /// A process whose own record does not come back from the feed appends `all`.
    DetectLostOwnRecords,
    /// A process whose connection was lost catches up with the journal before it serves another
    /// hit.
    CatchUpAfterReconnect,
    /// A written value is cached only if the ledger has no covering record since its write began.
    WriteFence,
    /// The writer's process applies the same fence to the records that it has applied. A failover
    /// can have lost a record that this process still knows.
    WriterChecksApplied,
    /// Dropped ledger rows raise the floor.
    Floor,
    /// A process that finds no feed creates it with a record of `all`.
    NewFeedRemovesAll,
    /// A queued invalidation takes effect at once in the process that queued it.
    QueuedInvalidationCovers,
    /// A waiter checks the value against the journal when the load ends.
    WaiterRechecks,
    /// A process that may lag by more than `max_lag` serves nothing as fresh.
    LaggingServesNothingFresh,
    /// Positions come from records only, never from a clock that advances by itself.
    PositionsComeFromRecords,
    /// Assumed, not enforced: the clock of a primary that has lost records is not behind those
    /// records.
    ClockNotBehindLostRecords,
}

/// The bounds of a run of the model.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// The number of processes in the fleet.
    pub processes: usize,
    /// The kinds of write that may occur.
    pub kinds: &'static [WriteKind],
    /// The most writes in a run, of all kinds together.
    pub writes: u8,
    /// The most faults in a run, of all kinds together.
    pub faults: u8,
    /// The faults that may occur.
    pub fault_kinds: &'static [Fault],
    /// The most records in the feed.
    pub feed: usize,
    /// The most rows in the ledger.
    pub ledger: usize,
    /// Whether `max_lag` elapses.
    pub lag: bool,
    /// Whether later callers join a running load.
    pub joins: bool,
    /// The rule that is left out.
    pub broken: Option<Rule>,
}

impl Bounds {
    /// Returns whether a rule is left out.
    #[must_use]
    pub fn breaks(&self, rule: Rule) -> bool {
        self.broken == Some(rule)
    }
}

/// A kind of write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteKind {
    /// A write to the database, followed by `invalidate` or `expire`.
    Invalidate(Scope, Mode),
    /// A `write_through` of a key.
    WriteThrough(usize),
}

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A process ends, and a new one takes its place.
    Crash,
    /// An append does not reach Redis.
    AppendUnreachable,
    /// Redis executes an append, and the answer is lost.
    AppendUnanswered,
    /// The replica becomes the primary, without the records that it has not received.
    Failover,
    /// The replica becomes the primary with all records, and its clock is behind.
    FailoverWithClockBehind,
    /// Redis restarts empty.
    RestartEmpty,
    /// Redis evicts the feed.
    EvictFeed,
    /// Redis evicts the ledger.
    EvictLedger,
}
