//! What this process knows of the journal, and how it keeps up with it.
//!
//! In: records from the store's feed, and this process's own invalidations. Out: verdicts on entries, and the position
//! that a load takes as its `loaded_at`.

mod follower;
mod history;
mod queue;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use shared_keys::{Applied, Mode, Position, Scope, ScopeHash, Stamp, Verdict};
use tokio::sync::Notify;

pub(crate) use self::follower::follow_forever;
use self::history::History;
use self::queue::Queue;
use crate::clock::Clock;
use crate::error::StoreError;
use crate::metrics::Metrics;
use crate::store::{Appended, FeedRecord, Store, Unless};

/// Scopes that a process remembers; what it forgets counts as covered.
const MAX_SCOPES: usize = 1_000_000;

/// This process's view of the journal.
pub(crate) struct Journal {
    store: Arc<dyn Store>,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// How far behind the process may be before it must catch up first.
    max_lag: Duration,
    /// The nanoseconds for which past positions are remembered.
    remembered_for: AtomicU64,
    state: RwLock<State>,
    /// Grows whenever a verdict may have changed, so that a hit need not ask again while it stands still.
    changes: AtomicU64,
    /// Rings with each change.
    news: Arc<Notify>,
    /// The clock's nanoseconds at which the process last knew all there was.
    confirmed_at: AtomicU64,
    reached_once: AtomicBool,
    /// The store's connections when that was.
    confirmed_over: AtomicU64,
    /// Held while asking the store, so that records are applied once and in order. Holds the number of the last catch-up
    /// that succeeded.
    asking: tokio::sync::Mutex<u64>,
    /// How many catch-ups have begun.
    begun: AtomicU64,
    /// Invalidations that the store could not take yet, oldest first.
    queue: Mutex<Queue>,
}

struct State {
    applied: Applied,
    position: Position,
    history: History,
    /// Records that this process has appended and was not told of yet: they stand behind `position`, or a failover has lost them.
    appended: Vec<Position>,
    /// Scopes of queued invalidations. They have no position yet, so they cover everything until they get one.
    pending: HashMap<ScopeHash, Mode>,
}

impl Journal {
    pub(crate) fn new(store: Arc<dyn Store>, clock: Clock, metrics: Arc<Metrics>, max_lag: Duration) -> Self {
        let state = State {
            applied: Applied::new(MAX_SCOPES),
            position: Position::ZERO,
            history: History::default(),
            appended: Vec::new(),
            pending: HashMap::new(),
        };
        Self {
            store,
            clock,
            metrics,
            max_lag,
            remembered_for: AtomicU64::new(0),
            state: RwLock::new(state),
            changes: AtomicU64::new(1),
            news: Arc::default(),
            confirmed_at: AtomicU64::new(0),
            reached_once: AtomicBool::new(false),
            confirmed_over: AtomicU64::new(0),
            asking: tokio::sync::Mutex::default(),
            begun: AtomicU64::new(0),
            queue: Mutex::default(),
        }
    }

    /// What a load that starts now takes as its `loaded_at`, and a request as its position.
    pub(crate) fn position(&self) -> Position {
        self.read().position
    }

    /// Remembers past positions for so long at least.
    pub(crate) fn remember_for(&self, time: Duration) {
        self.remembered_for.fetch_max(nanos(time), Ordering::AcqRel);
    }

    /// The position that the process had applied at this reading of the clock, or one before it. The first of all if that is
    /// longer ago than the process, or than is remembered.
    pub(crate) fn position_at(&self, past: Option<Duration>) -> Position {
        past.map_or(Position::ZERO, |past| self.read().history.position_at(past))
    }

    /// A number that stays the same as long as no verdict has changed. Never 0.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Rings when records have been applied.
    #[cfg(feature = "shipping")]
    pub(crate) fn news(&self) -> Arc<Notify> {
        Arc::clone(&self.news)
    }

    /// The rule, on what this process knows.
    pub(crate) fn verdict(&self, scopes: &[ScopeHash], loaded_at: Position) -> Verdict {
        let state = self.read();
        let verdict = state.applied.verdict(scopes.iter().copied(), Stamp::origin(loaded_at));
        if state.pending.is_empty() {
            return verdict;
        }
        let all = Scope::All.hash();
        let pending = scopes.iter().chain([&all]).filter_map(|scope| state.pending.get(scope));
        pending.fold(verdict, |worst, mode| {
            worst.max(match mode {
                Mode::Remove => Verdict::Removed,
                Mode::Expire => Verdict::Expired,
            })
        })
    }

    /// How far behind the process may be.
    pub(crate) fn max_lag(&self) -> Duration {
        self.max_lag
    }

    /// Whether the process may be further behind at the clock's reading `now` than it is allowed to, or has a connection over
    /// which it has not followed yet: it can lead to a primary that has lost what this process knows.
    pub(crate) fn is_lagging(&self, now: Duration) -> bool {
        let confirmed = Duration::from_nanos(self.confirmed_at.load(Ordering::Acquire));
        !self.reached_once.load(Ordering::Acquire)
            || now.saturating_sub(confirmed) > self.max_lag
            || self.confirmed_over.load(Ordering::Acquire) != self.store.connections()
    }

    /// Catches up if the process is suspect. `false` if it still is: nothing it holds counts as fresh then.
    pub(crate) async fn ensure_current(&self) -> bool {
        if !self.is_lagging(self.clock.now()) || self.catch_up().await.is_ok() {
            return true;
        }
        self.metrics.disconnected_reads.add(1);
        false
    }

