//! G4 within a process: one cold or expired key, any number of callers, one load at a time; and no load at all if another
//! process has done it.

use std::sync::Arc;
use std::time::Duration;

use origin_sdk::{Cache, Clock, Freshness, Layer, Lifetime, LoadErrorKind, Namespace, StaleReason};
use strata_tests::{Database, Item, RedisServer, eventually};
use tokio::sync::Semaphore;

const CALLERS: u64 = 1000;

async fn items() -> (Cache, Namespace<Item, u64>) {
    let cache = Cache::builder("test").build().await.unwrap();
    let items = cache.namespace(Lifetime::fresh(Duration::from_secs(60))).build();
    (cache, items)
}

#[tokio::test]
async fn a_thousand_callers_of_a_cold_key_cost_one_load() {
    let ((cache, items), database) = (items().await, Database::default());
    let (has_read, may_end) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (items, loader) = (items.clone(), database.slow_loader(1, &has_read, &may_end));
            tokio::spawn(async move { items.get_or_load(&Item { id: 1 }, loader).await.unwrap().layer })
        })
        .collect();
    eventually("all but one wait", async || cache.stats().coalesced == CALLERS - 1).await;
    may_end.add_permits(CALLERS as usize);
    for caller in callers {
        assert_eq!(caller.await.unwrap(), Layer::Loader);
    }
    assert_eq!(database.reads(), 1);
}

/// moka #240: with the leader's future its load was dropped, under those who waited.
#[tokio::test]
async fn a_caller_that_goes_away_cancels_nothing() {
    let ((cache, items), database) = (items().await, Database::default());
    let (has_read, may_end) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
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
async fn a_panic_in_a_loader_is_an_error_for_its_callers_and_nothing_else() {
    let ((_cache, items), database) = (items().await, Database::default());
    #[expect(clippy::panic, reason = "the panic is what is tested")]
    let panicking = |_, _| async { if true { panic!("a bug in the loader") } else { Ok::<u64, std::io::Error>(0) } };
    let error = items.get_or_load(&Item { id: 1 }, panicking).await.unwrap_err();
    assert_eq!(error.kind(), LoadErrorKind::Panicked);
    assert!(items.get_or_load(&Item { id: 1 }, database.loader(1)).await.is_ok());
}

#[tokio::test]
async fn a_refresh_takes_what_another_process_has_put_into_redis() {
    let (redis, clock, database) = (RedisServer::start().await, Clock::manual(), Database::default());
    let cache = redis.cache().clock(clock.clone()).max_lag(Duration::from_secs(3600)).build().await.unwrap();
    let lifetime = Lifetime::fresh(Duration::from_secs(60)).stale_while_revalidate(Duration::from_secs(600));
    let items = cache.namespace::<Item, u64>(lifetime).build();
    let read = async || items.get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap();
    assert_eq!(read().await.layer, Layer::Loader);
    // This process's copy is stale now; the one in Redis is as young as if another process had just put it there.
    clock.advance(Duration::from_secs(60));
    assert_eq!(read().await.freshness, Freshness::Stale(StaleReason::Revalidating));
    eventually("the copy in memory is fresh again", async || read().await.freshness == Freshness::Fresh).await;
    assert_eq!(database.reads(), 1);
}
