//! G1: after `invalidate` returns, the calling process never serves the old value, and any other
//! process not after its lag.

use std::time::Duration;

use origin_sdk::{Cache, Delivery, Key, Layer, Lifetime, Namespace, Scope, TypedTag};
use strata_tests::{Database, Group, Item, ItemPart, RedisServer, eventually};

const LIFETIME: Lifetime = Lifetime::fresh(Duration::from_secs(600));

fn items(cache: &Cache) -> Namespace<Item, u64> {
    cache.namespace(LIFETIME).tags(|item: &Item| vec![Group { id: item.id % 10 }.to_tag()]).build()
}

/// Two processes of a fleet, each with a memory of its own, on one database.
struct Fleet {
    a: (Cache, Namespace<Item, u64>),
    b: (Cache, Namespace<Item, u64>),
    database: Database,
    redis: RedisServer,
}

impl Fleet {
    async fn start() -> Self {
        let redis = RedisServer::start().await;
        let process = async || {
            let cache = redis.cache().build().await.unwrap();
            let namespace = items(&cache);
            (cache, namespace)
        };
        Self { a: process().await, b: process().await, database: Database::default(), redis }
    }

    async fn read(&self, items: &Namespace<Item, u64>, id: u64) -> u64 {
        *items.get_or_load(&Item { id }, self.database.loader(id)).await.unwrap().value
    }

    /// Loads item 3 into both memories as version 1, and sets the database to version 2.
    async fn hold_old_value(&self) {
        self.database.write(3, 1);
        assert_eq!((self.read(&self.a.1, 3).await, self.read(&self.b.1, 3).await), (1, 1));
        assert_eq!(self.database.reads(), 1, "the second process reads from Redis");
        self.database.write(3, 2);
        assert_eq!((self.read(&self.a.1, 3).await, self.read(&self.b.1, 3).await), (1, 1));
    }

    async fn expect_new_value_everywhere(&self) {
        assert_eq!(self.read(&self.a.1, 3).await, 2, "the process that invalidated");
        eventually("the other process reads the new value", async || self.read(&self.b.1, 3).await == 2)
            .await;
    }
}

#[tokio::test]
async fn after_a_key_is_invalidated_no_process_serves_its_old_value() {
    let fleet = Fleet::start().await;
    fleet.hold_old_value().await;
    let receipt = fleet.a.1.invalidate(&Item { id: 3 }).await;
    assert_eq!(
        (receipt.memory, receipt.redis, receipt.journal, receipt.edge),
        (Delivery::Done, Delivery::Done, Delivery::Done, Delivery::NotConfigured)
    );
    fleet.expect_new_value_everywhere().await;
}

#[tokio::test]
async fn after_a_tag_is_invalidated_no_process_serves_its_old_values() {
    let fleet = Fleet::start().await;
    fleet.hold_old_value().await;
    fleet.a.0.invalidate([Group { id: 3 }.to_tag()]).await;
    fleet.expect_new_value_everywhere().await;
}

/// A list of tags covers entries with any of them. `Scope::all_tags` covers entries with all of
/// them.
#[tokio::test]
async fn a_scope_of_several_tags_covers_only_entries_that_carry_all_of_them() {
    let redis = RedisServer::start().await;
    let process = async || redis.cache().build().await.unwrap();
    let (a, b) = (process().await, process().await);
    let tagged = |cache: &Cache| -> Namespace<Item, u64> {
        let group = |id| Group { id }.to_tag();
        cache
            .namespace(LIFETIME)
            .tags(move |item: &Item| vec![group(item.id % 10), group(100 + item.id % 4)])
            .build()
    };
    let (items_a, items_b) = (tagged(&a), tagged(&b));
    let database = Database::default();
    let read = async |items: &Namespace<Item, u64>, id| {
        *items.get_or_load(&Item { id }, database.loader(id)).await.unwrap().value
    };
    for id in [3, 13] {
        assert_eq!((read(&items_a, id).await, read(&items_b, id).await), (0, 0));
        database.write(id, 1);
    }
    let both = Scope::all_tags([Group { id: 3 }.to_tag(), Group { id: 103 }.to_tag()]).unwrap();
    a.invalidate([both]).await;
    assert_eq!((read(&items_a, 3).await, read(&items_a, 13).await), (1, 0), "13 belongs to groups 3 and 101");
    eventually("the other process applies the record", async || read(&items_b, 3).await == 1).await;
    assert_eq!(read(&items_b, 13).await, 0);
    let new = process().await;
    assert_eq!(
        (read(&tagged(&new), 3).await, read(&tagged(&new), 13).await),
        (1, 0),
        "a new process reads the same from the ledger"
    );
    a.invalidate([Group { id: 101 }.to_tag(), Group { id: 999 }.to_tag()]).await;
    assert_eq!(read(&items_a, 13).await, 1, "one tag of the list is enough");
}

