//! G5: while Redis is down, frozen or empty, reads are answered and no invalidated value is served.
//! The cache recovers without help.

use std::time::{Duration, Instant};

use origin_sdk::{Cache, Delivery, Layer, Lifetime, Namespace};
use strata_tests::{Database, Item, RedisServer, eventually};

const LIFETIME: Lifetime = Lifetime::fresh(Duration::from_secs(600));
/// Short, so that a process soon notices the loss of the journal.
const MAX_LAG: Duration = Duration::from_millis(700);

async fn process(redis: &RedisServer) -> (Cache, Namespace<Item, u64>) {
    let cache = redis.cache().max_lag(MAX_LAG).build().await.unwrap();
    let items = cache.namespace(LIFETIME).build();
    (cache, items)
}

async fn read(items: &Namespace<Item, u64>, database: &Database) -> (u64, Layer) {
    let hit = items.get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap();
    (*hit.value, hit.layer)
}

#[tokio::test]
async fn a_service_starts_and_answers_without_redis() {
    let mut redis = RedisServer::start().await;
    redis.kill();
    let (_cache, items) = process(&redis).await;
    assert_eq!(read(&items, &Database::default()).await, (0, Layer::Loader));
}

#[tokio::test]
async fn a_process_disconnected_for_longer_than_max_lag_serves_nothing_old() {
    let mut redis = RedisServer::start().await;
    let ((cache, items), database) = (process(&redis).await, Database::default());
    assert_eq!(read(&items, &database).await, (0, Layer::Loader));
    assert_eq!(read(&items, &database).await, (0, Layer::Memory));
    redis.kill();
    database.write(1, 1);
    eventually("the process notices that it may lag", async || read(&items, &database).await.0 == 1).await;
    assert!(cache.stats().disconnected_reads > 0);
}

#[tokio::test]
async fn reads_are_answered_while_redis_is_frozen() {
    let redis = RedisServer::start().await;
    let ((_cache, items), database) = (process(&redis).await, Database::default());
    assert_eq!(read(&items, &database).await, (0, Layer::Loader));
    redis.freeze();
    database.write(1, 1);
    eventually("the process notices that it may lag", async || {
        let start = Instant::now();
        let (value, _) = read(&items, &database).await;
        // A read sends several commands with a timeout of 300 ms each. Without timeouts it would
        // never return.
        assert!(start.elapsed() < Duration::from_secs(5));
        value == 1
    })
    .await;
    redis.thaw();
    eventually("memory answers again", async || read(&items, &database).await.1 == Layer::Memory).await;
}

#[tokio::test]
async fn an_invalidation_without_redis_takes_effect_here_at_once_and_in_the_fleet_later() {
    let mut redis = RedisServer::start().await;
    let ((_a, items_a), (_b, items_b)) = (process(&redis).await, process(&redis).await);
    let database = Database::default();
    assert_eq!(read(&items_a, &database).await.0, 0);
    assert_eq!(read(&items_b, &database).await.0, 0);
    redis.kill();
    database.write(1, 1);
    let receipt = items_a.invalidate(&Item { id: 1 }).await;
    assert_eq!(
        (receipt.memory, receipt.redis, receipt.journal),
        (Delivery::Done, Delivery::Queued, Delivery::Queued)
    );
    assert_eq!(receipt.position, None);
    assert_eq!(read(&items_a, &database).await.0, 1);
    redis.restart().await;
    eventually("the other process reads the new value", async || read(&items_b, &database).await.0 == 1)
        .await;
    assert_eq!(read(&items_a, &database).await.0, 1);
    eventually("memory answers again", async || read(&items_a, &database).await == (1, Layer::Memory)).await;
}

/// A Redis without a feed may have lost any invalidation.
#[tokio::test]
async fn after_redis_restarts_empty_no_older_entry_is_served() {
    let mut redis = RedisServer::start().await;
    let ((_cache, items), database) = (process(&redis).await, Database::default());
    assert_eq!(read(&items, &database).await.0, 0);
    database.write(1, 1);
    redis.kill();
    redis.restart().await;
    eventually("the old entry is not served", async || read(&items, &database).await.0 == 1).await;
}

#[tokio::test]
async fn foreign_bytes_under_a_key_are_a_miss() {
    let redis = RedisServer::start().await;
    let ((cache, items), database) = (process(&redis).await, Database::default());
    let _: String = redis.run(&["SET", "test:v1:{item:1}", "not an entry", "PX", "60000"]).await;
    assert_eq!(read(&items, &database).await, (0, Layer::Loader));
    assert_eq!(cache.stats().undecodable, 1);
}

#[tokio::test]
async fn a_full_redis_takes_invalidations_and_the_receipt_reports_the_value_as_failed() {
    let redis = RedisServer::start().await;
    let ((_cache, items), database) = (process(&redis).await, Database::default());
    assert_eq!(read(&items, &database).await, (0, Layer::Loader));
    let _: String = redis.run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    database.write(1, 1);
    let written = items.write_through(&Item { id: 1 }, (), |_, _| async { Ok(1) }).await.unwrap();
    assert_eq!((written.receipt.journal, written.receipt.redis), (Delivery::Done, Delivery::Failed));
    let (_new, elsewhere) = process(&redis).await;
    assert_eq!(read(&elsewhere, &database).await, (1, Layer::Loader), "the old entry in Redis is not served");
}
