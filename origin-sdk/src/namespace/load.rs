//! BatchContext: a caller takes a seat in the key's flight, and the flight waits for its turn in the fleet, runs the loader, and
//! keeps what came of it.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use shared_keys::{Key, Position, ScopeHash, Verdict};

use super::read::Lookup;
use super::{Inner, Namespace};
use crate::cached::{Cached, Freshness, Layer, StaleReason};
use crate::entry::{self, Entry};
use crate::error::{LoadError, StoreError};
use crate::loader::{BoxLoader, LoadContext};
use crate::request_scope::RequestScope;
use crate::stampede::{JoinOutcome, Lease, LeaseOutcome, LeaseRequest, Waiter};
use crate::store::{Outcome, Stored};
use crate::task::AbortOnDrop;

/// When a load began, and the state of the journal then.
#[derive(Debug, Clone, Copy)]
pub(super) struct LoadStart {
    pub(super) at: Duration,
    changes: u64,
    pub(super) position: Position,
}

/// What a flight brings: `None` if a batch's loader has no value for the key.
pub(super) type LoadOutcome<V> = Result<Option<Loaded<V>>, LoadError>;

/// A value, and how a flight came by it.
pub(super) struct Loaded<V> {
    pub(super) entry: Arc<Entry<V>>,
    /// When its load began, and the position up to which it is known to be good.
    began: Duration,
    good_at: Position,
    /// Where it came from: another process can have been faster.
    layer: Layer,
    freshness: Freshness,
}

impl<V> Clone for Loaded<V> {
    fn clone(&self) -> Self {
        Self { entry: Arc::clone(&self.entry), ..*self }
    }
}

/// What a flight is about.
pub(super) struct Flight<V> {
    pub(super) key: Box<str>,
    /// The scopes that are known before the value is: of the key, and of the tags that follow from it.
    pub(super) scopes: Vec<ScopeHash>,
    pub(super) begun: LoadStart,
    pub(super) load: LoadContext,
    /// What to serve if the loader fails.
    pub(super) fallback: Option<Arc<Entry<V>>>,
    /// By which draw the value was found due for a refresh, so that the same value is not taken for a new one. 1 if none was:
    /// by that, nothing is due before it expires.
    pub(super) rand: f64,
}

/// What a loader has made.
pub(super) struct LoaderOutput<T> {
    pub(super) value: T,
    pub(super) began: LoadStart,
    pub(super) delta: Duration,
}

/// How a flight got a value.
enum Source<V> {
    Elsewhere(Arc<Entry<V>>),
    Loader(LoaderOutput<Option<V>>),
}

