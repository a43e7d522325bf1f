//! The history of a fleet: timed events, which each process prints as lines and a checker
//! evaluates.

use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment on the monotonic clock of the machine, which all processes share. In nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Moment(u64);

impl Moment {
    /// Returns the current moment.
    #[must_use]
    pub fn now() -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        Self(now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs())
    }

    /// Returns the moment at this many milliseconds, for histories written by hand.
    #[must_use]
    pub const fn at_ms(ms: u64) -> Self {
        Self(ms * 1_000_000)
    }

    /// Returns the time since an earlier moment, or zero if that moment is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Returns the moment this much later.
    #[must_use]
    pub fn plus(self, later: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(later.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Returns the moment this much earlier.
    #[must_use]
    pub fn minus(self, earlier: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(earlier.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// An interval of time, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The beginning.
    pub start: Moment,
    /// The end.
    pub end: Moment,
}

impl Span {
    /// Returns the interval from a moment until now.
    #[must_use]
    pub fn until_now(start: Moment) -> Self {
        Self { start, end: Moment::now() }
    }

    /// Returns whether the intervals have a moment in common.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.start <= other.end && other.start <= self.end
    }
}

/// The number of items that the processes write and invalidate at random, without pause.
pub const WRITTEN: u64 = 4;
/// The items that are only written by an [`Order`]. No other write hides the loss of an
/// invalidation of theirs. Items beyond them are only read.
pub const ORDERED: Range<u64> = WRITTEN..WRITTEN + 2;

/// Returns the group whose tag an item carries.
#[must_use]
pub fn group_of(item: u64) -> u64 {
    match item {
        0..WRITTEN => item % 2,
        _ if ORDERED.contains(&item) => 2,
        _ => 3,
    }
}

/// An order to a process: a line on its standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Writes the first of the [`ORDERED`] items once, and then the other. After each write, one
    /// call invalidates the item and tags of nothing.
    Invalidate {
        /// The number of writes.
        calls: usize,
        /// The number of scopes in each call, at least 1.
        tags: usize,
    },
    /// Stops the work at random and reads until every item is served without its loader.
    Recover,
}

/// An action of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A read of an item through the cache.
    Read {
        /// The item.
        item: u64,
        /// From the call to its return.
        span: Span,
        /// The answer.
        answer: Answer,
    },
    /// A run of the loader.
    Loaded {
        /// The item.
        item: u64,
        /// From the loader's call to its return.
        span: Span,
    },
    /// A write to the source, followed by an invalidation.
    Invalidated {
        /// The item.
        item: u64,
        /// The version that was written before the invalidation began. The source may be ahead of
        /// it.
        version: u64,
        /// The way: `key`, `tag`, `prefix`, `all`, `expire` or `write_through`.
        way: String,
        /// Whether older versions are removed. Otherwise they are expired.
        remove: bool,
        /// The journal's delivery.
        journal: Sent,
        /// From the call to its return.
        span: Span,
    },
    /// The orderly end of a process.
    Closed {
        /// The items that are covered by invalidations reported as not sent.
        unsent: Vec<u64>,
        /// The number of loads, writes and invalidations reported as not finished.
        unfinished: usize,
        /// From the call to its return.
        span: Span,
    },
}

/// The journal's delivery of an invalidation, by its receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sent {
    /// The journal has the record.
    Done,
    /// The process will send the record, or report at its orderly end that it could not.
    Queued,
    /// Nothing is promised.
    Stranded,
}

/// The answer to a read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// A value.
    Value {
        /// The version.
        version: u64,
        /// Whether it was served as fresh.
        fresh: bool,
        /// The layer that answered.
        layer: String,
    },
    /// The loader's own error.
    LoaderFailed,
    /// The cache is closed.
    Closed,
    /// Any other error.
    Error(String),
}
