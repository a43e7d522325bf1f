//! The cache as a whole, and invalidations that concern more than one key.

mod builder;
mod close;
mod health;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use shared_keys::{IntoScopes, Key, Lifetime, Mode, Position};

pub use self::builder::CacheBuilder;
pub(crate) use self::builder::check_names;
pub use self::close::CloseReport;
pub use self::health::CacheHealth;
use crate::core::{Core, app_of};
use crate::error::AdminError;
use crate::memory::MemoryUsage;
use crate::metrics::Stats;
use crate::namespace::{NamespaceBuilder, Registry, SharedForm};
use crate::receipt::Receipt;
use crate::store::ShipStatus;

/// The cache of one process: memory, the shared tier and the journal. Cheap to clone.
#[derive(Clone)]
pub struct Cache {
    core: Arc<Core>,
    /// Not a part of the core, which every namespace refers to.
    namespaces: Arc<Registry>,
}

impl Cache {
    pub(crate) fn new(core: Core) -> Self {
        Self { core: Arc::new(core), namespaces: Arc::default() }
    }

    /// Returns a builder of a cache for the app of this name, which its [`keys!`](crate::keys) declare.
    /// The processes of one app share a journal. Environments of one app that share a Redis have
    /// the same name here, and differ in [`CacheBuilder::environment`].
    pub fn builder(app: &str) -> CacheBuilder {
        CacheBuilder::new(app)
    }

