//! The read path: memory → Redis → loader.

use std::convert::identity;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use shared_keys::{Key, Verdict};
use tracing::Instrument;

use super::key_text::with_text;
use super::run::TaskStart;
use super::{Inner, Namespace, OnDisconnect};
use crate::cached::{Cached, Freshness, Layer, StaleReason};
use crate::clock::COARSE_ERROR;
use crate::codec::Decoded;
use crate::entry::{Entry, EntryState};
use crate::error::{BoxError, LoadError, Work};
use crate::in_flight::ReadInFlight;
use crate::loader::{BoxLoader, LoadContext, boxed};
use crate::metrics::Counter;
use crate::request_scope;
use crate::spans;
use crate::stampede::{Flight, xfetch};
use crate::store::Stored;

/// The result of looking a key up in the tiers.
pub(super) enum Lookup<V> {
    Hit(Servable<V>),
    /// No entry may be served. One may be left to serve if the load fails.
    Miss(Option<Arc<Entry<V>>>),
}

/// An entry that may be served.
pub(super) struct Servable<V> {
    pub(super) entry: Arc<Entry<V>>,
    pub(super) layer: Layer,
    pub(super) freshness: Freshness,
    /// The XFetch draw that triggers a refresh in the background, or 1.0 if the entry is stale;
    /// `None` if no refresh is due.
    pub(super) refresh: Option<f64>,
}

/// A read of the store that is under way.
pub(super) struct StoreRead<'a> {
    pub(super) in_flight: ReadInFlight<'a>,
    /// The clock's reading before the read.
    pub(super) requested_at: Duration,
}

