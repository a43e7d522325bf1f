//! A sweep frees the memory of dead entries and removes nothing else.

use std::num::NonZeroU32;
use std::time::Duration;

use origin_sdk::admin::{Admin, Sweep, Swept};
use origin_sdk::{AdminError, Cache, Key, Lifetime, Namespace, Scope, Topology, TypedTag};
use strata_tests::{Group, Item, RedisServer};

const ITEMS: u64 = 250;

fn paced() -> Sweep {
    Sweep::paced(NonZeroU32::new(100_000).unwrap())
}

/// Stores items that belong to groups 0 and 1 in turn.
async fn fill(redis: &RedisServer) -> Cache {
    let cache = redis.cache().build().await.unwrap();
    let items: Namespace<Item, u64> = cache.namespace(Lifetime::fresh(Duration::from_secs(600))).build();
    for id in 0..ITEMS {
        let load = move |load: origin_sdk::LoadContext| async move {
            load.tag(Group { id: id % 2 }.to_tag());
            Ok::<_, std::io::Error>(id)
        };
        items.get_or_load(&Item { id }, load).await.unwrap();
    }
    cache
}

async fn sweep(redis: &RedisServer, options: Sweep) -> Result<Swept, AdminError> {
    Admin::connect(&Topology::Standalone { url: redis.url() }, Some("test")).await?.sweep(options).await
}

async fn exists(redis: &RedisServer, key: &str) -> bool {
    redis.run(&["EXISTS", key]).await
}

#[tokio::test]
async fn a_sweep_removes_dead_entries_and_nothing_else() {
    let redis = RedisServer::start().await;
    let cache = fill(&redis).await;
    let foreign = Item { id: 999_999 }.to_text();
    let () = redis.run(&["SET", &foreign, "foreign"]).await;
    let () = redis.run(&["SET", "other:v1:{item:1}", "of another app"]).await;
    cache.invalidate([Group { id: 1 }.to_tag()]).await;
    cache.expire([Scope::All]).await;

    let counted = sweep(&redis, paced().dry_run(true)).await.unwrap();
    assert_eq!((counted.dead, counted.unlinked, counted.foreign), (ITEMS / 2, 0, 1));
    assert!(exists(&redis, &Item { id: 1 }.to_text()).await);

    let swept = sweep(&redis, paced()).await.unwrap();
    assert_eq!((swept.dead, swept.unlinked, swept.foreign), (ITEMS / 2, ITEMS / 2, 1));
    for id in 0..ITEMS {
        assert_eq!(exists(&redis, &Item { id }.to_text()).await, id % 2 == 0, "item {id}");
    }
    assert!(exists(&redis, &foreign).await && exists(&redis, "other:v1:{item:1}").await);
}

#[tokio::test]
async fn a_sweep_without_the_journal_fails() {
    let mut redis = RedisServer::start().await;
    redis.kill();
    assert!(sweep(&redis, paced()).await.is_err());
}
