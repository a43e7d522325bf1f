//! How a namespace is set up.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use shared_keys::{Key, Lifetime, Tag};
use tokio::sync::Semaphore;

use super::{Inner, Namespace};
use crate::core::Core;
use crate::stampede::SingleFlight;

/// How a [`Namespace`] is set up. LoaderOutput by [`Cache::namespace`](crate::Cache::namespace).
///
/// ```
/// # use std::time::Duration;
/// # use origin_sdk::{Cache, Lifetime, Namespace};
/// # origin_sdk::keys! { app "shop" version 1; pub key Product { id: u64 } = "product:{id}"; }
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let cache = Cache::builder("shop").build().await.unwrap();
/// let lifetime = Lifetime::fresh(Duration::from_secs(60)).stale_if_error(Duration::from_secs(3600));
/// let products: Namespace<Product, Option<String>> = cache
///     .namespace(lifetime)
///     .negative_lifetime(Lifetime::fresh(Duration::from_secs(5)))
///     .soft_timeout(Duration::from_millis(200))
///     .loader_concurrency(32)
///     .build();
/// # });
/// ```
#[must_use]
pub struct NamespaceBuilder<K, V> {
    core: Arc<Core>,
    tags: Option<Arc<TagsOf<K>>>,
    options: Options,
    negative: Option<Negative<V>>,
    loader_concurrency: usize,
}

pub(super) type TagsOf<K> = dyn Fn(&K) -> Vec<Tag> + Send + Sync;

/// What a namespace's reads and loads go by.
pub(super) struct Options {
    pub(super) lifetime: Lifetime,
    pub(super) private: bool,
    pub(super) jitter: f64,
    pub(super) xfetch_beta: f64,
    pub(super) memory_ttl: Option<Duration>,
    pub(super) on_disconnect: OnDisconnect,
    pub(super) source_lag: Duration,
    pub(super) soft_timeout: Option<Duration>,
    pub(super) hard_timeout: Duration,
}

/// What a namespace knows of values that say that there is none.
pub(super) struct Negative<V> {
    pub(super) lifetime: Lifetime,
    pub(super) is_none: fn(&V) -> bool,
    pub(super) none: fn() -> V,
}

/// What a read does while the journal cannot be reached for longer than the cache's `max_lag`, so that nobody knows which of
/// the values in memory have been invalidated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnDisconnect {
    /// It goes to the loader; what is in memory is served only if that fails, within `stale_if_error`.
    #[default]
    Load,
    /// It takes what is in memory, within `stale_if_error`, and says that it is stale: for sources that could not take the
    /// load, and values that may be a little old.
    ServeStale,
}