#[tokio::test]
async fn a_prefix_covers_its_key_and_the_keys_below_it_but_no_sibling() {
    let redis = RedisServer::start().await;
    let cache = redis.cache().build().await.unwrap();
    let (items, parts) = (items(&cache), cache.namespace::<ItemPart, u64>(LIFETIME).build());
    let database = Database::default();
    let read_part =
        async |id, part| *parts.get_or_load(&ItemPart { id, part }, database.loader(id)).await.unwrap().value;
    let read_item = async |id| *items.get_or_load(&Item { id }, database.loader(id)).await.unwrap().value;
    assert_eq!((read_item(4).await, read_part(4, 1).await, read_part(42, 1).await), (0, 0, 0));
    database.write(4, 1);
    database.write(42, 1);
    cache.invalidate([Item { id: 4 }.prefix()]).await;
    assert_eq!((read_item(4).await, read_part(4, 1).await), (1, 1));
    assert_eq!(read_part(42, 1).await, 0, "item 42 is not below item 4");
}

#[tokio::test]
async fn after_everything_is_invalidated_no_process_serves_an_old_value() {
    let fleet = Fleet::start().await;
    fleet.hold_old_value().await;
    fleet.a.0.invalidate([Scope::All]).await;
    fleet.expect_new_value_everywhere().await;
}

#[tokio::test]
async fn after_a_write_through_every_process_serves_the_written_value_without_a_load() {
    let fleet = Fleet::start().await;
    fleet.hold_old_value().await;
    let reads = fleet.database.reads();
    let written = fleet.a.1.write_through(&Item { id: 3 }, (), |_, _| async { Ok(2) }).await.unwrap();
    assert!(written.cached);
    fleet.expect_new_value_everywhere().await;
    assert_eq!(fleet.database.reads(), reads);
}

#[tokio::test]
async fn a_failed_write_through_still_removes_the_old_value() {
    let fleet = Fleet::start().await;
    fleet.hold_old_value().await;
    let failing = |_, _| async { Err("the connection broke after the commit".into()) };
    assert!(fleet.a.1.write_through(&Item { id: 3 }, (), failing).await.is_err());
    fleet.expect_new_value_everywhere().await;
}

#[tokio::test]
async fn a_record_reaches_another_process_without_a_read() {
    let fleet = Fleet::start().await;
    fleet.hold_old_value().await;
    let applied = fleet.b.0.stats().records_applied;
    fleet.a.1.invalidate(&Item { id: 3 }).await;
    eventually("the record arrives without a read", async || fleet.b.0.stats().records_applied > applied)
        .await;
    let hit = fleet.b.1.get_or_load(&Item { id: 3 }, fleet.database.loader(3)).await.unwrap();
    assert_eq!((*hit.value, hit.layer), (2, Layer::Loader));
}

/// The client disconnects after the database has committed.
#[tokio::test]
async fn a_dropped_invalidate_future_still_invalidates() {
    let fleet = Fleet::start().await;
    fleet.hold_old_value().await;
    let invalidating = fleet.a.1.invalidate(&Item { id: 3 });
    // Polls the future once and drops it.
    let _ = tokio::time::timeout(Duration::ZERO, invalidating).await;
    eventually("the invalidation takes effect", async || fleet.read(&fleet.a.1, 3).await == 2).await;
    fleet.expect_new_value_everywhere().await;
}

#[tokio::test]
async fn an_invalidation_of_thousands_of_tags_reaches_every_process() {
    let fleet = Fleet::start().await;
    fleet.hold_old_value().await;
    fleet.a.0.invalidate((100..6000).chain([3]).map(|id| Group { id })).await;
    fleet.expect_new_value_everywhere().await;
    let new = items(&fleet.redis.cache().build().await.unwrap());
    assert_eq!(fleet.read(&new, 3).await, 2, "a new process reads every page of the ledger");
}

#[tokio::test]
async fn an_invalidation_of_nothing_invalidates_nothing() {
    let fleet = Fleet::start().await;
    fleet.hold_old_value().await;
    fleet.a.0.invalidate(Vec::<Scope>::new()).await;
    assert_eq!(fleet.read(&fleet.a.1, 3).await, 1);
}
