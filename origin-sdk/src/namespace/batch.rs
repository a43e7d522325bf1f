//! Batches: many keys in one round trip to Redis, and one call of a loader that sees only the misses.
//!
//! Each key has its own flight, entry and verdict, as if it were read alone; only the way to the shared tier and to the
//! source is shared.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt, join_all, try_join_all};
use serde::Serialize;
use serde::de::DeserializeOwned;
use shared_keys::Key;

use super::load::{Flight, LoadOutcome, LoadStart, LoaderOutput};
use super::read::Lookup;
use super::{Inner, Namespace};
use crate::cached::{Cached, Freshness, Layer};
use crate::entry::{self, Entry};
use crate::error::{BoxError, LoadError};
use crate::loader::{BatchContext, BoxLoader, LoadContext};
use crate::request_scope;
use crate::stampede::{LeaderGuard, LeaseOutcome, Waiter};

/// A batch's loader as it travels through the cache: keys → their values by the keys' texts.
type BatchLoader<K, V> = dyn Fn(Vec<K>, BatchContext) -> BoxFuture<'static, Result<Values<V>, LoadError>> + Send + Sync;
type Values<V> = HashMap<Box<str>, V>;

/// A key to be loaded.
struct Wanted<K, V> {
    /// Its place among the keys that were asked for.
    index: usize,
    key: K,
    fallback: Option<Arc<Entry<V>>>,
    rand: f64,
}

/// A flight that this batch leads.
struct Led<K, V> {
    key: K,
    flight: Flight<V>,
    takeoff: LeaderGuard<LoadOutcome<V>, LoadStart>,
}