impl<K: Key, V: Serialize + DeserializeOwned + Send + Sync + 'static> NamespaceBuilder<K, V> {
    pub(crate) fn new(core: Arc<Core>, lifetime: Lifetime) -> Self {
        let options = Options {
            lifetime,
            private: false,
            jitter: core.jitter,
            xfetch_beta: 1.0,
            memory_ttl: None,
            on_disconnect: OnDisconnect::default(),
            source_lag: Duration::ZERO,
            soft_timeout: None,
            hard_timeout: Duration::from_secs(30),
        };
        Self { core, tags: None, options, negative: None, loader_concurrency: 256 }
    }

    /// Tags every value with more than its key's declaration does ([`Key::tags`](shared_keys::Key::tags)), by what follows from the
    /// key alone. What follows from the value is for the loader to say, by [`LoadContext::tag`](crate::LoadContext::tag).
    pub fn tags(mut self, tags: impl Fn(&K) -> Vec<Tag> + Send + Sync + 'static) -> Self {
        self.tags = Some(Arc::new(tags));
        self
    }

    /// Says that the values are one user's own: a response built from one is `private, no-store`, and the edge never
    /// keeps it.
    pub fn private(mut self) -> Self {
        self.options.private = true;
        self
    }

    /// The largest part of `fresh` that is taken off at random, so that what was loaded together does not expire
    /// together. From 0 to 1; the nearer end is taken for what lies outside. Default: the cache's.
    pub fn jitter(mut self, part: f64) -> Self {
        self.options.jitter = if part.is_nan() { 0.0 } else { part.clamp(0.0, 1.0) };
        self
    }

    /// How eagerly a value is refreshed in the background before it expires (XFetch, Vattani et al. 2015). Readers do so by
    /// chance, ever more likely towards the end and the slower the last load was, so that a popular key is never found
    /// expired by all at once. Default 1, the paper's optimum for most; more is earlier, 0 (and what is no positive number)
    /// disables it.
    pub fn xfetch_beta(mut self, beta: f64) -> Self {
        self.options.xfetch_beta = if beta.is_finite() { beta.max(0.0) } else { 0.0 };
        self
    }

    /// How long a copy in this process's memory answers before Redis is asked again. A copy never lives longer than what it
    /// was made from, whatever is set here. Default: as long as that one.
    pub fn memory_ttl(mut self, ttl: Duration) -> Self {
        self.options.memory_ttl = Some(ttl);
        self
    }

    /// What a read does while the journal cannot be reached. Default [`OnDisconnect::Load`].
    pub fn on_disconnect(mut self, choice: OnDisconnect) -> Self {
        self.options.on_disconnect = choice;
        self
    }

    /// How far the source that loaders read from may be behind the one that writers write to, as a database's replica is. What
    /// is loaded within that time after an invalidation that covers it may still be the old value: it is handed to the caller as
    /// stale ([`StaleReason::SourceLag`](crate::StaleReason::SourceLag)) and not kept. For the same time after its start a process
    /// keeps nothing, as it cannot know when the last invalidations were. Default 0.
    pub fn source_lag(mut self, lag: Duration) -> Self {
        self.options.source_lag = lag;
        self
    }

    /// How long a caller waits for a load if there is a value that may be served when a load fails (`stale_if_error`): then it
    /// gets that one, and the load goes on in the background. Default: as long as the load takes.
    pub fn soft_timeout(mut self, timeout: Duration) -> Self {
        self.options.soft_timeout = Some(timeout);
        self
    }

    /// How long a load may take, from when its first caller asks: waiting for another process that loads the same key (for half
    /// of the time at most; then both load), waiting for a place among the loaders, and the loader itself. Then the loader is aborted at its next `await`, and its callers get
    /// a stale value or an error. Default 30 s.
    pub fn hard_timeout(mut self, timeout: Duration) -> Self {
        self.options.hard_timeout = timeout;
        self
    }

    /// How many loaders of this namespace may run at a time in this process; others wait in line, within the hard timeout. At
    /// least 1, default 256. A batch counts as one.
    pub fn loader_concurrency(mut self, loaders: usize) -> Self {
        self.loader_concurrency = loaders.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// The namespace.
    pub fn build(self) -> Namespace<K, V> {
        self.core.journal.remember_for(self.options.source_lag);
        Namespace {
            inner: Arc::new(Inner {
                metrics: self.core.namespaces.metrics_of(K::NAME),
                core: self.core,
                options: self.options,
                negative: self.negative,
                lookups: SingleFlight::new(),
                loads: SingleFlight::new(),
                loaders: Semaphore::new(self.loader_concurrency),
            }),
            tags: self.tags,
            key: PhantomData,
        }
    }
}

impl<K, T> NamespaceBuilder<K, Option<T>> {
    /// How long it is kept that there is no value: `None` has this lifetime instead of the namespace's, unless the loader
    /// sets one. It is an entry like any other, with the key's scopes and the tags that its loader gave it, so an
    /// invalidation ends it at once. In a batch it also stands for the keys that the loader's answer leaves out.
    ///
    /// Default: `None` is kept like any value, and what a batch's answer leaves out is not kept.
    pub fn negative_lifetime(mut self, lifetime: Lifetime) -> Self {
        self.negative = Some(Negative { lifetime, is_none: Option::is_none, none: || None });
        self
    }
}
