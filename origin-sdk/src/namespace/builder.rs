//! The settings of a namespace.

use std::any::type_name;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use shared_keys::{Key, Lifetime, Tag};
use tokio::sync::Semaphore;

use super::registry::{Registry, Settings};
use super::{Inner, Namespace, SharedForm};
use crate::core::Core;
use crate::error::BuildError;
use crate::stampede::{FailureBackoff, Lookups, SingleFlight};

/// A builder of a [`Namespace`], returned by [`Cache::namespace`](crate::Cache::namespace).
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
    registry: Arc<Registry>,
    tags: Option<Arc<TagsOf<K>>>,
    /// The type of the function that was given to [`tags`](Self::tags).
    tags_type: &'static str,
    options: Options,
    negative: Option<Negative<V>>,
    shared_form: Option<SharedForm<V>>,
    bytes_of: Option<Arc<BytesOf<V>>>,
    /// The type of the function that was given to [`bytes_of`](Self::bytes_of).
    bytes_of_type: &'static str,
    loader_concurrency: usize,
}

pub(super) type TagsOf<K> = dyn Fn(&K) -> Vec<Tag> + Send + Sync;
pub(super) type BytesOf<V> = dyn Fn(&V) -> usize + Send + Sync;

/// The settings that a namespace's reads and loads follow.
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
    pub(super) failure_backoff: Duration,
}

/// The handling of values that stand for an absent one.
pub(super) struct Negative<V> {
    pub(super) lifetime: Lifetime,
    pub(super) is_none: fn(&V) -> bool,
    pub(super) none: fn() -> V,
}

/// The behaviour of a read while the journal has been unreachable for longer than the cache's
/// `max_lag`, so that the process cannot know which values in memory have been invalidated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnDisconnect {
    /// Calls the loader. Serves the value in memory only if the load fails, within
    /// `stale_if_error`.
    #[default]
    Load,
    /// Serves the value in memory as stale, within `stale_if_error`: for sources that could not
    /// take the load, and values that may be a little old.
    ServeStale,
}