impl<K, V> Namespace<K, V>
where
    K: Key + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    /// The values of several keys, each as [`Namespace::get`] has it, in the order of the keys. One round trip to Redis for
    /// all that memory does not have.
    pub async fn get_many(&self, keys: &[K]) -> Vec<Option<Cached<V>>> {
        if self.inner.core.bypass {
            return keys.iter().map(|_| None).collect();
        }
        let now = self.inner.core.clock.now();
        let found = self.find_many(keys).await;
        let hits = found.into_iter().map(|found| match found {
            Lookup::Hit(found) => Some(self.inner.serve(&found.entry, found.layer, found.freshness, now)),
            Lookup::Miss(_) => None,
        });
        hits.collect()
    }

    /// The values of several keys, each as [`Namespace::get_or_load`] has it, in the order of the keys: one round trip to
    /// Redis for all that memory does not have, and one call of `loader` with only the keys that no layer has. A key that its
    /// answer leaves out is `None` here; see
    /// [`negative_lifetime`](crate::NamespaceBuilder::negative_lifetime) for keeping that it is not there.
    ///
    /// What another caller loads already, in this process or in another one, is waited for instead. Only if that fails or is
    /// overtaken by an invalidation, `loader` is called once more, for that key alone; so it is an `Fn`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use origin_sdk::{Cache, Lifetime, BatchContext, Namespace, TypedTag};
    /// # origin_sdk::keys! {
    /// #     app "shop" version 1;
    /// #     pub key Product { id: u64 } = "product:{id}";
    /// #     pub tag Category { category: u32 } = "category:{category}";
    /// # }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let cache = Cache::builder("shop").build().await.unwrap();
    /// let names: Namespace<Product, String> = cache.namespace(Lifetime::fresh(Duration::from_secs(60))).build();
    /// let keys = [1, 2, 3].map(|id| Product { id });
    /// let hits = names
    ///     .get_many_or_load(&keys, |missing: Vec<Product>, loads: BatchContext| async move {
    ///         // One query for all of them; here there is no product 3.
    ///         let rows = missing.into_iter().filter(|key| key.id < 3);
    ///         let rows = rows.map(|key| {
    ///             loads.of(&key).tag(Category { category: 7 }.to_tag());
    ///             let name = format!("product {}", key.id);
    ///             (key, name)
    ///         });
    ///         Ok::<_, std::io::Error>(rows.collect::<Vec<_>>())
    ///     })
    ///     .await
    ///     .unwrap();
    /// let names: Vec<_> = hits.iter().map(|hit| hit.as_ref().map(|hit| hit.value.as_str())).collect();
    /// assert_eq!(names, [Some("product 1"), Some("product 2"), None]);
    /// # });
    /// ```
    ///
    /// # Errors
    /// If a load fails, panics or takes too long, and one of its keys has nothing that may be served stale.
    pub async fn get_many_or_load<F, L, I, E>(&self, keys: &[K], loader: F) -> Result<Vec<Option<Cached<V>>>, LoadError>
    where
        F: Fn(Vec<K>, BatchContext) -> L + Send + Sync + 'static,
        L: Future<Output = Result<I, E>> + Send + 'static,
        I: IntoIterator<Item = (K, V)>,
        E: Into<BoxError> + 'static,
    {
        let loader: Arc<BatchLoader<K, V>> = Arc::new(move |keys, loads| {
            let made = loader(keys, loads);
            async move {
                let values = made.await.map_err(|error| LoadError::failed(error.into()))?;
                Ok(values.into_iter().map(|(key, value)| (key.to_text().into(), value)).collect())
            }
            .boxed()
        });
        if self.inner.core.bypass {
            return self.load_many_past_the_cache(keys.to_vec(), loader).await;
        }
        let now = self.inner.core.clock.now();
        let (mut hits, mut misses, mut refreshes) = (Vec::with_capacity(keys.len()), Vec::new(), Vec::new());
        for (index, (key, found)) in keys.iter().zip(self.find_many(keys).await).enumerate() {
            let wanted = |fallback, rand| Wanted { index, key: key.clone(), fallback, rand };
            hits.push(match found {
                Lookup::Hit(found) => {
                    refreshes.extend(found.refresh.map(|rand| wanted(None, rand)));
                    Some(self.inner.serve(&found.entry, found.layer, found.freshness, now))
                }
                Lookup::Miss(fallback) => {
                    misses.push(wanted(fallback, 1.0));
                    None
                }
            });
        }
        let refreshing = self.take_seats(&refreshes, &loader).iter().filter(|seat| seat.is_leader).count();
        self.inner.metrics.refreshes.add(refreshing as u64);

        let seats = self.take_seats(&misses, &loader);
        let landings = misses.into_iter().zip(seats).map(|(wanted, seat)| {
            let again = alone(&loader, wanted.key.clone());
            async move {
                let hit = self.wait_for(&wanted.key, seat, Some(again), wanted.fallback, true).await?;
                Ok::<_, LoadError>((wanted.index, hit))
            }
        });
        for (index, hit) in try_join_all(landings).await? {
            hits[index] = hit;
        }
        Ok(hits)
    }

    /// What the tiers have for each of the keys.
    async fn find_many(&self, keys: &[K]) -> Vec<Lookup<V>> {
        let (inner, core) = (&self.inner, &self.inner.core);
        let now = core.clock.now();
        let mut found: Vec<_> = keys.iter().map(|key| self.in_memory(key, now)).collect();
        let is_missing = |found: &Lookup<V>| matches!(found, Lookup::Miss(_));
        if !found.iter().any(is_missing) {
            return found;
        }
        if core.journal.is_lagging(now) {
            let is_current = core.journal.ensure_current().await;
            let again = |found| match found {
                Lookup::Miss(held) if is_current => inner.judge_held(held, core.clock.now()),
                Lookup::Miss(held) => inner.find_while_disconnected(held),
                found => found,
            };
            found = found.into_iter().map(again).collect();
            if !is_current {
                return found;
            }
        }
        let missing: Vec<_> = (0..keys.len()).filter(|&index| is_missing(&found[index])).collect();
        let texts: Vec<_> = missing.iter().map(|&index| keys[index].to_text()).collect();
        let stored = core.store.get_many(&texts).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "the shared tier could not be read");
            self.inner.metrics.store_errors.add(1);
            texts.iter().map(|_| None).collect()
        });
        // Getting them may have taken a new connection.
        core.journal.ensure_current().await;
        for ((index, text), stored) in missing.into_iter().zip(&texts).zip(stored) {
            if let Lookup::Miss(held) = mem::replace(&mut found[index], Lookup::Miss(None)) {
                let fallback = inner.fallback_of(text, held);
                let entry = stored.and_then(|stored| inner.promote(text, &stored));
                found[index] = inner.judge_stored(entry, fallback);
            }
        }
        found
    }

    /// A seat for each of the keys; those that nobody loads yet are loaded together.
    fn take_seats(&self, wanted: &[Wanted<K, V>], loader: &Arc<BatchLoader<K, V>>) -> Vec<Waiter<LoadOutcome<V>>> {
        let begun = self.inner.begin();
        let mut led = Vec::new();
        let seats = wanted.iter().map(|wanted| {
            let (text, load) = (wanted.key.to_text(), self.load_handle(&wanted.key));
            let scopes = entry::scopes(&text, &load.tags());
            let (seat, takeoff) = self.inner.place(&text, &scopes, begun);
            if let Some(takeoff) = takeoff {
                let (fallback, rand) = (wanted.fallback.clone(), wanted.rand);
                let flight = Flight { key: text.into(), scopes, begun, load, fallback, rand };
                led.push(Led { key: wanted.key.clone(), flight, takeoff });
            }
            seat
        });
        let seats = seats.collect();
        if !led.is_empty() {
            tokio::spawn(fly_together(Arc::clone(&self.inner), led, Arc::clone(loader)));
        }
        seats
    }

    async fn load_many_past_the_cache(
        &self,
        keys: Vec<K>,
        loader: Arc<BatchLoader<K, V>>,
    ) -> Result<Vec<Option<Cached<V>>>, LoadError> {
        request_scope::note_uncached();
        let texts: Vec<_> = keys.iter().map(Key::to_text).collect();
        let call = Box::new(move |_| loader(keys, BatchContext::default()));
        let load = self.inner.call_loader(call, LoadContext::default());
        let values = self.inner.within_hard_timeout(load).await?.value;
        let values: HashMap<_, _> = values.into_iter().map(|(key, value)| (key, Arc::new(value))).collect();
        let hit = |value: &Arc<V>| Cached {
            value: Arc::clone(value),
            layer: Layer::Loader,
            age: std::time::Duration::ZERO,
            freshness: Freshness::Fresh,
        };
        Ok(texts.iter().map(|key| values.get(key.as_str()).map(hit)).collect())
    }
}