impl<K: Key, V: Serialize + DeserializeOwned + Send + Sync + 'static> Namespace<K, V> {
    /// Waits for a load of the key, the one that `seat` is in or a later one. After the soft timeout the caller gets what is
    /// stale, if it may.
    pub(super) async fn wait_for(
        &self,
        key: &K,
        seat: Waiter<LoadOutcome<V>>,
        loader: Option<BoxLoader<Option<V>>>,
        fallback: Option<Arc<Entry<V>>>,
        takes_none: bool,
    ) -> Result<Option<Cached<V>>, LoadError> {
        let (inner, stale) = (&self.inner, fallback.clone());
        let load = self.land(key, seat, loader, fallback, takes_none);
        let (Some(soft), Some(stale)) = (inner.options.soft_timeout, stale) else { return load.await };
        tokio::pin!(load);
        match tokio::time::timeout(soft, &mut load).await {
            Err(_) if inner.may_serve_on_error(&stale) => {
                inner.metrics.soft_timeouts.add(1);
                let freshness = Freshness::Stale(StaleReason::SoftTimeout);
                Ok(Some(inner.serve(&stale, Layer::Memory, freshness, inner.core.clock.now())))
            }
            Err(_) => load.await,
            Ok(result) => result,
        }
    }

    async fn land(
        &self,
        key: &K,
        mut seat: Waiter<LoadOutcome<V>>,
        mut loader: Option<BoxLoader<Option<V>>>,
        fallback: Option<Arc<Entry<V>>>,
        takes_none: bool,
    ) -> Result<Option<Cached<V>>, LoadError> {
        let core = &self.inner.core;
        let asked_at = core.clock.now();
        loop {
            if !seat.is_leader {
                self.inner.metrics.coalesced.add(1);
            }
            match seat.outcome.await.unwrap_or_else(|| Err(LoadError::panicked()))? {
                // A flight that this caller joined can have begun before an invalidation that the caller came after: one of a tag
                // that the loader gave, or that this process had not heard of then. Whoever led the flight gets its
                // value in any case: its read began before.
                Some(loaded) if seat.is_leader || loaded.began > asked_at || loaded.is_still_good(core) => {
                    let now = core.clock.now();
                    return Ok(Some(self.inner.serve(&loaded.entry, loaded.layer, loaded.freshness, now)));
                }
                None if seat.is_leader || takes_none => return Ok(None),
                _ => seat = self.take_seat(key, &mut loader, fallback.clone(), 1.0),
            }
        }
    }

    /// Starts a refresh in the background, unless a load runs already.
    pub(super) fn refresh(&self, key: &K, loader: BoxLoader<Option<V>>, rand: f64) {
        if self.take_seat(key, &mut Some(loader), None, rand).is_leader {
            self.inner.metrics.refreshes.add(1);
        }
    }

    /// A seat in the key's flight, which is started with the loader if there is none that may be joined.
    pub(super) fn take_seat(
        &self,
        key: &K,
        loader: &mut Option<BoxLoader<Option<V>>>,
        fallback: Option<Arc<Entry<V>>>,
        rand: f64,
    ) -> Waiter<LoadOutcome<V>> {
        let (text, load, begun) = (key.to_text(), self.load_handle(key), self.inner.begin());
        let scopes = entry::scopes(&text, &load.tags());
        let (seat, takeoff) = self.inner.place(&text, &scopes, begun);
        if let Some(takeoff) = takeoff {
            let flight = Flight { key: text.into(), scopes, begun, load, fallback, rand };
            let (inner, loader) = (Arc::clone(&self.inner), loader.take());
            tokio::spawn(async move {
                let landed = match loader {
                    Some(loader) => inner.fly(&flight, loader).await,
                    // A caller leads at most once: only then is its loader taken.
                    None => Err(LoadError::panicked()),
                };
                takeoff.complete(landed);
            });
        }
        seat
    }
}

