//! Loads in this process: a caller joins the key's load or starts it, and the load runs its loader
//! and stores the value.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use shared_keys::{Key, Position, ScopeHash, Verdict};
use tokio::time::Instant;
use tracing::{Instrument, Span};

use super::caller::{Awaited, Caller};
use super::run::{LoaderOutput, TaskStart};
use super::tiers::TierWrite;
use super::{Inner, Namespace};
use crate::cached::{Cached, Freshness, Layer, StaleReason};
use crate::core::Core;
use crate::entry::{self, Entry};
use crate::error::{LoadError, LoadErrorKind, Work};
use crate::in_flight::ValueInFlight;
use crate::loader::{BoxLoader, LoadContext, LoadFuture};
use crate::spans;
use crate::stampede::{Flight, JoinOutcome, Lease, LeaseOutcome, Run, Waiter};
use crate::store::Outcome;
use crate::task::{Started, start_in_place};

/// The moment at which a load starts: the clock, and the journal as this process knows it.
///
/// It is taken before the loader is called, so that a loader which reads its source at once cannot
/// read before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct LoadStart {
    pub(super) at: Duration,
    changes: u64,
    pub(super) position: Position,
}

/// The time in which callers join a load because the lookup of another caller has missed. Without
/// it, callers that arrive during a load would look the key up in the shared tier without a pause.
/// Another process may store the value meanwhile, although this one's loader hangs, so they do look
/// it up again.
const MISS_COUNTS_FOR: Duration = Duration::from_millis(250);

/// A load that is running, for the callers that join it.
pub(super) struct RunningLoad<V> {
    start: LoadStart,
    pub(super) flight: Arc<Flight>,
    /// Whether one loader loads several keys.
    pub(super) is_batch: bool,
    last_miss: Arc<Mutex<Option<Miss<V>>>>,
}

/// A lookup that found nothing to serve, by a caller that then joined the load.
struct Miss<V> {
    /// The clock's reading before the lookup.
    at: Duration,
    /// The entry to serve if the load fails.
    fallback: Option<Arc<Entry<V>>>,
}

impl<V> Clone for RunningLoad<V> {
    fn clone(&self) -> Self {
        let Self { start, flight, is_batch, last_miss } = self;
        let (flight, last_miss) = (Arc::clone(flight), Arc::clone(last_miss));
        Self { start: *start, flight, is_batch: *is_batch, last_miss }
    }
}

impl<V> RunningLoad<V> {
    fn note_miss(&self, miss: Miss<V>) {
        *self.last_miss.lock().unwrap_or_else(PoisonError::into_inner) = Some(miss);
    }

    /// Returns the last miss if it still counts.
    fn miss_at(&self, now: Duration) -> Option<Miss<V>> {
        let last_miss = self.last_miss.lock().unwrap_or_else(PoisonError::into_inner);
        let miss = last_miss.as_ref().filter(|miss| now.saturating_sub(miss.at) < MISS_COUNTS_FOR)?;
        Some(Miss { at: miss.at, fallback: miss.fallback.clone() })
    }
}

/// The outcome of a load: `None` if a batch's loader has no value for the key.
pub(super) type LoadOutcome<V> = Result<Option<LoadedValue<V>>, LoadError>;

/// A caller that waits for a load.
pub(super) type LoadWaiter<V> = Waiter<LoadOutcome<V>, RunningLoad<V>>;

/// The value of a load, and its origin.
pub(super) struct LoadedValue<V> {
    pub(super) entry: Arc<Entry<V>>,
    /// The start of the load.
    pub(super) started_at: Duration,
    /// The position up to which the value is known to be valid.
    valid_at: Position,
    /// [`Layer::Redis`] if another process has stored the value in the meantime, and
    /// [`Layer::Memory`] if another load of this one has, where values are in memory alone.
    pub(super) layer: Layer,
    pub(super) freshness: Freshness,
}

impl<V> Clone for LoadedValue<V> {
    fn clone(&self) -> Self {
        Self { entry: Arc::clone(&self.entry), ..*self }
    }
}

impl<V> LoadedValue<V> {
    /// Whether no record that this process knows covers the value.
    pub(super) fn is_valid(&self, core: &Core) -> bool {
        self.entry.verdict_since(&core.journal, self.valid_at) == Verdict::Valid
    }
}

/// One load of one key.
pub(super) struct LoadRequest<V> {
    pub(super) key: Arc<str>,
    /// The scopes that are known before the value is: the key's, and those of the tags that follow
    /// from it.
    pub(super) scopes: Vec<ScopeHash>,
    pub(super) start: LoadStart,
    pub(super) in_flight: ValueInFlight,
    pub(super) flight: Arc<Flight>,
    pub(super) context: LoadContext,
    /// The entry to serve if the loader fails.
    pub(super) fallback: Option<Arc<Entry<V>>>,
    /// The XFetch draw that triggered this refresh, or 1.0 for a foreground load. It rejects
    /// another process's copy that the same draw would also refresh.
    pub(super) rand: f64,
}