impl<K: Key, V: Send + Sync + 'static> Namespace<K, V> {
    /// Returns the value of a key, from the first layer that has one which may be served, else from
    /// `loader`.
    ///
    /// At most one loader runs per key in this process, and in the whole fleet while Redis can be
    /// reached; callers in other processes wait for it. A stale value is returned at once while a
    /// refresh runs, if the lifetime allows it.
    ///
    /// `loader` gets a clone of the key. It is called only if this caller starts a load, so it may
    /// borrow, and clone what the load needs: a hit does not pay for that. The future that it
    /// returns begins in the caller's task. If it waits, it continues in a task of its own, so
    /// dropping the future of this call cancels nothing that others wait for. A loader that
    /// computes for long without waiting belongs into `spawn_blocking`, as in any task.
    ///
    /// A loader may read through this and other namespaces. While it waits for another load, it
    /// does not count for the limit of
    /// [`loader_concurrency`](crate::NamespaceBuilder::loader_concurrency). If two loads would wait
    /// for each other, the read that closes the cycle is an error at once. Both hold for reads in
    /// the loader's own task, however many at a time (`tokio::join!`), and not in tasks that it
    /// spawns, unless those are inside `http::for_this_request`: the reads of other tasks wait
    /// until the hard timeout in such a cycle, and for a permit that the loader may hold.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use origin_sdk::{Cache, Freshness, Layer, Lifetime, Namespace};
    /// # origin_sdk::keys! { app "shop" version 1; pub key Product { id: u64 } = "product:{id}"; }
    /// # #[derive(Clone)]
    /// # struct Database;
    /// # impl Database {
    /// #     async fn name_of(&self, id: u64) -> Result<String, std::io::Error> { Ok(format!("lamp {id}")) }
    /// # }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let (cache, database) = (Cache::builder("shop").build().await.unwrap(), Database);
    /// # let lifetime = Lifetime::fresh(Duration::from_secs(60));
    /// # let names: Namespace<Product, String> = cache.namespace(lifetime).build();
    /// let cached = names
    ///     .get_or_load(&Product { id: 7 }, |key, _| {
    ///         let database = database.clone();
    ///         async move { Ok(database.name_of(key.id).await?) }
    ///     })
    ///     .await
    ///     .unwrap();
    /// match cached.freshness {
    ///     Freshness::Fresh => println!("{}, {:?} old", cached.value, cached.age),
    ///     Freshness::Stale(reason) => println!("{}, stale: {}", cached.value, reason.as_str()),
    /// }
    /// # assert_eq!(cached.layer, Layer::Loader);
    /// # });
    /// ```
    ///
    /// # Errors
    /// If the loader fails, panics or takes too long, and nothing may be served stale. If a loader
    /// makes the call, and the load of the key waits for that loader.
    ///
    /// # Panics
    /// Outside of a Tokio runtime with its timers enabled, if memory does not hold the value: reads
    /// of the shared tier have timeouts, and a load becomes a task if it has to wait.
    pub async fn get_or_load<F, L>(&self, key: &K, loader: F) -> Result<Cached<V>, LoadError>
    where
        K: Clone,
        F: FnOnce(K, LoadContext) -> L + Send,
        L: Future<Output = Result<V, BoxError>> + Send + 'static,
    {
        if let Some(cached) = self.serve_plain(key) {
            return Ok(cached);
        }
        match self.serve_from_memory(key) {
            Ok(cached) => Ok(cached),
            Err(lookup) => self.get_or_load_further(key, loader, lookup).await,
        }
    }

    /// Returns the value of a key if a layer has one which may be served. Loads nothing, and
    /// refreshes nothing.
    pub async fn get_cached(&self, key: &K) -> Option<Cached<V>> {
        if let Some(cached) = self.serve_plain(key) {
            return Some(cached);
        }
        match self.serve_from_memory(key) {
            Ok(cached) => Some(cached),
            Err(Lookup::Hit(found)) => Some(self.inner.serve_found(&found)),
            Err(Lookup::Miss(held)) => Box::pin(self.get_cached_further(key, held)).await,
        }
    }

    /// Gets a value for which there is more to do than to return the copy in memory. The future is
    /// boxed, so that that of a hit stays small.
    #[cold]
    fn get_or_load_further<F, L>(
        &self,
        key: &K,
        loader: F,
        lookup: Lookup<V>,
    ) -> Pin<Box<impl Future<Output = Result<Cached<V>, LoadError>>>>
    where
        K: Clone,
        F: FnOnce(K, LoadContext) -> L + Send,
        L: Future<Output = Result<V, BoxError>> + Send + 'static,
    {
        let span = spans::get(self.inner.name);
        let recorded = span.clone();
        let read = async move {
            if self.inner.core.bypass {
                return self.load_without_cache(key, boxed(Work::Loader, loader, identity)).await;
            }
            let started_at = self.inner.core.clock.now();
            let result = match lookup {
                Lookup::Hit(found) => Ok(self.serve_and_refresh(key, &found, loader)),
                Lookup::Miss(held) => self.get_missed(key, held, loader).await,
            };
            self.inner.note_time(&result, started_at);
            spans::record(&recorded, result.as_ref().ok());
            result
        };
        Box::pin(read.instrument(span))
    }

    /// Gets a value that memory does not have: from the key's running load, from another tier, or
    /// by a load.
    async fn get_missed<F, L>(
        &self,
        key: &K,
        held: Option<Arc<Entry<V>>>,
        loader: F,
    ) -> Result<Cached<V>, LoadError>
    where
        K: Clone,
        F: FnOnce(K, LoadContext) -> L + Send,
        L: Future<Output = Result<V, BoxError>> + Send + 'static,
    {
        let (text, mut caller) = (key.to_text(), self.inner.caller(false));
        if let Some(cached) = self.await_running_load(key, &text, &mut caller, held.as_ref()).await? {
            return Ok(cached);
        }
        match self.look_up_further(&text, held).await {
            Lookup::Hit(found) => Ok(self.serve_and_refresh(key, &found, loader)),
            Lookup::Miss(fallback) => {
                let (loader, start) = (boxed(Work::Loader, loader, Some), TaskStart::InPlace);
                self.load_missed(key, &text.into(), caller, loader, fallback, start).await
            }
        }
    }

    /// Serves a found value, and refreshes it in the background if it is time to.
    fn serve_and_refresh<F, L>(&self, key: &K, found: &Servable<V>, loader: F) -> Cached<V>
    where
        K: Clone,
        F: FnOnce(K, LoadContext) -> L + Send,
        L: Future<Output = Result<V, BoxError>> + Send + 'static,
    {
        if let Some(rand) = found.refresh {
            self.refresh(key, boxed(Work::Loader, loader, Some), rand);
        }
        self.inner.serve_found(found)
    }

    async fn get_cached_further(&self, key: &K, held: Option<Arc<Entry<V>>>) -> Option<Cached<V>> {
        if self.inner.core.bypass {
            return None;
        }
        match self.look_up_further(&key.to_text(), held).await {
            Lookup::Hit(found) => Some(self.inner.serve_found(&found)),
            Lookup::Miss(_) => {
                self.inner.metrics.misses.add(1);
                None
            }
        }
    }

    /// Serves the copy in memory if nothing else has to be done.
    ///
    /// This is the path of nearly all reads. It takes one shard's lock, allocates nothing, and
    /// reads the coarse clock: where the clock's error could matter, it serves nothing.
    #[inline]
    fn serve_plain(&self, key: &K) -> Option<Cached<V>> {
        // A request needs the entry itself, for its scopes.
        if request_scope::is_active() {
            return None;
        }
        let Inner { core, metrics, .. } = &*self.inner;
        let now = core.clock.coarse_nanos();
        let latest = now + COARSE_ERROR;
        let serve = |entry: &Entry<V>| {
            if core.journal.is_lagging_at(latest) || !entry.is_plain(&core.journal, latest) {
                return None;
            }
            metrics.memory_hits.add(1);
            if entry.is_negative {
                metrics.negative_hits.add(1);
            }
            let (layer, freshness) = (Layer::Memory, Freshness::Fresh);
            Some(Cached { value: Arc::clone(&entry.value), layer, age: entry.age_at(now), freshness })
        };
        with_text(key, |text| core.memory.read(text, serve))?
    }

    /// Serves the copy in memory if it may be served and is not due for a refresh. Otherwise
    /// returns the result of the lookup as the error.
    #[inline(never)]
    fn serve_from_memory(&self, key: &K) -> Result<Cached<V>, Lookup<V>> {
        let now = self.inner.core.clock.now();
        match self.look_up_memory(key, now) {
            Lookup::Hit(found) if found.refresh.is_none() => {
                Ok(self.inner.serve(&found.entry, found.layer, found.freshness, now))
            }
            lookup => Err(lookup),
        }
    }

    /// Looks the key up in memory. Takes one shard's lock and allocates nothing.
    pub(super) fn look_up_memory(&self, key: &K, now: Duration) -> Lookup<V> {
        let held = with_text(key, |text| self.inner.core.memory.get_bytes(text)).flatten();
        self.inner.judge_in_memory(held, now, || self.inner.draw())
    }

    /// Looks the key up in the shared tier. `held` is the copy in memory that could not be served.
    async fn look_up_further(&self, text: &str, held: Option<Arc<Entry<V>>>) -> Lookup<V> {
        let core = &self.inner.core;
        let (mut held, mut now) = (held, core.clock.now());
        if core.journal.is_lagging(now) {
            if !core.journal.ensure_current().await {
                return self.inner.look_up_while_disconnected(held);
            }
            now = core.clock.now();
            held = match self.inner.judge_held(held, now, || self.inner.draw()) {
                Lookup::Miss(held) => held,
                hit => return hit,
            };
        }
        let fallback = self.inner.fallback_of(text, held);
        if self.inner.shared_form.is_none() {
            return Lookup::Miss(fallback);
        }
        let stored = self.inner.lookups.join_or_run(text, self.inner.read_store(text, now));
        self.inner.judge_stored(stored.await, fallback)
    }

    async fn load_without_cache(&self, key: &K, loader: BoxLoader<'_, K, V>) -> Result<Cached<V>, LoadError>
    where
        K: Clone,
    {
        request_scope::note_uncached();
        let context = self.load_context(key);
        let flights = [Flight::new(self.inner.core.number(), key.to_text())];
        let load = loader(key.clone(), context.clone());
        let value = self.inner.run_uncached(load, &context, &flights).await?;
        Ok(Cached::loaded(Arc::new(value)))
    }
}

