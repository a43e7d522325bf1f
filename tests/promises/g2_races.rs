//! G2: a load that began before an invalidation never makes the old value servable after it.

use std::sync::Arc;
use std::time::Duration;

use origin_sdk::{Cache, Clock, Freshness, Layer, Lifetime, Namespace, Scope, TypedTag};
use strata_tests::{Database, Group, Item, PATIENCE, RedisServer, eventually};
use tokio::sync::Semaphore;

const FRESH: Duration = Duration::from_secs(60);
const LIFETIME: Lifetime = Lifetime::fresh(FRESH).stale_while_revalidate(Duration::from_secs(600));

fn items(cache: &Cache) -> Namespace<Item, u64> {
    cache.namespace(LIFETIME).build()
}

async fn read(items: &Namespace<Item, u64>, database: &Database) -> u64 {
    *items.get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap().value
}

fn gates() -> (Arc<Semaphore>, Arc<Semaphore>) {
    (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)))
}

/// A foreground load that has read the old row when the invalidation comes, and stores it afterwards: FusionCache #535 and #625,
/// HybridCache, moka's `get_with`.
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
    other.invalidate([Item { id: 1 }].map(|item| origin_sdk::Scope::Key(origin_sdk::Key::to_text(&item).into()))).await;
    may_end.add_permits(1);
    assert_eq!(slow.await.unwrap(), 0, "who asked before the invalidation may get what it loaded");

    assert_eq!(read(&theirs, &database).await, 1, "nor is it promoted from Redis");
    eventually("the record has arrived here", async || read(&items, &database).await == 1).await;
    assert_eq!(read(&theirs, &database).await, 1);
}

/// moka: who came after the invalidation got what a load before it had read.
#[tokio::test]
async fn a_caller_after_the_invalidation_does_not_join_the_load_before_it() {
    let redis = RedisServer::start().await;
    let cache = redis.cache().build().await.unwrap();
    let (items, database) = (items(&cache), Database::default());
    let (has_read, may_end) = gates();

    let doomed = tokio::spawn({
        let (items, loader) = (items.clone(), database.slow_loader(1, &has_read, &may_end));
        async move { *items.get_or_load(&Item { id: 1 }, loader).await.unwrap().value }
    });
    has_read.acquire().await.unwrap().forget();
    database.write(1, 1);
    items.invalidate(&Item { id: 1 }).await;
    let answer = tokio::time::timeout(PATIENCE, read(&items, &database)).await;
    assert_eq!(answer, Ok(1), "answered while the doomed load still runs");
    may_end.add_permits(1);
    doomed.await.unwrap();
    assert_eq!(read(&items, &database).await, 1, "nor does the doomed load take the new value's place");
}

/// The tags of a value are known only once it is loaded: a caller that has joined must ask again.
#[tokio::test]
async fn a_caller_after_the_invalidation_of_a_tag_gets_no_value_loaded_before_it() {
    let redis = RedisServer::start().await;
    let cache = redis.cache().build().await.unwrap();
    let (items, database) = (items(&cache), Database::default());
    let (has_read, may_end) = gates();
    let tagged = |loader: Box<dyn FnOnce(origin_sdk::LoadContext) -> _ + Send>| {
        move |_, load: origin_sdk::LoadContext| {
            load.tag(Group { id: 7 }.to_tag());
            loader(load)
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
    eventually("the late caller has joined", async || cache.stats().coalesced == 1).await;
    may_end.add_permits(2);
    assert_eq!((early.await.unwrap(), late.await.unwrap()), (0, 1));
}

/// FusionCache #628: the refresh stored its value without asking.
#[tokio::test]
async fn a_background_refresh_overtaken_by_an_invalidation_is_not_served_afterwards() {
    let clock = Clock::manual();
    // On the embedded store, whose times to live are told by the same clock.
    let builder = Cache::builder("test").jitter(0.0).clock(clock.clone()).max_lag(Duration::from_secs(3600));
    let cache = builder.build().await.unwrap();
    let (items, database) = (items(&cache), Database::default());
    let (has_read, may_end) = gates();
    assert_eq!(read(&items, &database).await, 0);

    clock.advance(FRESH);
    let stale = items.get_or_load(&Item { id: 1 }, database.slow_loader(1, &has_read, &may_end)).await.unwrap();
    assert!(matches!(stale.freshness, Freshness::Stale(_)));
    has_read.acquire().await.unwrap().forget();
    database.write(1, 1);
    items.invalidate(&Item { id: 1 }).await;
    assert_eq!(read(&items, &database).await, 1);
    may_end.add_permits(1);
    eventually("the refresh has ended", async || cache.stats().loads == 3).await;
    assert_eq!(read(&items, &database).await, 1);
}

/// Process B holds nothing; Redis holds the old value, put there by a load that an invalidation has overtaken: lettuce #3481.
#[tokio::test]
async fn what_redis_holds_from_before_an_invalidation_is_not_promoted() {
    let redis = RedisServer::start().await;
    let (a, b) = (redis.cache().build().await.unwrap(), redis.cache().build().await.unwrap());
    let database = Database::default();
    assert_eq!(read(&items(&a), &database).await, 0);
    let old: Vec<u8> = redis.run(&["GET", "test:v1:{item:1}"]).await;
    database.write(1, 1);
    items(&a).invalidate(&Item { id: 1 }).await;
    assert_eq!(read(&items(&a), &database).await, 1);
    // A late SET of a slow process.
    let old = String::from_utf8(old).unwrap();
    let _: String = redis.run(&["SET", "test:v1:{item:1}", &old, "PX", "600000"]).await;
    eventually("the record has arrived", async || b.stats().records_applied > 1).await;
    assert_eq!(read(&items(&b), &database).await, 1);
    let newcomer = redis.cache().build().await.unwrap();
    let hit = items(&newcomer).get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap();
    assert_eq!((*hit.value, hit.layer == Layer::Memory), (1, false), "nor by a process that starts now");
}

/// Writer A's value was made before B's, and A's record comes after B's.
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
            items.write_through(&Item { id: 1 }, [], writer).await.unwrap()
        }
    });
    has_committed.acquire().await.unwrap().forget();
    let row = database.clone();
    let second = |_, _| async move {
        row.write(1, 2);
        Ok(2)
    };
    assert!(items(&b).write_through(&Item { id: 1 }, [], second).await.unwrap().cached);
    may_end.add_permits(1);
    assert!(!first.await.unwrap().cached, "the journal shows that another write came between");
    assert_eq!(read(&items(&a), &database).await, 2);
    eventually("the last record has arrived", async || read(&items(&b), &database).await == 2).await;
}

