//! The cache as a whole: what its namespaces share, and invalidations that concern no single key.

mod builder;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use shared_keys::{Key, Lifetime, Mode, Position, Scope};

pub use self::builder::CacheBuilder;
use crate::core::Core;
use crate::error::AdminError;
use crate::metrics::Stats;
use crate::namespace::NamespaceBuilder;
use crate::receipt::Receipt;
use crate::store::ShipStatus;

/// One process's cache: memory, the shared tier, the journal. Cheap to clone.
#[derive(Clone)]
pub struct Cache(Arc<Core>);

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

    /// Returns whether this process can serve from the cache and deliver invalidations now: for a
    /// service's readiness check.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let journal = &self.0.journal;
        Readiness {
            is_following: journal.has_follower(),
            is_current: !journal.is_lagging(self.0.clock.now()),
            queued: journal.queue_len(),
        }
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
    pub async fn ship_status(&self) -> Result<Vec<ShipStatus>, AdminError> {
        Ok(self.0.store.ship_status().await?)
    }

    #[cfg(any(feature = "http", test))]
    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.0
    }
}

/// The state of this process's view of the journal, by [`Cache::readiness`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Readiness {
    /// Whether the task runs that follows the journal and sends queued invalidations. If it has
    /// ended with its runtime, the next invalidation or lagging read starts it again.
    pub is_following: bool,
    /// Whether the process is within the maximum lag of the journal. If it is not, reads catch up
    /// first or go to their loaders.
    pub is_current: bool,
    /// The number of queued records of invalidations, which no other process knows of yet.
    pub queued: usize,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
