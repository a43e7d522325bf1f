//! A Redis that refuses writes: as long as the journal can be read and no other server can have
//! taken over, readers go on hitting.

use std::time::{Duration, Instant};

use origin_sdk::{Cache, Delivery, Layer, Lifetime, Namespace, Tag};
use strata_tests::{Database, Item, RedisServer, eventually};

const LIFETIME: Lifetime = Lifetime::fresh(Duration::from_secs(600));
const MAX_LAG: Duration = Duration::from_millis(300);

async fn process(redis: &RedisServer) -> (Cache, Namespace<Item, u64>) {
    let cache = redis.cache().max_lag(MAX_LAG).build().await.unwrap();
    let items = cache.namespace(LIFETIME).xfetch_beta(0.0).build();
    (cache, items)
}

async fn read(items: &Namespace<Item, u64>, database: &Database) -> Layer {
    items.get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap().layer
}

/// Waits until the server refuses a write with this code.
async fn refuses(redis: &RedisServer, code: &str) {
    let write = "return redis.pcall('SET', 'unrelated', 'x')['err'] or ''";
    let script = format!("#!lua\n{write}");
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut eval = redis::cmd("EVAL");
    eval.arg(script).arg(0);
    eventually("writes are refused", async || {
        let reply: Result<String, redis::RedisError> = eval.query_async(&mut connection).await;
        reply.is_err_and(|error| error.code() == Some(code))
    })
    .await;
}

/// The server cannot save its data: its folder is gone.
async fn break_disk(redis: &RedisServer) {
    let (_, folder): (String, String) = redis.run(&["CONFIG", "GET", "dir"]).await;
    std::fs::remove_dir_all(folder).unwrap();
    let _: String = redis.run(&["CONFIG", "SET", "save", "3600 1"]).await;
    let _: String = redis.run(&["BGSAVE"]).await;
    refuses(redis, "MISCONF").await;
}

async fn mend_disk(redis: &RedisServer) {
    let _: String = redis.run(&["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"]).await;
}

/// Reads for several times the maximum lag, and checks that memory answers each time.
async fn assert_memory_answers(cache: &Cache, items: &Namespace<Item, u64>, database: &Database) {
    let began = Instant::now();
    while began.elapsed() < 5 * MAX_LAG {
        assert_eq!(read(items, database).await, Layer::Memory, "after {:?}", began.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(cache.health().is_current && cache.stats().disconnected_reads == 0);
}

#[tokio::test]
async fn a_primary_that_cannot_save_is_followed() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let ((cache, items), (other, elsewhere)) = (process(&redis).await, process(&redis).await);
    read(&items, &database).await;
    break_disk(&redis).await;
    assert_memory_answers(&cache, &items, &database).await;
    assert_eq!(read(&elsewhere, &database).await, Layer::Redis, "what Redis holds is read");

    // An invalidation is queued meanwhile, and done once the disk works again.
    database.write(1, 1);
    assert_eq!(items.invalidate(&Item { id: 1 }).await.journal, Delivery::Queued);
    assert_eq!(read(&items, &database).await, Layer::Loader, "it is covered in its own process at once");
    mend_disk(&redis).await;
    eventually("the invalidation reaches the other process", async || {
        *elsewhere.get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap().value == 1
    })
    .await;
    eventually("nothing is queued", async || cache.health().queued == 0).await;
    drop(other);
}

#[tokio::test]
async fn a_process_that_starts_beside_a_primary_that_cannot_save_reads_the_journal() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let (cache, items) = process(&redis).await;
    read(&items, &database).await;
    cache.invalidate([Tag::new("other").unwrap()]).await;
    // The new process has to read the ledger.
    let _: i64 = redis.run(&["XTRIM", "test:{journal}:feed", "MAXLEN", "1"]).await;
    break_disk(&redis).await;
    let (new, items) = process(&redis).await;
    assert_eq!(read(&items, &database).await, Layer::Redis);
    assert_memory_answers(&new, &items, &database).await;
}

/// Without its feed the server cannot prove that nothing was lost, and the repair needs a write.
#[tokio::test]
async fn a_primary_that_cannot_save_and_has_lost_the_feed_is_not_followed() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let (cache, items) = process(&redis).await;
    read(&items, &database).await;
    // The server still deletes keys by itself.
    let _: i64 = redis.run(&["PEXPIRE", "test:{journal}:feed", "1000"]).await;
    break_disk(&redis).await;
    database.write(1, 1);
    eventually("the loss is noticed", async || read(&items, &database).await == Layer::Loader).await;
    assert!(!cache.health().is_current);
}

#[tokio::test]
async fn a_full_redis_is_followed() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let ((cache, items), (_other, elsewhere)) = (process(&redis).await, process(&redis).await);
    read(&items, &database).await;
    let _: String = redis.run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    refuses(&redis, "OOM").await;
    assert_memory_answers(&cache, &items, &database).await;
    assert_eq!(read(&elsewhere, &database).await, Layer::Redis);
    database.write(1, 1);
    assert_eq!(items.invalidate(&Item { id: 1 }).await.journal, Delivery::Done);
}

/// Its replicas may have a new primary, which takes invalidations that this server never sees.
#[tokio::test]
async fn a_primary_without_enough_replicas_is_not_followed() {
    for disk_is_broken in [false, true] {
        let (redis, database) = (RedisServer::start().await, Database::default());
        let (cache, items) = process(&redis).await;
        read(&items, &database).await;
        if disk_is_broken {
            // Redis then reports this fault only.
            break_disk(&redis).await;
        }
        let _: String = redis.run(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
        refuses(&redis, if disk_is_broken { "MISCONF" } else { "NOREPLICAS" }).await;
        eventually("the process loads", async || read(&items, &database).await == Layer::Loader).await;
        assert!(!cache.health().is_current && cache.stats().disconnected_reads > 0);
        let _: String = redis.run(&["CONFIG", "SET", "min-replicas-to-write", "0"]).await;
        eventually("the process follows again", async || read(&items, &database).await == Layer::Memory)
            .await;
    }
}

/// A primary that was demoted, also one that cannot save its data.
#[tokio::test]
async fn a_replica_is_not_followed_whatever_else_it_refuses() {
    for disk_is_broken in [false, true] {
        let (redis, database) = (RedisServer::start().await, Database::default());
        let (cache, items) = process(&redis).await;
        read(&items, &database).await;
        if disk_is_broken {
            break_disk(&redis).await;
        }
        let _: String = redis.run(&["REPLICAOF", "127.0.0.1", "1"]).await;
        // Redis reports its broken disk first, and hides that it is a replica.
        refuses(&redis, if disk_is_broken { "MISCONF" } else { "READONLY" }).await;
        eventually("the process loads", async || read(&items, &database).await == Layer::Loader).await;
        assert!(!cache.health().is_current);
    }
}
