//! The counters: every read is a hit of one layer or a miss, and every stale value has its reason.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::{FRESH, KEY, LIFETIME, Number, SECOND, cache, gated, let_run, load, numbers, unshared};
use crate::{Faults, Freshness, Layer, Lifetime, Namespace, OnDisconnect, Scope, StaleReason, Stats};

async fn fail(numbers: &Namespace<Number, u64>) -> Option<Freshness> {
    numbers.get_or_load(&KEY, async |_, _| Err("no".into())).await.ok().map(|cached| cached.freshness)
}

fn reads(stats: &Stats) -> [u64; 3] {
    [stats.memory_hits, stats.redis_hits, stats.misses]
}

#[tokio::test(start_paused = true)]
async fn every_read_is_a_hit_of_one_layer_or_a_miss() {
    let (cache, _, numbers) = numbers(|builder| builder).await;
    assert_eq!(numbers.get_cached(&KEY).await.map(|cached| *cached.value), None);
    assert_eq!(reads(&cache.stats()), [0, 0, 1]);
    load(&numbers, 1).await;
    load(&numbers, 1).await;
    assert_eq!(reads(&cache.stats()), [1, 0, 2]);
    cache.core().memory.clear();
    load(&numbers, 1).await;
    assert_eq!(reads(&cache.stats()), [1, 1, 2]);

    let keys = [1, 2, 3].map(|id| Number { id });
    numbers.get_many_cached(&keys).await;
    assert_eq!(reads(&cache.stats()), [2, 1, 4]);
    let loader = |keys: Vec<Number>, _| async move { Ok(keys.into_iter().take(1).map(|key| (key, 1))) };
    numbers.get_many_or_load(&keys, loader).await;
    assert_eq!(reads(&cache.stats()), [3, 1, 6], "a key that the loader leaves out is a miss as well");

    numbers.invalidate(&KEY).await;
    assert_eq!(fail(&numbers).await, None);
    assert_eq!(reads(&cache.stats()), [3, 1, 7], "a read that fails is a miss");
}

#[tokio::test(start_paused = true)]
async fn every_caller_that_waits_for_one_load_counts_as_a_miss() {
    let (cache, _, numbers) = numbers(|builder| builder).await;
    let gate = Arc::new(Semaphore::new(0));
    let (first, second, ()) = tokio::join!(
        numbers.get_or_load(&KEY, gated(&gate, 1)),
        numbers.get_or_load(&KEY, gated(&gate, 2)),
        async {
            let_run().await;
            gate.add_permits(1);
        },
    );
    assert_eq!(first.unwrap().value, second.unwrap().value, "both have the value of the one load");
    let stats = cache.stats();
    assert_eq!((reads(&stats), stats.loads, stats.coalesced), ([0, 0, 2], 1, 1));
}

#[tokio::test(start_paused = true)]
async fn every_stale_value_is_counted_by_its_reason() {
    let faults = Faults::seeded(1);
    let (cache, clock) = cache(|builder| builder.faults(&faults).max_lag(10 * FRESH)).await;
    let lifetime = Lifetime::fresh(FRESH).stale_if_error(100 * FRESH);
    let numbers: Namespace<Number, u64> = cache
        .namespace(lifetime.stale_while_revalidate(FRESH))
        .on_disconnect(OnDisconnect::ServeStale)
        .soft_timeout(SECOND)
        .source_lag(SECOND)
        .failure_backoff(Duration::ZERO)
        .build();
    clock.advance(10 * SECOND);
    load(&numbers, 1).await;
    clock.advance(FRESH + SECOND);
    assert_eq!(fail(&numbers).await, Some(Freshness::Stale(StaleReason::Revalidating)));
    let_run().await;
    clock.advance(FRESH);
    assert_eq!(fail(&numbers).await, Some(Freshness::Stale(StaleReason::LoadFailed)));
    let gate = Arc::new(Semaphore::new(0));
    let waited = numbers.get_or_load(&KEY, gated(&gate, 2)).await.unwrap();
    assert_eq!(waited.freshness, Freshness::Stale(StaleReason::SoftTimeout));
    gate.add_permits(1);
    let_run().await;
    numbers.invalidate(&KEY).await;
    assert_eq!(load(&numbers, 3).await.freshness, Freshness::Stale(StaleReason::SourceLag));
    clock.advance(2 * SECOND);
    load(&numbers, 4).await;
    faults.cut(true);
    clock.advance(11 * FRESH);
    assert_eq!(fail(&numbers).await, Some(Freshness::Stale(StaleReason::Disconnected)));

    let stats = cache.stats();
    let by_reason = [
        stats.stale_revalidating,
        stats.stale_load_failed,
        stats.soft_timeouts,
        stats.stale_source_lag,
        stats.stale_disconnected,
    ];
    assert_eq!((by_reason, stats.stale_hits), ([1; 5], 5));
}

#[tokio::test]
async fn hits_of_a_cached_absence_are_counted() {
    let (cache, clock) = cache(|builder| builder).await;
    let names: Namespace<Number, Option<u64>> =
        cache.namespace(Lifetime::fresh(FRESH)).negative_lifetime(LIFETIME).build();
    let read =
        async |id, value| names.get_or_load(&Number { id }, async move |_, _| Ok(value)).await.unwrap().layer;
    assert_eq!((read(1, None).await, read(2, Some(1)).await), (Layer::Loader, Layer::Loader));
    assert_eq!(cache.stats().negative_hits, 0, "a load is no hit");
    assert_eq!((read(1, None).await, read(2, Some(1)).await), (Layer::Memory, Layer::Memory));
    assert_eq!(cache.stats().negative_hits, 1);
    cache.core().memory.clear();
    assert_eq!((read(1, None).await, read(2, Some(1)).await), (Layer::Redis, Layer::Redis));
    assert_eq!(cache.stats().negative_hits, 2);
    // Close to its end, where a read does more than to return the copy.
    clock.advance(FRESH - Duration::from_millis(20));
    assert_eq!(read(1, None).await, Layer::Memory);
    assert_eq!(cache.stats().negative_hits, 3);
}

#[tokio::test]
async fn evictions_are_counted_by_the_bound_and_what_memory_holds_is_shown() {
    let held = async |bytes, entries| {
        let (cache, _) = cache(|builder| builder.memory_bytes(bytes).memory_entries(entries)).await;
        let numbers = unshared::<u64>(&cache, LIFETIME);
        for id in 0..10 {
            numbers.get_or_load(&Number { id }, async move |_, _| Ok(id)).await.unwrap();
        }
        cache.stats()
    };
    let stats = held(1 << 20, 4).await;
    assert_eq!((stats.memory_entries, stats.evicted_by_entries, stats.evicted_by_bytes), (4, 6, 0));
    let bytes_of_one = stats.memory_bytes / 4;
    let stats = held(bytes_of_one as usize * 3, 100).await;
    assert_eq!((stats.memory_entries, stats.evicted_by_entries, stats.evicted_by_bytes), (3, 0, 7));
    assert_eq!(stats.memory_bytes, 3 * bytes_of_one);
    let cache = cache(|builder| builder).await.0;
    cache.invalidate([Scope::All]).await;
    assert_eq!((cache.stats().memory_entries, cache.stats().memory_bytes), (0, 0));
}
