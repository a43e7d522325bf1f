//! The write path: database → journal → tiers.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use shared_keys::{IntoScopes, Key, Mode, Position, Scope, Verdict};
use tracing::Instrument;

use super::run::run;
use super::{Inner, Namespace};
use crate::error::{BoxError, LoadError, Work};
use crate::loader::{BoxLoader, LoadContext, LoadFuture, boxed};
use crate::receipt::{Delivery, Receipt, Written};
use crate::stampede::{self, Run};
use crate::store::Unless;

impl<K: Key, V: Serialize + DeserializeOwned + Send + Sync + 'static> Namespace<K, V> {
    /// Removes the key's value: no layer ever serves it again.
    pub async fn invalidate(&self, key: &K) -> Receipt {
        self.inner.core.invalidate(Mode::Remove, vec![Scope::Key(key.to_text().into())]).await
    }

    /// Makes the key's value stale: it is served only where its lifetime allows stale.
    pub async fn expire(&self, key: &K) -> Receipt {
        self.inner.core.invalidate(Mode::Expire, vec![Scope::Key(key.to_text().into())]).await
    }

    /// Runs `writer`, which writes to the database, then removes the key's old value and everything
    /// that the `also` scopes cover, then caches the value that the writer returned. `also` takes
    /// what [`Cache::invalidate`](crate::Cache::invalidate) does, and `()` for nothing.
    ///
    /// The value is cached only if no other record since the writer started covers it at the moment
    /// its own record is appended. So of two writers of one key, or of a writer and an invalidation
    /// of a tag, none can leave an old value behind.
    ///
    /// `writer` gets a clone of the key, and is called at once. The future that it returns runs in
    /// a task of its own, with everything that follows: if the caller disconnects after the
    /// database has committed, the invalidation is sent all the same.
    ///
    /// # Errors
    /// If the writer fails or panics. The database may have committed the write then, so the old
    /// value is removed all the same.
    pub async fn write_through<F, L, Form>(
        &self,
        key: &K,
        also: impl IntoScopes<Form>,
        writer: F,
    ) -> Result<Written<V>, LoadError>
    where
        K: Clone,
        F: FnOnce(K, LoadContext) -> L + Send,
        L: Future<Output = Result<V, BoxError>> + Send + 'static,
    {
        self.write_in_a_task(key, also, boxed(Work::Writer, writer, |value| (value, None))).await
    }

    /// Like [`write_through`](Self::write_through), for writers that may arrive in another order than
    /// they committed, such as consumers of change messages.
    ///
    /// `writer` returns the value and its version, a number that grows with each change of the row.
    /// The value is cached only if its version is not lower than the highest one that was written
    /// before. Two more cases are not cached: the first write of a key in a day, since a higher
    /// version may have been forgotten, and a write while the shared tier cannot be reached. The
    /// record is appended in any case, so that the next read loads.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use origin_sdk::{Cache, Lifetime, Namespace};
    /// # origin_sdk::keys! { app "shop" version 1; pub key Product { id: u64 } = "product:{id}"; }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let cache = Cache::builder("shop").build().await.unwrap();
    /// # let lifetime = Lifetime::fresh(Duration::from_secs(60));
    /// # let names: Namespace<Product, String> = cache.namespace(lifetime).build();
    /// let receive = async |name: &'static str, version| {
    ///     let writer = async move |_, _| Ok((name.to_owned(), version));
    ///     names.write_through_version(&Product { id: 7 }, (), writer).await.unwrap().cached
    /// };
    /// assert_eq!((receive("Lamp", 5).await, receive("Lamp, large", 7).await), (false, true));
    /// assert!(!receive("Lamp, red", 6).await, "version 7 has overtaken it");
    /// # });
    /// ```
    ///
    /// # Errors
    /// As [`write_through`](Self::write_through).
    pub async fn write_through_version<F, L, Form>(
        &self,
        key: &K,
        also: impl IntoScopes<Form>,
        writer: F,
    ) -> Result<Written<V>, LoadError>
    where
        K: Clone,
        F: FnOnce(K, LoadContext) -> L + Send,
        L: Future<Output = Result<(V, u64), BoxError>> + Send + 'static,
    {
        self.write_in_a_task(key, also, boxed(Work::Writer, writer, |(value, version)| (value, Some(version)))).await
    }

    async fn write_in_a_task<Form>(
        &self,
        key: &K,
        also: impl IntoScopes<Form>,
        writer: BoxLoader<'_, K, (V, Option<u64>)>,
    ) -> Result<Written<V>, LoadError>
    where
        K: Clone,
    {
        let (inner, context, text) = (Arc::clone(&self.inner), self.load_context(key), key.to_text());
        let mut covered = vec![Scope::Key(text.as_str().into())];
        covered.extend(also.into_scopes());
        // Before the writer is called: it may write to the database at once.
        let since = inner.core.journal.position();
        let writer = writer(key.clone(), context.clone());
        // A loader that writes waits for the writer, and so for its reads.
        let part_of = Run::current();
        let write = async move { inner.write(&text, covered, since, &context, writer).await };
        let task = tokio::spawn(stampede::within(part_of, write).in_current_span());
        task.await.unwrap_or_else(|_| Err(LoadError::panicked(Work::Writer)))
    }

    /// Stores a value that the caller has loaded by itself, with the tags that follow from its key,
    /// for example to fill a cache ahead of its readers. Returns whether the value is stored: it is
    /// not if an invalidation after `loaded_at` covers it.
    ///
    /// `loaded_at` must have been taken from [`Cache::position`](crate::Cache::position) *before* the source was read. If it
    /// is taken afterwards, an invalidation in between goes unnoticed, and the old value is served
    /// until its lifetime ends. So prefer [`Namespace::get_or_load`], which takes it by itself. To
    /// change a value prefer [`Namespace::write_through`]: this method tells no other process that
    /// its copy is old.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use origin_sdk::{Cache, Lifetime, Namespace};
    /// # origin_sdk::keys! { app "shop" version 1; pub key Product { id: u64 } = "product:{id}"; }
    /// # fn read_all() -> Vec<(u64, String)> { vec![(7, "Lamp".to_owned())] }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// # let cache = Cache::builder("shop").build().await.unwrap();
    /// # let lifetime = Lifetime::fresh(Duration::from_secs(60));
    /// # let names: Namespace<Product, String> = cache.namespace(lifetime).build();
    /// let loaded_at = cache.position();
    /// for (id, name) in read_all() {
    ///     names.put(&Product { id }, name, loaded_at).await;
    /// }
    /// assert_eq!(*names.get_cached(&Product { id: 7 }).await.unwrap().value, "Lamp");
    /// # });
    /// ```
    pub async fn put(&self, key: &K, value: V, loaded_at: Position) -> bool {
        let (inner, text) = (&self.inner, key.to_text());
        let meta = inner.meta(&value, &self.load_context(key), loaded_at, Duration::ZERO);
        let entry = inner.entry(&text, Arc::new(value), meta);
        let is_stored = !inner.core.bypass && entry.verdict(&inner.core.journal) == Verdict::Valid;
        if is_stored {
            inner.store(&text, &entry, None).await;
        }
        is_stored
    }
}

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Inner<V> {
    async fn write(
        &self,
        key: &str,
        covered: Vec<Scope>,
        since: Position,
        context: &LoadContext,
        writer: LoadFuture<(V, Option<u64>)>,
    ) -> Result<Written<V>, LoadError> {
        let core = &self.core;
        let (value, version) = match run(Work::Writer, writer, context.clone(), Run::current()).await {
            Ok((value, version)) => (Arc::new(value), version),
            Err(error) => {
                core.invalidate(Mode::Remove, covered).await;
                return Err(error);
            }
        };
        let mut meta = self.meta(&value, context, since, Duration::ZERO);
        let mut scopes = Scope::of_key(key);
        scopes.extend(meta.tags.iter().cloned().map(Scope::Tag));
        scopes.push(Scope::All);

        // Before the record: of two writers, one either sees the other's version here, or its
        // record below.
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
            let is_shared = self.store(key, &self.entry(key, Arc::clone(&value), meta), None).await;
            receipt.redis = if is_shared { Delivery::Done } else { Delivery::Failed };
        }
        Ok(Written { value, cached, receipt })
    }
}
