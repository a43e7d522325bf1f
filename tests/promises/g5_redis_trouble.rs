//! G5: with Redis down, frozen or emptied answers go on, nothing invalidated comes back, and everything heals by itself.

use std::time::{Duration, Instant};

use origin_sdk::{Cache, Delivery, Layer, Lifetime, Namespace};
use strata_tests::{Database, Item, RedisServer, eventually};

const LIFETIME: Lifetime = Lifetime::fresh(Duration::from_secs(600));
/// Short, so that a process notices soon that it has lost the journal.
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
async fn a_process_cut_off_for_longer_than_its_lag_serves_nothing_old() {
    let mut redis = RedisServer::start().await;
    let ((cache, items), database) = (process(&redis).await, Database::default());
    assert_eq!(read(&items, &database).await, (0, Layer::Loader));
    assert_eq!(read(&items, &database).await, (0, Layer::Memory));
    redis.kill();
    database.write(1, 1);
    eventually("it notices that it cannot know what it missed", async || read(&items, &database).await.0 == 1).await;
    assert!(cache.stats().disconnected_reads > 0);
}

#[tokio::test]
async fn a_frozen_redis_costs_time_but_no_answer() {
    let redis = RedisServer::start().await;
    let ((_cache, items), database) = (process(&redis).await, Database::default());
    assert_eq!(read(&items, &database).await, (0, Layer::Loader));
    redis.freeze();
    database.write(1, 1);
    eventually("it notices", async || {
        let asked = Instant::now();
        let (value, _) = read(&items, &database).await;
        // Several commands, each within its timeout of 300 ms; without timeouts this would hang for good.
        assert!(asked.elapsed() < Duration::from_secs(5));
        value == 1
    })
    .await;
    redis.thaw();
    eventually("memory answers again", async || read(&items, &database).await.1 == Layer::Memory).await;
}

#[tokio::test]
async fn an_invalidation_while_redis_is_down_holds_here_at_once_and_reaches_the_fleet_later() {
    let mut redis = RedisServer::start().await;
    let ((_a, items_a), (_b, items_b)) = (process(&redis).await, process(&redis).await);
    let database = Database::default();
    assert_eq!(read(&items_a, &database).await.0, 0);
    assert_eq!(read(&items_b, &database).await.0, 0);
    redis.kill();
    database.write(1, 1);
    let receipt = items_a.invalidate(&Item { id: 1 }).await;
    assert_eq!((receipt.memory, receipt.redis, receipt.journal), (Delivery::Done, Delivery::Queued, Delivery::Queued));
    assert_eq!(receipt.position, None);
    assert_eq!(read(&items_a, &database).await.0, 1);
    redis.restart().await;
    eventually("the other process reads the new value", async || read(&items_b, &database).await.0 == 1).await;
    assert_eq!(read(&items_a, &database).await.0, 1);
    eventually("memory answers again", async || read(&items_a, &database).await == (1, Layer::Memory)).await;
}

/// A new Redis without a feed: nobody can know which invalidations were lost with the old one.
#[tokio::test]
async fn after_redis_came_back_empty_nothing_from_before_is_served() {
    let mut redis = RedisServer::start().await;
    let ((_cache, items), database) = (process(&redis).await, Database::default());
    assert_eq!(read(&items, &database).await.0, 0);
    database.write(1, 1);
    redis.kill();
    redis.restart().await;
    eventually("what was held is dead", async || read(&items, &database).await.0 == 1).await;
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
async fn a_full_redis_takes_invalidations_and_the_receipt_says_that_it_took_no_value() {
    let redis = RedisServer::start().await;
    let ((_cache, items), database) = (process(&redis).await, Database::default());
    assert_eq!(read(&items, &database).await, (0, Layer::Loader));
    let _: String = redis.run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    database.write(1, 1);
    let written = items.write_through(&Item { id: 1 }, [], |_, _| async { Ok(1) }).await.unwrap();
    assert_eq!((written.receipt.journal, written.receipt.redis), (Delivery::Done, Delivery::Failed));
    let (newcomer, elsewhere) = process(&redis).await;
    assert_eq!(read(&elsewhere, &database).await, (1, Layer::Loader), "what Redis still holds is refused");
    drop(newcomer);
}
