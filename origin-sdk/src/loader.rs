//! Loaders and writers, and the handles through which they describe the value they produce.

use std::collections::HashMap;
use std::future::ready;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use shared_keys::{Key, Lifetime, Tag};

use crate::error::{BoxError, LoadError, Work};

/// A loader or writer of any type. Boxed only after a miss, so that a hit allocates nothing.
pub(crate) type BoxLoader<'a, K, T> = Box<dyn FnOnce(K, LoadContext) -> LoadFuture<T> + Send + 'a>;

/// A loader that was called, and runs once it is polled.
pub(crate) type LoadFuture<T> = BoxFuture<'static, Result<T, LoadError>>;

/// Boxes a loader or writer; `wrap` converts its value. A panic while it builds its future becomes
/// an error of the load.
pub(crate) fn boxed<'a, K, V, T, F, L>(work: Work, loader: F, wrap: fn(V) -> T) -> BoxLoader<'a, K, T>
where
    V: 'static,
    T: Send + 'static,
    F: FnOnce(K, LoadContext) -> L + Send + 'a,
    L: Future<Output = Result<V, BoxError>> + Send + 'static,
{
    Box::new(move |key, context| match catch_unwind(AssertUnwindSafe(|| loader(key, context))) {
        Ok(load) => {
            async move { load.await.map(wrap).map_err(|error| LoadError::failed(work, error)) }.boxed()
        }
        Err(_) => ready(Err(LoadError::panicked(work))).boxed(),
    })
}

/// A handle for the loader of one value, to tag the value and to set its lifetime. Cheap to clone.
///
/// A loader that reads through another namespace has to tag its value by what that value depends
/// on: scopes are not inherited. If it read a stale value, its own value is returned and not
/// stored, and the key's older value stays.
#[derive(Debug, Clone, Default)]
pub struct LoadContext(Arc<Mutex<Annotations>>);

/// The loader's statements about its value.
#[derive(Debug, Default)]
struct Annotations {
    tags: Vec<Tag>,
    lifetime: Option<Lifetime>,
    is_built_on_stale: bool,
}

impl LoadContext {
    /// Tags the value: an invalidation of the tag covers it.
    pub fn tag(&self, tag: impl Into<Tag>) {
        self.annotations().tags.push(tag.into());
    }

    /// Sets the value's lifetime, in place of its namespace's. A value with a lifetime of zero is
    /// returned and not stored, and ends the key's older value in this process and in the shared
    /// tier.
    pub fn lifetime(&self, lifetime: Lifetime) {
        self.annotations().lifetime = Some(lifetime);
    }

    /// Marks the value as stale from the start, because its loader has read a stale value.
    pub(crate) fn set_built_on_stale(&self) {
        self.annotations().is_built_on_stale = true;
    }

    pub(crate) fn is_built_on_stale(&self) -> bool {
        self.annotations().is_built_on_stale
    }

    /// Returns the tags that have been set so far.
    pub(crate) fn tags(&self) -> Vec<Tag> {
        self.annotations().tags.clone()
    }

    /// Takes the tags, and the lifetime; `default` if the loader has set none.
    pub(crate) fn take(&self, default: Lifetime) -> (Vec<Tag>, Lifetime) {
        let annotations = mem::take(&mut *self.annotations());
        let lifetime = if annotations.is_built_on_stale {
            Lifetime::fresh(Duration::ZERO)
        } else {
            annotations.lifetime.unwrap_or(default)
        };
        (annotations.tags, lifetime)
    }

    fn annotations(&self) -> MutexGuard<'_, Annotations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The handles for the loader of a batch, one for each key's value. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct BatchContext(Arc<Batch>);

#[derive(Debug, Default)]
struct Batch {
    contexts: HashMap<Box<str>, LoadContext>,
    failures: Mutex<HashMap<Box<str>, LoadError>>,
}

impl BatchContext {
    pub(crate) fn new(contexts: impl IntoIterator<Item = (Box<str>, LoadContext)>) -> Self {
        Self(Arc::new(Batch { contexts: contexts.into_iter().collect(), failures: Mutex::default() }))
    }

    /// Returns the handle of one of the keys that the loader was called with. The handle of any
    /// other key has no effect.
    #[must_use]
    pub fn of(&self, key: &impl Key) -> LoadContext {
        self.0.contexts.get(key.to_text().as_str()).cloned().unwrap_or_default()
    }

    /// Reports a key that cannot be loaded, of those that the loader was called with. The read of
    /// the key gets the error, or a stale value; the other keys are not affected. A value that the
    /// loader returns for the key all the same is ignored.
    pub fn fail(&self, key: &impl Key, error: impl Into<BoxError>) {
        let error = LoadError::failed(Work::Loader, error.into());
        self.failures().insert(key.to_text().into(), error);
    }

    /// Takes the failures that were reported, by the keys' texts.
    pub(crate) fn take_failures(&self) -> HashMap<Box<str>, LoadError> {
        mem::take(&mut *self.failures())
    }

    fn failures(&self) -> MutexGuard<'_, HashMap<Box<str>, LoadError>> {
        self.0.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
