//! The traps that other caches fell into, each closed by a test that names the cache and, where there is one, its issue.
//!
//! | trap | who fell into it | test |
//! |---|---|---|
//! | an invalidation during a load | FusionCache #535 and #625, HybridCache, moka's `get_with` | `g2_races`: `a_load_overtaken_by_an_invalidation_is_not_served_afterwards` |
//! | a background refresh that skips the check | FusionCache #628 | `g2_races`: `a_background_refresh_overtaken_by_an_invalidation_is_not_served_afterwards` |
//! | joining a doomed flight | moka | `g2_races`: `a_caller_after_the_invalidation_does_not_join_the_load_before_it` |
//! | promotion from the second level after an invalidation | lettuce #3481 | `g2_races`: `what_redis_holds_from_before_an_invalidation_is_not_promoted` |
//! | messages lost while reconnecting | FusionCache | here |
//! | clock skew between nodes | FusionCache #319 | here |
//! | stale-on-error that brings purged data back | bentocache #71 | `g3_remove_is_final`: `when_the_loader_fails_the_stale_value_is_served_unless_it_was_removed` |
//! | a cancelled leader | moka #240 | `g4_one_load`: `a_caller_that_goes_away_cancels_nothing` |
//! | every miss-fill broadcast to the fleet | JetCache #972 | here |
//! | a time to live that promotion grows | cacheable #970 | here |
//! | a `Clear` that is FLUSHALL | gocache | here |
//! | ambiguous key joins | cached | here |

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

/// FusionCache's backplane: what was published while a node reconnected never reached it.
#[tokio::test]
async fn what_was_invalidated_while_a_process_was_cut_off_is_dead_when_it_is_back() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let proxy = Proxy::start(redis.port()).await;
    let here = redis.cache().build().await.unwrap();
    // So long a lag that only the journal itself can tell it, and no suspicion.
    let builder = Cache::builder("test").redis(proxy.redis_url()).max_lag(Duration::from_secs(600));
    let there = builder.build().await.unwrap();
    assert_eq!(read(&items(&there), &database).await, (0, Layer::Loader));
    proxy.set(Passage::Closed);
    database.write(1, 1);
    items(&here).invalidate(&Item { id: 1 }).await;
    assert_eq!(read(&items(&there), &database).await, (0, Layer::Memory), "it cannot know, and is not suspect yet");
    proxy.set(Passage::Open);
    eventually("it has caught up", async || read(&items(&there), &database).await.0 == 1).await;
}

/// FusionCache #319: an invalidation stamped by a node whose clock was behind did not count.
#[tokio::test]
async fn clocks_that_differ_by_hours_make_no_difference_to_what_is_valid() {
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
        eventually("the other one follows", async || read(other, &database).await.0 == version).await;
        assert_eq!(
            read(writer, &database).await,
            (version, Layer::Memory),
            "and what one filled the other did not kill"
        );
    }
}

/// JetCache #972: each fill of a miss was broadcast, and removed the key from everybody else's memory.
#[tokio::test]
async fn filling_a_miss_tells_nobody() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let (a, b) = (redis.cache().build().await.unwrap(), redis.cache().build().await.unwrap());
    let records: u64 = redis.run(&["XLEN", FEED]).await;
    assert_eq!(read(&items(&a), &database).await, (0, Layer::Loader));
    assert_eq!(read(&items(&b), &database).await, (0, Layer::Redis));
    assert_eq!(redis.run::<u64>(&["XLEN", FEED]).await, records);
    assert_eq!(read(&items(&a), &database).await, (0, Layer::Memory));
}

/// cacheable #970: what was promoted to memory got the whole time to live again.
#[tokio::test]
async fn what_is_promoted_lives_no_longer_than_what_it_was_promoted_from() {
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

/// gocache: clearing the cache emptied the whole Redis, with everything that others kept there.
#[tokio::test]
async fn invalidating_all_leaves_alone_what_others_keep_in_redis() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let cache = redis.cache().build().await.unwrap();
    let _: String = redis.run(&["SET", "somebody:else", "1"]).await;
    assert_eq!(read(&items(&cache), &database).await, (0, Layer::Loader));
    cache.invalidate([Scope::All]).await;
    assert_eq!(redis.run::<String>(&["GET", "somebody:else"]).await, "1");
    assert_eq!(read(&items(&cache), &database).await, (0, Layer::Loader));
}

mod joined {
    origin_sdk::keys! {
        app "test" version 1;

        /// Two texts.
        pub key Pair { first: String, second: String } = "pair:{first}:{second}";
    }
}

/// cached: the arguments `("a_b", "c")` and `("a", "b_c")` made the same key.
#[tokio::test]
async fn keys_of_different_parts_are_different_however_the_parts_are_cut() {
    let cache = Cache::builder("test").build().await.unwrap();
    let pairs = cache.namespace::<joined::Pair, String>(LIFETIME).build();
    let cut = [("a:b", "c"), ("a", "b:c"), ("a%3Ab", "c"), ("", "a:b:c"), ("a:b:c", "")];
    for (first, second) in cut {
        let key = joined::Pair { first: first.to_owned(), second: second.to_owned() };
        let value = format!("{first}|{second}");
        let own = value.clone();
        let hit = pairs.get_or_load(&key, |_, _| async { Ok(own) }).await.unwrap();
        assert_eq!(*hit.value, value, "{}", key.to_text());
    }
}
