//! The cache as a whole: what its namespaces share, and invalidations that concern no single key.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use shared_keys::{Key, Lifetime, Mode, Position, Scope};

use crate::clock::Clock;
use crate::codec::Codec;
use crate::config::CacheBuilder;
use crate::error::BoxError;
use crate::journal::Journal;
use crate::memory::Memory;
use crate::metrics::{Metrics, NamespaceMetrics, Stats};
use crate::namespace::NamespaceBuilder;
use crate::purge::ShipStatus;
use crate::random::Randomness;
use crate::receipt::Receipt;
use crate::store::Store;

/// One process's cache: memory, the shared tier, the journal. Cheap to clone.
#[derive(Clone)]
pub struct Cache(Arc<Core>);

/// What all namespaces share.
pub(crate) struct Core {
    pub(crate) memory: Memory,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) journal: Arc<Journal>,
    /// What concerns no single namespace.
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) namespaces: NamespaceMetrics,
    pub(crate) clock: Clock,
    pub(crate) codec: Codec,
    pub(crate) lease_ttl: Duration,
    pub(crate) randomness: Randomness,
    pub(crate) jitter: f64,
    pub(crate) bypass: bool,
    pub(crate) has_edge: bool,
}

impl Core {
    /// Appends an invalidation, or queues it. In a task of its own: a caller that goes away after its database has
    /// committed does not keep the invalidation from being sent.
    pub(crate) async fn invalidate(&self, mode: Mode, scopes: Vec<Scope>) -> Receipt {
        if scopes.is_empty() {
            return Receipt::new(Some(self.journal.position()), self.has_edge);
        }
        let (journal, covered) = (Arc::clone(&self.journal), scopes.clone());
        let task = tokio::spawn(async move { journal.invalidate(mode, covered).await });
        let position = task.await.unwrap_or_else(|_| {
            self.journal.enqueue(mode, scopes);
            None
        });
        Receipt::new(position, self.has_edge)
    }
}

impl Cache {
    pub(crate) fn new(core: Core) -> Self {
        Self(Arc::new(core))
    }

    /// A builder of a cache for the app of this name, the one that its [`keys!`](crate::keys) name. Processes of one app share a
    /// journal.
    pub fn builder(app: &str) -> CacheBuilder {
        CacheBuilder::new(app)
    }

    /// A builder of the namespace that holds values of type `V` under keys of type `K`, for `lifetime` each.
    pub fn namespace<K: Key, V: Serialize + DeserializeOwned + Send + Sync + 'static>(
        &self,
        lifetime: Lifetime,
    ) -> NamespaceBuilder<K, V> {
        NamespaceBuilder::new(Arc::clone(&self.0), lifetime)
    }

    /// Removes everything that carries one of the tags, lies below one of the prefixes, or is otherwise covered by one
    /// of the scopes: it is never served again, by any layer. Costs the same for one entry and for millions.
    ///
    /// ```
    /// # use origin_sdk::{Cache, Delivery, Scope, Tag};
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let cache = Cache::builder("shop").build().await.unwrap();
    /// let receipt = cache.invalidate([Tag::new("category:7").unwrap()]).await;
    /// assert_eq!(receipt.journal, Delivery::Done);
    /// cache.invalidate([Scope::All]).await;
    /// # });
    /// ```
    pub async fn invalidate<S: Into<Scope>>(&self, scopes: impl IntoIterator<Item = S>) -> Receipt {
        self.0.invalidate(Mode::Remove, scopes.into_iter().map(Into::into).collect()).await
    }

    /// Makes everything that the scopes cover stale: it is served only where its lifetime allows stale.
    pub async fn expire<S: Into<Scope>>(&self, scopes: impl IntoIterator<Item = S>) -> Receipt {
        self.0.invalidate(Mode::Expire, scopes.into_iter().map(Into::into).collect()).await
    }

    /// The place in the journal up to which this process knows all invalidations: what [`Namespace::put`](crate::Namespace::put)
    /// takes as the moment from which a value is good, if it is asked for *before* the value is read.
    #[must_use]
    pub fn position(&self) -> Position {
        self.0.journal.position()
    }

    /// What the cache has done since it was built.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let of_namespaces = self.0.namespaces.snapshot().into_values();
        of_namespaces.fold(self.0.metrics.snapshot(), Stats::plus)
    }

    /// The part of [`Cache::stats`] that each namespace has in it, by the name of its key's type. What concerns no single
    /// namespace, as the journal, is zero. Namespaces of one key type count together.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use origin_sdk::{Cache, Lifetime, Namespace};
    /// # origin_sdk::keys! { app "shop" version 1; pub key Product { id: u64 } = "product:{id}"; }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let cache = Cache::builder("shop").build().await.unwrap();
    /// let names: Namespace<Product, String> = cache.namespace(Lifetime::fresh(Duration::from_secs(60))).build();
    /// let load = |_| async { Ok::<_, std::io::Error>("Lamp".to_owned()) };
    /// names.get_or_load(&Product { id: 7 }, load).await.unwrap();
    /// assert_eq!(cache.namespace_stats()["Product"].loads, 1);
    /// # });
    /// ```
    #[must_use]
    pub fn namespace_stats(&self) -> BTreeMap<&'static str, Stats> {
        self.0.namespaces.snapshot()
    }

    /// How far each target of the shipper has come, by what the store knows: also of those that other processes ship to.
    ///
    /// # Errors
    /// If the store cannot be asked.
    pub async fn ship_status(&self) -> Result<Vec<ShipStatus>, BoxError> {
        Ok(self.0.store.ship_status().await?)
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.0
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