    /// Returns a builder of a namespace of values of type `V` under keys of type `K`. Each value
    /// has this `lifetime` unless its loader sets another one. Namespaces of one key type share
    /// their loads and limits ([`NamespaceBuilder::build`]).
    ///
    /// # Panics
    /// If the keys belong to another app than the cache: processes of that app would share the
    /// values in Redis, and not the invalidations.
    #[track_caller]
    pub fn namespace<K: Key, V: Serialize + DeserializeOwned + Send + Sync + 'static>(
        &self,
        lifetime: Lifetime,
    ) -> NamespaceBuilder<K, V> {
        self.namespace_builder(lifetime, Some(SharedForm::new()))
    }

    /// Returns a builder of a namespace whose values stay in this process's memory: for values that
    /// cannot be serialised, such as compiled templates, or that are not worth it. Their type needs
    /// no serde.
    ///
    /// They obey the same journal, so an invalidation in any process ends the copies of all
    /// processes. Each process loads its own value, with one load per key at a time; there is no
    /// lease in the fleet. A value counts for the size of its type in
    /// [`memory_bytes`](CacheBuilder::memory_bytes): set [`NamespaceBuilder::bytes_of`] for values
    /// that point to more.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use origin_sdk::{Cache, Layer, Lifetime, Namespace};
    /// origin_sdk::keys! {
    ///     app "shop" version 1;
    ///
    ///     /// A compiled price rule.
    ///     pub key PriceRule { id: u64 } = "price-rule:{id}";
    /// }
    /// type Rule = Box<dyn Fn(u64) -> u64 + Send + Sync>;
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let cache = Cache::builder("shop").build().await.unwrap();
    /// let rules: Namespace<PriceRule, Rule> =
    ///     cache.memory_namespace(Lifetime::fresh(Duration::from_secs(600))).build();
    /// let compile = |_, _| async { Ok(Box::new(|cents: u64| cents * 9 / 10) as Rule) };
    /// let rule = rules.get_or_load(&PriceRule { id: 7 }, compile).await.unwrap();
    /// assert_eq!((rule.value)(1_000), 900);
    /// # assert_eq!(rules.get_cached(&PriceRule { id: 7 }).await.unwrap().layer, Layer::Memory);
    /// rules.invalidate(&PriceRule { id: 7 }).await;
    /// assert!(rules.get_cached(&PriceRule { id: 7 }).await.is_none());
    /// # });
    /// ```
    ///
    /// # Panics
    /// As [`namespace`](Self::namespace).
    #[track_caller]
    pub fn memory_namespace<K: Key, V: Send + Sync + 'static>(
        &self,
        lifetime: Lifetime,
    ) -> NamespaceBuilder<K, V> {
        self.namespace_builder(lifetime, None)
    }

    #[track_caller]
    fn namespace_builder<K: Key, V: Send + Sync + 'static>(
        &self,
        lifetime: Lifetime,
        shared_form: Option<SharedForm<V>>,
    ) -> NamespaceBuilder<K, V> {
        let (cache, keys) = (&self.core.app, app_of(K::HEAD));
        assert!(
            cache == keys,
            "expected keys of the app {cache:?}, got {} of the app {keys:?}: build the cache with \
             Cache::builder({keys:?}), and separate environments with CacheBuilder::environment",
            K::NAME,
        );
        NamespaceBuilder::new(Arc::clone(&self.core), Arc::clone(&self.namespaces), lifetime, shared_form)
    }

    /// Removes everything that the scopes cover: no layer ever serves it again. Costs the same for
    /// one entry and for millions.
    ///
    /// A scope is a typed key, a tag, a prefix or a [`Scope`](crate::Scope). Several are given as an
    /// array, `Vec` or other iterator, or as a tuple if their types differ ([`IntoScopes`]).
    ///
    /// ```
    /// # use origin_sdk::{Cache, Delivery, Scope};
    /// origin_sdk::keys! {
    ///     app "shop" version 1;
    ///
    ///     /// A product's name.
    ///     pub key ProductName { id: u64 } = "product:{id}:name";
    ///     /// Tags everything of a category.
    ///     pub tag Category { category: u32 } = "category:{category}";
    /// }
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let cache = Cache::builder("shop").build().await.unwrap();
    /// let receipt = cache.invalidate([Category { category: 7 }]).await;
    /// assert_eq!(receipt.journal, Delivery::Done);
    /// cache.invalidate((ProductName { id: 1 }, Category { category: 8 })).await;
    /// cache.invalidate([Scope::All]).await;
    /// # });
    /// ```
    pub async fn invalidate<Form>(&self, scopes: impl IntoScopes<Form>) -> Receipt {
        self.core.invalidate(Mode::Remove, scopes.into_scopes()).await
    }

    /// Makes everything that the scopes cover stale: it is served only where its lifetime allows
    /// stale. Takes scopes as [`invalidate`](Self::invalidate) does.
    pub async fn expire<Form>(&self, scopes: impl IntoScopes<Form>) -> Receipt {
        self.core.invalidate(Mode::Expire, scopes.into_scopes()).await
    }

    /// Returns the journal position up to which this process has applied all records. Taken
    /// *before* a value is read, it is the position from which [`Namespace::put`](crate::Namespace::put) takes that value
    /// as valid.
    #[must_use]
    pub fn position(&self) -> Position {
        self.core.journal.position()
    }

    /// Returns the counters since the cache was built.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let of_namespaces = self.core.namespaces.snapshot().into_values();
        let stats = of_namespaces.fold(self.core.metrics.snapshot(), Stats::plus);
        let MemoryUsage { entries, bytes, evicted_by_bytes, evicted_by_entries } = self.core.memory.usage();
        let (memory_entries, memory_bytes) = (entries as u64, bytes as u64);
        Stats { evicted_by_bytes, evicted_by_entries, memory_entries, memory_bytes, ..stats }
    }

    /// Gives the recorder of the `metrics` facade all that was counted since the last call, and the
    /// gauges as they are now. Call it where the metrics are read, or at an interval where they are
    /// pushed. Install the recorder first: what a call without one reports is lost.
    ///
    /// Reads count in the process's own counters, so that a hit pays nothing for the exporter.
    /// `docs/guides/metrics.md` lists the metrics and their labels, none of which has a key or a
    /// tag.
    ///
    /// ```
    /// # use origin_sdk::Cache;
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// // let prometheus = PrometheusBuilder::new().install_recorder()?;
    /// let cache = Cache::builder("shop").build().await.unwrap();
    /// // In the handler of `GET /metrics`:
    /// cache.record_metrics();
    /// // prometheus.render()
    /// # });
    /// ```
    #[cfg(feature = "metrics")]
    pub fn record_metrics(&self) {
        self.core.exported.update(&self.core, &self.stats(), &self.health());
    }

    /// Returns the counters of each namespace, by the name of its key type. Counters that belong to
    /// no namespace, as those of the journal, are zero. Namespaces of one key type count together.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use origin_sdk::{Cache, Lifetime, Namespace};
    /// # origin_sdk::keys! { app "shop" version 1; pub key Product { id: u64 } = "product:{id}"; }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let cache = Cache::builder("shop").build().await.unwrap();
    /// let lifetime = Lifetime::fresh(Duration::from_secs(60));
    /// let names: Namespace<Product, String> = cache.namespace(lifetime).build();
    /// names.get_or_load(&Product { id: 7 }, async |_, _| Ok("Lamp".to_owned())).await.unwrap();
    /// assert_eq!(cache.namespace_stats()["Product"].loads, 1);
    /// # });
    /// ```
    #[must_use]
    pub fn namespace_stats(&self) -> BTreeMap<&'static str, Stats> {
        self.core.namespaces.snapshot()
    }

    /// Returns how far each target of the shipper has received the journal, whichever process ships
    /// to it.
    ///
    /// # Errors
    /// If the store cannot be reached.
    pub async fn ship_status(&self) -> Result<Vec<ShipStatus>, AdminError> {
        Ok(self.core.store.ship_status().await?)
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
