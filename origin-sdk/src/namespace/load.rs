//! Loads: a caller takes a seat in the key's flight, and the flight waits for its turn in the fleet, runs the loader, and
//! keeps what came of it.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use shared_keys::{Key, Position, ScopeHash, Verdict};

use super::read::Found;
use super::{Inner, Namespace};
use crate::bubble::Gathering;
use crate::entry::Entry;
use crate::error::LoadError;
use crate::hit::{Freshness, Hit, Layer, StaleReason};
use crate::load::{BoxLoader, Load};
use crate::stampede::{self, Seat, Turn};
use crate::store::{Outcome, Stored};
use crate::task::AbortOnDrop;

/// When a load began, and the state of the journal then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    at: Duration,
    changes: u64,
    position: Position,
}

/// What a load brings.
pub(super) struct Loaded<V> {
    entry: Arc<Entry<V>>,
    begun: Begun,
    /// Where it came from: another process can have been faster.
    layer: Layer,
    freshness: Freshness,
}

impl<V> Clone for Loaded<V> {
    fn clone(&self) -> Self {
        Self { entry: Arc::clone(&self.entry), ..*self }
    }
}

/// What a flight needs.
struct Flight<V> {
    key: String,
    begun: Begun,
    load: Load,
    loader: BoxLoader<V>,
    /// What to serve if the loader fails.
    fallback: Option<Arc<Entry<V>>>,
}

/// How a flight got a value.
enum Source<V> {
    Elsewhere(Arc<Entry<V>>),
    /// The value, and how long the loader took.
    Loader(V, Duration),
}

