//! G2: a load that began before an invalidation never makes the old value servable after it.

use std::sync::Arc;
use std::time::Duration;

use origin_sdk::{Cache, Clock, Freshness, Layer, Lifetime, Namespace, Scope, TypedTag};
use strata_tests::{Database, Group, Item, RedisServer, WAIT_LIMIT, eventually};

use crate::gates;

const FRESH: Duration = Duration::from_secs(60);
const LIFETIME: Lifetime = Lifetime::fresh(FRESH).stale_while_revalidate(Duration::from_secs(600));

fn items(cache: &Cache) -> Namespace<Item, u64> {
    cache.namespace(LIFETIME).build()
}

async fn read(items: &Namespace<Item, u64>, database: &Database) -> u64 {
    *items.get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap().value
}

/// A foreground load reads the old row before the invalidation and ends after it.
///
/// Seen in FusionCache #535 and #625, HybridCache and moka's `get_with`.
#[tokio::test]
async fn a_load_overtaken_by_an_invalidation_is_not_served_afterwards() {
    let redis = RedisServer::start().await;
    let (cache, other) = (redis.cache().build().await.unwrap(), redis.cache().build().await.unwrap());
    let (items, theirs, database) = (items(&cache), items(&other), Database::default());
    let (has_read, may_end) = gates();

    let slow = tokio::spawn({
        let (items, loader) = (items.clone(), database.slow_loader(1, &has_read, &may_end));
        async move { *items.get_or_load(&Item { id: 1 }, loader).await.unwrap().value }
    });
    has_read.acquire().await.unwrap().forget();
    database.write(1, 1);
    other
        .invalidate(
            [Item { id: 1 }].map(|item| origin_sdk::Scope::Key(origin_sdk::Key::to_text(&item).into())),
        )
        .await;
    may_end.add_permits(1);
    assert_eq!(slow.await.unwrap(), 0, "a caller from before the invalidation may receive the old value");

    assert_eq!(read(&theirs, &database).await, 1, "the old value is not promoted from Redis");
    eventually("the record has arrived", async || read(&items, &database).await == 1).await;
    assert_eq!(read(&theirs, &database).await, 1);
}

/// Seen in moka: a caller after the invalidation received the value of a load that began before it.
#[tokio::test]
async fn a_caller_after_the_invalidation_does_not_join_the_load_before_it() {
    let redis = RedisServer::start().await;
    let cache = redis.cache().build().await.unwrap();
    let (items, database) = (items(&cache), Database::default());
    let (has_read, may_end) = gates();

    let old_load = tokio::spawn({
        let (items, loader) = (items.clone(), database.slow_loader(1, &has_read, &may_end));
        async move { *items.get_or_load(&Item { id: 1 }, loader).await.unwrap().value }
    });
    has_read.acquire().await.unwrap().forget();
    database.write(1, 1);
    items.invalidate(&Item { id: 1 }).await;
    let answer = tokio::time::timeout(WAIT_LIMIT, read(&items, &database)).await;
    assert_eq!(answer, Ok(1), "answered while the old load still runs");
    may_end.add_permits(1);
    old_load.await.unwrap();
    assert_eq!(read(&items, &database).await, 1, "the old load does not replace the new value");
}

/// The tags of a value are known only after its load, so a waiter must check the value again.
#[tokio::test]
async fn a_caller_after_the_invalidation_of_a_tag_gets_no_value_loaded_before_it() {
    let redis = RedisServer::start().await;
    let cache = redis.cache().build().await.unwrap();
    let (items, database) = (items(&cache), Database::default());
    let (has_read, may_end) = gates();
    let tagged = |loader: Box<dyn FnOnce(Item, origin_sdk::LoadContext) -> _ + Send>| {
        move |item, load: origin_sdk::LoadContext| {
            load.tag(Group { id: 7 }.to_tag());
            loader(item, load)
        }
    };

    let early = tokio::spawn({
        let (items, loader) = (items.clone(), tagged(Box::new(database.slow_loader(1, &has_read, &may_end))));
        async move { *items.get_or_load(&Item { id: 1 }, loader).await.unwrap().value }
    });
    has_read.acquire().await.unwrap().forget();
    database.write(1, 1);
    cache.invalidate([Group { id: 7 }.to_tag()]).await;
    let late = tokio::spawn({
        let (items, loader) = (items.clone(), tagged(Box::new(database.slow_loader(1, &has_read, &may_end))));
        async move { *items.get_or_load(&Item { id: 1 }, loader).await.unwrap().value }
    });
    eventually("the late caller waits for the load", async || cache.stats().coalesced == 1).await;
    may_end.add_permits(2);
    assert_eq!((early.await.unwrap(), late.await.unwrap()), (0, 1));
}

