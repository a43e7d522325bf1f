//! The origin SDK and the bare client, behind one trait.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use origin_sdk::{Cache, Cached, Layer, Lifetime, Namespace};
use redis::aio::MultiplexedConnection;

use super::Result;
use super::product::Product;

origin_sdk::keys! {
    app "bench" version 1;

    /// A product.
    pub key ProductKey { id: u64 } = "product:{id}";
}

/// The entries that memory holds: few beside the keys, so that Redis answers.
const ENTRIES: usize = 1_000;

/// A way to read values from Redis.
pub(super) trait Reader: Clone + Send + Sync + 'static {
    /// Stores the products of the ids from 0 to `count`.
    fn fill(&self, count: u64) -> impl Future<Output = Result<()>>;

    /// Reads the products of these ids. Returns how many of them were found in Redis.
    fn read(&self, ids: &[u64]) -> impl Future<Output = Result<usize>> + Send;
}

/// The origin SDK.
#[derive(Clone)]
pub(super) struct Strata {
    cache: Cache,
    products: Namespace<ProductKey, Product>,
}

impl Strata {
    pub(super) async fn connect(url: &str) -> Result<Self> {
        let cache = Cache::builder("bench").redis(url).memory_entries(ENTRIES).build().await?;
        let products = cache.namespace(Lifetime::fresh(Duration::from_secs(24 * 3600))).build();
        Ok(Self { cache, products })
    }
}

impl Reader for Strata {
    async fn fill(&self, count: u64) -> Result<()> {
        for id in 0..count {
            self.products.put(&ProductKey { id }, Product::new(id), self.cache.position()).await;
        }
        Ok(())
    }

    async fn read(&self, ids: &[u64]) -> Result<usize> {
        let is_from_redis = |cached: &Cached<Product>| cached.layer == Layer::Redis;
        if let &[id] = ids {
            let loader = |_, _| async { Err("expected every product in Redis".into()) };
            return Ok(usize::from(is_from_redis(
                &self.products.get_or_load(&ProductKey { id }, loader).await?,
            )));
        }
        let keys: Vec<_> = ids.iter().map(|&id| ProductKey { id }).collect();
        let products = self.products.get_many_cached(&keys).await;
        Ok(products.iter().flatten().filter(|&cached| is_from_redis(cached)).count())
    }
}

/// `redis` with its multiplexed connection, and `serde_json`. The values have no metadata.
#[derive(Clone)]
pub(super) struct Bare(MultiplexedConnection);

impl Bare {
    pub(super) async fn connect(url: &str) -> Result<Self> {
        Ok(Self(redis::Client::open(url)?.get_multiplexed_async_connection().await?))
    }

    fn key(id: u64) -> String {
        format!("bare:product:{id}")
    }

    async fn products(&self, ids: &[u64]) -> Result<Vec<Arc<Product>>> {
        let mut connection = self.0.clone();
        if let &[id] = ids {
            let found = redis::cmd("GET").arg(Self::key(id)).query_async(&mut connection).await?;
            return Ok(product(found)?.into_iter().collect());
        }
        let mut mget = redis::cmd("MGET");
        ids.iter().for_each(|&id| {
            mget.arg(Self::key(id));
        });
        let found: Vec<Option<Vec<u8>>> = mget.query_async(&mut connection).await?;
        found.into_iter().filter_map(|bytes| product(bytes).transpose()).collect()
    }
}

impl Reader for Bare {
    async fn fill(&self, count: u64) -> Result<()> {
        for id in 0..count {
            let bytes = serde_json::to_vec(&Product::new(id))?;
            let mut set = redis::cmd("SET");
            set.arg(Self::key(id)).arg(bytes).arg("EX").arg(24 * 3600);
            set.exec_async(&mut self.0.clone()).await?;
        }
        Ok(())
    }

    async fn read(&self, ids: &[u64]) -> Result<usize> {
        Ok(self.products(ids).await?.len())
    }
}

/// The bare client, in a process that keeps the last values that it has read: memory is allocated
/// and freed as by a cache, and not from one read to the next.
#[derive(Clone)]
pub(super) struct Keeping {
    bare: Bare,
    kept: Arc<Mutex<VecDeque<Arc<Product>>>>,
}

impl Keeping {
    pub(super) fn new(bare: Bare) -> Self {
        Self { bare, kept: Arc::default() }
    }
}

impl Reader for Keeping {
    async fn fill(&self, _: u64) -> Result<()> {
        Ok(())
    }

    async fn read(&self, ids: &[u64]) -> Result<usize> {
        let products = self.bare.products(ids).await?;
        let (count, mut evicted) = (products.len(), Vec::new());
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(products);
        while kept.len() > ENTRIES {
            evicted.extend(kept.pop_front());
        }
        drop(kept);
        Ok(count)
    }
}

fn product(bytes: Option<Vec<u8>>) -> Result<Option<Arc<Product>>> {
    Ok(bytes.map(|bytes| serde_json::from_slice(&bytes).map(Arc::new)).transpose()?)
}
