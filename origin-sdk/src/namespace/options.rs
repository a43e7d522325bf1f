//! How a namespace is set up.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use shared_keys::{Key, Lifetime, Tag};
use tokio::sync::Semaphore;

use super::{Inner, Namespace};
use crate::cache::Core;
use crate::stampede::Flights;

/// How a [`Namespace`] is set up. Made by [`Cache::namespace`](crate::Cache::namespace).
#[must_use]
pub struct NamespaceBuilder<K, V> {
    core: Arc<Core>,
    tags: Option<Arc<TagsOf<K>>>,
    options: Options,
    loader_concurrency: usize,
    value: PhantomData<fn() -> V>,
}

pub(super) type TagsOf<K> = dyn Fn(&K) -> Vec<Tag> + Send + Sync;

/// What a namespace's reads and loads go by.
pub(super) struct Options {
    pub(super) lifetime: Lifetime,
    pub(super) private: bool,
    pub(super) soft_timeout: Option<Duration>,
    pub(super) hard_timeout: Duration,
}

impl<K: Key, V: Serialize + DeserializeOwned + Send + Sync + 'static> NamespaceBuilder<K, V> {
    pub(crate) fn new(core: Arc<Core>, lifetime: Lifetime) -> Self {
        let options = Options { lifetime, private: false, soft_timeout: None, hard_timeout: Duration::from_secs(30) };
        Self { core, tags: None, options, loader_concurrency: 256, value: PhantomData }
    }

    /// Tags every value with more than its key's declaration does ([`Key::tags`](shared_keys::Key::tags)), by what follows from the
    /// key alone. What follows from the value is for the loader to say, by [`Load::tag`](crate::Load::tag).
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

    /// How long a caller waits for a load if there is a value that may be served when a load fails (`stale_if_error`): then it
    /// gets that one, and the load goes on in the background. Default: as long as the load takes.
    pub fn soft_timeout(mut self, timeout: Duration) -> Self {
        self.options.soft_timeout = Some(timeout);
        self
    }

    /// How long a load may take, from when its first caller asks: waiting for another process that loads the same key, waiting
    /// for a place among the loaders, and the loader itself. Then the loader is aborted at its next `await`, and its callers get
    /// a stale value or an error. Default 30 s.
    pub fn hard_timeout(mut self, timeout: Duration) -> Self {
        self.options.hard_timeout = timeout;
        self
    }

    /// How many loaders of this namespace may run at a time in this process; others wait in line, within the hard timeout. At
    /// least 1, default 256.
    pub fn loader_concurrency(mut self, loaders: usize) -> Self {
        self.loader_concurrency = loaders.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// The namespace.
    pub fn build(self) -> Namespace<K, V> {
        Namespace {
            inner: Arc::new(Inner {
                core: self.core,
                options: self.options,
                lookups: Flights::new(),
                loads: Flights::new(),
                loaders: Semaphore::new(self.loader_concurrency),
            }),
            tags: self.tags,
            key: PhantomData,
        }
    }
}
