//! The background task that follows the journal: it is restarted wherever that is possible, and its
//! state is visible.

use std::time::Duration;

use origin_sdk::{Cache, Delivery, Layer, Lifetime, Namespace};
use strata_tests::{Database, FakeWorker, Item, RedisServer, eventually, worker_secret};
use tokio::runtime::Runtime;

const LIFETIME: Lifetime = Lifetime::fresh(Duration::from_secs(600));

async fn start(redis: &RedisServer) -> (Cache, Namespace<Item, u64>) {
    let cache = redis.cache().build().await.unwrap();
    let items = cache.namespace(LIFETIME).build();
    (cache, items)
}

/// A static cache that several `#[tokio::test]` functions share, for example.
#[test]
fn a_cache_built_in_a_runtime_that_ended_still_delivers_its_invalidations() {
    let (first, second) = (Runtime::new().unwrap(), Runtime::new().unwrap());
    let redis = second.block_on(RedisServer::start());
    let (_cache, items) = first.block_on(start(&redis));
    let (_other, others) = second.block_on(start(&redis));
    let database = Database::default();
    drop(first);
    second.block_on(async {
        others.get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap();
        database.write(1, 1);
        // The first append fails, because its connection ended with the first runtime.
        items.invalidate(&Item { id: 1 }).await;
        eventually("the other process loads the new value", async || {
            *others.get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap().value == 1
        })
        .await;
        eventually("an invalidation is appended at once", async || {
            items.invalidate(&Item { id: 2 }).await.journal == Delivery::Done
        })
        .await;
        items.get_or_load(&Item { id: 2 }, database.loader(2)).await.unwrap();
        assert_eq!(
            items.get_or_load(&Item { id: 2 }, database.loader(2)).await.unwrap().layer,
            Layer::Memory
        );
    });
}

#[tokio::test]
async fn a_command_timeout_without_end_does_not_stop_the_follower() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let endless = redis.cache().command_timeout(Duration::MAX).overall_timeout(Duration::MAX);
    let endless =
        endless.connect_timeout(Duration::MAX).max_lag(Duration::from_secs(600)).build().await.unwrap();
    let items: Namespace<Item, u64> = endless.namespace(LIFETIME).build();
    let (_other, others) = start(&redis).await;
    items.get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap();
    database.write(1, 1);
    others.invalidate(&Item { id: 1 }).await;
    eventually("the record arrives long before the maximum lag", async || {
        *items.get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap().value == 1
    })
    .await;
}

/// A runtime that exists and is not driven, such as one whose `block_on` has returned.
#[test]
fn a_follower_on_a_stalled_runtime_is_noticed_and_replaced() {
    let stalled = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let second = Runtime::new().unwrap();
    let (redis, database) = (second.block_on(RedisServer::start()), Database::default());
    let (cache, items) = stalled.block_on(start(&redis));
    let (_other, others) = second.block_on(start(&redis));
    second.block_on(async {
        others.get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap();
        eventually("the stall is noticed", async || !cache.health().is_following).await;
        database.write(1, 1);
        // The connection, too, belongs to the stalled runtime: the first commands fail.
        items.invalidate(&Item { id: 1 }).await;
        eventually("the other process loads the new value", async || {
            *others.get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap().value == 1
        })
        .await;
        eventually("the process is current", async || cache.health().is_current).await;
    });
    assert_eq!(cache.stats().follower_restarts, 1);
    // The old follower ends when its runtime is driven again.
    stalled.block_on(async { tokio::time::sleep(Duration::from_millis(10)).await });
    assert!(cache.health().is_following);
}

/// Its lease lasts for five seconds more, since nothing could release it.
#[test]
fn a_shipper_whose_runtime_has_ended_is_started_again() {
    let (first, second) = (Runtime::new().unwrap(), Runtime::new().unwrap());
    let (redis, worker) = second.block_on(async { (RedisServer::start().await, FakeWorker::start().await) });
    let shipping = redis.cache().edge(worker.url(), worker_secret());
    let (cache, items) = first.block_on(async {
        let cache = shipping.build().await.unwrap();
        let items: Namespace<Item, u64> = cache.namespace(LIFETIME).build();
        eventually("the first record is shipped", async || !worker.accepted().is_empty()).await;
        (cache, items)
    });
    drop(first);
    second.block_on(async {
        items.invalidate(&Item { id: 1 }).await;
        let scope = Item { id: 1 }.into();
        eventually("the record is shipped", async || {
            worker.accepted().iter().any(|record| record.scope == scope)
        })
        .await;
        assert!(cache.close().await.is_complete());
    });
}

/// Without a runtime, no task can send the invalidation.
#[test]
fn an_invalidation_that_nobody_sends_says_so() {
    let runtime = Runtime::new().unwrap();
    let redis = runtime.block_on(RedisServer::start());
    let (cache, items) = runtime.block_on(start(&redis));
    assert!(cache.health().is_following && cache.health().is_current);
    drop(runtime);
    assert!(!cache.health().is_following);
    let receipt = futures_util::FutureExt::now_or_never(items.invalidate(&Item { id: 1 })).unwrap();
    assert_eq!((receipt.memory, receipt.journal), (Delivery::Done, Delivery::Stranded));
    assert_eq!(cache.health().queued, 1);

    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        // The new follower first notices that its connection has ended.
        items.invalidate(&Item { id: 2 }).await;
        eventually("the queue is sent", async || cache.health().queued == 0).await;
    });
    assert_eq!(cache.stats().follower_restarts, 1);
}
