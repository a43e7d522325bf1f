//! The write path: database → journal → tiers.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use shared_keys::{Key, Mode, Position, Scope, Tag, Verdict};

use super::load::call;
use super::{Inner, Namespace};
use crate::error::{BoxError, LoadError};
use crate::loader::{BoxLoader, LoadContext, boxed};
use crate::receipt::{Delivery, Receipt, Written};
use crate::store::Unless;

impl<K: Key, V: Serialize + DeserializeOwned + Send + Sync + 'static> Namespace<K, V> {
    /// Removes the key's value: it is never served again, by any layer.
    pub async fn invalidate(&self, key: &K) -> Receipt {
        self.inner.core.invalidate(Mode::Remove, vec![Scope::Key(key.to_text().into())]).await
    }

    /// Makes the key's value stale: it is served only where its lifetime allows stale.
    pub async fn expire(&self, key: &K) -> Receipt {
        self.inner.core.invalidate(Mode::Expire, vec![Scope::Key(key.to_text().into())]).await
    }

    /// Runs `writer` (the database first), then removes the key's old value and everything that carries one of the
    /// `also` tags, then caches the value that the writer returned.
    ///
    /// The value is cached only if, at the moment its record is appended, no other record since the writer began covers
    /// it: of two writers of one key, or of a writer and an invalidation of a tag, none can leave an old value behind.
    ///
    /// It all runs in a task of its own: a caller that goes away after the database has committed does not keep the
    /// invalidation from being sent.
    ///
    /// # Errors
    /// If the writer fails or panics. Whether the database took the write is unknown then, so the old value is removed
    /// all the same.
    pub async fn write_through<F, L, E>(
        &self,
        key: &K,
        also: impl IntoIterator<Item = Tag>,
        writer: F,
    ) -> Result<Written<V>, LoadError>
    where
        F: FnOnce(LoadContext) -> L + Send + 'static,
        L: Future<Output = Result<V, E>> + Send + 'static,
        E: Into<BoxError> + 'static,
    {
        self.write_in_a_task(key, also, boxed(writer, |value| (value, None))).await
    }

    /// The same, for writers that commit in one order and get here in another, as those that handle messages about changes
    /// do: `writer` returns the value and its version, a number that grows with each change of the row. A value is cached only
    /// if its version is not older than the highest that was written through before. The first write of a key in a day is not
    /// cached either, since a newer version may have been forgotten; nor is one while the shared tier cannot be reached.
    /// Its record is appended in any case, so that the next read loads.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use origin_sdk::{Cache, Lifetime, Namespace};
    /// # origin_sdk::keys! { app "shop" version 1; pub key Product { id: u64 } = "product:{id}"; }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let cache = Cache::builder("shop").build().await.unwrap();
    /// # let names: Namespace<Product, String> = cache.namespace(Lifetime::fresh(Duration::from_secs(60))).build();
    /// let heard = async |name: &'static str, version| {
    ///     let writer = move |_| async move { Ok::<_, std::io::Error>((name.to_owned(), version)) };
    ///     names.write_through_version(&Product { id: 7 }, [], writer).await.unwrap().cached
    /// };
    /// assert_eq!((heard("Lamp", 5).await, heard("Lamp, large", 7).await), (false, true));
    /// assert!(!heard("Lamp, red", 6).await, "it was overtaken");
    /// # });
    /// ```
    ///
    /// # Errors
    /// As [`Namespace::write_through`].
    pub async fn write_through_version<F, L, E>(
        &self,
        key: &K,
        also: impl IntoIterator<Item = Tag>,
        writer: F,
    ) -> Result<Written<V>, LoadError>
    where
        F: FnOnce(LoadContext) -> L + Send + 'static,
        L: Future<Output = Result<(V, u64), E>> + Send + 'static,
        E: Into<BoxError> + 'static,
    {
        self.write_in_a_task(key, also, boxed(writer, |(value, version)| (value, Some(version)))).await
    }

    async fn write_in_a_task(
        &self,
        key: &K,
        also: impl IntoIterator<Item = Tag>,
        writer: BoxLoader<(V, Option<u64>)>,
    ) -> Result<Written<V>, LoadError> {
        let (inner, load, text) = (Arc::clone(&self.inner), self.load_handle(key), key.to_text());
        let mut covered = vec![Scope::Key(text.as_str().into())];
        covered.extend(also.into_iter().map(Scope::Tag));
        let task = tokio::spawn(async move { inner.write(&text, covered, load, writer).await });
        task.await.unwrap_or_else(|_| Err(LoadError::panicked()))
    }
}

