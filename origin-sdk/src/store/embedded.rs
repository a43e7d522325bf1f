//! A store inside the process, for single-process services and tests. It is lost with the process.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt, ready};
use lru::LruCache;
use shared_keys::{Applied, Mode, Position, Scope, Stamp, Verdict};
use tokio::sync::Notify;

use super::{
    Appended, Claim, ClaimRequest, FeedRecord, JournalStore, LeaseToken, Outcome, Progress, ReportStore,
    ShipStatus, ShipStore, ShipTurn, Shipping, Stored, Unless, Unshipped, ValueStore, Watch, Watches,
};
use crate::clock::{Clock, unix_ms};
use crate::error::StoreError;
use crate::memory::{Keyed, Memory};

/// The most records in the feed, and so the most that a follower or a target can be behind. One
/// that is further behind is sent a `remove all` instead.
const MAX_FEED: usize = 10_000;
/// The most scopes of all records in the feed together, which bounds its memory.
const MAX_FEED_SCOPES: usize = 200_000;
/// The scopes after which a reply ends, so that it is read in milliseconds.
const MAX_REPLY_SCOPES: usize = 4_000;
/// The most scopes in the ledger.
const MAX_LEDGER: usize = 100_000;

/// The most keys whose version is remembered.
const MAX_VERSIONS: NonZeroUsize = NonZeroUsize::new(100_000).unwrap();

/// A store with its values in a memory tier of its own and its journal in a queue.
pub(crate) struct EmbeddedStore {
    values: Memory,
    /// The highest version of each key that was written with a version.
    versions: Mutex<LruCache<Box<str>, u64>>,
    journal: Mutex<JournalState>,
    appended: Notify,
    clock: Clock,
}

struct Value {
    key: Box<str>,
    bytes: Bytes,
    /// The clock's reading at which the value expires.
    until: Duration,
}

impl Keyed for Value {
    fn key(&self) -> &str {
        &self.key
    }
}

struct JournalState {
    feed: VecDeque<FeedRecord>,
    /// The scopes of all records in the feed.
    feed_scopes: usize,
    /// The last record that was dropped from the feed.
    dropped: Position,
    /// The last record of each scope, as the ledger in Redis.
    ledger: Applied,
    last: Position,
    targets: BTreeMap<String, TargetState>,
}

/// The state of shipping to one target.
#[derive(Default)]
struct TargetState {
    confirmed: Position,
    /// The last record handed out for shipping.
    given: Position,
    confirmed_at_ms: Option<u64>,
    failures: u64,
    /// The last failure's reason, and its time in milliseconds since the Unix epoch.
    error: Option<(String, u64)>,
}

impl EmbeddedStore {
    /// Returns an empty store with the bounds of the memory tier.
    pub(crate) fn new(max_entries: usize, max_bytes: usize, clock: Clock) -> Self {
        Self {
            values: Memory::new(max_entries, max_bytes),
            versions: Mutex::new(LruCache::new(MAX_VERSIONS)),
            journal: Mutex::new(JournalState::new()),
            appended: Notify::new(),
            clock,
        }
    }

    /// Makes the journal look as if the clock had been this much ahead at its last record.
    #[cfg(test)]
    pub(crate) fn jump_ahead(&self, by: Duration) {
        let mut journal = self.journal();
        let ms = unix_ms() + u64::try_from(by.as_millis()).unwrap_or_default();
        let position = Position::new(ms, 0);
        journal.feed.push_back(FeedRecord { position, mode: Mode::Expire, scopes: vec![Scope::All] });
        journal.last = position;
    }

    fn value(&self, key: &str) -> Option<Stored> {
        let value = self.values.get::<Value>(key)?;
        let ttl_left = value.until.checked_sub(self.clock.now()).filter(|left| !left.is_zero())?;
        Some(Stored { bytes: value.bytes.clone(), ttl_left })
    }

    fn journal(&self) -> MutexGuard<'_, JournalState> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `is_reached` holds for the journal, at most for `timeout`.
    async fn wait_until(&self, timeout: Duration, is_reached: impl Fn(&JournalState) -> bool) {
        let appended = async {
            loop {
                let notified = self.appended.notified();
                tokio::pin!(notified);
                notified.as_mut().enable();
                if is_reached(&self.journal()) {
                    return;
                }
                notified.await;
            }
        };
        // The callers do not distinguish a timeout from a new record.
        let _ = tokio::time::timeout(timeout, appended).await;
    }
}

impl JournalState {
    /// Returns a journal that begins with a record for everything: the previous process may have
    /// ended before it shipped all its records to the edge.
    fn new() -> Self {
        let mut journal = Self {
            feed: VecDeque::new(),
            feed_scopes: 0,
            dropped: Position::ZERO,
            ledger: Applied::new(MAX_LEDGER),
            last: Position::ZERO,
            targets: BTreeMap::new(),
        };
        journal.append(Position::ZERO, Mode::Remove, &[Scope::All]);
        journal
    }

