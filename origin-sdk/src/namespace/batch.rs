//! Batches: many keys in one round trip to Redis, and one call of a loader with only the misses.
//!
//! Each key has its own load, entry and verdict, as if it were read alone. The keys share the way
//! to the shared tier and to the source.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt, join_all, try_join_all};
use serde::Serialize;
use serde::de::DeserializeOwned;
use shared_keys::Key;

use super::load::{LoadOutcome, LoadRequest, RunningLoad};
use super::read::Lookup;
use super::run::LoaderOutput;
use super::{Inner, Namespace};
use crate::cached::Cached;
use crate::entry::Entry;
use crate::error::{BoxError, LoadError, Work};
use crate::loader::{BatchContext, BoxLoader, LoadContext, LoadFuture};
use crate::request_scope;
use crate::stampede::{Flight, LeaderGuard, Lease, LeaseOutcome, Waiter};

/// The loader of a batch: keys → their values by the keys' texts.
pub(super) type BatchLoader<K, V> =
    dyn Fn(Vec<K>, BatchContext) -> BoxFuture<'static, Result<Values<V>, LoadError>> + Send + Sync;
type Values<V> = HashMap<Box<str>, V>;

/// A key whose value has to be loaded.
struct MissedKey<K, V> {
    /// The key's index among those of the call.
    index: usize,
    key: K,
    fallback: Option<Arc<Entry<V>>>,
    rand: f64,
}

/// A load that the batch leads.
struct BatchLoad<K, V> {
    key: K,
    request: LoadRequest<V>,
    guard: LeaderGuard<LoadOutcome<V>, RunningLoad>,
}

/// Erases the types of a batch's loader.
pub(super) fn batch_loader<K, V, F, L, I>(loader: F) -> Arc<BatchLoader<K, V>>
where
    K: Key,
    F: Fn(Vec<K>, BatchContext) -> L + Send + Sync + 'static,
    L: Future<Output = Result<I, BoxError>> + Send + 'static,
    I: IntoIterator<Item = (K, V)>,
{
    Arc::new(move |keys, context| {
        let load = loader(keys, context);
        async move {
            let values = load.await.map_err(|error| LoadError::failed(Work::Loader, error))?;
            Ok(values.into_iter().map(|(key, value)| (key.to_text().into(), value)).collect())
        }
        .boxed()
    })
}