/// Seen in FusionCache #628: the refresh stored its value without a check.
#[tokio::test]
async fn a_background_refresh_overtaken_by_an_invalidation_is_not_served_afterwards() {
    let clock = Clock::manual();
    // The embedded store computes its times to live by the same clock.
    let builder = Cache::builder("test").jitter(0.0).clock(clock.clone()).max_lag(Duration::from_secs(3600));
    let cache = builder.build().await.unwrap();
    let (items, database) = (items(&cache), Database::default());
    let (has_read, may_end) = gates();
    assert_eq!(read(&items, &database).await, 0);

    clock.advance(FRESH);
    let stale =
        items.get_or_load(&Item { id: 1 }, database.slow_loader(1, &has_read, &may_end)).await.unwrap();
    assert!(matches!(stale.freshness, Freshness::Stale(_)));
    has_read.acquire().await.unwrap().forget();
    database.write(1, 1);
    items.invalidate(&Item { id: 1 }).await;
    assert_eq!(read(&items, &database).await, 1);
    may_end.add_permits(1);
    eventually("the refresh has ended", async || cache.stats().loads == 3).await;
    assert_eq!(read(&items, &database).await, 1);
}

/// Seen in lettuce #3481: Redis has an old entry that a slow process stored after the invalidation.
#[tokio::test]
async fn an_entry_in_redis_older_than_an_invalidation_is_not_promoted() {
    let redis = RedisServer::start().await;
    let (a, b) = (redis.cache().build().await.unwrap(), redis.cache().build().await.unwrap());
    let database = Database::default();
    assert_eq!(read(&items(&a), &database).await, 0);
    let old: Vec<u8> = redis.run(&["GET", "test:v1:{item:1}"]).await;
    database.write(1, 1);
    items(&a).invalidate(&Item { id: 1 }).await;
    assert_eq!(read(&items(&a), &database).await, 1);
    // The late SET of a slow process.
    let old = String::from_utf8(old).unwrap();
    let _: String = redis.run(&["SET", "test:v1:{item:1}", &old, "PX", "600000"]).await;
    eventually("the record has arrived", async || b.stats().records_applied > 1).await;
    assert_eq!(read(&items(&b), &database).await, 1);
    let new = redis.cache().build().await.unwrap();
    let hit = items(&new).get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap();
    assert_eq!(
        (*hit.value, hit.layer == Layer::Memory),
        (1, false),
        "a new process does not promote it either"
    );
}

/// Writer A commits before writer B, and appends its record after B.
#[tokio::test]
async fn a_write_through_overtaken_by_another_leaves_no_old_value() {
    let redis = RedisServer::start().await;
    let (a, b) = (redis.cache().build().await.unwrap(), redis.cache().build().await.unwrap());
    let database = Database::default();
    let (has_committed, may_end) = gates();

    let first = tokio::spawn({
        let (items, database) = (items(&a), database.clone());
        let (has_committed, may_end) = (Arc::clone(&has_committed), Arc::clone(&may_end));
        async move {
            let writer = |_, _| async move {
                database.write(1, 1);
                has_committed.add_permits(1);
                may_end.acquire().await.unwrap().forget();
                Ok(1)
            };
            items.write_through(&Item { id: 1 }, (), writer).await.unwrap()
        }
    });
    has_committed.acquire().await.unwrap().forget();
    let row = database.clone();
    let second = |_, _| async move {
        row.write(1, 2);
        Ok(2)
    };
    assert!(items(&b).write_through(&Item { id: 1 }, (), second).await.unwrap().cached);
    may_end.add_permits(1);
    assert!(!first.await.unwrap().cached, "the journal has the record of another write in between");
    assert_eq!(read(&items(&a), &database).await, 2);
    eventually("the last record has arrived", async || read(&items(&b), &database).await == 2).await;
}

