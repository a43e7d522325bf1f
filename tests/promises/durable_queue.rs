//! A durable queue: an invalidation whose receipt says `Queued` survives the process.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use origin_sdk::{
    Cache, Delivery, Lifetime, Namespace, QueueFile, QueueFuture, QueueStore, Scope, Tag, UnsentInvalidation,
};
use strata_tests::{Database, Item, RedisServer, eventually};

const LIFETIME: Lifetime = Lifetime::fresh(Duration::from_secs(600));

async fn start(redis: &RedisServer, queue: &Path) -> (Cache, Namespace<Item, u64>) {
    let cache = redis.cache().durable_queue(QueueFile::open(queue).unwrap()).build().await.unwrap();
    let items = cache.namespace(LIFETIME).build();
    (cache, items)
}

fn tag(name: &str) -> Scope {
    Scope::Tag(Tag::new(name).unwrap())
}

fn size(queue: &Path) -> u64 {
    std::fs::metadata(queue).unwrap().len()
}

/// The first process ends without an orderly end, while Redis cannot be reached.
#[test]
fn the_next_process_sends_what_the_last_one_has_queued() {
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let (first, second) = (runtime(), runtime());
    let (redis, database) = (second.block_on(RedisServer::start()), Database::default());
    let folder = tempfile::tempdir().unwrap();
    let queue = folder.path().join("queue");
    let others: Namespace<Item, u64> =
        second.block_on(async { redis.cache().build().await.unwrap().namespace(LIFETIME).build() });
    second.block_on(others.get_or_load(&Item { id: 1 }, database.loader(1))).unwrap();

    first.block_on(async {
        let (_cache, items) = start(&redis, &queue).await;
        redis.freeze();
        database.write(1, 1);
        assert_eq!(items.invalidate(&Item { id: 1 }).await.journal, Delivery::Queued);
        let written = items.write_through(&Item { id: 2 }, [tag("a")], async |_, _| Ok(1)).await.unwrap();
        assert_eq!(written.receipt.journal, Delivery::Queued);
    });
    drop(first);
    redis.thaw();
    second.block_on(async {
        let (cache, _items) = start(&redis, &queue).await;
        eventually("the other process loads the new value", async || {
            *others.get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap().value == 1
        })
        .await;
        eventually("all is sent and removed from the file", async || size(&queue) == 0).await;
        let last: Option<f64> = redis.run(&["ZSCORE", "test:{journal}:ledger", "remove tag:a"]).await;
        assert!(last.is_some());
        assert_eq!((cache.health().queued, cache.stats().durable_queue_errors), (0, 0));
    });
}

/// Before its invalidations are sent, a process does not serve what they cover itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_obeys_its_durable_queue_from_its_start() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let folder = tempfile::tempdir().unwrap();
    let queue = folder.path().join("queue");
    let (cache, items) = start(&redis, &queue).await;
    items.get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap();
    redis.freeze();
    database.write(1, 1);
    assert_eq!(items.invalidate(&Item { id: 1 }).await.journal, Delivery::Queued);
    drop((cache, items));
    eventually("the file is free again", async || QueueFile::open(&queue).is_ok()).await;
    redis.thaw();
    let (_cache, items) = start(&redis, &queue).await;
    assert_eq!(*items.get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap().value, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_removes_everything() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let others: Namespace<Item, u64> = redis.cache().build().await.unwrap().namespace(LIFETIME).build();
    others.get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap();
    database.write(1, 1);
    let folder = tempfile::tempdir().unwrap();
    let queue = folder.path().join("queue");
    std::fs::write(&queue, b"\x00not a queue").unwrap();
    let (_cache, _items) = start(&redis, &queue).await;
    eventually("the other process loads again", async || {
        *others.get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap().value == 1
    })
    .await;
    eventually("the file is mended", async || size(&queue) == 0).await;
}

/// A table of the service's own database.
#[derive(Debug, Clone, Default)]
struct Table {
    rows: Arc<Mutex<Vec<UnsentInvalidation>>>,
    is_down: Arc<AtomicBool>,
}

impl Table {
    fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Vec<UnsentInvalidation>) -> T,
    ) -> QueueFuture<'_, T> {
        let is_down = self.is_down.load(Ordering::SeqCst);
        let result = if is_down {
            Err("the database is down".into())
        } else {
            Ok(change(&mut self.rows.lock().unwrap()))
        };
        Box::pin(async move { result })
    }
}

impl QueueStore for Table {
    fn load(&self) -> QueueFuture<'_, Vec<UnsentInvalidation>> {
        self.change(|rows| rows.clone())
    }

    fn append<'a>(&'a self, invalidations: &'a [UnsentInvalidation]) -> QueueFuture<'a, ()> {
        self.change(|rows| rows.extend_from_slice(invalidations))
    }

    fn clear(&self) -> QueueFuture<'_, ()> {
        self.change(Vec::clear)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_can_keep_the_queue_in_its_own_database() {
    let (redis, table) = (RedisServer::start().await, Table::default());
    let cache = redis.cache().durable_queue(table.clone()).build().await.unwrap();
    redis.freeze();
    assert_eq!(cache.expire([tag("a")]).await.journal, Delivery::Queued);
    let rows = || table.rows.lock().unwrap().clone();
    assert_eq!(rows(), [UnsentInvalidation::new(origin_sdk::Mode::Expire, vec![tag("a")])]);
    // While the database is down, the queue is in memory, and is stored later.
    table.is_down.store(true, Ordering::SeqCst);
    assert_eq!(cache.invalidate([tag("b")]).await.journal, Delivery::Queued);
    assert_eq!((rows().len(), cache.stats().durable_queue_errors > 0), (1, true));
    table.is_down.store(false, Ordering::SeqCst);
    eventually("both are stored", async || rows().len() == 2).await;
    redis.thaw();
    eventually("both are sent", async || rows().is_empty()).await;
    assert!(cache.close().await.is_complete());

    table.is_down.store(true, Ordering::SeqCst);
    let error = redis.cache().durable_queue(table).build().await.unwrap_err();
    assert!(
        error.to_string().contains("durable_queue: expected the invalidations of an earlier run"),
        "{error}"
    );
}
