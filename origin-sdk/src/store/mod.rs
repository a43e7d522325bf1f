//! The tier below memory, and the journal that lives beside it.

mod embedded;
mod faulty;
mod redis;

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use shared_keys::{Mode, Position, Scope};

pub(crate) use self::embedded::EmbeddedStore;
pub use self::faulty::Faults;
pub(crate) use self::faulty::FaultyStore;
pub use self::redis::Topology;
pub(crate) use self::redis::{RedisStore, Timeouts};
use crate::error::StoreError;

/// What a key holds.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) bytes: Bytes,
    /// What is left of the time to live it was put with. Ages are told by it, so that no two clocks are compared.
    pub(crate) ttl_left: Duration,
}

/// One record of the journal, with its scopes as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FeedRecord {
    pub(crate) position: Position,
    pub(crate) mode: Mode,
    pub(crate) scopes: Vec<Scope>,
}

/// What a process learns when it asks for all that came after its position.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// What to apply. After a gap these are the last records of every scope instead.
    pub(crate) records: Vec<FeedRecord>,
    /// Where the process stands once they are applied.
    pub(crate) position: Position,
    /// Whether there is more to fetch at once.
    pub(crate) more: bool,
}

/// An append that also asks whether what its writer built is still good.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unless<'a> {
    /// The position applied before the writer began.
    pub(crate) since: Position,
    /// The scopes of the value that it built.
    pub(crate) scopes: &'a [Scope],
}

/// Where an append ended up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Appended {
    pub(crate) position: Position,
    /// Whether no other record since [`Unless::since`] covers the value. `true` if nothing was asked.
    pub(crate) clean: bool,
}

/// A tier that all processes of the fleet share, and their journal.
///
/// Implementors hold to: a position never repeats and never goes back, whatever is lost; an append is atomic with its
/// check; what `follow` cannot prove complete comes back as a record that covers everything.
/// Callers may assume that every operation ends within a bounded time.
pub(crate) trait Store: Send + Sync + 'static {
    /// The value of a key, if it is there.
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Stored>, StoreError>>;

    /// Sets a key for `ttl`.
    fn put<'a>(&'a self, key: &'a str, bytes: Bytes, ttl: Duration) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Appends one record behind `seen` and everything else.
    fn append<'a>(
        &'a self,
        seen: Position,
        mode: Mode,
        scopes: &'a [Scope],
        unless: Option<Unless<'a>>,
    ) -> BoxFuture<'a, Result<Appended, StoreError>>;

    /// What came after `cursor`, or everything that matters if that can no longer be told.
    fn follow(&self, cursor: Position) -> BoxFuture<'_, Result<Progress, StoreError>>;

    /// Returns when there may be a record after `cursor`, at the latest after `timeout`.
    fn wait(&self, cursor: Position, timeout: Duration) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The next records that the edge has not confirmed, at most `max`; waits up to `timeout` for one.
    fn unshipped(&self, max: usize, timeout: Duration) -> BoxFuture<'_, Result<Vec<FeedRecord>, StoreError>>;

    /// Confirms that the edge has these records.
    fn shipped<'a>(&'a self, records: &'a [FeedRecord]) -> BoxFuture<'a, Result<(), StoreError>>;
}
