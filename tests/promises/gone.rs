//! A value that is gone, or that Redis could not take, is not followed by the older one: on a real
//! Redis, and between processes.

use std::time::{Duration, Instant};

use origin_sdk::{BatchContext, Cache, Lifetime, LoadContext, Namespace, Storage};
use strata_tests::{Database, Item, Passage, Proxy, RedisServer, eventually};

use crate::gates;

const HOUR: Duration = Duration::from_secs(3600);
const ZERO: Lifetime = Lifetime::fresh(Duration::ZERO);
/// Fresh for a moment, and stale for an hour after that.
const LIFETIME: Lifetime =
    Lifetime::fresh(Duration::from_millis(50)).stale_while_revalidate(HOUR).stale_if_error(HOUR);
const VALUE_KEY: &str = "test:v1:{item:1}";
const KEY: Item = Item { id: 1 };

type Items = Namespace<Item, Option<u64>>;

async fn process(redis: &RedisServer) -> (Cache, Items) {
    let cache = redis.cache().build().await.unwrap();
    let items = cache.namespace(LIFETIME).negative_lifetime(ZERO).build();
    (cache, items)
}

async fn held(items: &Items) -> Option<Option<u64>> {
    items.get_cached(&KEY).await.map(|cached| *cached.value)
}

/// Waits until the value in this process is stale, without loading it.
async fn until_stale(items: &Items) {
    eventually("the value is stale", async || {
        items.get_cached(&KEY).await.is_some_and(|cached| cached.freshness != origin_sdk::Freshness::Fresh)
    })
    .await;
}

#[tokio::test]
async fn a_refresh_that_finds_nothing_to_keep_removes_the_old_value_from_redis() {
    let redis = RedisServer::start().await;
    let (cache, items) = process(&redis).await;
    for way in ["none", "zero lifetime", "left out of a batch"] {
        let (_other, elsewhere) = process(&redis).await;
        items.put(&KEY, Some(1), cache.position()).await;
        until_stale(&items).await;
        let first = match way {
            "none" => items.get_or_load(&KEY, |_, _| async { Ok(None) }).await.map(|cached| *cached.value),
            "zero lifetime" => {
                let loader = |_, context: LoadContext| async move {
                    context.lifetime(ZERO);
                    Ok(Some(2))
                };
                items.get_or_load(&KEY, loader).await.map(|cached| *cached.value)
            }
            _ => {
                let loader = |_: Vec<Item>, _: BatchContext| async { Ok([(); 0].map(|()| (KEY, None))) };
                let cached = items.get_many_or_load(&[KEY], loader).await.remove(0);
                cached.map(|cached| cached.and_then(|cached| *cached.value))
            }
        };
        assert_eq!(first.unwrap(), Some(1), "{way}: stale while it is refreshed");
        eventually("the refresh has ended", async || held(&items).await.is_none()).await;
        assert_eq!(redis.run::<u8>(&["EXISTS", VALUE_KEY, "test:lease:v1:{item:1}"]).await, 0, "{way}");
        assert_eq!(held(&elsewhere).await, None, "{way}");
    }
}

#[tokio::test]
async fn a_put_ends_an_older_load_of_another_process() {
    for kept in [true, false] {
        let (redis, database) = (RedisServer::start().await, Database::default());
        let ((_a, of_a), (b, of_b)) = (process(&redis).await, process(&redis).await);
        let (has_read, may_end) = gates();
        let mut load = Box::pin({
            let loader = database.slow_loader(1, &has_read, &may_end);
            let loader = move |key: Item, context| async move { loader(key, context).await.map(Some) };
            of_a.get_or_load(&KEY, loader)
        });
        tokio::select! {
            _ = &mut load => unreachable!("the load waits"),
            permit = has_read.acquire() => permit.unwrap().forget(),
        }
        // The age of a copy is in milliseconds, so only a copy of a later one counts as newer.
        let began = Instant::now();
        eventually("some milliseconds have passed", async || began.elapsed() > Duration::from_millis(5))
            .await;
        let lifetime = if kept { Lifetime::fresh(HOUR) } else { ZERO };
        let placement = of_b.put(&KEY, Some(7), b.position()).lifetime(lifetime).await;
        assert_eq!(placement.is_cached(), kept);
        may_end.add_permits(1);
        assert_eq!(*load.await.unwrap().value, Some(0), "its caller came before the put");
        assert_eq!(held(&of_a).await, kept.then_some(Some(7)), "kept {kept}");
    }
}

