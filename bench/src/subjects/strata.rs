//! The origin SDK, without Redis.

use std::sync::Arc;
use std::time::Duration;

use origin_sdk::{Cache, Layer, Lifetime, Namespace};
use tokio::runtime::{Builder, Runtime};

use super::{Subject, Value, load};

origin_sdk::keys! {
    app "bench" version 1;

    /// A page.
    pub key Page { id: u64 } = "page:{id}";
    /// An entry of a group.
    pub key Part { group: u64, id: u64 } = "part:{group}:{id}";
    /// The tag of a group's entries.
    pub tag Group { id: u64 } = "group:{id}";
}

/// The origin SDK: with the embedded store, or with values in memory alone.
pub(crate) struct Strata<const IS_SHARED: bool> {
    pages: Namespace<Page, Value>,
    cache: Cache,
    runtime: Runtime,
}

impl<const IS_SHARED: bool> Subject for Strata<IS_SHARED> {
    fn with_entries(entries: usize) -> Self {
        // No worker of the runtime runs while a hit is measured: the follower has no work for an
        // hour.
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap_or_else(|error| fail(&error));
        let hour = Duration::from_secs(3600);
        let builder = Cache::builder("bench").memory_entries(entries).memory_bytes(1 << 30).max_lag(hour);
        let cache = runtime.block_on(builder.build()).unwrap_or_else(|error| fail(&error));
        let lifetime = Lifetime::fresh(10 * hour);
        let pages = if IS_SHARED {
            cache.namespace(lifetime).build()
        } else {
            cache.memory_namespace(lifetime).build()
        };
        Self { pages, cache, runtime }
    }

    fn run<T>(&self, task: impl Future<Output = T>) -> T {
        self.runtime.block_on(task)
    }

    async fn get_or_load(&self, id: u64, _: &mut String) -> Arc<Value> {
        let cached = self.pages.get_or_load(&Page { id }, |page, _| async move { Ok(load(page.id)) }).await;
        cached.unwrap_or_else(|error| fail(&error)).value
    }

    async fn is_hit(&self, id: u64, _: &mut String) -> bool {
        // The embedded store has an order of eviction of its own.
        let cached = self.pages.get_or_load(&Page { id }, |page, _| async move { Ok(load(page.id)) }).await;
        cached.unwrap_or_else(|error| fail(&error)).layer == Layer::Memory
    }

    async fn put(&self, id: u64, _: &mut String) {
        self.pages.put(&Page { id }, load(id), self.cache.position()).await;
    }
}

#[cold]
#[expect(clippy::panic, reason = "a measurement without its subject is worth nothing")]
fn fail(error: &dyn std::error::Error) -> ! {
    panic!("{error}")
}
