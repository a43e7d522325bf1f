//! The commands that reads cost Redis.

use std::time::Duration;

use origin_sdk::{Cache, Layer, Lifetime, Namespace};
use strata_tests::{Database, Item, RedisServer};

const LIFETIME: Lifetime = Lifetime::fresh(Duration::from_secs(600));
const KEYS: u64 = 100;

/// Starts a process that has nothing in memory, beside one that has stored all keys, and resets the
/// counts of Redis.
async fn process(redis: &RedisServer) -> (Cache, Namespace<Item, u64>) {
    let (database, writer) = (Database::default(), redis.cache().build().await.unwrap());
    let items: Namespace<Item, u64> = writer.namespace(LIFETIME).build();
    for id in 0..KEYS {
        items.get_or_load(&Item { id }, database.loader(id)).await.unwrap();
    }
    let reader = redis.cache().build().await.unwrap();
    let items = reader.namespace(LIFETIME).build();
    let _: String = redis.run(&["CONFIG", "RESETSTAT"]).await;
    (reader, items)
}

/// Returns how often commands that read values were called, and how many scripts ran that do not
/// follow the journal: such a script reads the ledger's floor with one `ZSCORE`.
async fn calls(redis: &RedisServer) -> [u64; 5] {
    let stats: String = redis.run(&["INFO", "commandstats"]).await;
    let calls = |command: &str| -> u64 {
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
    };
    let scripts = calls("evalsha") - calls("zscore");
    [calls("pttl"), calls("getrange"), calls("get"), calls("strlen"), scripts]
}

#[tokio::test]
async fn a_read_that_redis_answers_takes_two_commands_and_no_script() {
    let redis = RedisServer::start().await;
    let (_process, items) = process(&redis).await;
    for id in 0..KEYS {
        let cached = items.get_cached(&Item { id }).await.unwrap();
        assert_eq!((*cached.value, cached.layer), (0, Layer::Redis));
    }
    assert_eq!(calls(&redis).await, [KEYS, KEYS, 0, 0, 0]);
}

#[tokio::test]
async fn a_batch_that_redis_answers_takes_two_commands_for_each_key_and_no_script() {
    let redis = RedisServer::start().await;
    let (_process, items) = process(&redis).await;
    let keys: Vec<_> = (0..KEYS).map(|id| Item { id }).collect();
    let cached = items.get_many_cached(&keys).await;
    assert!(cached.iter().flatten().all(|cached| (*cached.value, cached.layer) == (0, Layer::Redis)));
    assert_eq!(cached.iter().flatten().count(), keys.len());
    assert_eq!(calls(&redis).await, [KEYS, KEYS, 0, 0, 0]);
}

#[tokio::test]
async fn callers_of_one_key_share_its_commands() {
    let redis = RedisServer::start().await;
    let (_process, items) = process(&redis).await;
    let reads = (0..1_000).map(|_| items.get_cached(&Item { id: 7 }));
    for cached in futures_util::future::join_all(reads).await {
        assert_eq!(*cached.unwrap().value, 0);
    }
    assert_eq!(calls(&redis).await, [1, 1, 0, 0, 0]);
}