impl<K: Key, V: Send + Sync + 'static> NamespaceBuilder<K, V> {
    /// Creates a builder of a namespace that is in memory alone if there is no shared form.
    pub(crate) fn new(
        core: Arc<Core>,
        registry: Arc<Registry>,
        lifetime: Lifetime,
        shared_form: Option<SharedForm<V>>,
    ) -> Self {
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
            failure_backoff: Duration::from_secs(1),
        };
        Self {
            core,
            registry,
            tags: None,
            tags_type: "none",
            options,
            negative: None,
            shared_form,
            bytes_of: None,
            bytes_of_type: "none",
            loader_concurrency: 256,
        }
    }

    /// Adds tags to every value that follow from its key alone, beside those of the key's
    /// declaration ([`Key::tags`](shared_keys::Key::tags)). Tags that follow from the value are set by its loader:
    /// [`LoadContext::tag`](crate::LoadContext::tag).
    pub fn tags<T, F>(mut self, tags: F) -> Self
    where
        F: Fn(&K) -> T + Send + Sync + 'static,
        T: IntoIterator<Item: Into<Tag>>,
    {
        self.tags_type = type_name::<F>();
        self.tags = Some(Arc::new(move |key| tags(key).into_iter().map(Into::into).collect()));
        self
    }

    /// Sets the bytes that a value counts for in memory, without its key
    /// ([`CacheBuilder::memory_bytes`](crate::CacheBuilder::memory_bytes)). Default: its encoded
    /// size before compression; in a [memory-only](crate::Cache::memory_namespace) namespace the
    /// size of its type alone, without what it points to.
    pub fn bytes_of<F>(mut self, bytes_of: F) -> Self
    where
        F: Fn(&V) -> usize + Send + Sync + 'static,
    {
        self.bytes_of_type = type_name::<F>();
        self.bytes_of = Some(Arc::new(bytes_of));
        self
    }

    /// Declares that each value belongs to one user: a response that is built from one is
    /// `private, no-store`, and the edge never stores it.
    pub fn private(mut self) -> Self {
        self.options.private = true;
        self
    }

    /// Sets the largest fraction of `fresh` that is subtracted at random, so that values which were
    /// loaded together do not expire together. From 0.0 to 1.0; a value outside is clamped.
    /// Default: the cache's.
    pub fn jitter(mut self, part: f64) -> Self {
        self.options.jitter = if part.is_nan() { 0.0 } else { part.clamp(0.0, 1.0) };
        self
    }

    /// Sets how early a value is refreshed in the background before it expires (XFetch, Vattani et
    /// al. 2015). Each read refreshes at random, the more likely the nearer the expiry and the
    /// slower the last load, so that the readers of a popular key never find it expired all at
    /// once. Default 1, the paper's optimum; a larger number is earlier, and 0 or anything that is
    /// not a positive number disables it.
    pub fn xfetch_beta(mut self, beta: f64) -> Self {
        self.options.xfetch_beta = if beta.is_finite() { beta.max(0.0) } else { 0.0 };
        self
    }

    /// Sets how long a copy in this process's memory is served before the shared tier is read
    /// again. A copy never outlives the entry that it was made from. Default: as long as that
    /// entry.
    pub fn memory_ttl(mut self, ttl: Duration) -> Self {
        self.options.memory_ttl = Some(ttl);
        self
    }

    /// Sets what a read does while the journal cannot be reached. Default [`OnDisconnect::Load`].
    pub fn on_disconnect(mut self, choice: OnDisconnect) -> Self {
        self.options.on_disconnect = choice;
        self
    }

    /// Sets how far the source that loaders read may lag behind the one that writers write, as a
    /// replica of a database does. A value that is loaded within that time after an invalidation
    /// that covers it may still be the old one: it is returned as stale ([`StaleReason::SourceLag`](crate::StaleReason::SourceLag))
    /// and not stored. For the same time after its start a process stores nothing, as it cannot
    /// know when the last invalidations were. Default 0.
    pub fn source_lag(mut self, lag: Duration) -> Self {
        self.options.source_lag = lag;
        self
    }

    /// Sets how long a caller waits for a load if there is a value within `stale_if_error`: after
    /// that the caller gets this value, and the load goes on in the background. Default: none; the
    /// caller waits for the load.
    pub fn soft_timeout(mut self, timeout: Duration) -> Self {
        self.options.soft_timeout = Some(timeout);
        self
    }

    /// Sets how long a load may take, from its first call on. That includes waiting for another
    /// process that loads the same key (at most half of the time; then both load), waiting for the
    /// concurrency limit, and the loader itself. After that the loader is aborted at its next
    /// `await`, and its callers get a stale value or an error. Default 30 s.
    pub fn hard_timeout(mut self, timeout: Duration) -> Self {
        self.options.hard_timeout = timeout;
        self
    }

    /// Sets how many loaders of this namespace may run at a time in this process; others wait,
    /// within the hard timeout. At least 1, default 256. A batch counts as one. A loader that waits
    /// for a load of this or another namespace does not count meanwhile.
    pub fn loader_concurrency(mut self, loaders: usize) -> Self {
        self.loader_concurrency = loaders.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// Sets how long a key is not loaded after two of its loads in a row have failed. Until then
    /// its reads get a stale value or the last error at once, and no refresh runs. Up to half of
    /// the time is subtracted at random, so that processes do not try again together. Each process
    /// remembers up to 10,000 failing keys of a namespace.
    ///
    /// After one failure alone the next caller loads, since the failure may be due to its caller.
    /// Processes that wait for a load which fails behave the same: one of them loads, and if that
    /// fails too, all of them get an error.
    ///
    /// Default 1 s; zero disables it within the process.
    pub fn failure_backoff(mut self, backoff: Duration) -> Self {
        self.options.failure_backoff = backoff;
        self
    }

    /// Builds the namespace.
    ///
    /// All namespaces of a key type in one cache share their loads, leases and limits: a second
    /// build, in another module or once per request, is another handle of the first. It must have
    /// the same settings, including the type of the values and the function given to
    /// [`tags`](Self::tags).
    ///
    /// # Panics
    /// If a namespace of this key type was built with other settings. The message names them;
    /// [`try_build`](Self::try_build) returns it instead.
    #[track_caller]
    pub fn build(self) -> Namespace<K, V> {
        match self.try_build() {
            Ok(namespace) => namespace,
            #[expect(clippy::panic, reason = "two declarations in one program contradict each other")]
            Err(error) => panic!("{error}"),
        }
    }

    /// Builds the namespace, as [`build`](Self::build) does.
    ///
    /// # Errors
    /// [`BuildError::Namespace`] if a namespace of this key type was built with other settings.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use origin_sdk::{Cache, Lifetime, Namespace};
    /// # origin_sdk::keys! { app "shop" version 1; pub key Product { id: u64 } = "product:{id}"; }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let cache = Cache::builder("shop").build().await.unwrap();
    /// let lifetime = Lifetime::fresh(Duration::from_secs(60));
    /// let names: Namespace<Product, String> = cache.namespace(lifetime).build();
    /// let again = cache.namespace::<Product, String>(lifetime).loader_concurrency(8).try_build();
    /// let error = again.err().unwrap().to_string();
    /// assert!(error.contains("loader_concurrency: expected 256, got 8"), "{error}");
    /// # });
    /// ```
    pub fn try_build(self) -> Result<Namespace<K, V>, BuildError> {
        let settings = self.settings();
        let Self {
            core, registry, tags, options, negative, shared_form, bytes_of, loader_concurrency, ..
        } = self;
        let inner = registry.shared::<K, Inner<V>>(&settings, || {
            core.journal.remember_for(options.source_lag);
            Arc::new(Inner {
                name: K::NAME,
                metrics: core.namespaces.metrics_of(K::NAME),
                core,
                options,
                negative,
                shared_form,
                bytes_of,
                lookups: Lookups::default(),
                loads: SingleFlight::new(),
                failures: FailureBackoff::new(),
                loaders: Arc::new(Semaphore::new(loader_concurrency)),
            })
        })?;
        Ok(Namespace { inner, tags, key: PhantomData })
    }

    /// Returns the settings as texts, by which two builds are compared.
    fn settings(&self) -> Settings {
        // Without `..`, so that a new setting is not forgotten here.
        let Options {
            lifetime,
            private,
            jitter,
            xfetch_beta,
            memory_ttl,
            on_disconnect,
            source_lag,
            soft_timeout,
            hard_timeout,
            failure_backoff,
        } = &self.options;
        let negative = self.negative.as_ref().map(|negative| negative.lifetime);
        let tiers = if self.shared_form.is_some() { "memory and the shared one" } else { "memory alone" };
        vec![
            ("value type", type_name::<V>().to_owned()),
            ("tiers", tiers.to_owned()),
            ("bytes_of", self.bytes_of_type.to_owned()),
            ("lifetime", format!("{lifetime:?}")),
            ("negative_lifetime", format!("{negative:?}")),
            ("tags", self.tags_type.to_owned()),
            ("private", private.to_string()),
            ("jitter", jitter.to_string()),
            ("xfetch_beta", xfetch_beta.to_string()),
            ("memory_ttl", format!("{memory_ttl:?}")),
            ("on_disconnect", format!("{on_disconnect:?}")),
            ("source_lag", format!("{source_lag:?}")),
            ("soft_timeout", format!("{soft_timeout:?}")),
            ("hard_timeout", format!("{hard_timeout:?}")),
            ("failure_backoff", format!("{failure_backoff:?}")),
            ("loader_concurrency", self.loader_concurrency.to_string()),
        ]
    }
}

impl<K, T> NamespaceBuilder<K, Option<T>> {
    /// Sets the lifetime of `None`, in place of the namespace's, unless the loader sets one. It is
    /// an entry like any other, with the key's scopes and the tags that its loader set, so an
    /// invalidation ends it at once. A batch stores it also for the keys that the loader's result
    /// leaves out.
    ///
    /// A lifetime of zero stores no `None`. A load that returns `None` then ends the key's older
    /// value all the same, in this process and in the shared tier: it is served neither as stale
    /// nor if a later load fails.
    ///
    /// Default: `None` is stored like any value. A key that a batch's result leaves out is not
    /// stored, and its older value ends.
    pub fn negative_lifetime(mut self, lifetime: Lifetime) -> Self {
        self.negative = Some(Negative { lifetime, is_none: Option::is_none, none: || None });
        self
    }
}