impl<K: Key, V: Serialize + DeserializeOwned + Send + Sync + 'static> Namespace<K, V> {
    /// Loads a key, together with whoever wants it too. After the soft timeout the caller gets what is stale, if it may.
    pub(super) async fn load(
        &self,
        key: &K,
        loader: BoxLoader<V>,
        fallback: Option<Arc<Entry<V>>>,
    ) -> Result<Hit<V>, LoadError> {
        let (inner, stale) = (&self.inner, fallback.clone());
        let load = self.land(key, loader, fallback);
        let (Some(soft), Some(stale)) = (inner.options.soft_timeout, stale) else { return load.await };
        tokio::pin!(load);
        match tokio::time::timeout(soft, &mut load).await {
            Err(_) if inner.may_serve_on_error(&stale) => {
                inner.core.metrics.soft_timeouts.add(1);
                let freshness = Freshness::Stale(StaleReason::SoftTimeout);
                Ok(inner.serve(&stale, Layer::Memory, freshness, inner.core.clock.now()))
            }
            Err(_) => load.await,
            Ok(result) => result,
        }
    }

    async fn land(&self, key: &K, loader: BoxLoader<V>, fallback: Option<Arc<Entry<V>>>) -> Result<Hit<V>, LoadError> {
        let asked = self.inner.begin();
        let mut loader = Some(loader);
        loop {
            let seat = self.take_seat(key, &mut loader, fallback.clone());
            if !seat.leads {
                self.inner.core.metrics.coalesced.add(1);
            }
            let loaded = seat.landed.await.unwrap_or_else(|| Err(LoadError::panicked()))?;
            // A flight that this caller joined can have begun before an invalidation that the caller came after: one that
            // only the value's tags tell of, or that this process had not heard of then. Whoever led the flight gets its
            // value in any case: its read began before.
            let outdated =
                loaded.begun.at <= asked.at && loaded.entry.verdict(&self.inner.core.journal) != Verdict::Valid;
            if seat.leads || !outdated {
                let now = self.inner.core.clock.now();
                return Ok(self.inner.serve(&loaded.entry, loaded.layer, loaded.freshness, now));
            }
        }
    }

    /// Starts a refresh in the background, unless a load runs already.
    pub(super) fn refresh(&self, key: &K, loader: BoxLoader<V>) {
        if self.take_seat(key, &mut Some(loader), None).leads {
            self.inner.core.metrics.refreshes.add(1);
        }
    }

    fn take_seat(
        &self,
        key: &K,
        loader: &mut Option<BoxLoader<V>>,
        fallback: Option<Arc<Entry<V>>>,
    ) -> Seat<Result<Loaded<V>, LoadError>> {
        let text = key.to_text();
        let now = self.inner.begin();
        let scopes = ScopeHash::of_key(&text);
        let journal = &self.inner.core.journal;
        // After an invalidation a new caller never joins a flight that began before it. Cut off from the journal, nobody
        // can know, so a flight may be no older than the lag that is allowed.
        let may_join = |begun: &Begun| {
            let nothing_since =
                begun.changes == now.changes || journal.verdict(&scopes, begun.position) == Verdict::Valid;
            nothing_since && (!journal.is_suspect(now.at) || now.at.saturating_sub(begun.at) <= journal.max_lag())
        };
        let (inner, load, owned_text) = (Arc::clone(&self.inner), self.load_handle(key), text.clone());
        self.inner.loads.join_or_start(&text, may_join, now, || {
            let loader = loader.take();
            async move {
                // A caller leads at most once: only then is its loader taken.
                let Some(loader) = loader else { return Err(LoadError::panicked()) };
                inner.fly(Flight { key: owned_text, begun: now, load, loader, fallback }).await
            }
        })
    }
}

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Inner<V> {
    fn begin(&self) -> Begun {
        let journal = &self.core.journal;
        Begun { at: self.core.clock.now(), changes: journal.changes(), position: journal.position() }
    }

    async fn fly(&self, flight: Flight<V>) -> Result<Loaded<V>, LoadError> {
        let Flight { key, begun, load, loader, fallback } = flight;
        let mut lease = None;
        let result = self.within_hard_timeout(async {
            match self.take_turn(&key, begun).await {
                Turn::Found(entry) => return Ok(Source::Elsewhere(entry)),
                Turn::Lead(taken) => lease = Some(taken),
                Turn::Alone => {}
            }
            let (value, delta) = self.call_loader(loader, load.clone()).await?;
            Ok(Source::Loader(value, delta))
        });
        let (value, delta) = match result.await {
            Ok(Source::Elsewhere(entry)) => {
                return Ok(Loaded { entry, begun, layer: Layer::Redis, freshness: Freshness::Fresh });
            }
            Ok(Source::Loader(value, delta)) => (Arc::new(value), delta),
            Err(error) => {
                if let Some(lease) = lease {
                    lease.release(Outcome::Failed).await;
                }
                let freshness = Freshness::Stale(StaleReason::LoadFailed);
                return fallback
                    .filter(|entry| self.may_serve_on_error(entry))
                    .map(|entry| Loaded { entry, begun, layer: Layer::Loader, freshness })
                    .ok_or(error);
            }
        };
        let entry = self.entry(&key, value, self.meta(&load, begun.position, delta));
        // Storing what is covered already would only cost the next reader a look.
        if entry.verdict(&self.core.journal) == Verdict::Valid {
            self.keep(&key, &entry, lease).await;
        } else if let Some(lease) = lease {
            lease.release(Outcome::NotShared).await;
        }
        Ok(Loaded { entry, begun, layer: Layer::Loader, freshness: Freshness::Fresh })
    }

    /// The turn to load a key. A shared tier that fails costs a load, not an answer.
    async fn take_turn(&self, key: &str, begun: Begun) -> Turn<Arc<Entry<V>>> {
        // Cut off from the journal it could not tell which loads are worth waiting for.
        if self.core.journal.is_suspect(begun.at) {
            return Turn::Alone;
        }
        let core = &self.core;
        let accept = |stored: &Stored| self.fresh_entry(key, stored);
        let on_wait = || core.metrics.lease_waits.add(1);
        let turn =
            stampede::take_turn(&core.store, &core.journal, key, begun.position, core.lease_ttl, accept, on_wait);
        turn.await.unwrap_or_else(|error| {
            tracing::debug!(%error, key, "no lease could be taken: loading without one");
            core.metrics.store_errors.add(1);
            Turn::Alone
        })
    }

    /// The entry that another process has stored, if it is fresh; now also in memory.
    fn fresh_entry(&self, key: &str, stored: &Stored) -> Option<Arc<Entry<V>>> {
        let entry = self.decoded(key, stored)?;
        let Found::Fresh(entry, _) = self.judge(Some(entry), Layer::Redis, self.core.clock.now()) else { return None };
        self.core.memory.put(key, Arc::clone(&entry), stored.bytes.len());
        Some(entry)
    }

    pub(super) async fn within_hard_timeout<T>(
        &self,
        load: impl Future<Output = Result<T, LoadError>>,
    ) -> Result<T, LoadError> {
        let timeout = self.options.hard_timeout;
        tokio::time::timeout(timeout, load).await.unwrap_or_else(|_| {
            self.core.metrics.load_errors.add(1);
            Err(LoadError::timed_out(timeout))
        })
    }

    /// Calls the loader once there is a place for it, and counts it. Also tells how long the loader took.
    pub(super) async fn call_loader(&self, loader: BoxLoader<V>, load: Load) -> Result<(V, Duration), LoadError> {
        // The semaphore is never closed.
        let _permit = self.loaders.acquire().await;
        let (clock, metrics) = (&self.core.clock, &self.core.metrics);
        let began = clock.now();
        match call(loader, load).await {
            Ok(value) => {
                metrics.loads.add(1);
                Ok((value, clock.now().saturating_sub(began)))
            }
            Err(error) => {
                metrics.load_errors.add(1);
                Err(error)
            }
        }
    }
}

/// Runs a loader or writer in a task of its own, so that its panic is an error and nothing else. What it reads through the
/// cache is its own affair, not that of the request that started it; only that something was stale is passed on. Dropping
/// the future aborts the task.
pub(super) async fn call<V: Send + 'static>(loader: BoxLoader<V>, load: Load) -> Result<V, LoadError> {
    let mut task = AbortOnDrop(tokio::spawn(async move {
        let gathering = Gathering::default();
        let result = gathering.scope(loader(load.clone())).await;
        if gathering.take().ttl_secs < 0 {
            load.built_on_stale();
        }
        result
    }));
    (&mut task.0).await.unwrap_or_else(|_| Err(LoadError::panicked()))
}
