//! The shared tier below memory, and the journal stored beside it.

mod embedded;
mod faulty;
mod lease_watch;
mod measured;
mod redis;
mod ship_status;

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use shared_keys::{Mode, Position, Scope};

pub(crate) use self::embedded::EmbeddedStore;
pub use self::faulty::Faults;
pub(crate) use self::faulty::FaultyStore;
pub(crate) use self::lease_watch::{Outcome, Watch, Watches};
pub(crate) use self::measured::{MeasuredStore, StoreTimings};
pub use self::redis::Topology;
pub(crate) use self::redis::{
    JournalSize, MAX_FEED, MAX_LEDGER, RedisOptions, RedisStore, SampledKey, Timeouts, prefix_of,
};
pub use self::ship_status::ShipStatus;
use crate::error::StoreError;
use crate::random;

/// The longest value in bytes that Redis gets whole: 3 ms at 100 Mbit/s. A longer one is sent in
/// pieces.
pub(crate) const MAX_WHOLE: usize = 32 << 10;

/// The stored bytes of a key and their remaining time to live.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) bytes: Bytes,
    /// The remaining time to live. The entry's age is computed from it, so that the clocks of two
    /// processes are never compared.
    pub(crate) ttl_left: Duration,
}

/// The proof of holding a lease: random, and never used twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeaseToken(String);

impl LeaseToken {
    /// Returns a new token. Uses the system's randomness even if the cache was given a seeded
    /// source: two processes must never draw the same token.
    pub(crate) fn random() -> Self {
        Self(format!("{:032x}", u128::from_ne_bytes(random::system_bytes())))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for LeaseToken {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// A request for the lease on loading a key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClaimRequest<'a> {
    pub(crate) token: &'a LeaseToken,
    /// The position applied before the load begins.
    pub(crate) position: Position,
    /// How long the lease lasts unless it is renewed.
    pub(crate) ttl: Duration,
    /// Take the lease over if this token still holds it.
    pub(crate) replaces: Option<&'a LeaseToken>,
}

/// The reply to a [`ClaimRequest`]: the stored value and the lease's holder, read atomically.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) stored: Option<Stored>,
    /// The caller that holds the lease already; `None` if the lease is now the requester's.
    pub(crate) holder: Option<Holder>,
}

/// Another caller that holds the lease on a key.
#[derive(Debug)]
pub(crate) struct Holder {
    pub(crate) token: LeaseToken,
    /// The position that it had applied when it acquired the lease.
    pub(crate) position: Position,
    /// The remaining time of its lease unless renewed.
    pub(crate) left: Duration,
}

/// One record of the journal, with its scopes in full rather than hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FeedRecord {
    pub(crate) position: Position,
    pub(crate) mode: Mode,
    pub(crate) scopes: Vec<Scope>,
}

/// The reply to [`JournalStore::follow`].
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The records to apply. After a gap, these are the last records of every scope instead.
    pub(crate) records: Vec<FeedRecord>,
    /// The process's position once they are applied.
    pub(crate) position: Position,
    /// Whether there is more to fetch at once.
    pub(crate) more: bool,
    /// The clock's reading before which no record can be missing; `None` if that is the time of
    /// the request. It is earlier if a failover may have begun since.
    pub(crate) as_of: Option<Duration>,
}

/// A check made together with an append: whether the writer's value is still valid.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unless<'a> {
    /// The position applied before the writer began to build the value.
    pub(crate) since: Position,
    /// The scopes of the value.
    pub(crate) scopes: &'a [Scope],
}

/// The outcome of an append.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Appended {
    pub(crate) position: Position,
    /// Whether no other record since [`Unless::since`] covers the value. `true` without an
    /// [`Unless`].
    pub(crate) clean: bool,
}

/// A shipper's identity at one target.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shipping<'a> {
    /// The target's name.
    pub(crate) target: &'a str,
    /// Proves who holds the lease.
    pub(crate) token: &'a str,
}

/// How long the lease on a target lasts unless it is renewed. Another process takes over from a
/// dead shipper after at most this long.
pub(crate) const SHIP_LEASE: Duration = Duration::from_secs(5);

/// The holder of the lease on a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShipTurn {
    /// The caller, for [`SHIP_LEASE`] from its request on.
    Own,
    /// Another process, for at least this long.
    Another(Duration),
}

/// The next records to ship to a target.
#[derive(Debug, Default)]
pub(crate) struct Unshipped {
    /// The records, in the journal's order.
    pub(crate) records: Vec<FeedRecord>,
    /// How many more records follow these.
    pub(crate) behind: u64,
    /// How long ago the first record was appended, by the store's clock. Zero without records.
    pub(crate) lag: Duration,
}

/// The shared tier of a fleet of processes, its journal, and the progress of shipping it.
///
/// Callers may assume that every operation ends within a bounded time.
pub(crate) trait Store: ValueStore + JournalStore + ShipStore + ReportStore {}

impl<S: ValueStore + JournalStore + ShipStore + ReportStore> Store for S {}