    /// Begins anew if the last position is ahead of the clock, which has been set back since.
    fn drop_future(&mut self) {
        if self.last.is_ahead_of(unix_ms()) {
            let mut targets = std::mem::take(&mut self.targets);
            for target in targets.values_mut() {
                (target.confirmed, target.given) = (Position::ZERO, Position::ZERO);
            }
            *self = Self { targets, ..Self::new() };
        }
    }

    fn append(&mut self, seen: Position, mode: Mode, scopes: &[Scope]) -> Position {
        self.drop_future();
        let after = if seen.is_ahead_of(unix_ms()) { self.last } else { self.last.max(seen) };
        let now = Position::new(unix_ms(), 0);
        let position = if now > after { now } else { Position::new(after.ms(), after.seq() + 1) };
        for scope in scopes {
            self.ledger.apply_scope(scope, mode, Stamp::origin(position));
        }
        self.feed.push_back(FeedRecord { position, mode, scopes: scopes.to_vec() });
        self.feed_scopes += scopes.len();
        while self.feed.len() > MAX_FEED || self.feed_scopes > MAX_FEED_SCOPES {
            let Some(oldest) = self.feed.pop_front() else { break };
            self.feed_scopes -= oldest.scopes.len();
            self.dropped = oldest.position;
        }
        self.last = position;
        position
    }

    fn target(&mut self, name: &str) -> &mut TargetState {
        self.targets.entry(name.to_owned()).or_default()
    }

    /// Returns the first records after `cursor`, at most `max`, until they have
    /// [`MAX_REPLY_SCOPES`]; a single `remove all` if some were dropped.
    fn after(&self, cursor: Position, max: usize) -> Vec<FeedRecord> {
        if cursor >= self.dropped {
            let first = self.feed.partition_point(|record| record.position <= cursor);
            let mut scopes = 0;
            let is_within = |record: &&FeedRecord| {
                let fits = scopes < MAX_REPLY_SCOPES;
                scopes += record.scopes.len();
                fits
            };
            return self.feed.range(first..).take(max).take_while(is_within).cloned().collect();
        }
        vec![FeedRecord { position: self.last, mode: Mode::Remove, scopes: vec![Scope::All] }]
    }
}

impl ValueStore for EmbeddedStore {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Stored>, StoreError>> {
        ready(Ok(self.value(key))).boxed()
    }

    fn get_many<'a>(&'a self, keys: &'a [String]) -> BoxFuture<'a, Result<Vec<Option<Stored>>, StoreError>> {
        ready(Ok(keys.iter().map(|key| self.value(key)).collect())).boxed()
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        bytes: Bytes,
        ttl: Duration,
        _lease: Option<&'a LeaseToken>,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        let (size, until) = (bytes.len(), self.clock.now().saturating_add(ttl));
        let is_stored = self.values.put(&Arc::new(Value { key: key.into(), bytes, until }), size);
        ready(if is_stored { Ok(true) } else { Err(StoreError::TooLarge(size)) }).boxed()
    }

    fn remove<'a>(
        &'a self,
        key: &'a str,
        _lease: Option<&'a LeaseToken>,
        _outcome: Outcome,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.values.remove_unless(key, |_: &Value| false);
        ready(Ok(true)).boxed()
    }

    fn raise_version<'a>(&'a self, key: &'a str, version: u64) -> BoxFuture<'a, Result<bool, StoreError>> {
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let known = versions.get(key).copied();
        let is_newest = known.is_none_or(|known| known <= version);
        if is_newest {
            versions.put(key.into(), version);
        }
        ready(Ok(is_newest && known.is_some())).boxed()
    }

    /// Always grants the lease: the callers of one process are coalesced before they reach the
    /// store.
    fn claim<'a>(
        &'a self,
        key: &'a str,
        _request: ClaimRequest<'a>,
    ) -> BoxFuture<'a, Result<Claim, StoreError>> {
        ready(Ok(Claim { stored: self.value(key), holder: None })).boxed()
    }

    fn renew<'a>(
        &'a self,
        _: &'a str,
        _: &'a LeaseToken,
        _: Duration,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        ready(Ok(true)).boxed()
    }

    fn release<'a>(
        &'a self,
        _: &'a str,
        _: &'a LeaseToken,
        _: Outcome,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        ready(Ok(())).boxed()
    }

    fn watch<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Watch, StoreError>> {
        ready(Ok(Watches::default().watch(key))).boxed()
    }

    fn watch_at_once(&self, _: &str) -> Option<Watch> {
        None
    }
}