    /// Applies all that the store has and this process has not.
    pub(crate) async fn catch_up(&self) -> Result<(), StoreError> {
        let entered = self.begun.load(Ordering::Acquire);
        let mut last = self.asking.lock().await;
        if *last > entered {
            // One that began after this caller came has succeeded while it waited.
            return Ok(());
        }
        let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        loop {
            // Taken before asking: what was appended before this moment will be in the reply.
            let (asked_at, connections) = (self.clock.now(), self.store.connections());
            let (cursor, appended) = self.cursor();
            let progress = self.store.follow(cursor, &appended).await?;
            self.apply(&progress.records, progress.position, &appended);
            // A new connection may lead to another server than the one that answered.
            if !progress.more && connections == self.store.connections() {
                self.confirmed_over.store(connections, Ordering::Release);
                self.confirmed_at.store(nanos(asked_at), Ordering::Release);
                self.reached_once.store(true, Ordering::Release);
                *last = number;
                return Ok(());
            }
        }
    }

    /// Appends an invalidation and applies it here at once; queues it if the store cannot take it.
    pub(crate) async fn invalidate(&self, mode: Mode, scopes: Vec<Scope>) -> Option<Position> {
        if self.queue().is_empty() {
            match self.append(mode, &scopes, None).await {
                Ok(appended) => return Some(appended.position),
                Err(error) => tracing::warn!(%error, "the journal could not be reached: invalidation queued"),
            }
        }
        self.enqueue(mode, scopes);
        None
    }

    /// Appends a record and applies it here. With `unless`, also tells whether the value in it is still good.
    pub(crate) async fn append(
        &self,
        mode: Mode,
        scopes: &[Scope],
        unless: Option<Unless<'_>>,
    ) -> Result<Appended, StoreError> {
        let appended = self.store.append(self.position(), mode, scopes, unless).await.inspect_err(|_| {
            self.metrics.store_errors.add(1);
        })?;
        // The ledger that was asked can be that of a new primary, which has not got what this process knows of.
        let is_known_old = |unless: Unless<'_>| {
            let hashes: Vec<_> = unless.scopes.iter().map(Scope::hash).collect();
            self.verdict(&hashes, unless.since) != Verdict::Valid
        };
        let clean = appended.clean && !unless.is_some_and(is_known_old);
        // The position does not move yet: records of others may stand before this one.
        let own = FeedRecord { position: appended.position, mode, scopes: scopes.to_vec() };
        self.write().appended.push(appended.position);
        self.apply(&[own], Position::ZERO, &[]);
        // What is loaded from now on shall not look older than this record.
        let caught_up = self.catch_up().await.is_ok();
        // The store looked for records of the value's own scopes; those of several tags only the whole journal tells.
        let clean = clean && unless.is_none_or(|unless| caught_up && !self.is_hit_by_all_tags(unless));
        Ok(Appended { clean, ..appended })
    }

    /// Whether a record of several tags since then covers a value.
    fn is_hit_by_all_tags(&self, unless: Unless<'_>) -> bool {
        let scopes: Vec<_> = unless.scopes.iter().map(Scope::hash).collect();
        let state = self.read();
        let hits = state.applied.all_tags_of(scopes.into_iter());
        state.applied.verdict(hits.collect::<Vec<_>>(), Stamp::origin(unless.since)) != Verdict::Valid
    }

    /// Puts an invalidation in the queue; from now on its scopes are covered here.
    pub(crate) fn enqueue(&self, mode: Mode, scopes: Vec<Scope>) {
        self.metrics.invalidations_queued.add(1);
        let mut queue = self.queue();
        let queued = queue.push(mode, scopes);
        self.cover(queued.mode, &queued.scopes);
    }

    /// Appends what is queued, oldest first, as far as the store takes it.
    pub(crate) async fn flush_queue(&self) -> Result<(), StoreError> {
        loop {
            let Some(first) = self.queue().first().cloned() else { return Ok(()) };
            self.append(first.mode, &first.scopes, None).await?;
            let mut queue = self.queue();
            queue.remove(first.number);
            // Covering too much in the meantime is safe, so the scopes stay covered until all are appended.
            if queue.is_empty() {
                self.write().pending.clear();
            }
        }
    }

    fn cover(&self, mode: Mode, scopes: &[Scope]) {
        let mut state = self.write();
        for scope in scopes {
            let pending = state.pending.entry(scope.carried_hash()).or_insert(mode);
            if mode == Mode::Remove {
                *pending = mode;
            }
        }
        drop(state);
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// The position, and own records that the store has to have as well.
    fn cursor(&self) -> (Position, Vec<Position>) {
        let state = self.read();
        (state.position, state.appended.clone())
    }

    /// Takes records in and moves on to a position. The `seen` ones of this process's own were found in the store.
    fn apply(&self, records: &[FeedRecord], position: Position, seen: &[Position]) {
        let mut state = self.write();
        for record in records {
            for scope in &record.scopes {
                let stamp = Stamp::origin(record.position);
                state.applied.apply_scope(scope, record.mode, stamp);
            }
        }
        if position > state.position {
            let (now, memory) = (self.clock.now(), Duration::from_nanos(self.remembered_for.load(Ordering::Acquire)));
            state.position = position;
            state.history.push(now, position, now.saturating_sub(memory));
        }
        // From here on they are as safe as the record applied last.
        state.appended.retain(|own| *own > position || !seen.contains(own));
        drop(state);
        if !records.is_empty() {
            self.metrics.records_applied.add(records.len() as u64);
            self.changes.fetch_add(1, Ordering::AcqRel);
            self.news.notify_waiters();
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
