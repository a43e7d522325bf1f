//! Batches: many keys in one round trip to Redis, and one call of a loader with only the misses.
//!
//! Each key has its own load, entry and verdict, as if it were read alone. The keys share the way
//! to the shared tier and to the source.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::Arc;

use futures_util::future::{BoxFuture, TryFutureExt, join_all};
use futures_util::stream::{self, StreamExt};
use shared_keys::Key;
use tracing::{Instrument, Span};

use super::Namespace;
use super::batch_load::{BatchLoad, BatchLoader, batch_loader, load_many, load_together};
use super::caller::Awaited;
use super::load::LoadWaiter;
use super::read::{Lookup, StoreRead};
use super::run::TaskStart;
use crate::cached::Cached;
use crate::entry::Entry;
use crate::error::{BoxError, LoadError, Work};
use crate::loader::{BatchContext, LoadContext, boxed};
use crate::request_scope;
use crate::spans;
use crate::stampede::Flight;
use crate::store::Stored;

/// The result of each key of a batch, in the order of the keys.
type Results<V> = Vec<Result<Option<Cached<V>>, LoadError>>;

/// A key whose value has to be loaded.
struct MissedKey<K, V> {
    /// The key's index among those of the call.
    index: usize,
    key: K,
    fallback: Option<Arc<Entry<V>>>,
    rand: f64,
}

/// A key that was read from the shared tier.
struct StoredKey<'a> {
    /// The key's index among those of the call.
    index: usize,
    text: String,
    read: StoreRead<'a>,
    stored: Option<Stored>,
}

/// The keys of a batch, once the tiers have been read.
struct LookedUp<K, V> {
    /// The results so far: `None` for a key that is missing.
    results: Results<V>,
    misses: Vec<MissedKey<K, V>>,
    refreshes: Vec<MissedKey<K, V>>,
}

/// The keys that are read from the shared tier and judged together, and how many such parts are in
/// flight at a time.
const PART: usize = 32;
const PARTS_AT_ONCE: usize = 8;

/// The most loads that a batch without a loader of its own has in progress.
const LOADS_AT_ONCE: usize = 256;