/// Values and the leases on loading them.
pub(crate) trait ValueStore: Send + Sync + 'static {
    /// Returns the value of a key, or `None` if nothing is stored.
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Stored>, StoreError>>;

    /// Returns the values of several keys, in the order of the keys. Keys are read in batches, one
    /// round trip each.
    fn get_many<'a>(&'a self, keys: &'a [String]) -> BoxFuture<'a, Result<Vec<Option<Stored>>, StoreError>>;

    /// Stores a value for `ttl` and ends any lease on its key. With `lease`, does so only while
    /// that token holds the lease; otherwise stores nothing and returns `false`. After an error,
    /// the key may still hold its older value.
    fn put<'a>(
        &'a self,
        key: &'a str,
        bytes: Bytes,
        ttl: Duration,
        lease: Option<&'a LeaseToken>,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Removes the key's value and ends any lease on it with this outcome. With `lease`, does so
    /// only while that token holds the lease; otherwise removes nothing and returns `false`.
    fn remove<'a>(
        &'a self,
        key: &'a str,
        lease: Option<&'a LeaseToken>,
        outcome: Outcome,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Records a version of the key's value; the highest is remembered (in Redis for one day).
    /// Returns `true` if a version was known and this one is not older. Returns `false` if none was
    /// known, as a newer one may have been forgotten.
    fn raise_version<'a>(&'a self, key: &'a str, version: u64) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Acquires the key's lease unless another caller holds it, and reads the key in the same
    /// atomic step.
    fn claim<'a>(
        &'a self,
        key: &'a str,
        request: ClaimRequest<'a>,
    ) -> BoxFuture<'a, Result<Claim, StoreError>>;

    /// Renews a lease for `ttl` from now. Returns `false` if `token` no longer holds it.
    fn renew<'a>(
        &'a self,
        key: &'a str,
        token: &'a LeaseToken,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Releases a lease without storing a value, if `token` still holds it.
    fn release<'a>(
        &'a self,
        key: &'a str,
        token: &'a LeaseToken,
        outcome: Outcome,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Returns a watch on the end of the key's lease. Create it before the [`ValueStore::claim`]
    /// that finds the holder, so that the end is not missed.
    fn watch<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Watch, StoreError>>;

    /// Returns what [`ValueStore::watch`] returns if that needs no request to the store.
    fn watch_at_once(&self, key: &str) -> Option<Watch>;
}

/// The ordered log of invalidations.
///
/// Implementors guarantee that
/// - a position never repeats and never decreases, even if records are lost;
/// - an append is atomic with its check;
/// - `follow` returns a record of [`Scope::All`] where it cannot prove that its reply is complete.
pub(crate) trait JournalStore: Send + Sync + 'static {
    /// Appends one record at a position after `seen` and after every other record. The caller
    /// bounds its size by [`records`](crate::journal::records).
    fn append<'a>(
        &'a self,
        seen: Position,
        mode: Mode,
        scopes: &'a [Scope],
        unless: Option<Unless<'a>>,
    ) -> BoxFuture<'a, Result<Appended, StoreError>>;

    /// Returns the first records after `cursor`, bounded by their number and size; there may be
    /// [more](Progress::more). If some have been trimmed, returns the last record of
    /// every scope instead. `appended` are the caller's own records that it has not followed yet:
    /// if one is missing, the feed has lost records, and the reply covers everything.
    fn follow<'a>(
        &'a self,
        cursor: Position,
        appended: &'a [Position],
    ) -> BoxFuture<'a, Result<Progress, StoreError>>;

    /// Returns how many connections have been made. A new connection may lead to another server
    /// that lacks records which the caller has applied, so the caller must follow before it relies
    /// on it.
    fn connections(&self) -> u64;

    /// Returns whether the last command was answered. Sends none.
    fn is_connected(&self) -> bool;

    /// Waits until there may be a record after `cursor`, at most for `timeout`.
    fn wait(&self, cursor: Position, timeout: Duration) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// How far each target of the shipper has received the journal, and which process ships to it.
pub(crate) trait ShipStore: Send + Sync + 'static {
    /// Acquires the lease on a target, or renews it.
    fn take_ship_turn<'a>(&'a self, shipping: Shipping<'a>) -> BoxFuture<'a, Result<ShipTurn, StoreError>>;

    /// Releases the lease, if the caller holds it.
    fn end_ship_turn<'a>(&'a self, shipping: Shipping<'a>) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Returns the first records that the target has not confirmed, at most `max`, including those
    /// that were handed to an earlier holder. Returns `None` if the caller does not hold the lease.
    fn unshipped<'a>(
        &'a self,
        shipping: Shipping<'a>,
        max: usize,
    ) -> BoxFuture<'a, Result<Option<Unshipped>, StoreError>>;

    /// Records that the target has confirmed these records. Does nothing and returns `false` if the
    /// caller does not hold the lease.
    fn shipped<'a>(
        &'a self,
        shipping: Shipping<'a>,
        records: &'a [FeedRecord],
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Records a failed attempt and its reason, for the status. Returns how many records follow
    /// those that were handed out last.
    fn not_shipped<'a>(
        &'a self,
        shipping: Shipping<'a>,
        why: &'a str,
    ) -> BoxFuture<'a, Result<u64, StoreError>>;

    /// Returns the state of shipping for each target that was ever shipped to.
    fn ship_status(&self) -> BoxFuture<'_, Result<Vec<ShipStatus>, StoreError>>;
}

/// The figures that processes publish for `cachectl stats`.
pub(crate) trait ReportStore: Send + Sync + 'static {
    /// Publishes the report of a process for `ttl`, in place of its last one.
    fn publish_report<'a>(
        &'a self,
        process: &'a str,
        report: &'a str,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<(), StoreError>>;
}