/// How a caller starts a load, if none runs that it may join.
struct LoadPlan<V> {
    fallback: Option<Arc<Entry<V>>>,
    rand: f64,
    start: TaskStart,
    /// Creates the span of the load.
    span: fn(&'static str) -> Span,
}

/// Where a load got its value.
enum ValueSource<V> {
    Store(Arc<Entry<V>>),
    Loader(LoaderOutput<Option<V>>),
}

impl<K, V> Namespace<K, V>
where
    K: Key + Clone,
    V: Send + Sync + 'static,
{
    /// Awaits the running load of a key that memory does not have, if the lookup of another caller
    /// has just missed. Returns `None` if the caller has to look the key up.
    pub(super) async fn await_running_load(
        &self,
        key: &K,
        text: &str,
        caller: &mut Caller,
        held: Option<&Arc<Entry<V>>>,
    ) -> Result<Option<Cached<V>>, LoadError> {
        let Some((waiter, now)) = self.join_running(key, text) else { return Ok(None) };
        let is_lagging = self.inner.core.journal.is_lagging(now.at);
        let Some(miss) = waiter.start.miss_at(now.at).filter(|_| !is_lagging) else { return Ok(None) };
        self.inner.forbid_cycle(text)?;
        match self.inner.await_load(&waiter, caller, held.or(miss.fallback.as_ref())).await? {
            Awaited::Cached(cached) => Ok(Some(cached)),
            Awaited::Absent | Awaited::Again => {
                caller.is_again = true;
                Ok(None)
            }
        }
    }

    /// Loads a key that no layer has: joins the key's load if this caller may, else starts one with
    /// the loader.
    ///
    /// A load starts in place only if its caller has nothing else to do meanwhile. A caller with a
    /// fallback waits for the soft timeout as well, and loads inside of loaders would fill the
    /// stack.
    pub(super) async fn load_missed(
        &self,
        key: &K,
        text: &Arc<str>,
        mut caller: Caller,
        loader: BoxLoader<'_, K, Option<V>>,
        fallback: Option<Arc<Entry<V>>>,
        start: TaskStart,
    ) -> Result<Cached<V>, LoadError> {
        self.inner.forbid_cycle(text)?;
        let has_other_work = fallback.is_some() || Run::current().is_some();
        let start = if has_other_work { TaskStart::Spawned } else { start };
        let mut loader = Some(loader);
        loop {
            if let Some(result) = self.inner.back_off(text, fallback.as_ref()) {
                return result;
            }
            let waiter = match self.join_running(key, text) {
                Some((waiter, _)) => waiter,
                None => {
                    let plan = LoadPlan { fallback: fallback.clone(), rand: 1.0, start, span: spans::load };
                    self.join_or_start(key, text, &mut loader, plan)
                }
            };
            waiter.start.note_miss(Miss { at: caller.called_at, fallback: fallback.clone() });
            match self.inner.await_load(&waiter, &caller, fallback.as_ref()).await? {
                Awaited::Cached(cached) => return Ok(cached),
                // The caller's own loader always returns a value.
                Awaited::Absent => return Err(LoadError::panicked(Work::Loader)),
                Awaited::Again => caller.is_again = true,
            }
        }
    }

    /// Starts a refresh in the background, unless a load of the key is running or its source fails.
    pub(super) fn refresh(&self, key: &K, loader: BoxLoader<'_, K, Option<V>>, rand: f64) {
        let text: Arc<str> = key.to_text().into();
        if self.inner.is_backing_off(&text) {
            return;
        }
        let plan = LoadPlan { fallback: None, rand, start: TaskStart::Spawned, span: spans::refresh };
        if self.join_or_start(key, &text, &mut Some(loader), plan).is_leader {
            self.inner.metrics.refreshes.add(1);
        }
    }

    /// Joins the key's running load if this caller may. Also returns the moment of that. Costs less
    /// than [`join_or_start`](Self::join_or_start), which prepares a load.
    fn join_running(&self, key: &K, text: &str) -> Option<(LoadWaiter<V>, LoadStart)> {
        let waiter = self.inner.loads.join(text)?;
        let now = self.inner.start();
        let scopes = || entry::scopes(text, &self.load_context(key).tags());
        self.inner.may_join(&waiter.start, now, scopes).then_some((waiter, now))
    }

    /// Joins the key's load if this caller may, else starts one with the loader.
    fn join_or_start(
        &self,
        key: &K,
        text: &Arc<str>,
        loader: &mut Option<BoxLoader<'_, K, Option<V>>>,
        plan: LoadPlan<V>,
    ) -> LoadWaiter<V> {
        let LoadPlan { fallback, rand, start, span } = plan;
        let moment = self.inner.start();
        let (request, (waiter, guard)) = self.join_or_lead(key, text, moment, false, fallback, rand);
        // A caller leads at most once, so its loader is still there. Without one the guard is
        // dropped here, and the waiters get an error.
        if let Some(guard) = guard
            && let Some(loader) = loader.take()
        {
            let (inner, load) = (Arc::clone(&self.inner), loader(key.clone(), request.context.clone()));
            let load = async move {
                let outcome = inner.load(&request, load, start).await;
                guard.complete(outcome);
            };
            let load = load.instrument(span(self.inner.name));
            match start {
                TaskStart::Spawned => drop(tokio::spawn(load)),
                TaskStart::InPlace => {
                    if let Started::Waiting(load) = start_in_place(load) {
                        tokio::spawn(load);
                    }
                }
            }
        }
        waiter
    }

    /// Joins the key's load if this caller may, else makes it the leader of one. The request
    /// describes the load that the leader has to run.
    pub(super) fn join_or_lead(
        &self,
        key: &K,
        text: &Arc<str>,
        start: LoadStart,
        is_batch: bool,
        fallback: Option<Arc<Entry<V>>>,
        rand: f64,
    ) -> (LoadRequest<V>, JoinOutcome<LoadOutcome<V>, RunningLoad<V>>) {
        let context = self.load_context(key);
        let scopes = entry::scopes(text, &context.tags());
        let may_join = |running: &RunningLoad<V>| self.inner.may_join(running, start, || &scopes);
        let flight = Flight::new(self.inner.core.number(), Arc::clone(text));
        let load = RunningLoad { start, flight: Arc::clone(&flight), is_batch, last_miss: Arc::default() };
        let joined = self.inner.loads.join_or_lead(Arc::clone(text), may_join, load);
        let in_flight = self.inner.core.in_flight.load(Arc::clone(text), start.position);
        let key = Arc::clone(text);
        (LoadRequest { key, scopes, start, in_flight, flight, context, fallback, rand }, joined)
    }
}

impl<V: Send + Sync + 'static> Inner<V> {
    pub(super) fn start(&self) -> LoadStart {
        let journal = &self.core.journal;
        LoadStart { at: self.core.clock.now(), changes: journal.changes(), position: journal.position() }
    }