impl<K, V> Namespace<K, V>
where
    K: Key + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// Returns the values of several keys in their order, each as [`Namespace::get_cached`] does.
    /// Takes one round trip to Redis for all keys that memory does not hold, and more for more than
    /// 256 keys, or for values of more than 16 KiB.
    pub async fn get_many_cached(&self, keys: &[K]) -> Vec<Option<Cached<V>>> {
        if self.inner.core.bypass {
            return keys.iter().map(|_| None).collect();
        }
        let now = self.inner.core.clock.now();
        let lookups = self.look_up_many(keys).await.into_iter();
        let cached = lookups.map(|lookup| match lookup {
            Lookup::Hit(found) => Some(self.inner.serve(&found.entry, found.layer, found.freshness, now)),
            Lookup::Miss(_) => {
                self.inner.metrics.misses.add(1);
                None
            }
        });
        cached.collect()
    }

    /// Returns the values of several keys in their order, each as [`Namespace::get_or_load`] does.
    /// Takes one round trip to Redis for all keys that memory does not hold (more for more than 256
    /// keys, or for values of more than 16 KiB), and calls `loader` once with only the keys that no
    /// layer has. A key that the loader's result leaves out is `None`;
    /// [`negative_lifetime`](crate::NamespaceBuilder::negative_lifetime) caches its absence.
    ///
    /// A key that another caller is loading, in this process or in another one, is waited for
    /// instead. Only if that load fails or an invalidation overtakes it, `loader` is called again,
    /// for those keys alone. So it is an `Fn`, and it owns what it captures: it is called once the
    /// leases of the keys are known, when this call may be over. [`ReadThrough`](crate::ReadThrough) clones a loader's
    /// state only then.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use origin_sdk::{BatchContext, Cache, Lifetime, Namespace};
    /// # origin_sdk::keys! {
    /// #     app "shop" version 1;
    /// #     pub key Product { id: u64 } = "product:{id}";
    /// #     pub tag Category { category: u32 } = "category:{category}";
    /// # }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let cache = Cache::builder("shop").build().await.unwrap();
    /// let lifetime = Lifetime::fresh(Duration::from_secs(60));
    /// let names: Namespace<Product, String> = cache.namespace(lifetime).build();
    /// let keys = [1, 2, 3].map(|id| Product { id });
    /// let cached = names
    ///     .get_many_or_load(&keys, |missing: Vec<Product>, batch: BatchContext| async move {
    ///         // One query for all of them. Here there is no product 3.
    ///         let rows = missing.into_iter().filter(|key| key.id < 3);
    ///         let rows = rows.map(|key| {
    ///             batch.of(&key).tag(Category { category: 7 });
    ///             let name = format!("product {}", key.id);
    ///             (key, name)
    ///         });
    ///         Ok(rows.collect::<Vec<_>>())
    ///     })
    ///     .await;
    /// let cached = cached.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
    /// let names: Vec<_> = cached.iter().flatten().map(|cached| cached.value.as_str()).collect();
    /// assert_eq!(names, ["product 1", "product 2"]);
    /// assert!(cached[2].is_none());
    /// # });
    /// ```
    ///
    /// One key that cannot be loaded does not affect the others: each key has a result of its own.
    /// The loader reports such a key by [`BatchContext::fail`]. Where all keys are needed,
    /// `results.into_iter().collect::<Result<Vec<_>, _>>()?` stops at the first error.
    ///
    /// # Panics
    /// Outside of a Tokio runtime, as [`Namespace::get_or_load`].
    pub async fn get_many_or_load<F, L, I>(
        &self,
        keys: &[K],
        loader: F,
    ) -> Vec<Result<Option<Cached<V>>, LoadError>>
    where
        F: Fn(Vec<K>, BatchContext) -> L + Send + Sync + 'static,
        L: Future<Output = Result<I, BoxError>> + Send + 'static,
        I: IntoIterator<Item = (K, V)>,
    {
        self.get_many_with(keys, batch_loader(loader)).await
    }

    pub(super) async fn get_many_with(&self, keys: &[K], loader: Arc<BatchLoader<K, V>>) -> Results<V> {
        let span = spans::get_many(self.inner.name, keys.len());
        self.get_many_in_span(keys, loader).instrument(span).await
    }

    async fn get_many_in_span(&self, keys: &[K], loader: Arc<BatchLoader<K, V>>) -> Results<V> {
        if self.inner.core.bypass {
            return self.load_many_without_cache(keys, loader).await;
        }
        let LookedUp { mut results, mut misses, mut refreshes } = self.look_up_and_serve(keys).await;
        refreshes.retain(|missed| !self.inner.is_backing_off(&missed.key.to_text()));
        let refreshing = self
            .join_or_start_many(&refreshes, &loader, spans::refresh)
            .iter()
            .filter(|waiter| waiter.is_leader)
            .count();
        self.inner.metrics.refreshes.add(refreshing as u64);

        let mut caller = self.inner.caller(true);
        while !misses.is_empty() {
            misses.retain(|missed| {
                let backed_off = self.inner.back_off(&missed.key.to_text(), missed.fallback.as_ref());
                let is_loaded = backed_off.is_none();
                backed_off.into_iter().for_each(|result| results[missed.index] = result.map(Some));
                is_loaded
            });
            let waiters = self.join_or_start_many(&misses, &loader, spans::load);
            let loads = misses.into_iter().zip(waiters).map(async |(missed, waiter)| {
                let awaited = self.inner.await_load(&waiter, &caller, missed.fallback.as_ref()).await;
                (missed, awaited)
            });
            misses = Vec::new();
            for (missed, awaited) in join_all(loads).await {
                match awaited {
                    Ok(Awaited::Cached(cached)) => results[missed.index] = Ok(Some(cached)),
                    Ok(Awaited::Absent) => {}
                    Ok(Awaited::Again) => misses.push(missed),
                    Err(error) => results[missed.index] = Err(error),
                }
            }
            caller.is_again = true;
        }
        self.count_unanswered(&results);
        results
    }

    /// Like [`get_many_with`](Self::get_many_with), but calls a loader for each key that no layer has.
    pub(super) async fn get_each_with<F>(&self, keys: &[K], loader: F) -> Results<V>
    where
        F: Fn(K, LoadContext) -> BoxFuture<'static, Result<V, BoxError>> + Sync,
    {
        if self.inner.core.bypass {
            let loads = stream::iter(keys).map(|key| self.get_or_load(key, &loader).map_ok(Some));
            return loads.buffered(LOADS_AT_ONCE).collect().await;
        }
        let LookedUp { mut results, misses, refreshes } = self.look_up_and_serve(keys).await;
        for stale in refreshes {
            self.refresh(&stale.key, boxed(Work::Loader, &loader, Some), stale.rand);
        }
        let loads = stream::iter(misses).map(async |missed| {
            let (loader, text) = (boxed(Work::Loader, &loader, Some), missed.key.to_text().into());
            let (caller, start) = (self.inner.caller(false), TaskStart::Spawned);
            let loaded = self.load_missed(&missed.key, &text, caller, loader, missed.fallback, start).await;
            (missed.index, loaded)
        });
        let mut loads = loads.buffer_unordered(LOADS_AT_ONCE);
        while let Some((index, result)) = loads.next().await {
            results[index] = result.map(Some);
        }
        drop(loads);
        self.count_unanswered(&results);
        results
    }

    /// Counts the keys for which there is no value: all others were counted when they were served.
    fn count_unanswered(&self, results: &Results<V>) {
        let unanswered = results.iter().filter(|result| !matches!(result, Ok(Some(_)))).count();
        self.inner.metrics.misses.add(unanswered as u64);
    }

    /// Looks all keys up, and serves those that a layer has. A key whose load waits for the caller
    /// is an error.
    async fn look_up_and_serve(&self, keys: &[K]) -> LookedUp<K, V> {
        let now = self.inner.core.clock.now();
        let mut all =
            LookedUp { results: Vec::with_capacity(keys.len()), misses: Vec::new(), refreshes: Vec::new() };
        for (index, (key, lookup)) in keys.iter().zip(self.look_up_many(keys).await).enumerate() {
            let missed = |fallback, rand| MissedKey { index, key: key.clone(), fallback, rand };
            all.results.push(match lookup {
                Lookup::Hit(found) => {
                    all.refreshes.extend(found.refresh.map(|rand| missed(None, rand)));
                    Ok(Some(self.inner.serve(&found.entry, found.layer, found.freshness, now)))
                }
                Lookup::Miss(fallback) => self.inner.forbid_cycle(&key.to_text()).map(|()| {
                    all.misses.push(missed(fallback, 1.0));
                    None
                }),
            });
        }
        all
    }

    /// Looks all keys up, in memory and then together in the shared tier.
    async fn look_up_many(&self, keys: &[K]) -> Vec<Lookup<V>> {
        let (inner, core) = (&self.inner, &self.inner.core);
        let now = core.clock.now();
        let mut lookups: Vec<_> = keys.iter().map(|key| self.look_up_memory(key, now)).collect();
        let is_miss = |lookup: &Lookup<V>| matches!(lookup, Lookup::Miss(_));
        if !lookups.iter().any(is_miss) {
            return lookups;
        }
        if core.journal.is_lagging(now) {
            let is_current = core.journal.ensure_current().await;
            let judge_again = |lookup| match lookup {
                Lookup::Miss(held) if is_current => inner.judge_held(held, core.clock.now(), || inner.draw()),
                Lookup::Miss(held) => inner.look_up_while_disconnected(held),
                hit => hit,
            };
            lookups = lookups.into_iter().map(judge_again).collect();
            if !is_current {
                return lookups;
            }
        }
        if inner.shared_form.is_none() {
            for (key, lookup) in keys.iter().zip(&mut lookups) {
                if let Lookup::Miss(held) = lookup {
                    *held = inner.fallback_of(&key.to_text(), held.take());
                }
            }
            return lookups;
        }
        let missing: Vec<_> = (0..keys.len()).filter(|&index| is_miss(&lookups[index])).collect();
        // In parts, so that the journal is current for each of them however many there are, and one
        // is decoded while the next ones are in flight.
        let parts: Vec<_> = missing.chunks(PART).map(|missing| self.read_part(keys, missing)).collect();
        let mut parts = stream::iter(parts).buffered(PARTS_AT_ONCE);
        while let Some(part) = parts.next().await {
            for StoredKey { index, text, read, stored } in part {
                if let Lookup::Miss(held) = mem::replace(&mut lookups[index], Lookup::Miss(None)) {
                    let fallback = inner.fallback_of(&text, held);
                    let entry = stored.and_then(|stored| inner.promote(&text, &stored, &read));
                    lookups[index] = inner.judge_stored(entry, fallback);
                }
            }
        }
        drop(parts);
        lookups
    }

    /// Reads the keys at these indexes from the shared tier.
    async fn read_part(&self, keys: &[K], indexes: &[usize]) -> Vec<StoredKey<'_>> {
        let (inner, core) = (&self.inner, &self.inner.core);
        let texts: Vec<_> = indexes.iter().map(|&index| keys[index].to_text()).collect();
        let now = core.clock.now();
        let reads: Vec<_> = texts.iter().map(|text| inner.begin_read(text, now)).collect();
        let stored = core.store.get_many(&texts).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "the shared tier could not be read");
            inner.metrics.store_errors.add(1);
            texts.iter().map(|_| None).collect()
        });
        // The read may have opened a new connection.
        core.journal.ensure_current().await;
        let keys = indexes.iter().zip(texts).zip(reads).zip(stored);
        keys.map(|(((&index, text), read), stored)| StoredKey { index, text, read, stored }).collect()
    }

    /// Joins each key's load if this caller may, and starts one load of all other keys.
    fn join_or_start_many(
        &self,
        missed: &[MissedKey<K, V>],
        loader: &Arc<BatchLoader<K, V>>,
        span: fn(&'static str) -> Span,
    ) -> Vec<LoadWaiter<V>> {
        let (start, is_batch) = (self.inner.start(), missed.len() > 1);
        let (mut loads, mut led) = (Vec::new(), HashSet::new());
        let waiters = missed.iter().map(|missed| {
            let text = missed.key.to_text().into();
            let (request, (mut waiter, guard)) =
                self.join_or_lead(&missed.key, &text, start, is_batch, missed.fallback.clone(), missed.rand);
            let flight = Arc::as_ptr(&waiter.start.flight);
            if let Some(guard) = guard {
                loads.push(BatchLoad { key: missed.key.clone(), request, guard });
                led.insert(flight);
            }
            // A key may occur twice.
            waiter.is_leader = led.contains(&flight);
            waiter
        });
        let waiters = waiters.collect();
        if !loads.is_empty() {
            let load = load_together(Arc::clone(&self.inner), loads, Arc::clone(loader));
            tokio::spawn(load.instrument(span(self.inner.name)));
        }
        waiters
    }

    async fn load_many_without_cache(&self, keys: &[K], loader: Arc<BatchLoader<K, V>>) -> Results<V> {
        request_scope::note_uncached();
        let texts: Vec<Box<str>> = keys.iter().map(|key| key.to_text().into()).collect();
        let cycles = texts.iter().map(|text| self.inner.forbid_cycle(text).err()).collect::<Vec<_>>();
        let is_allowed = |&index: &usize| cycles[index].is_none();
        let allowed: Vec<_> = (0..keys.len()).filter(is_allowed).collect();
        let context = LoadContext::default();
        let contexts =
            BatchContext::new(allowed.iter().map(|&index| (texts[index].clone(), LoadContext::default())));
        let load = load_many(loader, allowed.iter().map(|&index| keys[index].clone()).collect(), contexts);
        let flights: Vec<_> =
            allowed.iter().map(|&index| Flight::new(self.inner.core.number(), &*texts[index])).collect();
        let values = self.inner.run_uncached(load, &context, &flights).await;
        let values = values.map(|values| {
            let cached = |value: Result<V, LoadError>| value.map(|value| Cached::loaded(Arc::new(value)));
            values.into_iter().map(|(key, value)| (key, cached(value))).collect::<HashMap<_, _>>()
        });
        let result = |(text, cycle): (&str, &Option<LoadError>)| match (cycle, &values) {
            (Some(error), _) | (None, Err(error)) => Err(error.clone()),
            (None, Ok(values)) => values.get(text).cloned().transpose(),
        };
        texts.iter().map(AsRef::as_ref).zip(&cycles).map(result).collect()
    }
}
