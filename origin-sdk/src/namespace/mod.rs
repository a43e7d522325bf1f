//! The typed face of the cache: values of one type under keys of one type.

mod read;
mod write;

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use shared_keys::{Key, Lifetime, Position, Tag};

use crate::cache::Core;
use crate::entry::{Entry, Meta};
use crate::error::LoadError;
use crate::load::Load;
use crate::stampede::Flights;

/// How a [`Namespace`] is set up. Made by [`Cache::namespace`](crate::Cache::namespace).
#[must_use]
pub struct NamespaceBuilder<K, V> {
    core: Arc<Core>,
    lifetime: Lifetime,
    tags: Option<Arc<TagsOf<K>>>,
    private: bool,
    value: PhantomData<fn() -> V>,
}

type TagsOf<K> = dyn Fn(&K) -> Vec<Tag> + Send + Sync;

impl<K: Key, V: Serialize + DeserializeOwned + Send + Sync + 'static> NamespaceBuilder<K, V> {
    pub(crate) fn new(core: Arc<Core>, lifetime: Lifetime) -> Self {
        Self { core, lifetime, tags: None, private: false, value: PhantomData }
    }

    /// Tags every value with what follows from its key alone. What follows from the value is for the loader to say, by
    /// [`Load::tag`].
    pub fn tags(mut self, tags: impl Fn(&K) -> Vec<Tag> + Send + Sync + 'static) -> Self {
        self.tags = Some(Arc::new(tags));
        self
    }

    /// Says that the values are one user's own: a response built from one is `private, no-store`, and the edge never
    /// keeps it.
    pub fn private(mut self) -> Self {
        self.private = true;
        self
    }

    /// The namespace.
    pub fn build(self) -> Namespace<K, V> {
        Namespace {
            inner: Arc::new(Inner {
                core: self.core,
                lifetime: self.lifetime,
                private: self.private,
                lookups: Flights::new(),
                loads: Flights::new(),
            }),
            tags: self.tags,
            key: PhantomData,
        }
    }
}

/// Values of type `V` under keys of type `K`. Cheap to clone.
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

/// What a namespace's tasks share.
struct Inner<V> {
    core: Arc<Core>,
    lifetime: Lifetime,
    private: bool,
    /// Reads of the shared tier.
    lookups: Arc<Flights<Option<Arc<Entry<V>>>, ()>>,
    /// Loads, each with the state of the journal at which it began.
    loads: Arc<Flights<Result<Loaded<V>, LoadError>, Begun>>,
}

/// When a load began, and the state of the journal then.
#[derive(Debug, Clone, Copy)]
struct Begun {
    at: Duration,
    changes: u64,
    position: Position,
}

/// What a load brings.
struct Loaded<V> {
    entry: Arc<Entry<V>>,
    begun: Begun,
    /// Whether the loader failed, and this is what was there before.
    stale: bool,
}

impl<V> Clone for Loaded<V> {
    fn clone(&self) -> Self {
        Self { entry: Arc::clone(&self.entry), ..*self }
    }
}

thread_local! {
    /// Keys render into it, so that a hit allocates nothing.
    static KEY_BUFFER: RefCell<String> = const { RefCell::new(String::new()) };
}

impl<K: Key, V: Serialize + DeserializeOwned + Send + Sync + 'static> Namespace<K, V> {
    /// A handle for a loader or writer, with the tags that follow from the key.
    fn load_handle(&self, key: &K) -> Load {
        let load = Load::default();
        self.tags.iter().flat_map(|tags| tags(key)).for_each(|tag| load.tag(tag));
        load
    }

    /// The entry in memory.
    fn in_memory(&self, key: &K) -> Option<Arc<Entry<V>>> {
        KEY_BUFFER.with_borrow_mut(|text| {
            text.clear();
            key.render(text).ok()?;
            self.inner.core.memory.get(text)
        })
    }
}

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Inner<V> {
    fn begin(&self) -> Begun {
        let journal = &self.core.journal;
        Begun { at: self.core.clock.now(), changes: journal.changes(), position: journal.position() }
    }

    /// What to store beside a value that has just been made.
    fn meta(&self, load: &Load, loaded_at: Position) -> Meta {
        let (mut tags, lifetime) = load.take(self.lifetime);
        tags.sort_unstable();
        tags.dedup();
        let lifetime = jittered(lifetime, self.core.jitter * rand::random::<f64>());
        Meta { loaded_at, lifetime, tags }
    }

    fn entry(&self, key: &str, value: Arc<V>, meta: Meta) -> Arc<Entry<V>> {
        Arc::new(Entry::new(key, value, meta, self.core.clock.now(), Duration::ZERO))
    }

    /// Puts an entry into both tiers. A failing tier costs speed later on, nothing else.
    async fn keep(&self, key: &str, entry: &Arc<Entry<V>>) {
        if entry.meta.lifetime.total().is_zero() {
            return;
        }
        let bytes = match self.core.codec.encode(&entry.meta, &*entry.value) {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::error!(%error, key, "the value does not serialise and cannot be cached");
                return;
            }
        };
        self.core.memory.put(key, Arc::clone(entry), bytes.len());
        if self.core.store.put(key, bytes, entry.meta.lifetime.total()).await.is_err() {
            self.core.metrics.store_errors.add(1);
        }
    }
}

/// `fresh` shortened by a part of it; the windows keep their length.
fn jittered(lifetime: Lifetime, part: f64) -> Lifetime {
    let taken = Duration::try_from_secs_f64(lifetime.fresh_for().as_secs_f64() * part).unwrap_or_default();
    Lifetime::fresh(lifetime.fresh_for().saturating_sub(taken))
        .stale_while_revalidate(lifetime.swr_for())
        .stale_if_error(lifetime.sie_for())
}
