//! The typed face of the cache: values of one type under keys of one type.

mod batch;
mod builder;
mod fleet_load;
mod load;
mod read;
mod read_through;
#[cfg(test)]
mod tests;
mod write;

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use shared_keys::{Key, Position};
use tokio::sync::Semaphore;

pub use self::builder::{NamespaceBuilder, OnDisconnect};
use self::builder::{Negative, Options, TagsOf};
use self::load::{LoadOutcome, LoadStart};
pub use self::read_through::ReadThrough;
use crate::codec::Encoded;
use crate::core::Core;
use crate::entry::{Entry, Meta};
use crate::loader::LoadContext;
use crate::metrics::Metrics;
use crate::stampede::{Lease, SingleFlight};
use crate::store::Outcome;

/// Values of type `V` under keys of type `K`. Cheap to clone.
///
/// Built by [`Cache::namespace`](crate::Cache::namespace). [`ReadThrough`] is a namespace that has its
/// loader.
pub struct Namespace<K, V> {
    inner: Arc<Inner<V>>,
    tags: Option<Arc<TagsOf<K>>>,
    key: PhantomData<fn(&K)>,
}

impl<K, V> Clone for Namespace<K, V> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), tags: self.tags.clone(), key: PhantomData }
    }
}

/// The state that a namespace's tasks share.
struct Inner<V> {
    core: Arc<Core>,
    metrics: Arc<Metrics>,
    options: Options,
    negative: Option<Negative<V>>,
    /// Reads of the shared tier.
    lookups: Arc<SingleFlight<Option<Arc<Entry<V>>>, ()>>,
    /// Loads, each with the moment at which it started.
    loads: Arc<SingleFlight<LoadOutcome<V>, LoadStart>>,
    /// A permit for each loader that may run.
    loaders: Semaphore,
}

thread_local! {
    /// Holds the rendered key of a read, so that a hit allocates nothing.
    static KEY_BUFFER: RefCell<String> = const { RefCell::new(String::new()) };
}

impl<K: Key, V: Serialize + DeserializeOwned + Send + Sync + 'static> Namespace<K, V> {
    /// Returns a handle for a loader or writer, with the tags that follow from the key.
    fn load_context(&self, key: &K) -> LoadContext {
        let context = LoadContext::default();
        let more = self.tags.iter().flat_map(|tags| tags(key));
        key.tags().into_iter().chain(more).for_each(|tag| context.tag(tag));
        context
    }
}

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Inner<V> {
    /// Returns the metadata to store beside a new value, whose loader took `delta`.
    fn meta(&self, value: &V, context: &LoadContext, loaded_at: Position, delta: Duration) -> Meta {
        let negative = self.negative.as_ref().filter(|negative| (negative.is_none)(value));
        let default = negative.map_or(self.options.lifetime, |negative| negative.lifetime);
        let (mut tags, lifetime) = context.take(default);
        tags.sort_unstable();
        tags.dedup();
        let lifetime = lifetime.jittered(self.options.jitter * self.core.randomness.draw());
        Meta { loaded_at, lifetime, delta, tags }
    }

    fn entry(&self, key: &str, value: Arc<V>, meta: Meta) -> Arc<Entry<V>> {
        Arc::new(Entry::new(key, value, meta, self.core.clock.now(), Duration::ZERO))
    }

    /// Stores an entry in both tiers; in the shared one only while the lease, if there is one, is
    /// held. Returns whether the shared tier has stored it. A failure costs later reads their
    /// speed, nothing else.
    async fn store(&self, key: &str, entry: &Arc<Entry<V>>, lease: Option<Lease>) -> bool {
        let ttl = entry.meta.lifetime.total();
        let encoded = if ttl.is_zero() { None } else { self.encoded(key, entry) };
        let Some(Encoded { bytes, uncompressed_bytes }) = encoded else {
            if let Some(lease) = lease {
                lease.release(Outcome::NotShared).await;
            }
            return false;
        };
        self.store_in_memory(key, entry, uncompressed_bytes);
        if uncompressed_bytes > self.core.codec.max_value_bytes {
            self.metrics.too_large_for_redis.add(1);
            tracing::debug!(key, uncompressed_bytes, "the value exceeds `max_value_bytes`: Redis does not store it");
            if let Some(lease) = lease {
                lease.release(Outcome::NotShared).await;
            }
            return false;
        }
        let stored = match lease {
            Some(lease) => lease.fill(bytes, ttl).await,
            None => self.core.store.put(key, bytes, ttl, None).await.map(|_| ()),
        };
        if stored.is_err() {
            self.metrics.store_errors.add(1);
        }
        stored.is_ok()
    }

    /// Stores an entry in this process's memory, and counts the values that are too large for it.
    fn store_in_memory(&self, key: &str, entry: &Arc<Entry<V>>, uncompressed_bytes: usize) {
        if !self.core.memory.put(key, Arc::clone(entry), uncompressed_bytes) {
            self.metrics.too_large_for_memory.add(1);
            tracing::debug!(key, uncompressed_bytes, "the value exceeds `memory_bytes`: memory does not hold it");
        }
    }

    fn encoded(&self, key: &str, entry: &Entry<V>) -> Option<Encoded> {
        let codec = self.core.codec;
        codec
            .encode(&entry.meta, &*entry.value)
            .inspect_err(|error| tracing::error!(%error, key, "the value does not serialise and cannot be cached"))
            .ok()
    }
}
