//! The read path: memory → Redis → loader.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use shared_keys::{Key, Verdict};

use super::{Inner, KEY_BUFFER, Namespace};
use crate::bubble;
use crate::codec;
use crate::entry::{Entry, Standing};
use crate::error::{BoxError, LoadError};
use crate::hit::{Freshness, Hit, Layer, StaleReason};
use crate::load::{BoxLoader, Load, boxed};
use crate::store::Stored;

/// What the tiers have for a read.
pub(super) enum Found<V> {
    /// Serve it.
    Fresh(Arc<Entry<V>>, Layer),
    /// Serve it and refresh it in the background.
    Revalidate(Arc<Entry<V>>, Layer),
    /// Nothing that can be served, though perhaps an entry in case the load fails.
    Nothing(Option<Arc<Entry<V>>>),
}

impl<K: Key, V: Serialize + DeserializeOwned + Send + Sync + 'static> Namespace<K, V> {
    /// The value of a key, from the first layer that has one which may be served, else from `loader`.
    ///
    /// At most one loader runs per key in this process, and in the whole fleet while Redis can be reached; callers in other
    /// processes wait for it. It runs in a task of its own: dropping the returned future cancels nothing that others wait for.
    /// A stale value is served at once while a refresh runs, if the lifetime allows it.
    ///
    /// # Errors
    /// If the loader fails, panics or takes too long, and nothing may be served stale.
    pub async fn get_or_load<F, L, E>(&self, key: &K, loader: F) -> Result<Hit<V>, LoadError>
    where
        F: FnOnce(Load) -> L + Send + 'static,
        L: Future<Output = Result<V, E>> + Send + 'static,
        E: Into<BoxError> + 'static,
    {
        if self.inner.core.bypass {
            return self.load_past_the_cache(key, boxed(loader)).await;
        }
        let now = self.inner.core.clock.now();
        match self.find(key, now).await {
            Found::Fresh(entry, layer) => Ok(self.inner.serve(&entry, layer, Freshness::Fresh, now)),
            Found::Revalidate(entry, layer) => {
                self.refresh(key, boxed(loader));
                Ok(self.inner.serve(&entry, layer, Freshness::Stale(StaleReason::Revalidating), now))
            }
            Found::Nothing(fallback) => self.load(key, boxed(loader), fallback).await,
        }
    }

    /// The value of a key if a layer has one which may be served. Loads nothing, and refreshes nothing.
    pub async fn get(&self, key: &K) -> Option<Hit<V>> {
        if self.inner.core.bypass {
            return None;
        }
        let now = self.inner.core.clock.now();
        match self.find(key, now).await {
            Found::Fresh(entry, layer) => Some(self.inner.serve(&entry, layer, Freshness::Fresh, now)),
            Found::Revalidate(entry, layer) => {
                Some(self.inner.serve(&entry, layer, Freshness::Stale(StaleReason::Revalidating), now))
            }
            Found::Nothing(_) => None,
        }
    }

    async fn find(&self, key: &K, now: Duration) -> Found<V> {
        match self.in_memory(key, now) {
            Found::Nothing(held) => self.find_further_in(key, held).await,
            found => found,
        }
    }

    /// What memory has. It takes one shard's lock and allocates nothing.
    fn in_memory(&self, key: &K, now: Duration) -> Found<V> {
        let held = KEY_BUFFER.with_borrow_mut(|text| {
            text.clear();
            key.render(text).ok()?;
            self.inner.core.memory.get(text)
        });
        // What it knows may be out of date then: it catches up first.
        if self.inner.core.journal.is_suspect(now) {
            Found::Nothing(held)
        } else {
            self.inner.judge(held, Layer::Memory, now)
        }
    }

    /// What there is besides a fresh copy in memory.
    async fn find_further_in(&self, key: &K, held: Option<Arc<Entry<V>>>) -> Found<V> {
        let core = &self.inner.core;
        let mut held = held;
        if core.journal.is_suspect(core.clock.now()) {
            if !core.journal.ensure_current().await {
                // Nothing counts as fresh, then; only a failing load is worse.
                return Found::Nothing(held.filter(|entry| self.inner.may_serve_on_error(entry)));
            }
            held = match self.inner.judge(held, Layer::Memory, core.clock.now()) {
                Found::Nothing(held) => held,
                found => return found,
            };
        }
        let text = key.to_text();
        let fallback = held.filter(|entry| {
            let may_serve = self.inner.may_serve_on_error(entry);
            if !may_serve {
                core.memory.remove_entry(&text, entry);
            }
            may_serve
        });
        let lookup = self.inner.lookups.join_or_start(
            &text,
            |()| true,
            (),
            || {
                let (inner, text) = (Arc::clone(&self.inner), text.clone());
                async move { inner.look_up(&text).await }
            },
        );
        match self.inner.judge(lookup.landed.await.flatten(), Layer::Redis, core.clock.now()) {
            Found::Nothing(in_redis) => {
                Found::Nothing(in_redis.or(fallback).filter(|entry| self.inner.may_serve_on_error(entry)))
            }
            found => found,
        }
    }

    async fn load_past_the_cache(&self, key: &K, loader: BoxLoader<V>) -> Result<Hit<V>, LoadError> {
        bubble::note_uncached();
        let load = self.inner.call_loader(loader, self.load_handle(key));
        let (value, _) = self.inner.within_hard_timeout(load).await?;
        Ok(Hit { value: Arc::new(value), layer: Layer::Loader, age: Duration::ZERO, freshness: Freshness::Fresh })
    }
}

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Inner<V> {
    pub(super) fn judge(&self, entry: Option<Arc<Entry<V>>>, layer: Layer, now: Duration) -> Found<V> {
        let Some(entry) = entry else { return Found::Nothing(None) };
        match entry.standing(&self.core.journal, now) {
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

    pub(super) fn may_serve_on_error(&self, entry: &Entry<V>) -> bool {
        let now = self.core.clock.now();
        let in_window = !entry.meta.lifetime.remaining(entry.age(now)).sie_for().is_zero();
        in_window && entry.verdict(&self.core.journal) != Verdict::Removed
    }

    /// The entry in the shared tier, now also in memory.
    async fn look_up(&self, key: &str) -> Option<Arc<Entry<V>>> {
        let stored = self.core.store.get(key).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "the shared tier could not be read");
            self.core.metrics.store_errors.add(1);
            None
        })?;
        let Some(entry) = self.decoded(key, &stored) else {
            self.core.metrics.undecodable.add(1);
            return None;
        };
        // It may be covered already; memory checks it at every read like everything else.
        self.core.memory.put(key, Arc::clone(&entry), stored.bytes.len());
        Some(entry)
    }

    /// What is stored, as an entry; `None` if it is not readable as one.
    pub(super) fn decoded(&self, key: &str, stored: &Stored) -> Option<Arc<Entry<V>>> {
        let (meta, value) = codec::decode::<V>(&stored.bytes)?;
        // The age is what its time to live has lost: no clock of another process is asked.
        let age = meta.lifetime.total().saturating_sub(stored.ttl_left);
        Some(Arc::new(Entry::new(key, Arc::new(value), meta, self.core.clock.now(), age)))
    }

    /// The answer to a caller, counted, and noted for the response that it is read for.
    pub(super) fn serve(&self, entry: &Arc<Entry<V>>, layer: Layer, freshness: Freshness, now: Duration) -> Hit<V> {
        let metrics = &self.core.metrics;
        match layer {
            Layer::Memory => metrics.memory_hits.add(1),
            Layer::Redis => metrics.redis_hits.add(1),
            Layer::Loader => {}
        }
        if freshness != Freshness::Fresh {
            metrics.stale_hits.add(1);
        }
        bubble::note_read(entry, layer, freshness, now, self.options.private);
        Hit { value: Arc::clone(&entry.value), layer, age: entry.age(now), freshness }
    }
}
