//! The read path: memory → Redis → loader.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use shared_keys::{Key, Verdict};

use super::{Begun, Inner, Loaded, Namespace};
use crate::bubble::{self, Gathering};
use crate::codec;
use crate::entry::{Entry, Standing};
use crate::error::{BoxError, LoadError};
use crate::hit::{Freshness, Hit, Layer, StaleReason};
use crate::load::{BoxLoader, Load, boxed};
use crate::stampede::Seat;

/// What the tiers have for a read.
enum Found<V> {
    /// Serve it.
    Fresh(Arc<Entry<V>>, Layer),
    /// Serve it and refresh it in the background.
    Revalidate(Arc<Entry<V>>, Layer),
    /// Nothing that can be served, though perhaps an entry in case the load fails.
    Nothing(Option<Arc<Entry<V>>>),
}

/// What a load is for.
enum Purpose<V> {
    /// Callers wait for it. If the loader fails they get this, if it may still be served.
    Answer(Option<Arc<Entry<V>>>),
    /// A stale value has been served already.
    Refresh,
}

impl<K: Key, V: Serialize + DeserializeOwned + Send + Sync + 'static> Namespace<K, V> {
    /// The value of a key, from the first layer that has one which may be served, else from `loader`.
    ///
    /// At most one loader runs per key in this process. It runs in a task of its own: dropping the returned future
    /// cancels nothing that others wait for. A stale value is served at once while a refresh runs, if the lifetime allows it.
    ///
    /// # Errors
    /// If the loader fails or panics, and nothing may be served stale.
    pub async fn get_or_load<F, L, E>(&self, key: &K, loader: F) -> Result<Hit<V>, LoadError>
    where
        F: FnOnce(Load) -> L + Send + 'static,
        L: Future<Output = Result<V, E>> + Send + 'static,
        E: Into<BoxError> + 'static,
    {
        if self.inner.core.bypass {
            return self.load_past_the_cache(key, boxed(loader)).await;
        }
        let found = self.find(key).await;
        match found {
            Found::Fresh(entry, layer) => Ok(self.serve(&entry, layer, Freshness::Fresh)),
            Found::Revalidate(entry, layer) => {
                self.refresh(key, boxed(loader));
                Ok(self.serve(&entry, layer, Freshness::Stale(StaleReason::Revalidating)))
            }
            Found::Nothing(fallback) => self.load(key, boxed(loader), fallback).await,
        }
    }

    /// The value of a key if a layer has one which may be served. Loads nothing, and refreshes nothing.
    pub async fn get(&self, key: &K) -> Option<Hit<V>> {
        if self.inner.core.bypass {
            return None;
        }
        match self.find(key).await {
            Found::Fresh(entry, layer) => Some(self.serve(&entry, layer, Freshness::Fresh)),
            Found::Revalidate(entry, layer) => {
                Some(self.serve(&entry, layer, Freshness::Stale(StaleReason::Revalidating)))
            }
            Found::Nothing(_) => None,
        }
    }

    async fn find(&self, key: &K) -> Found<V> {
        let core = &self.inner.core;
        let in_memory = self.in_memory(key);
        if !core.journal.ensure_current().await {
            // What it knows may be out of date, so nothing counts as fresh; only a failing load is worse.
            return Found::Nothing(in_memory.filter(|entry| self.inner.may_serve_on_error(entry)));
        }
        let found = self.inner.judge(in_memory, Layer::Memory);
        let Found::Nothing(fallback) = found else { return found };
        let text = key.to_text();
        if let Some(entry) = &fallback
            && !self.inner.may_serve_on_error(entry)
        {
            core.memory.remove_entry(&text, entry);
        }
        let lookup = self.inner.lookups.join_or_start(
            &text,
            |()| true,
            (),
            || {
                let (inner, text) = (Arc::clone(&self.inner), text.clone());
                async move { inner.look_up(&text).await }
            },
        );
        match self.inner.judge(lookup.landed.await.flatten(), Layer::Redis) {
            Found::Nothing(in_redis) => {
                Found::Nothing(in_redis.or(fallback).filter(|entry| self.inner.may_serve_on_error(entry)))
            }
            found => found,
        }
    }

    async fn load(&self, key: &K, loader: BoxLoader<V>, fallback: Option<Arc<Entry<V>>>) -> Result<Hit<V>, LoadError> {
        let asked = self.inner.begin();
        let mut loader = Some(loader);
        loop {
            let seat = self.take_seat(key, &mut loader, Purpose::Answer(fallback.clone()));
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
                let freshness = if loaded.stale { Freshness::Stale(StaleReason::LoadFailed) } else { Freshness::Fresh };
                return Ok(self.serve(&loaded.entry, Layer::Loader, freshness));
            }
        }
    }

    /// Starts a refresh in the background, unless a load runs already.
    fn refresh(&self, key: &K, loader: BoxLoader<V>) {
        if self.take_seat(key, &mut Some(loader), Purpose::Refresh).leads {
            self.inner.core.metrics.refreshes.add(1);
        }
    }

    fn take_seat(
        &self,
        key: &K,
        loader: &mut Option<BoxLoader<V>>,
        purpose: Purpose<V>,
    ) -> Seat<Result<Loaded<V>, LoadError>> {
        let text = key.to_text();
        let now = self.inner.begin();
        let scopes = shared_keys::ScopeHash::of_key(&text);
        let journal = &self.inner.core.journal;
        // After an invalidation a new caller never joins a flight that began before it. Cut off from the journal, nobody
        // can know, so a flight may be no older than the lag that is allowed.
        let may_join = |begun: &Begun| {
            let nothing_since =
                begun.changes == now.changes || journal.verdict(&scopes, begun.position) == Verdict::Valid;
            nothing_since && (!journal.is_suspect() || now.at.saturating_sub(begun.at) <= journal.max_lag())
        };
        let (inner, load, owned_text) = (Arc::clone(&self.inner), self.load_handle(key), text.clone());
        self.inner.loads.join_or_start(&text, may_join, now, || {
            let loader = loader.take();
            async move {
                // A caller leads at most once: only then is its loader taken.
                let Some(loader) = loader else { return Err(LoadError::panicked()) };
                let fallback = match purpose {
                    Purpose::Answer(fallback) => fallback,
                    Purpose::Refresh => match inner.refreshed_elsewhere(&owned_text).await {
                        Some(entry) => return Ok(Loaded { entry, begun: now, stale: false }),
                        None => None,
                    },
                };
                inner.run_loader(&owned_text, now, load, loader, fallback).await
            }
        })
    }

    async fn load_past_the_cache(&self, key: &K, loader: BoxLoader<V>) -> Result<Hit<V>, LoadError> {
        bubble::note_uncached();
        let value = Arc::new(self.inner.call_loader(loader, self.load_handle(key)).await?);
        Ok(Hit { value, layer: Layer::Loader, age: Duration::ZERO, freshness: Freshness::Fresh })
    }

    fn serve(&self, entry: &Arc<Entry<V>>, layer: Layer, freshness: Freshness) -> Hit<V> {
        let core = &self.inner.core;
        match layer {
            Layer::Memory => core.metrics.memory_hits.add(1),
            Layer::Redis => core.metrics.redis_hits.add(1),
            Layer::Loader => {}
        }
        if freshness != Freshness::Fresh {
            core.metrics.stale_hits.add(1);
        }
        let now = core.clock.now();
        bubble::note_read(entry, layer, freshness, now, self.inner.private);
        Hit { value: Arc::clone(&entry.value), layer, age: entry.age(now), freshness }
    }
}

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Inner<V> {
    fn judge(&self, entry: Option<Arc<Entry<V>>>, layer: Layer) -> Found<V> {
        let Some(entry) = entry else { return Found::Nothing(None) };
        match entry.standing(&self.core.journal, self.core.clock.now()) {
            Standing::Fresh => Found::Fresh(entry, layer),
            Standing::Revalidate => Found::Revalidate(entry, layer),
            Standing::IfError => Found::Nothing(Some(entry)),
            Standing::Dead { by_journal } => {
                if by_journal {
                    self.core.metrics.refused_by_journal.add(1);
                }
                Found::Nothing(Some(entry))
            }
        }
    }

    fn may_serve_on_error(&self, entry: &Entry<V>) -> bool {
        let now = self.core.clock.now();
        let in_window = !entry.meta.lifetime.remaining(entry.age(now)).sie_for().is_zero();
        in_window && entry.verdict(&self.core.journal) != Verdict::Removed
    }

    /// The fresh entry that another process has put into the shared tier since this one's went stale.
    async fn refreshed_elsewhere(&self, key: &str) -> Option<Arc<Entry<V>>> {
        match self.judge(self.look_up(key).await, Layer::Redis) {
            Found::Fresh(entry, _) => Some(entry),
            Found::Revalidate(..) | Found::Nothing(_) => None,
        }
    }

    /// The entry in the shared tier, now also in memory.
    async fn look_up(&self, key: &str) -> Option<Arc<Entry<V>>> {
        let stored = self.core.store.get(key).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "the shared tier could not be read");
            self.core.metrics.store_errors.add(1);
            None
        })?;
        let Some((meta, value)) = codec::decode::<V>(&stored.bytes) else {
            self.core.metrics.undecodable.add(1);
            return None;
        };
        // The age is what its time to live has lost: no clock of another process is asked.
        let age = meta.lifetime.total().saturating_sub(stored.ttl_left);
        let entry = Arc::new(Entry::new(key, Arc::new(value), meta, self.core.clock.now(), age));
        // It may be covered already; memory checks it at every read like everything else.
        self.core.memory.put(key, Arc::clone(&entry), stored.bytes.len());
        Some(entry)
    }

    async fn run_loader(
        &self,
        key: &str,
        begun: Begun,
        load: Load,
        loader: BoxLoader<V>,
        fallback: Option<Arc<Entry<V>>>,
    ) -> Result<Loaded<V>, LoadError> {
        let value = match self.call_loader(loader, load.clone()).await {
            Ok(value) => Arc::new(value),
            Err(error) => {
                let fallback = fallback.filter(|entry| self.may_serve_on_error(entry));
                return fallback.map(|entry| Loaded { entry, begun, stale: true }).ok_or(error);
            }
        };
        let entry = self.entry(key, value, self.meta(&load, begun.position));
        // Storing what is covered already would only cost the next reader a look.
        if entry.verdict(&self.core.journal) == Verdict::Valid {
            self.keep(key, &entry).await;
        }
        Ok(Loaded { entry, begun, stale: false })
    }

    /// Calls the loader, and counts it.
    async fn call_loader(&self, loader: BoxLoader<V>, load: Load) -> Result<V, LoadError> {
        let result = call(loader, load).await;
        match &result {
            Ok(_) => self.core.metrics.loads.add(1),
            Err(_) => self.core.metrics.load_errors.add(1),
        }
        result
    }
}

/// Runs a loader or writer in a task of its own, so that its panic is an error and nothing else. What it reads through the
/// cache is its own affair, not that of the request that started it; only that something was stale is passed on.
pub(super) async fn call<V: Send + 'static>(loader: BoxLoader<V>, load: Load) -> Result<V, LoadError> {
    let task = tokio::spawn(async move {
        let gathering = Gathering::default();
        let result = gathering.scope(loader(load.clone())).await;
        if gathering.take().ttl_secs < 0 {
            load.built_on_stale();
        }
        result
    });
    task.await.unwrap_or_else(|_| Err(LoadError::panicked()))
}