/// The value shows something else's data, by a tag, and that changes while the writer runs.
#[tokio::test]
async fn a_write_through_overtaken_by_the_invalidation_of_its_tag_is_not_cached() {
    let redis = RedisServer::start().await;
    let (a, b) = (redis.cache().build().await.unwrap(), redis.cache().build().await.unwrap());
    let writer = |_, load: origin_sdk::LoadContext| async move {
        load.tag(Group { id: 7 }.to_tag());
        b.invalidate([Group { id: 7 }.to_tag()]).await;
        Ok(1)
    };
    let written = items(&a).write_through(&Item { id: 1 }, [], writer).await.unwrap();
    assert!(!written.cached);
    assert!(items(&a).get_cached(&Item { id: 1 }).await.is_none());
}

/// The same by a scope that the store's own check cannot see.
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
    let written = items(&a).write_through(&Item { id: 1 }, [], writer).await.unwrap();
    assert!(!written.cached);
    assert!(items(&a).get_cached(&Item { id: 1 }).await.is_none());
}

/// Messages about changes of a row, handled in the wrong order. Each writer begins after the one before has ended, so the
/// journal shows nothing between them.
#[tokio::test]
async fn a_write_through_of_an_older_version_than_was_written_is_refused() {
    let redis = RedisServer::start().await;
    let cache = redis.cache().build().await.unwrap();
    let (items, database) = (items(&cache), Database::default());
    database.write(1, 9);
    let heard = async |version: u64| {
        let writer = move |_, _| async move { Ok((version, version)) };
        items.write_through_version(&Item { id: 1 }, [], writer).await.unwrap().cached
    };
    assert!(!heard(2).await, "before it nothing is known, perhaps because it was forgotten");
    assert!(heard(9).await);
    assert_eq!((read(&items, &database).await, database.reads()), (9, 0));
    assert!(!heard(8).await && !heard(3).await);
    assert_eq!((read(&items, &database).await, database.reads()), (9, 1), "the next read loads");
    assert!(heard(9).await, "the same version comes twice");
    let () = redis.run(&["DEL", "test:version:v1:{item:1}"]).await;
    assert!(!heard(4).await, "a version that was lost makes nothing valid");
    assert_eq!((read(&items, &database).await, database.reads()), (9, 2));
}

/// The same, and a failover has lost the tag's record: the journal does not know it any more, but the writer's process does.
#[tokio::test]
async fn a_write_through_overtaken_by_a_record_that_was_lost_is_not_cached_by_who_knew_it() {
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
        tokio::time::timeout(PATIENCE, arrived).await.unwrap();
        let client = redis::Client::open(on).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut lose = redis::pipe();
        lose.cmd("XDEL").arg("test:{journal}:feed").arg(record.to_string());
        lose.cmd("ZREM").arg("test:{journal}:ledger").arg("remove tag:group:7");
        lose.exec_async(&mut connection).await.unwrap();
        Ok(1)
    };
    assert!(!items(&a).write_through(&Item { id: 1 }, [], writer).await.unwrap().cached);
}