impl<K, V> Namespace<K, V>
where
    K: Key + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    /// Returns the values of several keys in their order, each as [`Namespace::get_cached`] does.
    /// Takes one round trip to Redis for all keys that memory does not hold.
    pub async fn get_many_cached(&self, keys: &[K]) -> Vec<Option<Cached<V>>> {
        if self.inner.core.bypass {
            return keys.iter().map(|_| None).collect();
        }
        let now = self.inner.core.clock.now();
        let lookups = self.look_up_many(keys).await.into_iter();
        let cached = lookups.map(|lookup| match lookup {
            Lookup::Hit(found) => Some(self.inner.serve(&found.entry, found.layer, found.freshness, now)),
            Lookup::Miss(_) => None,
        });
        cached.collect()
    }

    /// Returns the values of several keys in their order, each as [`Namespace::get_or_load`] does.
    /// Takes one round trip to Redis for all keys that memory does not hold, and calls `loader`
    /// once with only the keys that no layer has. A key that the loader's result leaves out is
    /// `None`; [`negative_lifetime`](crate::NamespaceBuilder::negative_lifetime) caches its absence.
    ///
    /// A key that another caller is loading, in this process or in another one, is waited for
    /// instead. Only if that load fails or an invalidation overtakes it, `loader` is called again,
    /// for that key alone. So it is an `Fn`, and it owns what it captures: it is called once the
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
    ///     .await
    ///     .unwrap();
    /// let names: Vec<_> = cached.iter().flatten().map(|cached| cached.value.as_str()).collect();
    /// assert_eq!(names, ["product 1", "product 2"]);
    /// assert!(cached[2].is_none());
    /// # });
    /// ```
    ///
    /// # Errors
    /// If a load fails, panics or takes too long, and one of its keys has nothing that may be
    /// served stale.
    pub async fn get_many_or_load<F, L, I>(&self, keys: &[K], loader: F) -> Result<Vec<Option<Cached<V>>>, LoadError>
    where
        F: Fn(Vec<K>, BatchContext) -> L + Send + Sync + 'static,
        L: Future<Output = Result<I, BoxError>> + Send + 'static,
        I: IntoIterator<Item = (K, V)>,
    {
        self.get_many_with(keys, batch_loader(loader)).await
    }

    pub(super) async fn get_many_with(
        &self,
        keys: &[K],
        loader: Arc<BatchLoader<K, V>>,
    ) -> Result<Vec<Option<Cached<V>>>, LoadError> {
        if self.inner.core.bypass {
            return self.load_many_without_cache(keys.to_vec(), loader).await;
        }
        let now = self.inner.core.clock.now();
        let (mut results, mut misses, mut refreshes) = (Vec::with_capacity(keys.len()), Vec::new(), Vec::new());
        for (index, (key, lookup)) in keys.iter().zip(self.look_up_many(keys).await).enumerate() {
            let missed = |fallback, rand| MissedKey { index, key: key.clone(), fallback, rand };
            results.push(match lookup {
                Lookup::Hit(found) => {
                    refreshes.extend(found.refresh.map(|rand| missed(None, rand)));
                    Some(self.inner.serve(&found.entry, found.layer, found.freshness, now))
                }
                Lookup::Miss(fallback) => {
                    misses.push(missed(fallback, 1.0));
                    None
                }
            });
        }
        let refreshing = self.join_or_start_many(&refreshes, &loader).iter().filter(|waiter| waiter.is_leader).count();
        self.inner.metrics.refreshes.add(refreshing as u64);

        let waiters = self.join_or_start_many(&misses, &loader);
        let loads = misses.into_iter().zip(waiters).map(|(missed, waiter)| {
            let loader = Arc::clone(&loader);
            let retry: BoxLoader<'_, K, Option<V>> =
                Box::new(move |key, context| load_one(loader, key, context).boxed());
            async move {
                let cached = self.await_load(&missed.key, waiter, Some(retry), missed.fallback, true).await?;
                Ok::<_, LoadError>((missed.index, cached))
            }
        });
        for (index, cached) in try_join_all(loads).await? {
            results[index] = cached;
        }
        Ok(results)
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
                Lookup::Miss(held) if is_current => inner.judge_held(held, core.clock.now()),
                Lookup::Miss(held) => inner.look_up_while_disconnected(held),
                hit => hit,
            };
            lookups = lookups.into_iter().map(judge_again).collect();
            if !is_current {
                return lookups;
            }
        }
        let missing: Vec<_> = (0..keys.len()).filter(|&index| is_miss(&lookups[index])).collect();
        let texts: Vec<_> = missing.iter().map(|&index| keys[index].to_text()).collect();
        let stored = core.store.get_many(&texts).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "the shared tier could not be read");
            self.inner.metrics.store_errors.add(1);
            texts.iter().map(|_| None).collect()
        });
        // The read may have opened a new connection.
        core.journal.ensure_current().await;
        for ((index, text), stored) in missing.into_iter().zip(&texts).zip(stored) {
            if let Lookup::Miss(held) = mem::replace(&mut lookups[index], Lookup::Miss(None)) {
                let fallback = inner.fallback_of(text, held);
                let entry = stored.and_then(|stored| inner.promote(text, &stored));
                lookups[index] = inner.judge_stored(entry, fallback);
            }
        }
        lookups
    }

    /// Joins each key's load if this caller may, and starts one load of all other keys.
    fn join_or_start_many(
        &self,
        missed: &[MissedKey<K, V>],
        loader: &Arc<BatchLoader<K, V>>,
    ) -> Vec<Waiter<LoadOutcome<V>, RunningLoad>> {
        let start = self.inner.start();
        let mut loads = Vec::new();
        let waiters = missed.iter().map(|missed| {
            let (request, (waiter, guard)) =
                self.join_or_lead(&missed.key, start, missed.fallback.clone(), missed.rand);
            loads.extend(guard.map(|guard| BatchLoad { key: missed.key.clone(), request, guard }));
            waiter
        });
        let waiters = waiters.collect();
        if !loads.is_empty() {
            tokio::spawn(load_together(Arc::clone(&self.inner), loads, Arc::clone(loader)));
        }
        waiters
    }

    async fn load_many_without_cache(
        &self,
        keys: Vec<K>,
        loader: Arc<BatchLoader<K, V>>,
    ) -> Result<Vec<Option<Cached<V>>>, LoadError> {
        request_scope::note_uncached();
        let texts: Vec<_> = keys.iter().map(Key::to_text).collect();
        let context = LoadContext::default();
        let load = load_many(loader, keys, BatchContext::default());
        let flights: Vec<_> = texts.iter().map(|text| Flight::new(self.inner.load_key(text))).collect();
        let values = self.inner.run_uncached(load, &context, &flights).await?;
        let values: HashMap<_, _> = values.into_iter().map(|(key, value)| (key, Arc::new(value))).collect();
        let cached = |value: &Arc<V>| Cached::loaded(Arc::clone(value));
        Ok(texts.iter().map(|key| values.get(key.as_str()).map(cached)).collect())
    }
}

