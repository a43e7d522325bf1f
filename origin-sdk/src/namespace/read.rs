//! The read path: memory → Redis → loader.

use std::convert::identity;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use shared_keys::{Key, Verdict};

use super::{Inner, KEY_BUFFER, Namespace, OnDisconnect};
use crate::cached::{Cached, Freshness, Layer, StaleReason};
use crate::codec::{self, Decoded};
use crate::entry::{Entry, EntryState};
use crate::error::{BoxError, LoadError};
use crate::loader::{BoxLoader, LoadContext, boxed};
use crate::request_scope;
use crate::stampede::xfetch;
use crate::store::Stored;

/// What the tiers have for a read.
pub(super) enum Lookup<V> {
    Hit(Servable<V>),
    /// Nothing that can be served, though perhaps an entry in case the load fails.
    Miss(Option<Arc<Entry<V>>>),
}

/// An entry that may be served.
pub(super) struct Servable<V> {
    pub(super) entry: Arc<Entry<V>>,
    pub(super) layer: Layer,
    pub(super) freshness: Freshness,
    /// Whether it is to be refreshed in the background, and by which draw it was found due; 1 if by none.
    pub(super) refresh: Option<f64>,
}

impl<K: Key, V: Serialize + DeserializeOwned + Send + Sync + 'static> Namespace<K, V> {
    /// The value of a key, from the first layer that has one which may be served, else from `loader`.
    ///
    /// At most one loader runs per key in this process, and in the whole fleet while Redis can be reached; callers in other
    /// processes wait for it. It runs in a task of its own: dropping the returned future cancels nothing that others wait for.
    /// A stale value is served at once while a refresh runs, if the lifetime allows it.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use origin_sdk::{Cache, Freshness, Layer, Lifetime, Namespace};
    /// # origin_sdk::keys! { app "shop" version 1; pub key Product { id: u64 } = "product:{id}"; }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let cache = Cache::builder("shop").build().await.unwrap();
    /// # let names: Namespace<Product, String> = cache.namespace(Lifetime::fresh(Duration::from_secs(60))).build();
    /// let key = Product { id: 7 };
    /// let hit = names.get_or_load(&key, |_load| async { Ok::<_, std::io::Error>("Lamp".to_owned()) }).await.unwrap();
    /// match hit.freshness {
    ///     Freshness::Fresh => println!("{} from {}, {:?} old", hit.value, hit.layer.as_str(), hit.age),
    ///     Freshness::Stale(reason) => println!("{}, stale: {}", hit.value, reason.as_str()),
    /// }
    /// # assert_eq!(hit.layer, Layer::Loader);
    /// # });
    /// ```
    ///
    /// # Errors
    /// If the loader fails, panics or takes too long, and nothing may be served stale.
    pub async fn get_or_load<F, L, E>(&self, key: &K, loader: F) -> Result<Cached<V>, LoadError>
    where
        F: FnOnce(LoadContext) -> L + Send + 'static,
        L: Future<Output = Result<V, E>> + Send + 'static,
        E: Into<BoxError> + 'static,
    {
        if self.inner.core.bypass {
            return self.load_past_the_cache(key, boxed(loader, identity)).await;
        }
        let now = self.inner.core.clock.now();
        match self.find(key, now).await {
            Lookup::Hit(found) => {
                if let Some(rand) = found.refresh {
                    self.refresh(key, boxed(loader, Some), rand);
                }
                Ok(self.inner.serve(&found.entry, found.layer, found.freshness, now))
            }
            Lookup::Miss(fallback) => {
                let mut loader = Some(boxed(loader, Some));
                let seat = self.take_seat(key, &mut loader, fallback.clone(), 1.0);
                let hit = self.wait_for(key, seat, loader, fallback, false).await?;
                // A loader that is this caller's own always brings a value.
                hit.ok_or_else(LoadError::panicked)
            }
        }
    }

    /// The value of a key if a layer has one which may be served. BatchContext nothing, and refreshes nothing.
    pub async fn get(&self, key: &K) -> Option<Cached<V>> {
        if self.inner.core.bypass {
            return None;
        }
        let now = self.inner.core.clock.now();
        match self.find(key, now).await {
            Lookup::Hit(found) => Some(self.inner.serve(&found.entry, found.layer, found.freshness, now)),
            Lookup::Miss(_) => None,
        }
    }

    async fn find(&self, key: &K, now: Duration) -> Lookup<V> {
        match self.in_memory(key, now) {
            Lookup::Miss(held) => self.find_further_in(key, held).await,
            found => found,
        }
    }

    /// What memory has. It takes one shard's lock and allocates nothing.
    pub(super) fn in_memory(&self, key: &K, now: Duration) -> Lookup<V> {
        let held = KEY_BUFFER.with_borrow_mut(|text| {
            text.clear();
            key.render(text).ok()?;
            self.inner.core.memory.get(text)
        });
        // What it knows may be out of date then: it catches up first.
        if self.inner.core.journal.is_lagging(now) { Lookup::Miss(held) } else { self.inner.judge_held(held, now) }
    }

    /// What there is besides a copy in memory that can be served.
    async fn find_further_in(&self, key: &K, held: Option<Arc<Entry<V>>>) -> Lookup<V> {
        let core = &self.inner.core;
        let mut held = held;
        if core.journal.is_lagging(core.clock.now()) {
            if !core.journal.ensure_current().await {
                return self.inner.find_while_disconnected(held);
            }
            held = match self.inner.judge_held(held, core.clock.now()) {
                Lookup::Miss(held) => held,
                found => return found,
            };
        }
        let text = key.to_text();
        let fallback = self.inner.fallback_of(&text, held);
        let lookup = self.inner.lookups.join_or_start(
            &text,
            |()| true,
            (),
            || {
                let (inner, text) = (Arc::clone(&self.inner), text.clone());
                async move { inner.look_up(&text).await }
            },
        );
        self.inner.judge_stored(lookup.outcome.await.flatten(), fallback)
    }

    async fn load_past_the_cache(&self, key: &K, loader: BoxLoader<V>) -> Result<Cached<V>, LoadError> {
        request_scope::note_uncached();
        let load = self.inner.call_loader(loader, self.load_handle(key));
        let value = Arc::new(self.inner.within_hard_timeout(load).await?.value);
        Ok(Cached { value, layer: Layer::Loader, age: Duration::ZERO, freshness: Freshness::Fresh })
    }
}

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Inner<V> {
    /// What a copy in memory is good for.
    pub(super) fn judge_held(&self, held: Option<Arc<Entry<V>>>, now: Duration) -> Lookup<V> {
        match held {
            Some(entry) if self.options.memory_ttl.is_some_and(|ttl| entry.time_here(now) >= ttl) => {
                Lookup::Miss(Some(entry))
            }
            held => self.judge(held, Layer::Memory, now, || self.draw()),
        }
    }

    /// What a copy from the shared tier is good for, and if for nothing, what is left in case the load fails.
    pub(super) fn judge_stored(&self, stored: Option<Arc<Entry<V>>>, fallback: Option<Arc<Entry<V>>>) -> Lookup<V> {
        match self.judge(stored, Layer::Redis, self.core.clock.now(), || self.draw()) {
            Lookup::Miss(stored) => Lookup::Miss(stored.or(fallback).filter(|entry| self.may_serve_on_error(entry))),
            found => found,
        }
    }

    /// The rule's and the lifetime's word on an entry. `draw` decides whether a fresh one is due for a refresh.
    pub(super) fn judge(
        &self,
        entry: Option<Arc<Entry<V>>>,
        layer: Layer,
        now: Duration,
        draw: impl FnOnce() -> f64,
    ) -> Lookup<V> {
        let Some(entry) = entry else { return Lookup::Miss(None) };
        // It can have come over a new connection, from a primary that has lost what this process knows.
        if layer == Layer::Redis && self.core.journal.is_lagging(now) {
            return Lookup::Miss(None);
        }
        match entry.standing(&self.core.journal, now) {
            EntryState::Fresh => {
                let (expiry, delta, beta) = (entry.expiry(), entry.meta.delta, self.options.xfetch_beta);
                let drawn = xfetch::may_be_due(now, expiry, delta, beta).then(draw);
                let refresh = drawn.filter(|&rand| xfetch::is_due(now, expiry, delta, beta, rand));
                Lookup::Hit(Servable { entry, layer, freshness: Freshness::Fresh, refresh })
            }
            EntryState::Revalidate => {
                let freshness = Freshness::Stale(StaleReason::Revalidating);
                Lookup::Hit(Servable { entry, layer, freshness, refresh: Some(1.0) })
            }
            EntryState::IfError => Lookup::Miss(Some(entry)),
            EntryState::Unusable { by_journal } => {
                if by_journal {
                    self.metrics.refused_by_journal.add(1);
                }
                Lookup::Miss(Some(entry))
            }
        }
    }

    /// What memory is good for while the journal cannot be reached: nothing in it counts as fresh.
    pub(super) fn find_while_disconnected(&self, held: Option<Arc<Entry<V>>>) -> Lookup<V> {
        match (held.filter(|entry| self.may_serve_on_error(entry)), self.options.on_disconnect) {
            (Some(entry), OnDisconnect::ServeStale) => {
                let freshness = Freshness::Stale(StaleReason::Disconnected);
                Lookup::Hit(Servable { entry, layer: Layer::Memory, freshness, refresh: None })
            }
            (fallback, _) => Lookup::Miss(fallback),
        }
    }

    /// The copy in memory if it could stand in for a load that fails; else it is dropped.
    pub(super) fn fallback_of(&self, key: &str, held: Option<Arc<Entry<V>>>) -> Option<Arc<Entry<V>>> {
        let entry = held?;
        if self.may_serve_on_error(&entry) {
            return Some(entry);
        }
        self.core.memory.remove_entry(key, &entry);
        None
    }

    /// A number above 0, up to 1.
    fn draw(&self) -> f64 {
        1.0 - self.core.randomness.draw()
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
            self.metrics.store_errors.add(1);
            None
        })?;
        // Getting it may have taken a new connection.
        self.core.journal.ensure_current().await;
        self.promote(key, &stored)
    }

    /// What is stored, now also in memory. It may be covered already; memory checks it at every read like everything else.
    pub(super) fn promote(&self, key: &str, stored: &Stored) -> Option<Arc<Entry<V>>> {
        let Some((entry, bytes)) = self.decoded(key, stored) else {
            self.metrics.undecodable.add(1);
            return None;
        };
        self.store_in_memory(key, &entry, bytes);
        Some(entry)
    }

    /// Decodes a stored entry, and returns it with the bytes that it counts for in memory. Returns
    /// `None` if it cannot be decoded.
    pub(super) fn decoded(&self, key: &str, stored: &Stored) -> Option<(Arc<Entry<V>>, usize)> {
        let Decoded { meta, value, uncompressed_bytes } = codec::decode::<V>(&stored.bytes)?;
        // The age is what its time to live has lost: no clock of another process is asked.
        let age = meta.lifetime.total().saturating_sub(stored.ttl_left);
        let entry = Entry::new(key, Arc::new(value), meta, self.core.clock.now(), age);
        Some((Arc::new(entry), uncompressed_bytes))
    }

    /// The answer to a caller, counted, and noted for the response that it is read for.
    pub(super) fn serve(&self, entry: &Arc<Entry<V>>, layer: Layer, freshness: Freshness, now: Duration) -> Cached<V> {
        let metrics = &self.metrics;
        match layer {
            Layer::Memory => metrics.memory_hits.add(1),
            Layer::Redis => metrics.redis_hits.add(1),
            Layer::Loader => {}
        }
        if freshness != Freshness::Fresh {
            metrics.stale_hits.add(1);
        }
        request_scope::note_read(entry, layer, freshness, now, self.options.private);
        Cached { value: Arc::clone(&entry.value), layer, age: entry.age(now), freshness }
    }
}