    /// Returns whether a caller may join the load at this moment.
    ///
    /// After an invalidation no new caller joins a load that started before it. While the process
    /// is disconnected from the journal it cannot know, so a load that it joins may be no older
    /// than `max_lag`.
    fn may_join<S: AsRef<[ScopeHash]>>(
        &self,
        running: &RunningLoad<V>,
        now: LoadStart,
        scopes: impl FnOnce() -> S,
    ) -> bool {
        let (journal, running) = (&self.core.journal, running.start);
        let is_current = running.changes == now.changes
            || journal.verdict(scopes().as_ref(), running.position) == Verdict::Valid;
        let age = now.at.saturating_sub(running.at);
        is_current && (!journal.is_lagging(now.at) || age <= journal.max_lag())
    }

    /// Runs a whole load: acquires the lease, runs the loader and stores its value.
    pub(super) async fn load(
        &self,
        request: &LoadRequest<V>,
        loader: LoadFuture<Option<V>>,
        start: TaskStart,
    ) -> LoadOutcome<V> {
        let _running = self.core.closing.work.begin();
        let mut acquired = None;
        let source = {
            let source = pin!(self.value_source(request, loader, start, &mut acquired));
            self.within_hard_timeout(Instant::now(), source).await
        };
        match source {
            Ok(ValueSource::Store(entry)) => Ok(Some(self.found_in_store(request, entry))),
            Ok(ValueSource::Loader(output)) => self.finish(request, acquired, Ok(output)).await,
            Err(error) => self.finish(request, acquired, Err(error)).await,
        }
    }

