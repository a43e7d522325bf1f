//! What a run of the model varies: processes, writes, faults, and the rule that is taken out.

use crate::words::{Mode, Scope};

/// A rule of the protocol that can be taken out, to see that the properties depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// An entry is checked when it is read.
    CheckOnRead,
    /// `loaded_at` is taken before the load.
    StampBeforeLoad,
    /// Whoever finds the record that it applied last missing, and not trimmed, appends `all`.
    Regression,
    /// Whoever finds that a record of its own did not come back to it appends `all`.
    OwnRecordComesBack,
    /// Whoever has lost its connection asks the journal before it serves anything else.
    ReconnectAsksFirst,
    /// A written value is cached only if no record since its writer began covers it, by the ledger.
    Fence,
    /// Nor by what the writer's process knows: a failover can have lost the record.
    WriterAsksItself,
    /// Ledger rows that are dropped raise the floor.
    Floor,
    /// Whoever finds no feed creates it with a record of `all`.
    NewFeedCoversAll,
    /// A queued invalidation holds at once in the process that queued it.
    QueuedCover,
    /// A caller that joined a flight asks the rule once more when it lands.
    JoinedAskAgain,
    /// A process that may be further behind than `max_lag` serves nothing as fresh.
    SuspectServesNothing,
    /// Positions come from records only, and never from a clock that moves on by itself.
    PositionsAreRecords,
    /// Assumed, not enforced: the clock of a primary that has lost records is not behind them.
    ClockIsNotBehindWhatWasLost,
}

/// How far the model goes.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Processes of the fleet.
    pub processes: usize,
    /// The writes that there may be, each of them at most `writes` times in total.
    pub kinds: &'static [Kind],
    /// Writes in total.
    pub writes: u8,
    /// Failovers, restarts, evictions, crashes and unreachable appends in total.
    pub faults: u8,
    /// The faults that there may be.
    pub of: &'static [Fault],
    /// Records that the feed keeps.
    pub feed: usize,
    /// Rows that the ledger keeps.
    pub ledger: usize,
    /// Whether `max_lag` passes.
    pub lag: bool,
    /// Whether later callers join loads.
    pub joins: bool,
    /// The rule that is taken out.
    pub broken: Option<Rule>,
}

impl Bounds {
    /// Whether this rule is taken out.
    #[must_use]
    pub fn breaks(&self, rule: Rule) -> bool {
        self.broken == Some(rule)
    }
}

/// A kind of write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The database, then `invalidate` or `expire`.
    Invalidate(Scope, Mode),
    /// `write_through` of a key.
    Through(usize),
}

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A process ends, and a new one takes its place.
    Crash,
    /// An append does not reach Redis.
    Unreached,
    /// An append is executed, and its answer is lost.
    Unanswered,
    /// The replica becomes the primary, without what it has not got.
    Failover,
    /// The same, of a replica that has got all, and whose clock is behind.
    FailoverBackInTime,
    /// Redis comes back empty.
    Restart,
    /// Redis evicts the feed.
    EvictFeed,
    /// Redis evicts the ledger.
    EvictLedger,
}