impl<K: Key, V: Serialize + DeserializeOwned + Send + Sync + 'static> Namespace<K, V> {
    /// Stores a value that the caller has loaded by itself, with the tags that follow from its key, and says whether it was
    /// kept: it is not if an invalidation after `loaded_at` covers it. To fill a cache ahead of its readers, say.
    ///
    /// `loaded_at` must have been taken from [`Cache::position`](crate::Cache::position) *before* the source was read. If it is
    /// taken afterwards, an invalidation in between goes unnoticed, and the old value is served until its lifetime ends. So
    /// prefer [`Namespace::get_or_load`], which takes it by itself; and to change a value prefer
    /// [`Namespace::write_through`], since this here tells no other process that what it holds is old.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use origin_sdk::{Cache, Lifetime, Namespace};
    /// # origin_sdk::keys! { app "shop" version 1; pub key Product { id: u64 } = "product:{id}"; }
    /// # fn read_all() -> Vec<(u64, String)> { vec![(7, "Lamp".to_owned())] }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let cache = Cache::builder("shop").build().await.unwrap();
    /// # let names: Namespace<Product, String> = cache.namespace(Lifetime::fresh(Duration::from_secs(60))).build();
    /// let loaded_at = cache.position();
    /// for (id, name) in read_all() {
    ///     names.put(&Product { id }, name, loaded_at).await;
    /// }
    /// assert_eq!(*names.get(&Product { id: 7 }).await.unwrap().value, "Lamp");
    /// # });
    /// ```
    pub async fn put(&self, key: &K, value: V, loaded_at: Position) -> bool {
        let (inner, text) = (&self.inner, key.to_text());
        let meta = inner.meta(&value, &self.load_handle(key), loaded_at, Duration::ZERO);
        let entry = inner.entry(&text, Arc::new(value), meta);
        let is_kept = !inner.core.bypass && entry.verdict(&inner.core.journal) == Verdict::Valid;
        if is_kept {
            inner.keep(&text, &entry, None).await;
        }
        is_kept
    }
}

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Inner<V> {
    async fn write(
        &self,
        key: &str,
        covered: Vec<Scope>,
        load: LoadContext,
        writer: BoxLoader<(V, Option<u64>)>,
    ) -> Result<Written<V>, LoadError> {
        let core = &self.core;
        let since = core.journal.position();
        let (value, version) = match call(writer, load.clone()).await {
            Ok((value, version)) => (Arc::new(value), version),
            Err(error) => {
                core.invalidate(Mode::Remove, covered).await;
                return Err(error);
            }
        };
        let mut meta = self.meta(&value, &load, since, Duration::ZERO);
        let mut scopes = Scope::of_key(key);
        scopes.extend(meta.tags.iter().cloned().map(Scope::Tag));
        scopes.push(Scope::All);

        // Before the record: of two writers one either sees the other's version here, or its record below.
        let is_newest = match version {
            Some(version) => core.store.raise_version(key, version).await.unwrap_or(false),
            None => true,
        };
        let unless = Unless { since, scopes: &scopes };
        let appended = match core.journal.append(Mode::Remove, &covered, Some(unless)).await {
            Ok(appended) => appended,
            Err(error) => {
                tracing::warn!(%error, key, "the journal could not be reached: invalidation queued");
                core.journal.enqueue(Mode::Remove, &covered);
                return Ok(Written { value, cached: false, receipt: Receipt::new(None, core.has_edge) });
            }
        };
        let cached = appended.clean && is_newest && !core.bypass;
        let mut receipt = Receipt::new(Some(appended.position), core.has_edge);
        if cached {
            meta.loaded_at = appended.position;
            let is_shared = self.keep(key, &self.entry(key, Arc::clone(&value), meta), None).await;
            receipt.redis = if is_shared { Delivery::Done } else { Delivery::Failed };
        }
        Ok(Written { value, cached, receipt })
    }
}
