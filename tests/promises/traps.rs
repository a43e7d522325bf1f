//! Bugs of other caches, each with a test against it. The test names the cache and its issue, if
//! any.
//!
//! Tests in this module:
//!
//! - messages are lost during a reconnect (FusionCache);
//! - clock skew between nodes (FusionCache #319);
//! - every fill of a miss is broadcast to the fleet (JetCache #972);
//! - promotion extends the time to live (cacheable #970);
//! - `Clear` runs FLUSHALL (gocache);
//! - joined key parts are ambiguous (cached).
//!
//! Tests in other modules:
//!
//! - an invalidation during a load (FusionCache #535 and #625, HybridCache, moka's `get_with`):
//!   `g2_races::a_load_overtaken_by_an_invalidation_is_not_served_afterwards`;
//! - a background refresh that skips the check (FusionCache #628):
//!   `g2_races::a_background_refresh_overtaken_by_an_invalidation_is_not_served_afterwards`;
//! - a caller joins a load that an invalidation has overtaken (moka):
//!   `g2_races::a_caller_after_the_invalidation_does_not_join_the_load_before_it`;
//! - promotion from the second level after an invalidation (lettuce #3481):
//!   `g2_races::an_entry_in_redis_older_than_an_invalidation_is_not_promoted`;
//! - stale-if-error serves purged data (bentocache #71):
//!   `g3_remove_is_final::when_the_loader_fails_a_stale_entry_is_served_unless_it_was_removed`;
//! - a cancelled leader (moka #240): `g4_one_load::a_cancelled_caller_does_not_cancel_the_load`.

use std::time::Duration;

use origin_sdk::{Cache, Clock, Freshness, Key, Layer, Lifetime, Namespace, Scope};
use strata_tests::{Database, Item, Passage, Proxy, RedisServer, eventually};

const FRESH: Duration = Duration::from_secs(60);
const LIFETIME: Lifetime = Lifetime::fresh(FRESH);
const FEED: &str = "test:{journal}:feed";

fn items(cache: &Cache) -> Namespace<Item, u64> {
    cache.namespace(LIFETIME).build()
}

async fn read(items: &Namespace<Item, u64>, database: &Database) -> (u64, Layer) {
    let hit = items.get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap();
    (*hit.value, hit.layer)
}

/// Seen in FusionCache: a message published while a node reconnected never reached that node.
#[tokio::test]
async fn an_invalidation_missed_while_disconnected_takes_effect_after_the_reconnect() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let proxy = Proxy::start(redis.port()).await;
    let here = redis.cache().build().await.unwrap();
    // The lag is so long that only the journal itself can invalidate the entry.
    let builder = Cache::builder("test").redis(proxy.redis_url()).max_lag(Duration::from_secs(600));
    let there = builder.build().await.unwrap();
    assert_eq!(read(&items(&there), &database).await, (0, Layer::Loader));
    proxy.set(Passage::Closed);
    database.write(1, 1);
    items(&here).invalidate(&Item { id: 1 }).await;
    assert_eq!(
        read(&items(&there), &database).await,
        (0, Layer::Memory),
        "the process does not lag beyond `max_lag` yet"
    );
    proxy.set(Passage::Open);
    eventually("the process has caught up", async || read(&items(&there), &database).await.0 == 1).await;
}

/// Seen in FusionCache #319: an invalidation by a node whose clock was behind had no effect.
#[tokio::test]
async fn clocks_hours_apart_do_not_affect_validity() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let ahead = Clock::manual();
    ahead.advance(Duration::from_secs(6 * 3600));
    let (a, b) = (redis.cache().clock(Clock::manual()).build(), redis.cache().clock(ahead).build());
    let (a, b) = (items(&a.await.unwrap()), items(&b.await.unwrap()));
    for version in 1..4 {
        database.write(1, version);
        let (writer, other) = if version % 2 == 0 { (&a, &b) } else { (&b, &a) };
        writer.invalidate(&Item { id: 1 }).await;
        assert_eq!(read(writer, &database).await, (version, Layer::Loader));
        eventually("the other process applies the record", async || {
            read(other, &database).await.0 == version
        })
        .await;
        assert_eq!(
            read(writer, &database).await,
            (version, Layer::Memory),
            "the other process's fill did not invalidate the entry"
        );
    }
}

/// Seen in JetCache #972: each fill of a miss was broadcast and removed the key from other
/// memories.
#[tokio::test]
async fn filling_a_miss_appends_no_record() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let (a, b) = (redis.cache().build().await.unwrap(), redis.cache().build().await.unwrap());
    let records: u64 = redis.run(&["XLEN", FEED]).await;
    assert_eq!(read(&items(&a), &database).await, (0, Layer::Loader));
    assert_eq!(read(&items(&b), &database).await, (0, Layer::Redis));
    assert_eq!(redis.run::<u64>(&["XLEN", FEED]).await, records);
    assert_eq!(read(&items(&a), &database).await, (0, Layer::Memory));
}

/// Seen in cacheable #970: an entry promoted to memory received a whole new time to live.
#[tokio::test]
async fn a_promoted_entry_expires_with_its_source() {
    let (redis, database, clock) = (RedisServer::start().await, Database::default(), Clock::manual());
    assert_eq!(read(&items(&redis.cache().build().await.unwrap()), &database).await, (0, Layer::Loader));
    let _: i64 = redis.run(&["PEXPIRE", "test:v1:{item:1}", "10000"]).await;
    let builder = redis.cache().clock(clock.clone()).max_lag(Duration::from_secs(3600));
    let other = items(&builder.build().await.unwrap());
    assert_eq!(read(&other, &database).await, (0, Layer::Redis));
    let hit = other.get_cached(&Item { id: 1 }).await.unwrap();
    assert_eq!((hit.layer, hit.freshness), (Layer::Memory, Freshness::Fresh));
    let _: i64 = redis.run(&["DEL", "test:v1:{item:1}"]).await;
    clock.advance(Duration::from_secs(10));
    assert!(other.get_cached(&Item { id: 1 }).await.is_none());
}

/// Seen in gocache: clearing the cache emptied the whole Redis, foreign keys included.
#[tokio::test]
async fn invalidating_all_leaves_foreign_keys_in_redis() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let cache = redis.cache().build().await.unwrap();
    let _: String = redis.run(&["SET", "foreign", "1"]).await;
    assert_eq!(read(&items(&cache), &database).await, (0, Layer::Loader));
    cache.invalidate([Scope::All]).await;
    assert_eq!(redis.run::<String>(&["GET", "foreign"]).await, "1");
    assert_eq!(read(&items(&cache), &database).await, (0, Layer::Loader));
}

mod pair {
    origin_sdk::keys! {
        app "test" version 1;

        /// A pair of texts.
        pub key Pair { first: String, second: String } = "pair:{first}:{second}";
    }
}

/// Seen in cached: the arguments `("a_b", "c")` and `("a", "b_c")` made the same key.
#[tokio::test]
async fn keys_with_different_parts_never_render_alike() {
    let cache = Cache::builder("test").build().await.unwrap();
    let pairs = cache.namespace::<pair::Pair, String>(LIFETIME).build();
    let splits = [("a:b", "c"), ("a", "b:c"), ("a%3Ab", "c"), ("", "a:b:c"), ("a:b:c", "")];
    for (first, second) in splits {
        let key = pair::Pair { first: first.to_owned(), second: second.to_owned() };
        let value = format!("{first}|{second}");
        let own = value.clone();
        let hit = pairs.get_or_load(&key, |_, _| async { Ok(own) }).await.unwrap();
        assert_eq!(*hit.value, value, "{}", key.to_text());
    }
}
