//! G3: no stale window undoes `remove`. An entry under `expire` may be served, and is reported as
//! stale.
//!
//! Tests that advance the clock use the embedded store, because Redis's own clock cannot be set.

use std::time::Duration;

use origin_sdk::{Cache, Clock, Freshness, Lifetime, Namespace, StaleReason};
use strata_tests::{Database, Item, RedisServer, eventually};

const FRESH: Duration = Duration::from_secs(60);
const WINDOW: Duration = Duration::from_secs(600);
const LIFETIME: Lifetime = Lifetime::fresh(FRESH).stale_while_revalidate(WINDOW).stale_if_error(WINDOW);

/// Returns a cache on a manual clock that has item 1 as version 0. The database has version 1.
async fn start(lifetime: Lifetime) -> (Clock, Namespace<Item, u64>, Database) {
    let clock = Clock::manual();
    // The lag is measured by the same clock, and is not under test here.
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
    let failing = |_, _| async { Err("the database is down".into()) };
    items.get_or_load(&Item { id: 1 }, failing).await.ok().map(|hit| (*hit.value, hit.freshness))
}

#[tokio::test]
async fn an_entry_past_its_lifetime_is_served_stale_while_it_is_refreshed() {
    let (clock, items, database) = start(LIFETIME).await;
    clock.advance(FRESH);
    assert_eq!(read(&items, &database).await, (0, Freshness::Stale(StaleReason::Revalidating)));
    eventually("the refresh is stored", async || read(&items, &database).await == (1, Freshness::Fresh))
        .await;
}

#[tokio::test]
async fn a_removed_entry_is_not_served_while_revalidating() {
    let (clock, items, database) = start(LIFETIME).await;
    items.invalidate(&Item { id: 1 }).await;
    clock.advance(FRESH);
    assert_eq!(read(&items, &database).await, (1, Freshness::Fresh));
}

#[tokio::test]
async fn an_entry_past_its_stale_windows_is_not_served() {
    let (clock, items, database) = start(LIFETIME).await;
    clock.advance(FRESH + WINDOW);
    assert_eq!(read(&items, &database).await, (1, Freshness::Fresh));
}

#[tokio::test]
async fn an_expired_entry_is_served_and_reported_as_stale() {
    let (_clock, items, database) = start(LIFETIME).await;
    items.expire(&Item { id: 1 }).await;
    assert_eq!(read(&items, &database).await, (0, Freshness::Stale(StaleReason::Revalidating)));
    eventually("the refresh is stored", async || read(&items, &database).await == (1, Freshness::Fresh))
        .await;
}

/// Seen in bentocache #71: a purged value was served again when the loader failed.
#[tokio::test]
async fn when_the_loader_fails_a_stale_entry_is_served_unless_it_was_removed() {
    let (clock, items, _database) = start(Lifetime::fresh(FRESH).stale_if_error(WINDOW)).await;

    clock.advance(FRESH);
    let stale = Some((0, Freshness::Stale(StaleReason::LoadFailed)));
    assert_eq!(read_with_failing_loader(&items).await, stale);
    items.expire(&Item { id: 1 }).await;
    assert_eq!(read_with_failing_loader(&items).await, stale);
    items.invalidate(&Item { id: 1 }).await;
    assert_eq!(read_with_failing_loader(&items).await, None);
}

/// A new process reads an entry that is older than the process.
#[tokio::test]
async fn an_entry_older_than_the_process_has_its_true_age() {
    let redis = RedisServer::start().await;
    let database = Database::default();
    let first = redis.cache().build().await.unwrap().namespace::<Item, u64>(LIFETIME).build();
    read(&first, &database).await;
    // Only the stale window is left of the time to live, so the age equals the lifetime.
    let left = WINDOW.as_millis().to_string();
    let _: i64 = redis.run(&["PEXPIRE", "test:v1:{item:1}", &left]).await;
    let second = redis.cache().build().await.unwrap().namespace::<Item, u64>(LIFETIME).build();
    let hit = second.get_cached(&Item { id: 1 }).await.unwrap();
    assert!(hit.age >= FRESH && hit.freshness == Freshness::Stale(StaleReason::Revalidating), "{hit:?}");
}

/// A loader that reads a stale entry produces a stale value.
#[tokio::test]
async fn a_value_loaded_from_a_stale_entry_is_not_stored() {
    let (clock, items, _database) = start(LIFETIME).await;
    let builder = Cache::builder("test").jitter(0.0).clock(clock.clone()).max_lag(Duration::from_secs(3600));
    let outer = builder.build().await.unwrap().namespace::<Item, u64>(LIFETIME).build();
    let through = |items: &Namespace<Item, u64>| {
        let items = items.clone();
        move |_, _| async move {
            items.get_cached(&Item { id: 1 }).await.map(|hit| *hit.value).ok_or("gone".into())
        }
    };
    clock.advance(FRESH);
    assert_eq!(*outer.get_or_load(&Item { id: 2 }, through(&items)).await.unwrap().value, 0);
    assert!(outer.get_cached(&Item { id: 2 }).await.is_none());
}