impl<V: Send + Sync + 'static> Inner<V> {
    /// Judges a copy in memory, unless this process lags behind the journal: it may not know then
    /// that the copy is covered, and has to catch up first.
    pub(super) fn judge_in_memory(
        &self,
        held: Option<Arc<Entry<V>>>,
        now: Duration,
        draw: impl FnOnce() -> f64,
    ) -> Lookup<V> {
        if self.core.journal.is_lagging(now) { Lookup::Miss(held) } else { self.judge_held(held, now, draw) }
    }

    /// Judges a copy in memory.
    pub(super) fn judge_held(
        &self,
        held: Option<Arc<Entry<V>>>,
        now: Duration,
        draw: impl FnOnce() -> f64,
    ) -> Lookup<V> {
        match held {
            Some(entry) if self.options.memory_ttl.is_some_and(|ttl| entry.time_here(now) >= ttl) => {
                Lookup::Miss(Some(entry))
            }
            held => self.judge(held, Layer::Memory, now, draw),
        }
    }

    /// Judges a copy from the shared tier. On a miss returns the entry to serve if the load fails.
    pub(super) fn judge_stored(
        &self,
        stored: Option<Arc<Entry<V>>>,
        fallback: Option<Arc<Entry<V>>>,
    ) -> Lookup<V> {
        match self.judge(stored, Layer::Redis, self.core.clock.now(), || self.draw()) {
            Lookup::Miss(stored) => {
                Lookup::Miss(stored.or(fallback).filter(|entry| self.may_serve_on_error(entry)))
            }
            found => found,
        }
    }

    /// Judges an entry by the journal's rule and its lifetime. `draw` decides whether a fresh one
    /// is due for a refresh.
    pub(super) fn judge(
        &self,
        entry: Option<Arc<Entry<V>>>,
        layer: Layer,
        now: Duration,
        draw: impl FnOnce() -> f64,
    ) -> Lookup<V> {
        let Some(entry) = entry else { return Lookup::Miss(None) };
        // The entry may come over a new connection, from a primary that has lost records which this
        // process knows.
        if layer == Layer::Redis && self.core.journal.is_lagging(now) {
            return Lookup::Miss(None);
        }
        match entry.state(&self.core.journal, now) {
            EntryState::Fresh => {
                let (expiry, delta, beta) = (entry.expiry(), entry.delta(), self.options.xfetch_beta);
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

    /// Judges a copy in memory while the journal cannot be reached: no copy counts as fresh.
    pub(super) fn look_up_while_disconnected(&self, held: Option<Arc<Entry<V>>>) -> Lookup<V> {
        match (held.filter(|entry| self.may_serve_on_error(entry)), self.options.on_disconnect) {
            (Some(entry), OnDisconnect::ServeStale) => {
                let freshness = Freshness::Stale(StaleReason::Disconnected);
                Lookup::Hit(Servable { entry, layer: Layer::Memory, freshness, refresh: None })
            }
            (fallback, _) => Lookup::Miss(fallback),
        }
    }

    /// Returns the copy in memory if it may be served when a load fails; else removes it.
    pub(super) fn fallback_of(&self, key: &str, held: Option<Arc<Entry<V>>>) -> Option<Arc<Entry<V>>> {
        let entry = held?;
        if self.may_serve_on_error(&entry) {
            return Some(entry);
        }
        self.core.memory.remove_entry(key, &entry);
        None
    }

    /// Draws a number above 0, up to 1.
    pub(super) fn draw(&self) -> f64 {
        1.0 - self.core.randomness.draw()
    }

    pub(super) fn may_serve_on_error(&self, entry: &Entry<V>) -> bool {
        let now = self.core.clock.now();
        let in_window = !entry.lifetime().remaining(entry.age(now)).sie_for().is_zero();
        in_window && !entry.is_ended() && entry.verdict(&self.core.journal) != Verdict::Removed
    }

    /// Reads an entry from the shared tier, and puts it into memory.
    async fn read_store(&self, key: &str, now: Duration) -> Option<Arc<Entry<V>>> {
        let read = self.begin_read(key, now);
        let stored = self.core.store.get(key).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "the shared tier could not be read");
            self.metrics.store_errors.add(1);
            None
        })?;
        // The read may have opened a new connection.
        self.core.journal.ensure_current().await;
        self.promote(key, &stored, &read)
    }

    /// Begins a read of the store. Call it before the read.
    pub(super) fn begin_read(&self, key: &str, now: Duration) -> StoreRead<'_> {
        StoreRead { in_flight: self.core.in_flight.read(key), requested_at: now }
    }

    /// Decodes a stored entry and puts it into memory. A record may cover it already; every read
    /// checks that. Returns what memory holds instead if a newer value was written since `read`
    /// began.
    pub(super) fn promote(&self, key: &str, stored: &Stored, read: &StoreRead<'_>) -> Option<Arc<Entry<V>>> {
        let (entry, bytes) = self.decoded(key, stored, read).inspect_err(|reason| reason.add(1)).ok()?;
        if self.place_copy(key, &entry, bytes, &read.in_flight) {
            Some(entry)
        } else {
            self.core.memory.get(key)
        }
    }

    /// Decodes a stored entry, and returns it with the bytes that it counts for in memory.
    ///
    /// # Errors
    /// The counter of the reason, if the entry cannot be decoded, or is older than a value that the
    /// store could not take.
    pub(super) fn decoded(
        &self,
        key: &str,
        stored: &Stored,
        read: &StoreRead<'_>,
    ) -> Result<(Arc<Entry<V>>, usize), &Counter> {
        let form = self.shared_form.as_ref();
        let decode = || form.and_then(|form| (form.decode)(&stored.bytes, self.core.codec.max_value_bytes));
        // The implementation of the value may panic, in the task of a caller that can do without.
        let decoded = catch_unwind(AssertUnwindSafe(decode)).ok().flatten();
        let Decoded { meta, value, uncompressed_bytes } = decoded.ok_or(&self.metrics.undecodable)?;
        // The age is the part of the time to live that has passed, so no two clocks are compared. A
        // time to live that someone else has prolonged would make the value young for ever.
        let age = meta.lifetime.total().checked_sub(stored.ttl_left).ok_or(&self.metrics.undecodable)?;
        let now = self.core.clock.now();
        if self.core.outdated_copies.contains(key, read.requested_at, now, age) {
            return Err(&self.metrics.outdated_copies);
        }
        Ok((Arc::new(self.aged_entry(key, Arc::new(value), meta, now, age)), uncompressed_bytes))
    }

    /// Counts a read that failed as a miss, and the time of one that memory did not answer.
    fn note_time(&self, result: &Result<Cached<V>, LoadError>, started_at: Duration) {
        let timings = &self.metrics.timings;
        let histogram = match result.as_ref().map(|cached| cached.layer) {
            Ok(Layer::Memory) => return,
            Ok(Layer::Redis) => &timings.redis_hits,
            Ok(Layer::Loader) => &timings.misses,
            Err(_) => {
                self.metrics.misses.add(1);
                &timings.misses
            }
        };
        histogram.add(self.core.clock.now().saturating_sub(started_at));
    }

    /// Like [`serve`](Self::serve), for the result of a lookup.
    fn serve_found(&self, found: &Servable<V>) -> Cached<V> {
        self.serve(&found.entry, found.layer, found.freshness, self.core.clock.now())
    }

    /// Returns an entry to a caller, counts it, and adds it to the request that the caller serves.
    pub(super) fn serve(
        &self,
        entry: &Arc<Entry<V>>,
        layer: Layer,
        freshness: Freshness,
        now: Duration,
    ) -> Cached<V> {
        let metrics = &self.metrics;
        match layer {
            Layer::Memory => metrics.memory_hits.add(1),
            Layer::Redis => metrics.redis_hits.add(1),
            Layer::Loader => metrics.misses.add(1),
        }
        if entry.is_negative && layer != Layer::Loader {
            metrics.negative_hits.add(1);
        }
        if let Freshness::Stale(reason) = freshness {
            metrics.count_stale(reason);
        }
        request_scope::note_read(entry, layer, freshness, now, self.options.private);
        let is_new = layer == Layer::Loader && freshness != Freshness::Stale(StaleReason::LoadFailed);
        let age = if is_new { Duration::ZERO } else { entry.age(now) };
        Cached { value: Arc::clone(&entry.value), layer, age, freshness }
    }
}
