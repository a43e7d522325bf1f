//! Loaders that read through the cache, under the leases of a real Redis.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use origin_sdk::{Cache, Lifetime, LoadError, LoadErrorKind, Namespace};
use strata_tests::{Item, RedisServer};

/// An answer after this long means that it came by a timeout.
const LONG: Duration = Duration::from_secs(10);

fn items(cache: &Cache) -> Namespace<Item, u64> {
    cache.namespace(Lifetime::fresh(Duration::from_secs(60))).build()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_cold_parents_that_read_children_of_their_namespace_are_loaded() {
    let redis = RedisServer::start().await;
    let items = items(&redis.cache().build().await.unwrap());
    let start = Instant::now();
    let parents = (1000..1300).map(|id| {
        let (items, inner) = (items.clone(), items.clone());
        let loader = async move |_, _| {
            // The parent's own row.
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(*inner.get_or_load(&Item { id: id % 10 }, async |item, _| Ok(item.id)).await?.value + 1)
        };
        async move { items.get_or_load(&Item { id }, loader).await.map(|cached| *cached.value) }
    });
    for (id, value) in (1000..).zip(join_all(parents).await) {
        assert_eq!(value.unwrap(), id % 10 + 1);
    }
    assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
}

/// The inner load would wait for the lease that the outer one holds.
#[tokio::test]
async fn a_cycle_through_another_namespace_of_the_same_keys_does_not_wait_for_its_own_lease() {
    let redis = RedisServer::start().await;
    let cache = redis.cache().build().await.unwrap();
    let (items, same) = (items(&cache), items(&cache));
    let start = Instant::now();
    let loader = async move |item, _| Ok(*same.get_or_load(&item, async |_, _| Ok(0)).await?.value);
    let error = items.get_or_load(&Item { id: 1 }, loader).await.unwrap_err();
    let inner = error.downcast_ref::<LoadError>().expect("expected the inner load's error");
    assert_eq!(inner.kind(), LoadErrorKind::Cycle);
    assert!(error.to_string().contains("test:v1:{item:1} -> test:v1:{item:1}"), "{error}");
    assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
}
