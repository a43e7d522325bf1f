//! Batches of 50,000 cold keys: no timeout of a command, no limit of leases and no connection ends
//! them.

use std::sync::Arc;
use std::time::Duration;

use origin_sdk::{BatchContext, Cache, Cached, Layer, Lifetime, LoadError, Namespace, ReadThrough};
use strata_tests::{Item, RedisServer, eventually};
use tokio::sync::Semaphore;

use crate::ALONE;

const KEYS: u64 = 50_000;
const WAITED_FOR: u64 = 10_000;
/// The default timeout of a command.
const DEFAULT: Duration = Duration::from_millis(500);

async fn process(redis: &RedisServer, command_timeout: Duration) -> (Cache, Namespace<Item, u64>) {
    let builder = redis.cache().memory_entries(100_000).lease_ttl(Duration::from_secs(600));
    let builder = builder.command_timeout(command_timeout).overall_timeout(2 * command_timeout);
    let cache = builder.build().await.unwrap();
    let items =
        cache.namespace(Lifetime::fresh(Duration::from_secs(600))).hard_timeout(Duration::from_secs(120));
    let items = items.build();
    (cache, items)
}

fn items(count: u64) -> Vec<Item> {
    (0..count).map(|id| Item { id }).collect()
}

/// Checks that each key has its number as its value, and returns the number of values by layer.
fn counts(results: Vec<Result<Option<Cached<u64>>, LoadError>>) -> (usize, usize) {
    let mut layers = Vec::new();
    for (id, result) in results.into_iter().enumerate() {
        let cached = result.unwrap().unwrap();
        assert_eq!(*cached.value, id as u64);
        layers.push(cached.layer);
    }
    let count = |of| layers.iter().filter(|layer| **layer == of).count();
    (count(Layer::Loader), count(Layer::Redis))
}

fn rows(keys: Vec<Item>) -> Vec<(Item, u64)> {
    keys.into_iter().map(|item| (item.clone(), item.id)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_thousand_cold_keys_are_loaded_by_one_call_and_stored() {
    let _alone = ALONE.lock().await;
    let redis = RedisServer::start().await;
    let ((a, of_a), (b, of_b)) = (process(&redis, DEFAULT).await, process(&redis, DEFAULT).await);
    let loader = async |keys, _: BatchContext| Ok(rows(keys));
    let results = of_a.get_many_or_load(&items(KEYS), loader).await;
    assert_eq!(counts(results), (KEYS as usize, 0));
    assert_eq!((a.stats().loads, a.stats().store_errors), (1, 0));
    let stored = of_b.get_many_cached(&items(KEYS)).await;
    assert_eq!(counts(stored.into_iter().map(Ok).collect()), (0, KEYS as usize));
    assert_eq!(b.stats().store_errors, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_thousand_cold_keys_are_loaded_one_by_one_without_a_batch_loader() {
    let _alone = ALONE.lock().await;
    let redis = RedisServer::start().await;
    let cache = redis.cache().memory_entries(100_000).build().await.unwrap();
    let namespace = cache.namespace(Lifetime::fresh(Duration::from_secs(600)));
    let of_each: ReadThrough<Item, u64> = namespace.read_through((), async |(), item: Item, _| Ok(item.id));
    assert_eq!(counts(of_each.get_many(&items(KEYS)).await), (KEYS as usize, 0));
    assert_eq!((cache.stats().loads, cache.stats().store_errors), (KEYS, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_waits_for_ten_thousand_keys_of_another_process_gets_them_all() {
    let _alone = ALONE.lock().await;
    let redis = RedisServer::start().await;
    // Both processes share this one's CPU time; the subject are the wakeups.
    let long = 20 * DEFAULT;
    let ((a, of_a), (b, of_b)) = (process(&redis, long).await, process(&redis, long).await);
    let gate = Arc::new(Semaphore::new(0));
    let leader = tokio::spawn({
        let gate = Arc::clone(&gate);
        let loader = move |keys, _: BatchContext| {
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await.unwrap().forget();
                Ok(rows(keys))
            }
        };
        async move { of_a.get_many_or_load(&items(WAITED_FOR), loader).await }
    });
    eventually("the first process holds all leases", async || {
        redis.run::<u64>(&["DBSIZE"]).await > WAITED_FOR
    })
    .await;
    let waiter = tokio::spawn(async move {
        of_b.get_many_or_load(&items(WAITED_FOR), async |keys, _: BatchContext| Ok(rows(keys))).await
    });
    eventually("the second process waits for all keys", async || b.stats().lease_waits == WAITED_FOR).await;
    gate.add_permits(1);
    assert_eq!(counts(leader.await.unwrap()), (WAITED_FOR as usize, 0));
    let waited = counts(waiter.await.unwrap());
    assert_eq!(waited, (0, WAITED_FOR as usize), "{:?} {:?}", a.stats(), b.stats());
}
