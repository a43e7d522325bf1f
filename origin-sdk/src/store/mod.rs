//! The tier below memory, and the journal that lives beside it.

mod embedded;
mod faulty;
mod lease_watch;
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
pub use self::redis::Topology;
pub(crate) use self::redis::{RedisStore, Timeouts};
pub use self::ship_status::ShipStatus;
use crate::error::StoreError;
use crate::random;

/// What a key holds.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) bytes: Bytes,
    /// What is left of the time to live it was put with. Ages are told by it, so that no two clocks are compared.
    pub(crate) ttl_left: Duration,
}

/// Proves who holds a lease: random, and never used twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeaseToken(String);

impl LeaseToken {
    /// A new one. From the system's randomness whatever the cache's is: two processes must never have the same.
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

/// What a caller asks for that wants to load a key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClaimRequest<'a> {
    pub(crate) token: &'a LeaseToken,
    /// The position applied before the load begins.
    pub(crate) position: Position,
    /// How long the lease lasts if nobody renews it.
    pub(crate) ttl: Duration,
    /// The holder whose lease is taken over, if it is still this one.
    pub(crate) replaces: Option<&'a LeaseToken>,
}

/// What a key holds, and whose turn it is to load it: one moment's answer.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) stored: Option<Stored>,
    /// Who holds the lease; `None` if the caller does now.
    pub(crate) holder: Option<Holder>,
}

/// Another caller that loads a key.
#[derive(Debug)]
pub(crate) struct Holder {
    pub(crate) token: LeaseToken,
    /// The position that it had applied when it began.
    pub(crate) position: Position,
    /// When its lease ends if it does not renew it.
    pub(crate) left: Duration,
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

/// The one who ships to a target, or wants to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shipping<'a> {
    /// The target's name.
    pub(crate) target: &'a str,
    /// Proves who holds the lease.
    pub(crate) token: &'a str,
}

/// How long the lease on a target lasts unless it is renewed: how soon another process takes over from one that died.
pub(crate) const SHIP_LEASE: Duration = Duration::from_secs(5);

/// Whose turn it is to ship to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShipTurn {
    /// The caller's, for [`SHIP_LEASE`] from when it asked.
    Own,
    /// Another's, for so long at least.
    Another(Duration),
}

/// What a target is to be told next.
#[derive(Debug, Default)]
pub(crate) struct Unshipped {
    /// In the journal's order.
    pub(crate) records: Vec<FeedRecord>,
    /// How many come after these.
    pub(crate) behind: u64,
    /// How long ago the first was appended, by the store's clock.
    pub(crate) lag: Duration,
}

/// The shared tier of a fleet of processes, its journal, and the progress of shipping it.
///
/// Callers may assume that every operation ends within a bounded time.
pub(crate) trait Store: ValueStore + JournalStore + ShipStore {}

impl<S: ValueStore + JournalStore + ShipStore> Store for S {}

/// Values and the leases on loading them.
pub(crate) trait ValueStore: Send + Sync + 'static {
    /// The value of a key, if it is there.
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Stored>, StoreError>>;

    /// The values of several keys in their order, in one round trip.
    fn get_many<'a>(&'a self, keys: &'a [String]) -> BoxFuture<'a, Result<Vec<Option<Stored>>, StoreError>>;

    /// Sets a key for `ttl` and ends the lease on it, whoever holds it. With a `lease` only while that one is held: `false`
    /// if it is not any more, and nothing is set.
    fn put<'a>(
        &'a self,
        key: &'a str,
        bytes: Bytes,
        ttl: Duration,
        lease: Option<&'a LeaseToken>,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Notes a version of the key's value, and keeps the highest for a day at least. `true` if a version was known and this
    /// one is not older: when none is known, a newer one may have been forgotten.
    fn raise_version<'a>(&'a self, key: &'a str, version: u64) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Takes the key's lease unless another caller holds it, and reads the key in the same step.
    fn claim<'a>(&'a self, key: &'a str, request: ClaimRequest<'a>) -> BoxFuture<'a, Result<Claim, StoreError>>;

    /// Makes a lease last for `ttl` from now; `false` if it is not held any more.
    fn renew<'a>(
        &'a self,
        key: &'a str,
        token: &'a LeaseToken,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Ends a lease without a value, if it is still held.
    fn release<'a>(
        &'a self,
        key: &'a str,
        token: &'a LeaseToken,
        outcome: Outcome,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// A watch that is told when the lease ends that a [`ValueStore::claim`] made after it meets.
    fn watch<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Watch, StoreError>>;
}

/// The ordered log of invalidations.
///
/// Implementors hold to: a position never repeats and never goes back, whatever is lost; an append is atomic with its
/// check; what `follow` cannot prove complete comes back as a record that covers everything.
pub(crate) trait JournalStore: Send + Sync + 'static {
    /// Appends one record behind `seen` and everything else.
    fn append<'a>(
        &'a self,
        seen: Position,
        mode: Mode,
        scopes: &'a [Scope],
        unless: Option<Unless<'a>>,
    ) -> BoxFuture<'a, Result<Appended, StoreError>>;

    /// What came after `cursor`, or everything that matters if that can no longer be told. `appended` are records of the
    /// caller's own that it has not been told of yet: they must still be there.
    fn follow<'a>(&'a self, cursor: Position, appended: &'a [Position]) -> BoxFuture<'a, Result<Progress, StoreError>>;

    /// How many connections have been made. Behind a new one there can be another server, which may not know what the caller
    /// does: it has to follow before it believes anything else.
    fn connections(&self) -> u64;

    /// Returns when there may be a record after `cursor`, at the latest after `timeout`.
    fn wait(&self, cursor: Position, timeout: Duration) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// How far each target of the shipper has received the journal, and which process ships to it.
pub(crate) trait ShipStore: Send + Sync + 'static {
    /// Takes the lease on a target, or renews it.
    fn take_ship_turn<'a>(&'a self, shipping: Shipping<'a>) -> BoxFuture<'a, Result<ShipTurn, StoreError>>;

    /// Gives the lease back, if the caller holds it.
    fn end_ship_turn<'a>(&'a self, shipping: Shipping<'a>) -> BoxFuture<'a, Result<(), StoreError>>;

    /// The first records that the target has not confirmed, at most `max`, whoever was given them before. `None` if the
    /// caller does not hold the lease.
    fn unshipped<'a>(
        &'a self,
        shipping: Shipping<'a>,
        max: usize,
    ) -> BoxFuture<'a, Result<Option<Unshipped>, StoreError>>;

    /// Notes that the target has confirmed these records. `false`, and nothing noted, if the caller does not hold the lease.
    fn shipped<'a>(
        &'a self,
        shipping: Shipping<'a>,
        records: &'a [FeedRecord],
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Notes that the target could not be told, and why, for people. Returns how many records come after those that the
    /// caller was given.
    fn not_shipped<'a>(&'a self, shipping: Shipping<'a>, why: &'a str) -> BoxFuture<'a, Result<u64, StoreError>>;

    /// How shipping stands, for each target that ever took part.
    fn ship_status(&self) -> BoxFuture<'_, Result<Vec<ShipStatus>, StoreError>>;
}
