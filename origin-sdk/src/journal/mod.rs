//! This process's view of the journal of invalidations.
//!
//! Inputs: records from the store's feed, and this process's own invalidations. Outputs: verdicts
//! on entries, and the position that a load takes as its `loaded_at`.

mod durable;
mod follower;
mod history;
mod pace;
mod queue;
mod records;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use shared_keys::{Applied, Mode, Position, Scope, ScopeHash, Stamp, Verdict};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

use self::durable::Durable;
pub(crate) use self::follower::ensure_follower;
use self::history::History;
use self::queue::{Queue, Queued};
pub(crate) use self::records::records;
use crate::clock::{Clock, nanos};
use crate::closing::{Closing, Phase};
use crate::durable_queue::QueueStore;
use crate::error::StoreError;
use crate::metrics::Metrics;
use crate::receipt::UnsentInvalidation;
use crate::store::{Appended, FeedRecord, Progress, Store, Unless};
use crate::task::Supervisor;

/// The most scopes that a process remembers. A forgotten scope counts as covered.
const MAX_SCOPES: usize = 1_000_000;
/// The most of the process's own records that a follow verifies.
const MAX_VERIFIED: usize = 1_000;
/// The most scopes of one value that an append checks. A value with more is not cached by a
/// write-through: the next read loads it.
const MAX_CHECKED: usize = 10_000;
/// The most records, or queued scopes, that are applied under one lock, which excludes readers.
const APPLIED_AT_ONCE: usize = 1_000;
/// The most failures in a row of one record of a large invalidation, before the rest is queued.
const MAX_FAILURES: usize = 3;
/// The pause between attempts while the store is unavailable.
const RETRY: Duration = Duration::from_millis(100);
/// The longest wait of a read for a catch-up. The catch-up's progress is not lost: the next read or
/// the follower continues it.
const MAX_CATCH_UP_WAIT: Duration = Duration::from_secs(1);

/// Starts the tasks that run beside the follower, unless they run.
type Companions = dyn Fn(&Arc<Journal>) + Send + Sync;

/// This process's view of the journal.
pub(crate) struct Journal {
    store: Arc<dyn Store>,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// How far behind the process may be before a read must catch up first.
    max_lag: Duration,
    /// For how many nanoseconds past positions are remembered.
    remembered_for: AtomicU64,
    state: RwLock<State>,
    /// Grows whenever a verdict may have changed. While it stands still, a hit reuses its verdict.
    changes: AtomicU64,
    /// Notified after records have been applied.
    news: Arc<Notify>,
    /// The clock's reading, in nanoseconds, from which on the process lags: `max_lag` after it was
    /// last known to be caught up, and 0 until it is for the first time.
    lags_from: AtomicU64,
    /// The store's connection count when the process was last known to be caught up.
    confirmed_over: AtomicU64,
    /// The number of the last catch-up that succeeded. Locked during a catch-up, so that records
    /// are applied once and in order.
    last_catch_up: tokio::sync::Mutex<u64>,
    /// How many catch-ups have begun.
    catch_ups_begun: AtomicU64,
    /// Invalidations that could not be appended yet.
    queue: Mutex<Queue>,
    durable: Option<Durable>,
    /// Whether the last append failed. While it did not, an invalidation need not wait for the
    /// queue.
    is_failing: AtomicBool,
    /// Locked while the queue is appended, so that no record is appended twice.
    flushing: tokio::sync::Mutex<()>,
    follower: Arc<Supervisor>,
    companions: OnceLock<Box<Companions>>,
    closing: Arc<Closing>,
}

struct State {
    applied: Applied,
    position: Position,
    history: History,
    /// Records that this process has appended and not yet followed. They are newer than `position`,
    /// or a failover has lost them.
    appended: Vec<Position>,
    /// Scopes of queued invalidations. A queued invalidation has no position yet, so it covers
    /// every entry in its scope, whenever that was loaded.
    pending: HashMap<ScopeHash, Mode>,
}