/// The batch's loader, for one key.
fn alone<K: Key + Send + 'static, V: 'static>(loader: &Arc<BatchLoader<K, V>>, key: K) -> BoxLoader<Option<V>> {
    let loader = Arc::clone(loader);
    Box::new(move |load| {
        let text: Box<str> = key.to_text().into();
        let made = loader(vec![key], BatchContext::new([(text.clone(), load)]));
        async move { Ok(made.await?.remove(&text)) }.boxed()
    })
}

/// Flies many flights with one call of the loader. Those whose keys another process loads wait for that one instead.
async fn fly_together<K, V>(inner: Arc<Inner<V>>, led: Vec<Led<K, V>>, loader: Arc<BatchLoader<K, V>>)
where
    K: Key + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    // The connection is shared, so all of them are asked in one go.
    let asked = join_all(led.into_iter().map(async |led| {
        let applicant = inner.applicant(&led.flight);
        let turn = inner.ask(&applicant, &led.flight).await;
        (led, applicant, turn)
    }));
    let mut batch = Vec::new();
    for (led, mut applicant, turn) in asked.await {
        match turn {
            LeaseOutcome::Found(entry) => led.takeoff.complete(Ok(Some(inner.found_elsewhere(&led.flight, entry)))),
            LeaseOutcome::Acquired(lease) => batch.push((led, Some(lease))),
            LeaseOutcome::Unavailable => batch.push((led, None)),
            LeaseOutcome::Held(left) => {
                let (inner, loader) = (Arc::clone(&inner), alone(&loader, led.key));
                tokio::spawn(async move {
                    let turn = inner.wait_for_turn(&mut applicant, &led.flight, left);
                    led.takeoff.complete(inner.fly_when(turn, &led.flight, loader).await);
                });
            }
        }
    }
    if batch.is_empty() {
        return;
    }
    let keys = batch.iter().map(|(led, _)| led.key.clone()).collect();
    let loads = BatchContext::new(batch.iter().map(|(led, _)| (led.flight.key.clone(), led.flight.load.clone())));
    let whole = LoadContext::default();
    let call = Box::new(move |_| loader(keys, loads));
    let made = inner.within_hard_timeout(inner.call_loader(call, whole.clone())).await;
    let (mut values, made) = match made {
        Ok(LoaderOutput { value, began, delta }) => (value, Ok((began, delta))),
        Err(error) => (HashMap::new(), Err(error)),
    };
    let finished = batch.into_iter().map(|(led, lease)| {
        let value = values.remove(&led.flight.key);
        let made = made.clone().map(|(began, delta)| LoaderOutput { value, began, delta });
        if whole.is_built_on_stale() {
            led.flight.load.built_on_stale();
        }
        let inner = &inner;
        async move { led.takeoff.complete(inner.finish(&led.flight, lease, made).await) }
    });
    join_all(finished).await;
}
