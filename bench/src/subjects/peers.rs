//! Other caches in memory, as their documentation uses them.

use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Subject, Value, load, render};

/// `quick_cache`: S3-FIFO with ghosts, sharded.
pub(crate) struct QuickCache(quick_cache::sync::Cache<String, Arc<Value>>);

impl Subject for QuickCache {
    fn with_entries(entries: usize) -> Self {
        Self(quick_cache::sync::Cache::new(entries))
    }

    async fn get_or_load(&self, id: u64, key: &mut String) -> Arc<Value> {
        render(id, key);
        self.0.get(key.as_str()).unwrap_or_else(|| {
            let value = Arc::new(load(id));
            self.0.insert(key.clone(), Arc::clone(&value));
            value
        })
    }

    async fn put(&self, id: u64, key: &mut String) {
        render(id, key);
        self.0.insert(key.clone(), Arc::new(load(id)));
    }
}

/// `quick_cache`, with a loader that other callers of the key wait for, as those of Strata do.
pub(crate) struct QuickCacheAsync(quick_cache::sync::Cache<String, Arc<Value>>);

impl Subject for QuickCacheAsync {
    fn with_entries(entries: usize) -> Self {
        Self(quick_cache::sync::Cache::new(entries))
    }

    async fn get_or_load(&self, id: u64, key: &mut String) -> Arc<Value> {
        render(id, key);
        let loaded =
            self.0.get_or_insert_async(key.as_str(), async move { Ok::<_, Infallible>(Arc::new(load(id))) });
        let Ok(value) = loaded.await;
        value
    }

    async fn put(&self, id: u64, key: &mut String) {
        render(id, key);
        self.0.insert(key.clone(), Arc::new(load(id)));
    }
}

/// `moka`: W-TinyLFU.
pub(crate) struct Moka(moka::sync::Cache<String, Arc<Value>>);

impl Subject for Moka {
    fn with_entries(entries: usize) -> Self {
        Self(moka::sync::Cache::new(entries as u64))
    }

    async fn get_or_load(&self, id: u64, key: &mut String) -> Arc<Value> {
        render(id, key);
        self.0.get(key.as_str()).unwrap_or_else(|| {
            let value = Arc::new(load(id));
            self.0.insert(key.clone(), Arc::clone(&value));
            value
        })
    }

    async fn put(&self, id: u64, key: &mut String) {
        render(id, key);
        self.0.insert(key.clone(), Arc::new(load(id)));
    }
}

/// `foyer` in memory, with its default policy.
pub(crate) struct Foyer(foyer_memory::Cache<String, Arc<Value>>);

impl Subject for Foyer {
    fn with_entries(entries: usize) -> Self {
        Self(foyer_memory::CacheBuilder::new(entries).build())
    }

    async fn get_or_load(&self, id: u64, key: &mut String) -> Arc<Value> {
        render(id, key);
        match self.0.get(key.as_str()) {
            Some(entry) => Arc::clone(entry.value()),
            None => Arc::clone(self.0.insert(key.clone(), Arc::new(load(id))).value()),
        }
    }

    async fn put(&self, id: u64, key: &mut String) {
        render(id, key);
        self.0.insert(key.clone(), Arc::new(load(id)));
    }
}

/// `lru` behind one mutex.
pub(crate) struct Lru(Mutex<lru::LruCache<String, Arc<Value>>>);

impl Subject for Lru {
    fn with_entries(entries: usize) -> Self {
        Self(Mutex::new(lru::LruCache::new(NonZeroUsize::new(entries).unwrap_or(NonZeroUsize::MIN))))
    }

    async fn get_or_load(&self, id: u64, key: &mut String) -> Arc<Value> {
        render(id, key);
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = cache.get(key.as_str()) {
            return Arc::clone(value);
        }
        let value = Arc::new(load(id));
        cache.put(key.clone(), Arc::clone(&value));
        value
    }

    async fn put(&self, id: u64, key: &mut String) {
        render(id, key);
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cache.put(key.clone(), Arc::new(load(id)));
    }
}
