//! The write path: database → journal → tiers.

use std::convert::identity;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use shared_keys::{Key, Mode, Scope, Tag};

use super::load::call;
use super::{Inner, Namespace};
use crate::error::{BoxError, LoadError};
use crate::load::{BoxLoader, Load, boxed};
use crate::receipt::{Receipt, Written};
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
        F: FnOnce(Load) -> L + Send + 'static,
        L: Future<Output = Result<V, E>> + Send + 'static,
        E: Into<BoxError> + 'static,
    {
        let (inner, load, text) = (Arc::clone(&self.inner), self.load_handle(key), key.to_text());
        let mut covered = vec![Scope::Key(text.as_str().into())];
        covered.extend(also.into_iter().map(Scope::Tag));
        let task = tokio::spawn(async move { inner.write(&text, covered, load, boxed(writer, identity)).await });
        task.await.unwrap_or_else(|_| Err(LoadError::panicked()))
    }
}

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Inner<V> {
    async fn write(
        &self,
        key: &str,
        covered: Vec<Scope>,
        load: Load,
        writer: BoxLoader<V>,
    ) -> Result<Written<V>, LoadError> {
        let core = &self.core;
        let since = core.journal.position();
        let value = match call(writer, load.clone()).await {
            Ok(value) => Arc::new(value),
            Err(error) => {
                core.invalidate(Mode::Remove, covered).await;
                return Err(error);
            }
        };
        let mut meta = self.meta(&value, &load, since, Duration::ZERO);
        let mut scopes = Scope::of_key(key);
        scopes.extend(meta.tags.iter().cloned().map(Scope::Tag));
        scopes.push(Scope::All);

        let unless = Unless { since, scopes: &scopes };
        let appended = match core.journal.append(Mode::Remove, &covered, Some(unless)).await {
            Ok(appended) => appended,
            Err(error) => {
                tracing::warn!(%error, key, "the journal could not be reached: invalidation queued");
                core.journal.enqueue(Mode::Remove, covered);
                return Ok(Written { value, cached: false, receipt: Receipt::new(None, core.has_edge) });
            }
        };
        let cached = appended.clean && !core.bypass;
        if cached {
            meta.loaded_at = appended.position;
            self.keep(key, &self.entry(key, Arc::clone(&value), meta), None).await;
        }
        Ok(Written { value, cached, receipt: Receipt::new(Some(appended.position), core.has_edge) })
    }
}