    /// Gets the value of another load, or runs the loader, under the lease if that is `acquired`.
    async fn value_source(
        &self,
        request: &LoadRequest<V>,
        loader: LoadFuture<Option<V>>,
        start: TaskStart,
        acquired: &mut Option<Lease>,
    ) -> Result<ValueSource<V>, LoadError> {
        match self.acquire_lease(request).await {
            LeaseOutcome::Found(entry) => return Ok(ValueSource::Store(entry)),
            LeaseOutcome::Failed => return Err(LoadError::failed_elsewhere()),
            LeaseOutcome::Acquired(lease) => *acquired = Some(lease),
            LeaseOutcome::Unavailable | LeaseOutcome::Held(_) => {}
        }
        let flights = [Arc::clone(&request.flight)];
        let mut output = pin!(self.run_loader(loader, &request.context, &flights, start));
        // A loader that ends at once needs no renewal of the lease.
        let output = match poll_fn(|context| Poll::Ready(output.as_mut().poll(context))).await {
            Poll::Ready(output) => output,
            Poll::Pending => {
                acquired.iter_mut().for_each(Lease::start_renewal);
                output.await
            }
        };
        output.map(ValueSource::Loader)
    }

    /// Stores the value of a loader and ends the lease. If there is nothing to keep, ends the key's
    /// older value. If the loader failed, returns the fallback if that may be served.
    pub(super) async fn finish(
        &self,
        request: &LoadRequest<V>,
        lease: Option<Lease>,
        output: Result<LoaderOutput<Option<V>>, LoadError>,
    ) -> LoadOutcome<V> {
        let LoaderOutput { value, delta } = match output {
            Ok(output) => output,
            Err(error) => {
                // Closing a cache says nothing about the source.
                let outcome = if error.kind() == LoadErrorKind::Closed {
                    Outcome::Abandoned
                } else {
                    self.note_failure(&request.key, &error);
                    Outcome::Failed
                };
                release(lease, outcome).await;
                return self.fallback(request).map(Some).ok_or(error);
            }
        };
        self.failures.note_success(&request.key);
        let start = request.start;
        // A source that lags may have answered with the state of that long ago.
        let loaded_at = match self.options.source_lag {
            Duration::ZERO => start.position,
            lag => self.core.journal.position_at(start.at.checked_sub(lag)),
        };
        let Some(value) = value.or_else(|| self.negative.as_ref().map(|negative| (negative.none)())) else {
            let is_valid = self.core.journal.verdict(&request.scopes, loaded_at) == Verdict::Valid;
            if let Some(write) = self.tier_write(request, lease, is_valid).await {
                self.end(&request.key, loaded_at, write).await;
            }
            return Ok(None);
        };
        let is_built_on_stale = request.context.is_built_on_stale();
        let meta = self.meta(&value, &request.context, loaded_at, delta);
        let entry = self.entry(&request.key, Arc::new(value), meta);
        let is_valid = entry.verdict(&self.core.journal) == Verdict::Valid;
        // A value built on a stale one is no reason to end the older one, which is no staler.
        if let Some(write) = self.tier_write(request, lease, is_valid && !is_built_on_stale).await {
            self.store(&request.key, &entry, write).await;
        }
        let is_stale = !is_valid && !self.options.source_lag.is_zero();
        let freshness = if is_stale { Freshness::Stale(StaleReason::SourceLag) } else { Freshness::Fresh };
        let (started_at, valid_at) = (start.at, start.position);
        Ok(Some(LoadedValue { entry, started_at, valid_at, layer: Layer::Loader, freshness }))
    }

    /// Begins the write that ends a load. Releases the lease instead if the load's answer no longer
    /// counts: a record covers it, or a newer value has been written meanwhile.
    async fn tier_write(
        &self,
        request: &LoadRequest<V>,
        lease: Option<Lease>,
        counts: bool,
    ) -> Option<TierWrite> {
        let Some(in_flight) = counts.then(|| request.in_flight.write()).flatten() else {
            release(lease, Outcome::NotShared).await;
            return None;
        };
        Some(TierWrite { in_flight, lease, began_at: request.start.at })
    }

    /// Returns the outcome of a load whose value another load has stored, in this process or in
    /// another one.
    pub(super) fn found_in_store(&self, request: &LoadRequest<V>, entry: Arc<Entry<V>>) -> LoadedValue<V> {
        let (started_at, valid_at) = (request.start.at, entry.loaded_at);
        let layer = if self.shared_form.is_some() { Layer::Redis } else { Layer::Memory };
        LoadedValue { entry, started_at, valid_at, layer, freshness: Freshness::Fresh }
    }

    /// Returns the entry to serve in place of a load that failed.
    fn fallback(&self, request: &LoadRequest<V>) -> Option<LoadedValue<V>> {
        let entry = request.fallback.clone().filter(|entry| self.may_serve_on_error(entry))?;
        let (started_at, valid_at) = (request.start.at, entry.loaded_at);
        let freshness = Freshness::Stale(StaleReason::LoadFailed);
        Some(LoadedValue { entry, started_at, valid_at, layer: Layer::Loader, freshness })
    }
}

async fn release(lease: Option<Lease>, outcome: Outcome) {
    if let Some(lease) = lease {
        lease.release(outcome).await;
    }
}