#[tokio::test]
async fn a_full_redis_that_refuses_a_value_does_not_keep_the_older_one() {
    let redis = RedisServer::start().await;
    for load in [false, true] {
        let ((a, of_a), (_b, of_b)) = (process(&redis).await, process(&redis).await);
        of_a.put(&KEY, Some(1), a.position()).await;
        until_stale(&of_a).await;
        let _: String = redis.run(&["CONFIG", "SET", "maxmemory", "1"]).await;
        if load {
            of_a.get_or_load(&KEY, |_, _| async { Ok(Some(2)) }).await.unwrap();
            eventually("the refresh has ended", async || held(&of_a).await == Some(Some(2))).await;
        } else {
            let placement = of_a.put(&KEY, Some(2), a.position()).await;
            assert_eq!((placement.memory, placement.redis), (Storage::Stored, Storage::Unavailable));
        }
        eventually("Redis has no copy", async || redis.run::<u8>(&["EXISTS", VALUE_KEY]).await == 0).await;
        assert_eq!((held(&of_a).await, held(&of_b).await), (Some(Some(2)), None), "load {load}");
        let _: String = redis.run(&["CONFIG", "SET", "maxmemory", "0"]).await;
    }
}

/// A frozen Redis runs the commands in its buffers once it is thawed, though they were given up.
#[tokio::test]
async fn a_value_that_a_thawed_redis_stores_late_does_not_replace_a_newer_one() {
    let redis = RedisServer::start().await;
    // Memory holds one entry, so that another key evicts this one.
    let builder = redis.cache().memory_entries(1).max_lag(Duration::from_secs(600));
    let cache = builder.build().await.unwrap();
    let items: Items = cache.namespace(Lifetime::fresh(HOUR)).build();
    items.put(&KEY, Some(1), cache.position()).await;
    redis.freeze();
    for value in [2, 3] {
        let placement = items.put(&KEY, Some(value), cache.position()).await;
        assert_eq!((placement.memory, placement.redis), (Storage::Stored, Storage::Unavailable));
    }
    redis.thaw();
    eventually("Redis has run the first command that was given up", async || {
        redis.run::<String>(&["GET", VALUE_KEY]).await.ends_with("\n2")
    })
    .await;
    eventually("Redis takes values again", async || {
        items.put(&Item { id: 2 }, Some(0), cache.position()).await.redis == Storage::Stored
    })
    .await;
    assert_eq!(held(&items).await, None);
    items.get_or_load(&KEY, |_, _| async { Ok(Some(4)) }).await.unwrap();
    items.put(&Item { id: 2 }, Some(0), cache.position()).await;
    assert_eq!(held(&items).await, Some(Some(4)));
}

/// Redis cannot be reached while it should take the newer value, and has the older one afterwards.
#[tokio::test]
async fn after_an_outage_of_redis_no_value_older_than_the_last_one_is_served() {
    let redis = RedisServer::start().await;
    let proxy = Proxy::start(redis.port()).await;
    // Memory holds one entry, so that another key evicts this one.
    let builder = Cache::builder("test").redis(proxy.redis_url()).jitter(0.0).memory_entries(1);
    let cache = builder.max_lag(Duration::from_secs(600)).build().await.unwrap();
    let items: Items = cache.namespace(Lifetime::fresh(HOUR)).build();
    for (value, kept) in [(Some(2), true), (None, false)] {
        items.put(&KEY, Some(1), cache.position()).await;
        let began = Instant::now();
        eventually("some milliseconds have passed", async || began.elapsed() > Duration::from_millis(5))
            .await;
        proxy.set(Passage::Closed);
        let lifetime = if kept { Lifetime::fresh(HOUR) } else { ZERO };
        items.put(&KEY, value, cache.position()).lifetime(lifetime).await;
        assert_eq!(held(&items).await, kept.then_some(value));
        proxy.set(Passage::Open);
        eventually("Redis takes values again", async || {
            items.put(&Item { id: 2 }, Some(0), cache.position()).await.redis == Storage::Stored
        })
        .await;
        assert_eq!(held(&items).await, None, "Redis has the older value");
        assert_eq!(*items.get_or_load(&KEY, |_, _| async { Ok(Some(3)) }).await.unwrap().value, Some(3));
        items.put(&Item { id: 2 }, Some(0), cache.position()).await;
        assert_eq!(held(&items).await, Some(Some(3)), "Redis has the newest value again");
    }
    assert!(cache.stats().outdated_copies > 0);
}
