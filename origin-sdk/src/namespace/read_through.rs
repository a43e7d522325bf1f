//! A namespace that has its loader.

use std::ops::Deref;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use shared_keys::Key;

use super::batch_load::{BatchLoader, batch_loader};
use super::{Namespace, NamespaceBuilder};
use crate::cached::Cached;
use crate::error::{BoxError, LoadError};
use crate::loader::{BatchContext, LoadContext};

/// A [`Namespace`] with a loader, so that a read is [`get`](Self::get). Cheap to clone.
///
/// It dereferences to its namespace, for invalidations and writes. Built by
/// [`NamespaceBuilder::read_through`].
///
/// ```
/// use std::time::Duration;
/// use origin_sdk::{BoxError, Cache, Lifetime, LoadContext, ReadThrough};
/// # #[derive(Clone)]
/// # struct Database;
/// # impl Database {
/// #     async fn name_of(&self, id: u64) -> Result<String, std::io::Error> { Ok(format!("lamp {id}")) }
/// # }
///
/// origin_sdk::keys! {
///     app "shop" version 1;
///
///     /// One product's name.
///     pub key ProductName { id: u64 } = "product:{id}:name";
/// }
///
/// async fn load_name(database: Database, key: ProductName, _: LoadContext) -> Result<String, BoxError> {
///     Ok(database.name_of(key.id).await?)
/// }
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let (cache, database) = (Cache::builder("shop").build().await?, Database);
/// let names: ReadThrough<ProductName, String> =
///     cache.namespace(Lifetime::fresh(Duration::from_secs(60))).read_through(database, load_name);
/// assert_eq!(*names.get(&ProductName { id: 7 }).await?.value, "lamp 7");
/// names.invalidate(&ProductName { id: 7 }).await;
/// # Ok::<_, BoxError>(())
/// # }).unwrap();
/// ```
pub struct ReadThrough<K, V> {
    namespace: Namespace<K, V>,
    loader: Arc<Loader<K, V>>,
    batch_loader: Option<Arc<BatchLoader<K, V>>>,
}

type Loader<K, V> = dyn Fn(K, LoadContext) -> BoxFuture<'static, Result<V, BoxError>> + Send + Sync;

impl<K, V> Clone for ReadThrough<K, V> {
    fn clone(&self) -> Self {
        Self {
            namespace: self.namespace.clone(),
            loader: Arc::clone(&self.loader),
            batch_loader: self.batch_loader.clone(),
        }
    }
}

impl<K, V> Deref for ReadThrough<K, V> {
    type Target = Namespace<K, V>;

    fn deref(&self) -> &Namespace<K, V> {
        &self.namespace
    }
}

impl<K, V> NamespaceBuilder<K, V>
where
    K: Key + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// Builds a namespace whose reads call `loader`. `state`, such as a connection pool, is cloned
    /// only when a load starts.
    ///
    /// # Panics
    /// As [`build`](Self::build).
    #[track_caller]
    pub fn read_through<S, F, L>(self, state: S, loader: F) -> ReadThrough<K, V>
    where
        S: Clone + Send + Sync + 'static,
        F: Fn(S, K, LoadContext) -> L + Send + Sync + 'static,
        L: Future<Output = Result<V, BoxError>> + Send + 'static,
    {
        let loader = Arc::new(move |key, context| loader(state.clone(), key, context).boxed());
        ReadThrough { namespace: self.build(), loader, batch_loader: None }
    }
}

impl<K, V> ReadThrough<K, V>
where
    K: Key + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// Adds a loader of many keys, which [`get_many`](Self::get_many) calls with the keys that no layer
    /// has. `state` is cloned only when a load starts.
    #[must_use]
    pub fn batch_loader<S, F, L, I>(mut self, state: S, loader: F) -> Self
    where
        S: Clone + Send + Sync + 'static,
        F: Fn(S, Vec<K>, BatchContext) -> L + Send + Sync + 'static,
        L: Future<Output = Result<I, BoxError>> + Send + 'static,
        I: IntoIterator<Item = (K, V)>,
    {
        self.batch_loader = Some(batch_loader(move |keys, context| loader(state.clone(), keys, context)));
        self
    }

    /// Returns the value of a key, as [`Namespace::get_or_load`] does.
    ///
    /// # Errors
    /// If the loader fails, panics or takes too long, and nothing may be served stale.
    pub async fn get(&self, key: &K) -> Result<Cached<V>, LoadError> {
        self.namespace.get_or_load(key, |key, context| (self.loader)(key, context)).await
    }

    /// Returns the values of several keys in their order, as [`Namespace::get_many_or_load`] does.
    /// Without a [batch loader](Self::batch_loader) the loader runs once for each key that no layer
    /// has, at most 256 times at a time, and no value is `None`.
    ///
    /// Each key has a result of its own.
    pub async fn get_many(&self, keys: &[K]) -> Vec<Result<Option<Cached<V>>, LoadError>> {
        match &self.batch_loader {
            Some(loader) => self.namespace.get_many_with(keys, Arc::clone(loader)).await,
            None => self.namespace.get_each_with(keys, |key, context| (self.loader)(key, context)).await,
        }
    }
}