impl Journal {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        clock: Clock,
        metrics: Arc<Metrics>,
        closing: Arc<Closing>,
        max_lag: Duration,
    ) -> Self {
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
            lags_from: AtomicU64::new(0),
            confirmed_over: AtomicU64::new(0),
            last_catch_up: tokio::sync::Mutex::default(),
            catch_ups_begun: AtomicU64::new(0),
            queue: Mutex::default(),
            durable: None,
            is_failing: AtomicBool::new(false),
            flushing: tokio::sync::Mutex::default(),
            follower: Supervisor::new(follower::STALLED),
            companions: OnceLock::new(),
            closing,
        }
    }

    /// Keeps a durable copy of the queue in `store`.
    pub(crate) fn with_durable_queue(mut self, store: Option<Arc<dyn QueueStore>>) -> Self {
        self.durable = store.map(Durable::new);
        self
    }

    /// Returns the last position applied: the `loaded_at` of a load that starts now, and the
    /// position of a request.
    pub(crate) fn position(&self) -> Position {
        self.read().position
    }

    /// Remembers past positions for at least `time`.
    pub(crate) fn remember_for(&self, time: Duration) {
        self.remembered_for.fetch_max(nanos(time), Ordering::AcqRel);
    }

    /// Returns a position that the process had applied by the clock's reading `past`. Returns
    /// [`Position::ZERO`] if `past` is before the process began or before the remembered positions.
    pub(crate) fn position_at(&self, past: Option<Duration>) -> Position {
        past.map_or(Position::ZERO, |past| self.read().history.position_at(past))
    }

    /// Returns a number that stays the same while no verdict has changed. Never 0.
    #[inline]
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Returns the handle that is notified when records have been applied.
    #[cfg(feature = "shipping")]
    pub(crate) fn news(&self) -> Arc<Notify> {
        Arc::clone(&self.news)
    }

    /// Returns the verdict on an entry loaded at `loaded_at`, by the records applied or queued
    /// here.
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

    /// Returns the number of queued records.
    pub(crate) fn queue_len(&self) -> usize {
        self.queue().len()
    }

    /// Returns the time since the queue was last empty, or zero if it is.
    pub(crate) fn queue_age(&self, now: Duration) -> Duration {
        let queue = self.queue();
        if queue.is_empty() { Duration::ZERO } else { now.saturating_sub(queue.filled_at) }
    }

    /// Returns whether a task follows the journal and flushes the queue.
    pub(crate) fn has_follower(&self) -> bool {
        self.follower.is_running() && !self.closing.has_reached(Phase::Closed)
    }

    /// Sets what the follower keeps running beside itself: `start` is called at each of its steps,
    /// and starts the tasks that do not run. Has an effect once.
    #[cfg(feature = "shipping")]
    pub(crate) fn set_companions(&self, start: impl Fn(&Arc<Self>) + Send + Sync + 'static) {
        let _ = self.companions.set(Box::new(start));
    }

    fn start_companions(self: &Arc<Self>) {
        if let Some(start) = self.companions.get() {
            start(self);
        }
    }

    /// Returns how far behind the process may be before a read must catch up first.
    pub(crate) fn max_lag(&self) -> Duration {
        self.max_lag
    }

    /// Returns whether the process may be further behind at the clock's reading `now` than
    /// `max_lag`, or has not followed over its current connection yet. A new connection can lead to
    /// a primary that lost records which this process has applied.
    pub(crate) fn is_lagging(&self, now: Duration) -> bool {
        self.is_lagging_at(nanos(now))
    }

    /// Like [`is_lagging`](Self::is_lagging), at a reading in nanoseconds.
    #[inline]
    pub(crate) fn is_lagging_at(&self, now: u64) -> bool {
        now >= self.lags_from.load(Ordering::Acquire)
            || self.confirmed_over.load(Ordering::Acquire) != self.store.connections()
    }

    /// Returns the time since the process was last known to be caught up; `None` if it never was.
    pub(crate) fn lag(&self, now: Duration) -> Option<Duration> {
        let lags_from = self.lags_from.load(Ordering::Acquire);
        let caught_up_at = lags_from.checked_sub(1)?.saturating_sub(nanos(self.max_lag));
        Some(now.saturating_sub(Duration::from_nanos(caught_up_at)))
    }

    /// Catches up if the process is lagging, for at most [`MAX_CATCH_UP_WAIT`]. Returns `false` if
    /// it still is: then no stored entry counts as fresh.
    pub(crate) async fn ensure_current(self: &Arc<Self>) -> bool {
        if !self.is_lagging(self.clock.now()) {
            return true;
        }
        // The follower may have ended with the runtime that it was started in.
        ensure_follower(self);
        if let Ok(Ok(())) = tokio::time::timeout(MAX_CATCH_UP_WAIT, self.catch_up()).await {
            return true;
        }
        self.metrics.disconnected_reads.add(1);
        false
    }

    /// Applies every record that the store has and this process has not, in steps of bounded size.
    /// A step that is done stays done if a later one fails or the caller goes away.
    pub(crate) async fn catch_up(&self) -> Result<(), StoreError> {
        let entered = self.catch_ups_begun.load(Ordering::Acquire);
        let mut last = self.last_catch_up.lock().await;
        if *last > entered {
            // Another catch-up that began after this call has succeeded while this one waited.
            return Ok(());
        }
        let number = self.catch_ups_begun.fetch_add(1, Ordering::AcqRel) + 1;
        loop {
            // Read the clock before the request: the reply has every record appended before then.
            let (requested_at, connections) = (self.clock.now(), self.store.connections());
            let (cursor, appended, is_whole) = self.cursor();
            let progress = self.store.follow(cursor, &appended).await?;
            self.apply(&progress.records);
            self.advance(&progress, &appended);
            // A connection made in the meantime may lead to another server than the one that
            // replied.
            if !progress.more && is_whole && connections == self.store.connections() {
                self.confirmed_over.store(connections, Ordering::Release);
                let as_of = progress.as_of.map_or(requested_at, |as_of| as_of.min(requested_at));
                let lags_from = nanos(as_of.saturating_add(self.max_lag)).saturating_add(1);
                self.lags_from.store(lags_from, Ordering::Release);
                *last = number;
                return Ok(());
            }
        }
    }

    /// Appends an invalidation and applies it in this process at once. If the store is unavailable,
    /// queues what is not appended yet and returns `None`.
    ///
    /// Does not wait for queued invalidations unless appends are failing: a record covers what was
    /// loaded before it, so the order of records does not matter.
    pub(crate) async fn invalidate(&self, mode: Mode, scopes: &[Scope]) -> Option<Position> {
        if self.is_failing.load(Ordering::Acquire) && !self.queue().is_empty() {
            self.enqueue(mode, scopes);
            return None;
        }
        let (mut position, mut done, mut failures) = (None, 0, 0);
        while let Some(record) = records(&scopes[done..]).next() {
            match self.append_record(mode, record, None).await {
                Ok(appended) => {
                    (position, failures) = (Some(appended.position), 0);
                    done += record.len();
                }
                // One failure among thousands of appends does not queue the rest.
                Err(_) if done > 0 && failures < MAX_FAILURES => {
                    failures += 1;
                    sleep(RETRY).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "append failed: the invalidation is queued and will be retried");
                    self.enqueue(mode, &scopes[done..]);
                    return None;
                }
            }
        }
        position
    }

    /// Appends an invalidation and applies it in this process. With `unless`, also checks whether
    /// the value that it describes is still valid. Returns the position of the last record.
    ///
    /// # Errors
    /// If the store is unavailable. Some of the scopes may have been appended.
    pub(crate) async fn append(
        &self,
        mode: Mode,
        scopes: &[Scope],
        unless: Option<Unless<'_>>,
    ) -> Result<Appended, StoreError> {
        let is_checked = unless.is_none_or(|unless| unless.scopes.len() <= MAX_CHECKED);
        let unless = unless.filter(|_| is_checked);
        let mut whole = Appended { position: Position::ZERO, clean: is_checked };
        for record in records(scopes) {
            // Each record checks the time since the one before it, which is the process's own.
            let unless = unless.map(|unless| Unless { since: unless.since.max(whole.position), ..unless });
            let appended = self.append_record(mode, record, unless).await?;
            whole = Appended { position: appended.position, clean: whole.clean && appended.clean };
        }
        Ok(whole)
    }

    async fn append_record(
        &self,
        mode: Mode,
        scopes: &[Scope],
        unless: Option<Unless<'_>>,
    ) -> Result<Appended, StoreError> {
        let appended = self.send_record(mode, scopes, unless).await?;
        // Catch up, so that a load that starts now is not taken for older than this record.
        let caught_up = self.catch_up().await.is_ok();
        // The store checks the value's own scopes only. A record of several tags is found only by
        // following the whole journal.
        let clean =
            appended.clean && unless.is_none_or(|unless| caught_up && !self.is_covered_by_all_tags(unless));
        Ok(Appended { clean, ..appended })
    }

    /// Appends a record and applies it in this process, without following the journal up to it.
    async fn send_record(
        &self,
        mode: Mode,
        scopes: &[Scope],
        unless: Option<Unless<'_>>,
    ) -> Result<Appended, StoreError> {
        // The ledger may belong to a new primary that lacks records which this process has applied.
        // Checked before the append: after it, the follower may have applied this very record.
        let is_covered_here = unless.is_some_and(|unless| {
            let hashes: Vec<_> = unless.scopes.iter().map(Scope::hash).collect();
            self.verdict(&hashes, unless.since) != Verdict::Valid
        });
        let appended = self.store.append(self.position(), mode, scopes, unless).await;
        self.is_failing.store(appended.is_err(), Ordering::Release);
        let appended = appended.inspect_err(|_| self.metrics.store_errors.add(1))?;
        let clean = appended.clean && !is_covered_here;
        // Leave the position where it is: records of other processes may come before this one.
        let own = FeedRecord { position: appended.position, mode, scopes: scopes.to_vec() };
        self.write().appended.push(appended.position);
        self.apply(&[own]);
        Ok(Appended { clean, ..appended })
    }

    /// Returns whether a record of several tags after `unless.since` covers the value.
    fn is_covered_by_all_tags(&self, unless: Unless<'_>) -> bool {
        let scopes: Vec<_> = unless.scopes.iter().map(Scope::hash).collect();
        let state = self.read();
        let all_tags = state.applied.all_tags_of(scopes.into_iter());
        state.applied.verdict(all_tags.collect::<Vec<_>>(), Stamp::origin(unless.since)) != Verdict::Valid
    }

    /// Queues an invalidation and covers its scopes in this process at once.
    pub(crate) fn enqueue(&self, mode: Mode, scopes: &[Scope]) {
        self.metrics.invalidations_queued.add(1);
        let mut queue = self.queue();
        if queue.is_empty() {
            queue.filled_at = self.clock.now();
        }
        if queue.push(mode, scopes) {
            self.cover(mode, scopes);
        } else {
            self.cover(Mode::Remove, &[Scope::All]);
        }
    }

    /// Appends the queued invalidations, small ones first, until the queue is empty or an append
    /// fails. Does not catch up: a process that is far behind may not have the time before its end.
    pub(crate) async fn flush_queue(&self) -> Result<(), StoreError> {
        let _flushing = self.flushing.lock().await;
        loop {
            let Some(first) = self.queue().first().cloned() else { return Ok(()) };
            self.send_record(first.mode, &first.scopes, None).await?;
            let mut queue = self.queue();
            queue.remove(first.number);
            // Leave the scopes covered until the whole queue is appended: covering too much is
            // safe.
            if queue.is_empty() {
                self.write().pending.clear();
            }
        }
    }

    /// Appends the queued invalidations; retries until that succeeds or the deadline passes.
    pub(crate) async fn flush_until(&self, deadline: Instant) {
        let flush = async {
            while self.flush_queue().await.is_err() {
                sleep(RETRY).await;
            }
        };
        // After a timeout the rest is still in the queue.
        let _ = timeout_at(deadline, flush).await;
    }

    /// Returns the queued records.
    pub(crate) fn unsent(&self) -> Vec<UnsentInvalidation> {
        self.queue().iter().map(Queued::to_unsent).collect()
    }

    /// Logs the queued invalidations, if there are any, when nothing will send them.
    fn warn_of_unsent(&self, why: &'static str) {
        let queue = self.queue();
        if !queue.is_empty() {
            let (records, scopes) = (queue.len(), queue.scope_count());
            let is_durable = self.durable.is_some();
            tracing::warn!(records, scopes, is_durable, "{why}: queued invalidations are not sent");
        }
    }

    /// Covers the scopes until the queued invalidations have been appended.
    fn cover(&self, mode: Mode, scopes: &[Scope]) {
        for some in scopes.chunks(APPLIED_AT_ONCE) {
            let mut state = self.write();
            for scope in some {
                let pending = state.pending.entry(scope.carried_hash()).or_insert(mode);
                if mode == Mode::Remove {
                    *pending = mode;
                }
            }
        }
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Returns the position, this process's own records that must still be in the store, and
    /// whether these are all. Beyond [`MAX_VERIFIED`], returns the oldest and the newest: the
    /// latter is a lower bound of the next position.
    fn cursor(&self) -> (Position, Vec<Position>, bool) {
        let state = self.read();
        let mut appended = state.appended.clone();
        let is_whole = appended.len() <= MAX_VERIFIED;
        if !is_whole {
            appended.sort_unstable();
            let newest = appended.pop();
            appended.truncate(MAX_VERIFIED - 1);
            appended.extend(newest);
        }
        (state.position, appended, is_whole)
    }

    /// Applies records.
    fn apply(&self, records: &[FeedRecord]) {
        for some in records.chunks(APPLIED_AT_ONCE) {
            let mut state = self.write();
            for record in some {
                for scope in &record.scopes {
                    let stamp = Stamp::origin(record.position);
                    state.applied.apply_scope(scope, record.mode, stamp);
                }
            }
        }
        if !records.is_empty() {
            self.metrics.records_applied.add(records.len() as u64);
            self.changes.fetch_add(1, Ordering::AcqRel);
            self.news.notify_waiters();
        }
    }

    /// Moves to the position up to which records were applied. `seen` are this process's own
    /// records that the store has checked.
    fn advance(&self, progress: &Progress, seen: &[Position]) {
        let position = progress.position;
        let mut state = self.write();
        if position < state.position {
            // The position was beyond the store's clock, and so are the remembered ones.
            tracing::warn!(from = %state.position, to = %position, "the journal's positions were ahead of its clock");
            state.history = History::default();
        }
        if position != state.position {
            let (now, memory) =
                (self.clock.now(), Duration::from_nanos(self.remembered_for.load(Ordering::Acquire)));
            state.position = position;
            state.history.push(now, position, now.saturating_sub(memory));
        }
        // `follow` checks the record at `position`, which now stands for the older ones as well. At
        // the journal's end, a later record was lost, and the store has covered everything.
        state.appended.retain(|own| !seen.contains(own) || (progress.more && *own > position));
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

impl Drop for Journal {
    fn drop(&mut self) {
        self.warn_of_unsent("the last handle of the cache is dropped");
    }
}
