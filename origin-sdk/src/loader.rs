//! Loaders and writers, and what they may say of the value that they make.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use shared_keys::{Key, Lifetime, Tag};

use crate::error::{BoxError, LoadError};

/// A loader or writer of any type, as it travels through the cache. Boxed only once it is needed: a hit allocates nothing.
pub(crate) type BoxLoader<V> = Box<dyn FnOnce(LoadContext) -> BoxFuture<'static, Result<V, LoadError>> + Send>;

/// The loader, boxed; `wrap` makes what travels of what it returns.
pub(crate) fn boxed<V, T, F, L, E>(loader: F, wrap: fn(V) -> T) -> BoxLoader<T>
where
    V: 'static,
    T: 'static,
    F: FnOnce(LoadContext) -> L + Send + 'static,
    L: Future<Output = Result<V, E>> + Send + 'static,
    E: Into<BoxError> + 'static,
{
    Box::new(move |load| {
        let made = loader(load);
        async move { made.await.map(wrap).map_err(|error| LoadError::failed(error.into())) }.boxed()
    })
}

/// A handle that a loader gets, to tag its value and to set its lifetime. Cheap to clone.
///
/// A loader that reads through another namespace tags its value by what that value depends on: scopes are not inherited.
/// If what it read was stale, its own value is handed out and not kept.
#[derive(Debug, Clone, Default)]
pub struct LoadContext(Arc<Mutex<Annotations>>);

#[derive(Debug, Default)]
struct Annotations {
    tags: Vec<Tag>,
    lifetime: Option<Lifetime>,
    built_on_stale: bool,
}

impl LoadContext {
    /// Tags the value: an invalidation of the tag covers it.
    pub fn tag(&self, tag: Tag) {
        self.said().tags.push(tag);
    }

    /// Gives the value this lifetime instead of its namespace's.
    pub fn lifetime(&self, lifetime: Lifetime) {
        self.said().lifetime = Some(lifetime);
    }

    /// The loader has read something stale through the cache, so its value is stale from the beginning.
    pub(crate) fn built_on_stale(&self) {
        self.said().built_on_stale = true;
    }

    /// The tags that were given so far.
    pub(crate) fn tags(&self) -> Vec<Tag> {
        self.said().tags.clone()
    }

    pub(crate) fn is_built_on_stale(&self) -> bool {
        self.said().built_on_stale
    }

    /// The tags that were given, and the lifetime, which is `default` if none was.
    pub(crate) fn take(&self, default: Lifetime) -> (Vec<Tag>, Lifetime) {
        let said = mem::take(&mut *self.said());
        let lifetime =
            if said.built_on_stale { Lifetime::fresh(Duration::ZERO) } else { said.lifetime.unwrap_or(default) };
        (said.tags, lifetime)
    }

    fn said(&self) -> MutexGuard<'_, Annotations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the loader of a batch gets to speak of each key's value by. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct BatchContext(Arc<HashMap<Box<str>, LoadContext>>);

impl BatchContext {
    pub(crate) fn new(loads: impl IntoIterator<Item = (Box<str>, LoadContext)>) -> Self {
        Self(Arc::new(loads.into_iter().collect()))
    }

    /// The handle of one of the keys that the loader was called with. What is said of another key is not heard.
    #[must_use]
    pub fn of(&self, key: &impl Key) -> LoadContext {
        self.0.get(key.to_text().as_str()).cloned().unwrap_or_default()
    }
}
