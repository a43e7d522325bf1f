//! G4 within a process: one load at a time of a cold or expired key, for any number of callers. No
//! load runs if another process has already stored the value.

use std::time::Duration;

use origin_sdk::{Cache, Clock, Freshness, Layer, Lifetime, LoadErrorKind, Namespace, StaleReason};
use strata_tests::{Database, Item, RedisServer, eventually};

use crate::gates;

const CALLERS: u64 = 1000;

async fn items() -> (Cache, Namespace<Item, u64>) {
    let cache = Cache::builder("test").build().await.unwrap();
    let items = cache.namespace(Lifetime::fresh(Duration::from_secs(60))).build();
    (cache, items)
}

#[tokio::test]
async fn a_thousand_callers_of_a_cold_key_cost_one_load() {
    let ((cache, items), database) = (items().await, Database::default());
    let (has_read, may_end) = gates();
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (items, loader) = (items.clone(), database.slow_loader(1, &has_read, &may_end));
            tokio::spawn(async move { items.get_or_load(&Item { id: 1 }, loader).await.unwrap().layer })
        })
        .collect();
    eventually("all callers but one wait", async || cache.stats().coalesced == CALLERS - 1).await;
    may_end.add_permits(CALLERS as usize);
    for caller in callers {
        assert_eq!(caller.await.unwrap(), Layer::Loader);
    }
    assert_eq!(database.reads(), 1);
}

/// Seen in moka #240: dropping the leader's future dropped the load that other callers waited for.
#[tokio::test]
async fn a_cancelled_caller_does_not_cancel_the_load() {
    let ((cache, items), database) = (items().await, Database::default());
    let (has_read, may_end) = gates();
    let call = || {
        let (items, loader) = (items.clone(), database.slow_loader(1, &has_read, &may_end));
        tokio::spawn(async move { *items.get_or_load(&Item { id: 1 }, loader).await.unwrap().value })
    };
    let leader = call();
    has_read.acquire().await.unwrap().forget();
    let waiter = call();
    eventually("the second caller waits", async || cache.stats().coalesced == 1).await;
    leader.abort();
    may_end.add_permits(1);
    assert_eq!(waiter.await.unwrap(), 0);
    assert_eq!(database.reads(), 1);
}

#[tokio::test]
async fn a_panic_in_a_loader_fails_only_that_load() {
    let ((_cache, items), database) = (items().await, Database::default());
    #[expect(clippy::panic, reason = "the test needs a loader that panics")]
    let panicking = |_, _| async { if true { panic!("a bug in the loader") } else { Ok(0) } };
    let error = items.get_or_load(&Item { id: 1 }, panicking).await.unwrap_err();
    assert_eq!(error.kind(), LoadErrorKind::Panicked);
    assert!(items.get_or_load(&Item { id: 1 }, database.loader(1)).await.is_ok());
}

#[tokio::test]
async fn a_refresh_uses_a_fresh_entry_that_another_process_stored() {
    let (redis, clock, database) = (RedisServer::start().await, Clock::manual(), Database::default());
    let cache = redis.cache().clock(clock.clone()).max_lag(Duration::from_secs(3600)).build().await.unwrap();
    let lifetime = Lifetime::fresh(Duration::from_secs(60)).stale_while_revalidate(Duration::from_secs(600));
    let items = cache.namespace::<Item, u64>(lifetime).build();
    let read = async || items.get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap();
    assert_eq!(read().await.layer, Layer::Loader);
    // The copy in memory is stale now. The entry in Redis is as fresh as if another process had
    // just stored it.
    clock.advance(Duration::from_secs(60));
    assert_eq!(read().await.freshness, Freshness::Stale(StaleReason::Revalidating));
    eventually("the copy in memory is fresh again", async || read().await.freshness == Freshness::Fresh)
        .await;
    assert_eq!(database.reads(), 1);
}
