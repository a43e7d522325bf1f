//! The typed face of the cache: values of one type under keys of one type.

mod batch;
mod batch_load;
mod builder;
mod caller;
mod failures;
mod fleet_load;
mod key_text;
mod load;
mod put;
mod read;
mod read_through;
mod registry;
mod run;
mod shared_form;
#[cfg(test)]
mod tests;
mod tiers;
mod write;

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use shared_keys::{Key, Position};
use tokio::sync::Semaphore;

use self::builder::{BytesOf, Negative, Options, TagsOf};
pub use self::builder::{NamespaceBuilder, OnDisconnect};
use self::load::{LoadOutcome, RunningLoad};
pub use self::put::Put;
pub use self::read_through::ReadThrough;
pub(crate) use self::registry::Registry;
pub(crate) use self::shared_form::SharedForm;
use crate::core::Core;
use crate::entry::{Entry, Meta, storable};
use crate::loader::LoadContext;
use crate::metrics::Metrics;
use crate::stampede::{FailureBackoff, Lookups, SingleFlight};

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
    /// The name of the key type.
    name: &'static str,
    core: Arc<Core>,
    metrics: Arc<Metrics>,
    options: Options,
    negative: Option<Negative<V>>,
    /// `None` if the values are in memory alone.
    shared_form: Option<SharedForm<V>>,
    bytes_of: Option<Arc<BytesOf<V>>>,
    /// Reads of the shared tier.
    lookups: Lookups<Option<Arc<Entry<V>>>>,
    /// Loads, each with the moment at which it started.
    loads: Arc<SingleFlight<LoadOutcome<V>, RunningLoad<V>>>,
    failures: FailureBackoff,
    /// A permit for each loader that may run.
    loaders: Arc<Semaphore>,
}

impl<K: Key, V: Send + Sync + 'static> Namespace<K, V> {
    /// Returns a handle for a loader or writer, with the tags that follow from the key.
    fn load_context(&self, key: &K) -> LoadContext {
        let context = LoadContext::default();
        let more = self.tags.iter().flat_map(|tags| tags(key));
        key.tags().into_iter().chain(more).for_each(|tag| context.tag(tag));
        context
    }
}

impl<V: Send + Sync + 'static> Inner<V> {
    /// Returns the metadata to store beside a new value, whose loader took `delta`.
    fn meta(&self, value: &V, context: &LoadContext, loaded_at: Position, delta: Duration) -> Meta {
        let negative = self.negative.as_ref().filter(|negative| (negative.is_none)(value));
        let default = negative.map_or(self.options.lifetime, |negative| negative.lifetime);
        let (mut tags, lifetime) = context.take(default);
        tags.sort_unstable();
        tags.dedup();
        let lifetime = storable(lifetime.jittered(self.options.jitter * self.core.randomness.draw()));
        Meta { loaded_at, lifetime, delta, tags }
    }

    fn entry(&self, key: &str, value: Arc<V>, meta: Meta) -> Arc<Entry<V>> {
        Arc::new(self.aged_entry(key, value, meta, self.core.clock.now(), Duration::ZERO))
    }

    /// Returns an entry whose value has this age at the clock's reading `now`.
    fn aged_entry(&self, key: &str, value: Arc<V>, meta: Meta, now: Duration, age: Duration) -> Entry<V> {
        let mut entry = Entry::new(key, value, meta, &self.core.clock, now, age);
        entry.is_negative = self.negative.as_ref().is_some_and(|negative| (negative.is_none)(&entry.value));
        entry.plain_within(self.options.xfetch_beta, self.options.memory_ttl)
    }
}
