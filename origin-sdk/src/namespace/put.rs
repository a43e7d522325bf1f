//! Values that the caller has loaded by itself.

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use shared_keys::{Key, Lifetime, Position, Tag, Verdict};

use super::tiers::TierWrite;
use super::{Inner, Namespace};
use crate::entry::Entry;
use crate::loader::LoadContext;
use crate::placement::{Placement, Storage};

/// A value to store, returned by [`Namespace::put`]. It is stored once this is awaited.
#[must_use = "the value is stored once this is awaited"]
pub struct Put<'a, V> {
    inner: &'a Inner<V>,
    key: String,
    value: V,
    loaded_at: Position,
    context: LoadContext,
}

impl<K: Key, V: Send + Sync + 'static> Namespace<K, V> {
    /// Stores a value that the caller has loaded by itself, with the tags that follow from its key,
    /// for example to fill a cache ahead of its readers. [`Put::tag`] and [`Put::lifetime`] add
    /// tags and set a lifetime. Returns the tiers that hold the value.
    ///
    /// `loaded_at` must have been taken from [`Cache::position`](crate::Cache::position) *before* the source was read. If it
    /// is taken afterwards, an invalidation in between goes unnoticed, and the old value is served
    /// until its lifetime ends. So prefer [`Namespace::get_or_load`], which takes it by itself. To
    /// change a value prefer [`Namespace::write_through`]: this method tells no other process that
    /// its copy is old.
    ///
    /// The value is not stored if an invalidation after `loaded_at` covers it, or if memory holds a
    /// value that was loaded after `loaded_at`. A load that runs meanwhile and did not begin after
    /// `loaded_at` does not replace the value. A value that is not kept for another reason, such as
    /// a zero lifetime, still ends the key's older value in this process and in the shared tier.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use origin_sdk::{Cache, Lifetime, Namespace};
    /// # origin_sdk::keys! {
    /// #     app "shop" version 1;
    /// #     pub key Product { id: u64 } = "product:{id}";
    /// #     pub tag Category { category: u32 } = "category:{category}";
    /// # }
    /// # fn read_all() -> Vec<(u64, String)> { vec![(7, "Lamp".to_owned())] }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let cache = Cache::builder("shop").build().await.unwrap();
    /// # let lifetime = Lifetime::fresh(Duration::from_secs(60));
    /// # let names: Namespace<Product, String> = cache.namespace(lifetime).build();
    /// let loaded_at = cache.position();
    /// for (id, name) in read_all() {
    ///     let placement = names.put(&Product { id }, name, loaded_at).tag(Category { category: 3 }).await;
    ///     assert!(placement.is_cached());
    /// }
    /// assert_eq!(*names.get_cached(&Product { id: 7 }).await.unwrap().value, "Lamp");
    /// # });
    /// ```
    pub fn put(&self, key: &K, value: V, loaded_at: Position) -> Put<'_, V> {
        Put { inner: &self.inner, key: key.to_text(), value, loaded_at, context: self.load_context(key) }
    }
}

impl<V> Put<'_, V> {
    /// Tags the value: an invalidation of the tag covers it.
    pub fn tag(self, tag: impl Into<Tag>) -> Self {
        self.context.tag(tag);
        self
    }

    /// Sets the value's lifetime, in place of its namespace's.
    pub fn lifetime(self, lifetime: Lifetime) -> Self {
        self.context.lifetime(lifetime);
        self
    }
}

impl<'a, V: Send + Sync + 'static> IntoFuture for Put<'a, V> {
    type Output = Placement;
    type IntoFuture = BoxFuture<'a, Placement>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { inner, key, value, loaded_at, context } = self;
        async move { inner.put(&key, value, loaded_at, &context).await }.boxed()
    }
}

impl<V: Send + Sync + 'static> Inner<V> {
    async fn put(&self, key: &str, value: V, loaded_at: Position, context: &LoadContext) -> Placement {
        let core = &self.core;
        if core.bypass {
            return Placement::nowhere(Storage::Bypassed);
        }
        let meta = self.meta(&value, context, loaded_at, Duration::ZERO);
        let entry = self.entry(key, Arc::new(value), meta);
        let held: Option<Arc<Entry<V>>> = core.memory.get(key);
        let is_newer = held.is_some_and(|held| held.loaded_at > loaded_at);
        if is_newer || entry.verdict(&core.journal) != Verdict::Valid {
            return Placement::nowhere(Storage::Overtaken);
        }
        let in_flight = core.in_flight.write(key, loaded_at);
        self.store(key, &entry, TierWrite { in_flight, lease: None, began_at: core.clock.now() }).await
    }
}
