//! G3: `remove` is never undone by a stale window; `expire` may be served stale, and the result says so.
//!
//! Where time passes, on the embedded store, since its clock is moved by hand, and Redis's is not.

use std::time::Duration;

use origin_sdk::{Cache, Clock, Freshness, Lifetime, Namespace, StaleReason};
use strata_tests::{Database, Item, RedisServer, eventually};

const FRESH: Duration = Duration::from_secs(60);
const WINDOW: Duration = Duration::from_secs(600);
const LIFETIME: Lifetime = Lifetime::fresh(FRESH).stale_while_revalidate(WINDOW).stale_if_error(WINDOW);

/// A cache on a clock of its own that holds item 1 of version 0; the database has version 1.
async fn start(lifetime: Lifetime) -> (Clock, Namespace<Item, u64>, Database) {
    let clock = Clock::manual();
    // The journal's lag is told by the same clock, and is not what is tested here.
    let builder = Cache::builder("test").jitter(0.0).clock(clock.clone()).max_lag(Duration::from_secs(3600));
    let cache = builder.build().await.unwrap();
    let (items, database) = (cache.namespace(lifetime).build(), Database::default());
    assert_eq!(read(&items, &database).await, (0, Freshness::Fresh));
    database.write(1, 1);
    (clock, items, database)
}

async fn read(items: &Namespace<Item, u64>, database: &Database) -> (u64, Freshness) {
    let hit = items.get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap();
    (*hit.value, hit.freshness)
}

async fn read_with_failing_loader(items: &Namespace<Item, u64>) -> Option<(u64, Freshness)> {
    let failing = |_, _| async { Err::<u64, _>(std::io::Error::other("the database is down")) };
    items.get_or_load(&Item { id: 1 }, failing).await.ok().map(|hit| (*hit.value, hit.freshness))
}

#[tokio::test]
async fn what_is_past_its_lifetime_is_served_stale_while_it_is_refreshed() {
    let (clock, items, database) = start(LIFETIME).await;
    clock.advance(FRESH);
    assert_eq!(read(&items, &database).await, (0, Freshness::Stale(StaleReason::Revalidating)));
    eventually("the refresh is in", async || read(&items, &database).await == (1, Freshness::Fresh)).await;
}

#[tokio::test]
async fn what_was_removed_is_not_served_while_revalidating() {
    let (clock, items, database) = start(LIFETIME).await;
    items.invalidate(&Item { id: 1 }).await;
    clock.advance(FRESH);
    assert_eq!(read(&items, &database).await, (1, Freshness::Fresh));
}

#[tokio::test]
async fn what_is_past_its_windows_is_not_served() {
    let (clock, items, database) = start(LIFETIME).await;
    clock.advance(FRESH + WINDOW);
    assert_eq!(read(&items, &database).await, (1, Freshness::Fresh));
}

#[tokio::test]
async fn what_was_expired_is_served_stale_and_says_so() {
    let (_clock, items, database) = start(LIFETIME).await;
    items.expire(&Item { id: 1 }).await;
    assert_eq!(read(&items, &database).await, (0, Freshness::Stale(StaleReason::Revalidating)));
    eventually("the refresh is in", async || read(&items, &database).await == (1, Freshness::Fresh)).await;
}

/// bentocache #71: what had been purged came back when the loader failed.
#[tokio::test]
async fn when_the_loader_fails_the_stale_value_is_served_unless_it_was_removed() {
    let (clock, items, _database) = start(Lifetime::fresh(FRESH).stale_if_error(WINDOW)).await;

    clock.advance(FRESH);
    let stale = Some((0, Freshness::Stale(StaleReason::LoadFailed)));
    assert_eq!(read_with_failing_loader(&items).await, stale);
    items.expire(&Item { id: 1 }).await;
    assert_eq!(read_with_failing_loader(&items).await, stale);
    items.invalidate(&Item { id: 1 }).await;
    assert_eq!(read_with_failing_loader(&items).await, None);
}

/// A process that has just started reads an entry older than itself.
#[tokio::test]
async fn an_entry_keeps_its_age_in_a_process_younger_than_it() {
    let redis = RedisServer::start().await;
    let database = Database::default();
    let first = redis.cache().build().await.unwrap().namespace::<Item, u64>(LIFETIME).build();
    read(&first, &database).await;
    // As old as its lifetime: only the windows are left of its time to live.
    let left = WINDOW.as_millis().to_string();
    let _: i64 = redis.run(&["PEXPIRE", "test:v1:{item:1}", &left]).await;
    let second = redis.cache().build().await.unwrap().namespace::<Item, u64>(LIFETIME).build();
    let hit = second.get_cached(&Item { id: 1 }).await.unwrap();
    assert!(hit.age >= FRESH && hit.freshness == Freshness::Stale(StaleReason::Revalidating), "{hit:?}");
}

/// What a loader builds from a stale value is stale as well.
#[tokio::test]
async fn a_value_built_on_a_stale_one_is_not_kept() {
    let (clock, items, _database) = start(LIFETIME).await;
    let builder = Cache::builder("test").jitter(0.0).clock(clock.clone()).max_lag(Duration::from_secs(3600));
    let outer = builder.build().await.unwrap().namespace::<Item, u64>(LIFETIME).build();
    let through = |items: &Namespace<Item, u64>| {
        let items = items.clone();
        move |_, _| async move { items.get_cached(&Item { id: 1 }).await.map(|hit| *hit.value).ok_or("gone") }
    };
    clock.advance(FRESH);
    assert_eq!(*outer.get_or_load(&Item { id: 2 }, through(&items)).await.unwrap().value, 0);
    assert!(outer.get_cached(&Item { id: 2 }).await.is_none());
}