impl JournalStore for EmbeddedStore {
    fn append<'a>(
        &'a self,
        seen: Position,
        mode: Mode,
        scopes: &'a [Scope],
        unless: Option<Unless<'a>>,
    ) -> BoxFuture<'a, Result<Appended, StoreError>> {
        let mut journal = self.journal();
        journal.drop_future();
        let clean = unless.is_none_or(|unless| {
            let hashes = unless.scopes.iter().map(Scope::hash);
            journal.ledger.verdict(hashes, Stamp::origin(unless.since)) == Verdict::Valid
        });
        let position = journal.append(seen, mode, scopes);
        drop(journal);
        self.appended.notify_waiters();
        ready(Ok(Appended { position, clean })).boxed()
    }

    fn connections(&self) -> u64 {
        0
    }

    fn is_connected(&self) -> bool {
        true
    }

    fn follow<'a>(
        &'a self,
        cursor: Position,
        _appended: &'a [Position],
    ) -> BoxFuture<'a, Result<Progress, StoreError>> {
        let mut journal = self.journal();
        journal.drop_future();
        // A cursor from the future begins again.
        let records = journal.after(if cursor > journal.last { Position::ZERO } else { cursor }, MAX_FEED);
        let position = records.last().map_or(journal.last, |last| last.position);
        ready(Ok(Progress { records, position, more: position < journal.last, as_of: None })).boxed()
    }

    fn wait(&self, cursor: Position, timeout: Duration) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            self.wait_until(timeout, |journal| journal.last > cursor).await;
            Ok(())
        }
        .boxed()
    }
}

impl ReportStore for EmbeddedStore {
    fn publish_report<'a>(
        &'a self,
        _process: &'a str,
        _report: &'a str,
        _ttl: Duration,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        // There is no other process to read it.
        ready(Ok(())).boxed()
    }
}

impl ShipStore for EmbeddedStore {
    fn take_ship_turn<'a>(&'a self, _: Shipping<'a>) -> BoxFuture<'a, Result<ShipTurn, StoreError>> {
        // No other process can hold the lease.
        ready(Ok(ShipTurn::Own)).boxed()
    }

    fn end_ship_turn<'a>(&'a self, _: Shipping<'a>) -> BoxFuture<'a, Result<(), StoreError>> {
        ready(Ok(())).boxed()
    }

    fn unshipped<'a>(
        &'a self,
        shipping: Shipping<'a>,
        max: usize,
    ) -> BoxFuture<'a, Result<Option<Unshipped>, StoreError>> {
        let mut journal = self.journal();
        let shipped = journal.target(shipping.target).confirmed;
        let records = journal.after(shipped, max);
        let waiting = journal.feed.iter().filter(|record| record.position > shipped).count();
        let behind = waiting.saturating_sub(records.len()) as u64;
        if let Some(last) = records.last() {
            journal.target(shipping.target).given = last.position;
        }
        let lag = records.first().map_or(0, |first| unix_ms().saturating_sub(first.position.ms()));
        ready(Ok(Some(Unshipped { records, behind, lag: Duration::from_millis(lag) }))).boxed()
    }

    fn shipped<'a>(
        &'a self,
        shipping: Shipping<'a>,
        records: &'a [FeedRecord],
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        let mut journal = self.journal();
        let target = journal.target(shipping.target);
        target.confirmed = records.iter().map(|record| record.position).fold(target.confirmed, Position::max);
        target.confirmed_at_ms = Some(unix_ms());
        target.failures = 0;
        ready(Ok(true)).boxed()
    }

    fn not_shipped<'a>(
        &'a self,
        shipping: Shipping<'a>,
        why: &'a str,
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        let mut journal = self.journal();
        let target = journal.target(shipping.target);
        target.failures += 1;
        target.error = Some((why.to_owned(), unix_ms()));
        let given = target.given;
        let behind = journal.feed.iter().filter(|record| record.position > given).count();
        ready(Ok(behind as u64)).boxed()
    }

    fn ship_status(&self) -> BoxFuture<'_, Result<Vec<ShipStatus>, StoreError>> {
        let (journal, now) = (self.journal(), unix_ms());
        let status = |(name, target): (&String, &TargetState)| {
            let waiting = || journal.feed.iter().filter(|record| record.position > target.confirmed);
            ShipStatus {
                target: name.clone(),
                shipper: Some(std::process::id().to_string()),
                queued: waiting().count() as u64,
                lag_ms: waiting().next().map_or(0, |first| now.saturating_sub(first.position.ms())),
                confirmed: Some(target.confirmed).filter(|confirmed| *confirmed > Position::ZERO),
                confirmed_ms_ago: target.confirmed_at_ms.map(|at| now.saturating_sub(at)),
                failures: target.failures,
                last_error: target.error.as_ref().map(|(why, _)| why.clone()),
                last_error_ms_ago: target.error.as_ref().map(|(_, at)| now.saturating_sub(*at)),
            }
        };
        ready(Ok(journal.targets.iter().map(status).collect())).boxed()
    }
}