/// Calls the batch's loader once the future is polled, so that a panic of the call is one of the
/// load.
fn load_many<K, V>(loader: Arc<BatchLoader<K, V>>, keys: Vec<K>, context: BatchContext) -> LoadFuture<Values<V>>
where
    K: Key + Send + 'static,
    V: Send + 'static,
{
    async move { loader(keys, context).await }.boxed()
}

/// Calls the batch's loader for one key.
async fn load_one<K, V>(loader: Arc<BatchLoader<K, V>>, key: K, context: LoadContext) -> Result<Option<V>, LoadError>
where
    K: Key + Send + 'static,
    V: Send + 'static,
{
    let text: Box<str> = key.to_text().into();
    let context = BatchContext::new([(text.clone(), context)]);
    Ok(loader(vec![key], context).await?.remove(&text))
}

/// Runs many loads with one call of the loader. A load whose key another process is loading waits
/// for that process instead.
async fn load_together<K, V>(inner: Arc<Inner<V>>, loads: Vec<BatchLoad<K, V>>, loader: Arc<BatchLoader<K, V>>)
where
    K: Key + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    // The connection is multiplexed, so the leases of all keys take one round trip.
    let leases = join_all(loads.into_iter().map(async |load| {
        let lease_request = inner.lease_request(&load.request);
        let lease = inner.try_acquire(&lease_request, &load.request).await;
        (load, lease_request, lease)
    }));
    let mut batch = Vec::new();
    for (load, mut lease_request, lease) in leases.await {
        match lease {
            LeaseOutcome::Found(entry) => load.guard.complete(Ok(Some(inner.found_in_store(&load.request, entry)))),
            LeaseOutcome::Acquired(lease) => batch.push((load, Some(lease))),
            LeaseOutcome::Unavailable => batch.push((load, None)),
            LeaseOutcome::Held(left) => {
                let (inner, loader) = (Arc::clone(&inner), Arc::clone(&loader));
                tokio::spawn(async move {
                    let BatchLoad { key, request, guard } = load;
                    let lease = inner.wait_for_lease(&mut lease_request, &request, left);
                    let load = load_one(loader, key, request.context.clone()).boxed();
                    guard.complete(inner.load(lease, &request, load).await);
                });
            }
        }
    }
    if !batch.is_empty() {
        load_batch(&inner, batch, loader).await;
    }
}

/// Calls the loader for all keys of the batch, and completes their loads.
async fn load_batch<K, V>(
    inner: &Inner<V>,
    batch: Vec<(BatchLoad<K, V>, Option<Lease>)>,
    loader: Arc<BatchLoader<K, V>>,
) where
    K: Key + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    let keys = batch.iter().map(|(load, _)| load.key.clone()).collect();
    let contexts = batch.iter().map(|(load, _)| (load.request.key.clone(), load.request.context.clone()));
    let (whole, contexts) = (LoadContext::default(), BatchContext::new(contexts));
    let flights: Vec<_> = batch.iter().map(|(load, _)| Arc::clone(&load.request.flight)).collect();
    let load = load_many(loader, keys, contexts);
    let output = inner.within_hard_timeout(inner.run_loader(load, &whole, &flights)).await;
    let (mut values, delta) = match output {
        Ok(LoaderOutput { value, delta }) => (value, Ok(delta)),
        Err(error) => (HashMap::new(), Err(error)),
    };
    let finished = batch.into_iter().map(|(load, lease)| {
        let BatchLoad { request, guard, .. } = load;
        let value = values.remove(&request.key);
        let output = delta.clone().map(|delta| LoaderOutput { value, delta });
        if whole.is_built_on_stale() {
            request.context.set_built_on_stale();
        }
        async move { guard.complete(inner.finish(&request, lease, output).await) }
    });
    join_all(finished).await;
}
