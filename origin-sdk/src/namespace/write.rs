//! The write path: database → journal → tiers.

use std::sync::Arc;
use std::time::Duration;

use shared_keys::{IntoScopes, Key, Mode, Position, Scope, datum_of};
use tracing::Instrument;

use super::run::{TaskStart, run};
use super::tiers::TierWrite;
use super::{Inner, Namespace};
use crate::error::{BoxError, LoadError, Work};
use crate::loader::{BoxLoader, LoadContext, LoadFuture, boxed};
use crate::placement::{Placement, Storage};
use crate::receipt::{Delivery, Receipt, Written};
use crate::spans;
use crate::stampede::{self, Run};
use crate::store::Unless;

impl<K: Key, V: Send + Sync + 'static> Namespace<K, V> {
    /// Removes the key's value: no layer ever serves it again.
    pub async fn invalidate(&self, key: &K) -> Receipt {
        self.inner.core.invalidate(Mode::Remove, vec![Scope::key(&key.to_text())]).await
    }

    /// Makes the key's value stale: it is served only where its lifetime allows stale.
    pub async fn expire(&self, key: &K) -> Receipt {
        self.inner.core.invalidate(Mode::Expire, vec![Scope::key(&key.to_text())]).await
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
        self.write_in_a_task(
            key,
            also,
            boxed(Work::Writer, writer, |(value, version)| (value, Some(version))),
        )
        .await
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
        let mut covered = vec![Scope::key(&text)];
        covered.extend(also.into_scopes());
        // Before the writer is called: it may write to the database at once.
        let since = inner.core.journal.position();
        let writer = writer(key.clone(), context.clone());
        let running = inner.core.closing.work.begin();
        // A loader that writes waits for the writer, and so for its reads.
        let part_of = Run::current();
        let write = async move {
            let _running = running;
            inner.write(&text, covered, since, &context, writer).await
        };
        let task = tokio::spawn(stampede::within(part_of, write).instrument(spans::put(self.inner.name)));
        task.await.unwrap_or_else(|_| Err(LoadError::panicked(Work::Writer)))
    }
}

impl<V: Send + Sync + 'static> Inner<V> {
    async fn write(
        &self,
        key: &str,
        covered: Vec<Scope>,
        since: Position,
        context: &LoadContext,
        writer: LoadFuture<(V, Option<u64>)>,
    ) -> Result<Written<V>, LoadError> {
        let (core, began_at) = (&self.core, self.core.clock.now());
        let (value, version) =
            match run(Work::Writer, writer, context.clone(), Run::current(), TaskStart::Spawned).await {
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
            // Of the datum: processes of another schema version write the same row.
            Some(version) => core.store.raise_version(&datum_of(key), version).await.unwrap_or(false),
            None => true,
        };
        let unless = Unless { since, scopes: &scopes };
        let appended = match core.journal.append(Mode::Remove, &covered, Some(unless)).await {
            Ok(appended) => appended,
            Err(error) => {
                tracing::warn!(%error, key, "the journal could not be reached: invalidation queued");
                core.journal.enqueue(Mode::Remove, &covered);
                core.journal.store_queue().await;
                let placement = Placement::nowhere(Storage::Disconnected);
                return Ok(Written::new(value, placement, core.receipt(None)));
            }
        };
        let placement = if core.bypass {
            Placement::nowhere(Storage::Bypassed)
        } else if appended.clean && is_newest {
            meta.loaded_at = appended.position;
            let in_flight = core.in_flight.write(key, appended.position);
            let write = TierWrite { in_flight, lease: None, began_at };
            self.store(key, &self.entry(key, Arc::clone(&value), meta), write).await
        } else {
            Placement::nowhere(Storage::Overtaken)
        };
        let mut receipt = core.receipt(Some(appended.position));
        if placement.redis == Storage::Unavailable {
            receipt.redis = Delivery::Failed;
        }
        Ok(Written::new(value, placement, receipt))
    }
}