impl<V> Loaded<V> {
    /// Whether no record that has come since covers it.
    fn is_still_good(&self, core: &crate::core::Core) -> bool {
        self.entry.verdict_since(&core.journal, self.good_at) == Verdict::Valid
    }
}

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Inner<V> {
    pub(super) fn begin(&self) -> LoadStart {
        let journal = &self.core.journal;
        LoadStart { at: self.core.clock.now(), changes: journal.changes(), position: journal.position() }
    }

    /// A place in the key's flight. After an invalidation a new caller never joins a flight that began before it. Cut off from
    /// the journal, nobody can know, so a flight may be no older than the lag that is allowed.
    pub(super) fn place(
        &self,
        key: &str,
        scopes: &[ScopeHash],
        now: LoadStart,
    ) -> JoinOutcome<LoadOutcome<V>, LoadStart> {
        let journal = &self.core.journal;
        let may_join = |begun: &LoadStart| {
            let nothing_since =
                begun.changes == now.changes || journal.verdict(scopes, begun.position) == Verdict::Valid;
            nothing_since && (!journal.is_lagging(now.at) || now.at.saturating_sub(begun.at) <= journal.max_lag())
        };
        self.loads.join_or_lead(key, may_join, now)
    }

    async fn fly(&self, flight: &Flight<V>, loader: BoxLoader<Option<V>>) -> LoadOutcome<V> {
        self.fly_when(self.turn(flight), flight, loader).await
    }

    /// A whole flight: waits for the turn, runs the loader, and keeps what came of it.
    pub(super) async fn fly_when(
        &self,
        turn: impl Future<Output = LeaseOutcome<Arc<Entry<V>>>>,
        flight: &Flight<V>,
        loader: BoxLoader<Option<V>>,
    ) -> LoadOutcome<V> {
        let mut lease = None;
        let source = self.within_hard_timeout(async {
            match turn.await {
                LeaseOutcome::Found(entry) => return Ok(Source::Elsewhere(entry)),
                LeaseOutcome::Acquired(taken) => lease = Some(taken),
                // There is no waiting left to do.
                LeaseOutcome::Unavailable | LeaseOutcome::Held(_) => {}
            }
            self.call_loader(loader, flight.load.clone()).await.map(Source::Loader)
        });
        match source.await {
            Ok(Source::Elsewhere(entry)) => Ok(Some(self.found_elsewhere(flight, entry))),
            Ok(Source::Loader(made)) => self.finish(flight, lease, Ok(made)).await,
            Err(error) => self.finish(flight, lease, Err(error)).await,
        }
    }

    /// Keeps what a loader has made, or finds a stand-in for what it has not.
    pub(super) async fn finish(
        &self,
        flight: &Flight<V>,
        lease: Option<Lease>,
        made: Result<LoaderOutput<Option<V>>, LoadError>,
    ) -> LoadOutcome<V> {
        let LoaderOutput { value, began, delta } = match made {
            Ok(made) => made,
            Err(error) => {
                release(lease, Outcome::Failed).await;
                return self.stand_in(flight).map(Some).ok_or(error);
            }
        };
        let Some(value) = value.or_else(|| self.negative.as_ref().map(|negative| (negative.none)())) else {
            release(lease, Outcome::NotShared).await;
            return Ok(None);
        };
        // What a source says that lags is as old as its lag.
        let loaded_at = match self.options.source_lag {
            Duration::ZERO => began.position,
            lag => self.core.journal.position_at(began.at.checked_sub(lag)),
        };
        let meta = self.meta(&value, &flight.load, loaded_at, delta);
        let entry = self.entry(&flight.key, Arc::new(value), meta);
        let freshness = if entry.verdict(&self.core.journal) == Verdict::Valid {
            self.keep(&flight.key, &entry, lease).await;
            Freshness::Fresh
        } else {
            // Storing what is covered already would only cost the next reader a look.
            release(lease, Outcome::NotShared).await;
            let lags = !self.options.source_lag.is_zero();
            if lags { Freshness::Stale(StaleReason::SourceLag) } else { Freshness::Fresh }
        };
        Ok(Some(Loaded { entry, began: began.at, good_at: began.position, layer: Layer::Loader, freshness }))
    }

    /// What another process has loaded.
    pub(super) fn found_elsewhere(&self, flight: &Flight<V>, entry: Arc<Entry<V>>) -> Loaded<V> {
        let (began, good_at) = (flight.begun.at, entry.meta.loaded_at);
        Loaded { entry, began, good_at, layer: Layer::Redis, freshness: Freshness::Fresh }
    }

    /// What is served although the load has failed.
    fn stand_in(&self, flight: &Flight<V>) -> Option<Loaded<V>> {
        let entry = flight.fallback.clone().filter(|entry| self.may_serve_on_error(entry))?;
        let (began, good_at) = (flight.begun.at, entry.meta.loaded_at);
        let freshness = Freshness::Stale(StaleReason::LoadFailed);
        Some(Loaded { entry, began, good_at, layer: Layer::Loader, freshness })
    }

    /// The turn to load the flight's key, once it comes. A shared tier that fails costs a load, not an answer.
    async fn turn(&self, flight: &Flight<V>) -> LeaseOutcome<Arc<Entry<V>>> {
        let mut applicant = self.applicant(flight);
        match self.ask(&applicant, flight).await {
            LeaseOutcome::Held(left) => self.wait_for_turn(&mut applicant, flight, left).await,
            turn => turn,
        }
    }

    pub(super) fn applicant(&self, flight: &Flight<V>) -> LeaseRequest {
        let core = &self.core;
        LeaseRequest::new(&core.store, &core.journal, &flight.key, &flight.scopes, core.lease_ttl)
    }

    pub(super) async fn ask(&self, applicant: &LeaseRequest, flight: &Flight<V>) -> LeaseOutcome<Arc<Entry<V>>> {
        // Cut off from the journal it could not tell which loads are worth waiting for.
        if self.core.journal.is_lagging(flight.begun.at) {
            return LeaseOutcome::Unavailable;
        }
        let accept = |stored: &Stored| self.fresh_entry(flight, stored);
        applicant.acquire(accept).await.unwrap_or_else(|error| self.no_lease(&flight.key, &error))
    }

    /// Waits for the turn after having been told to, for half of the hard timeout at most: that another process hangs must not
    /// keep this one from loading.
    pub(super) async fn wait_for_turn(
        &self,
        applicant: &mut LeaseRequest,
        flight: &Flight<V>,
        left: Duration,
    ) -> LeaseOutcome<Arc<Entry<V>>> {
        self.metrics.lease_waits.add(1);
        let turn = self.next_turn(applicant, flight, left);
        tokio::time::timeout(self.options.hard_timeout / 2, turn).await.unwrap_or(LeaseOutcome::Unavailable)
    }

    async fn next_turn(
        &self,
        applicant: &mut LeaseRequest,
        flight: &Flight<V>,
        mut left: Duration,
    ) -> LeaseOutcome<Arc<Entry<V>>> {
        loop {
            match applicant.wait(left).await {
                Ok(Outcome::NotShared) => return LeaseOutcome::Unavailable,
                Ok(_) => {}
                Err(error) => return self.no_lease(&flight.key, &error),
            }
            match self.ask(applicant, flight).await {
                LeaseOutcome::Held(longer) => left = longer,
                turn => return turn,
            }
        }
    }

    fn no_lease<T>(&self, key: &str, error: &StoreError) -> LeaseOutcome<T> {
        tracing::debug!(%error, key, "no lease could be taken: loading without one");
        self.metrics.store_errors.add(1);
        LeaseOutcome::Unavailable
    }

    /// The entry that another process has stored, if it is fresh and not due for the refresh that the flight is for; now also in
    /// memory.
    fn fresh_entry(&self, flight: &Flight<V>, stored: &Stored) -> Option<Arc<Entry<V>>> {
        let entry = self.decoded(&flight.key, stored)?;
        match self.judge(Some(entry), Layer::Redis, self.core.clock.now(), || flight.rand) {
            Lookup::Hit(found) if found.refresh.is_none() => {
                self.core.memory.put(&flight.key, Arc::clone(&found.entry), stored.bytes.len());
                Some(found.entry)
            }
            _ => None,
        }
    }

    pub(super) async fn within_hard_timeout<T>(
        &self,
        load: impl Future<Output = Result<T, LoadError>>,
    ) -> Result<T, LoadError> {
        let timeout = self.options.hard_timeout;
        tokio::time::timeout(timeout, load).await.unwrap_or_else(|_| {
            self.metrics.load_errors.add(1);
            Err(LoadError::timed_out(timeout))
        })
    }

    /// Calls a loader, of one value or of many, once there is a place for it, and counts it.
    pub(super) async fn call_loader<T: Send + 'static>(
        &self,
        loader: BoxLoader<T>,
        load: LoadContext,
    ) -> Result<LoaderOutput<T>, LoadError> {
        // The semaphore is never closed.
        let _permit = self.loaders.acquire().await;
        let began = self.begin();
        match call(loader, load).await {
            Ok(value) => {
                self.metrics.loads.add(1);
                Ok(LoaderOutput { value, began, delta: self.core.clock.now().saturating_sub(began.at) })
            }
            Err(error) => {
                self.metrics.load_errors.add(1);
                Err(error)
            }
        }
    }
}

async fn release(lease: Option<Lease>, outcome: Outcome) {
    if let Some(lease) = lease {
        lease.release(outcome).await;
    }
}

/// Runs a loader or writer in a task of its own, so that its panic is an error and nothing else. What it reads through the
/// cache is its own affair, not that of the request that started it; only that something was stale is passed on. Dropping
/// the future aborts the task.
pub(super) async fn call<T: Send + 'static>(loader: BoxLoader<T>, load: LoadContext) -> Result<T, LoadError> {
    let mut task = AbortOnDrop(tokio::spawn(async move {
        let gathering = RequestScope::default();
        let result = gathering.scope(loader(load.clone())).await;
        if gathering.take().ttl_secs < 0 {
            load.built_on_stale();
        }
        result
    }));
    (&mut task.0).await.unwrap_or_else(|_| Err(LoadError::panicked()))
}