/// The written value depends on other data by a tag, and that data changes while the writer runs.
#[tokio::test]
async fn a_write_through_overtaken_by_the_invalidation_of_its_tag_is_not_cached() {
    let redis = RedisServer::start().await;
    let (a, b) = (redis.cache().build().await.unwrap(), redis.cache().build().await.unwrap());
    let writer = |_, load: origin_sdk::LoadContext| async move {
        load.tag(Group { id: 7 }.to_tag());
        b.invalidate([Group { id: 7 }.to_tag()]).await;
        Ok(1)
    };
    let written = items(&a).write_through(&Item { id: 1 }, (), writer).await.unwrap();
    assert!(!written.cached);
    assert!(items(&a).get_cached(&Item { id: 1 }).await.is_none());
}

/// The same with a scope of several tags, which the check inside the store cannot match.
#[tokio::test]
async fn a_write_through_overtaken_by_the_invalidation_of_several_of_its_tags_is_not_cached() {
    let redis = RedisServer::start().await;
    let (a, b) = (redis.cache().build().await.unwrap(), redis.cache().build().await.unwrap());
    let tags = [7, 8].map(|id| Group { id }.to_tag());
    let writer = |_, load: origin_sdk::LoadContext| async move {
        tags.iter().cloned().for_each(|tag| load.tag(tag));
        b.invalidate([Scope::all_tags(tags).unwrap()]).await;
        Ok(1)
    };
    let written = items(&a).write_through(&Item { id: 1 }, (), writer).await.unwrap();
    assert!(!written.cached);
    assert!(items(&a).get_cached(&Item { id: 1 }).await.is_none());
}

/// Messages about changes of a row are handled in the wrong order. Each write begins after the
/// previous one has ended, so the journal has no record between them.
#[tokio::test]
async fn a_write_through_of_an_older_version_is_refused() {
    let redis = RedisServer::start().await;
    let cache = redis.cache().build().await.unwrap();
    let (items, database) = (items(&cache), Database::default());
    database.write(1, 9);
    let write = async |version: u64| {
        let writer = move |_, _| async move { Ok((version, version)) };
        items.write_through_version(&Item { id: 1 }, (), writer).await.unwrap().cached
    };
    assert!(!write(2).await, "no version is known yet, perhaps because it was evicted");
    assert!(write(9).await);
    assert_eq!((read(&items, &database).await, database.reads()), (9, 0));
    assert!(!write(8).await && !write(3).await);
    assert_eq!((read(&items, &database).await, database.reads()), (9, 1), "the next read loads");
    assert!(write(9).await, "the same version again is accepted");
    let () = redis.run(&["DEL", "test:version:v1:{item:1}"]).await;
    assert!(!write(4).await, "after the loss of the stored version no value is valid");
    assert_eq!((read(&items, &database).await, database.reads()), (9, 2));
}

/// A failover has lost the record of the tag. The writer's process has applied it and refuses the
/// value.
#[tokio::test]
async fn a_write_through_overtaken_by_a_lost_record_is_not_cached_where_the_record_was_applied() {
    let redis = RedisServer::start().await;
    let (a, b) = (redis.cache().build().await.unwrap(), redis.cache().build().await.unwrap());
    let (writing, on) = (a.clone(), redis.url());
    let writer = |_, load: origin_sdk::LoadContext| async move {
        load.tag(Group { id: 7 }.to_tag());
        let applied = writing.stats().records_applied;
        let record = b.invalidate([Group { id: 7 }.to_tag()]).await.position.unwrap();
        let arrived = async {
            while writing.stats().records_applied == applied {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(WAIT_LIMIT, arrived).await.unwrap();
        let client = redis::Client::open(on).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut lose = redis::pipe();
        lose.cmd("XDEL").arg("test:{journal}:feed").arg(record.to_string());
        lose.cmd("ZREM").arg("test:{journal}:ledger").arg("remove tag:group:7");
        lose.exec_async(&mut connection).await.unwrap();
        Ok(1)
    };
    assert!(!items(&a).write_through(&Item { id: 1 }, (), writer).await.unwrap().cached);
}
