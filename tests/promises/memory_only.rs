//! Values that stay in one process's memory obey the fleet's journal.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use origin_sdk::{Cache, Delivery, Key, Layer, Lifetime, Namespace, Scope, TypedTag};
use strata_tests::{Group, Item, RedisServer, eventually};

/// A value that serde knows nothing of: the version of the source that it was compiled from.
struct Compiled(u64);

struct Process {
    cache: Cache,
    compiled: Namespace<Item, Compiled>,
    source: Arc<AtomicU64>,
}

impl Process {
    async fn start(redis: &RedisServer, source: &Arc<AtomicU64>) -> Self {
        let cache = redis.cache().build().await.unwrap();
        let compiled = cache
            .memory_namespace(Lifetime::fresh(Duration::from_secs(600)))
            .tags(|item: &Item| vec![Group { id: item.id }.to_tag()])
            .build();
        Self { cache, compiled, source: Arc::clone(source) }
    }

    async fn read(&self) -> (u64, Layer) {
        let source = Arc::clone(&self.source);
        let compile = |_, _| async move { Ok(Compiled(source.load(Ordering::SeqCst))) };
        let cached = self.compiled.get_or_load(&Item { id: 3 }, compile).await.unwrap();
        (cached.value.0, cached.layer)
    }
}

#[tokio::test]
async fn an_invalidation_in_one_process_ends_the_values_in_the_memory_of_all() {
    let (redis, source) = (RedisServer::start().await, Arc::new(AtomicU64::new(1)));
    let (a, b) = (Process::start(&redis, &source).await, Process::start(&redis, &source).await);
    for version in 2..6 {
        let old = version - 1;
        assert_eq!((a.read().await.0, b.read().await.0), (old, old));
        assert_eq!((a.read().await, b.read().await), ((old, Layer::Memory), (old, Layer::Memory)));
        source.store(version, Ordering::SeqCst);
        let receipt = match version {
            2 => a.compiled.invalidate(&Item { id: 3 }).await,
            3 => a.cache.invalidate([Group { id: 3 }.to_tag()]).await,
            4 => a.cache.invalidate([Scope::All]).await,
            _ => a.compiled.expire(&Item { id: 3 }).await,
        };
        assert_eq!(receipt.journal, Delivery::Done);
        assert_eq!(a.read().await, (version, Layer::Loader));
        eventually("the other process reads the new value", async || b.read().await.0 == version).await;
    }
}

#[tokio::test]
async fn redis_holds_nothing_of_a_value_in_memory_alone() {
    let (redis, source) = (RedisServer::start().await, Arc::new(AtomicU64::new(1)));
    let process = Process::start(&redis, &source).await;
    assert_eq!(process.read().await.0, 1);
    process.compiled.write_through(&Item { id: 3 }, (), |_, _| async { Ok(Compiled(2)) }).await.unwrap();
    assert_eq!(process.read().await, (2, Layer::Memory));
    let is_stored: bool = redis.run(&["EXISTS", &Item { id: 3 }.to_text()]).await;
    assert!(!is_stored);
}
