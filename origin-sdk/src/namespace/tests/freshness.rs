use std::time::Duration;

use super::{FRESH, KEY, LIFETIME, Number, SECOND, cache, let_run, load, numbers};
use crate::clock::READS;
use crate::{
    BatchContext, Cached, Clock, Faults, Freshness, Layer, Lifetime, Namespace, OnDisconnect, Randomness,
    StaleReason,
};

/// The draw by which a value is due for a refresh twice its loading time before it expires:
/// −ln(rand) = 2.
fn twice() -> Randomness {
    Randomness::fixed(1.0 - (-2.0_f64).exp())
}

/// Loads a value in ten seconds.
async fn load_slowly(numbers: &Namespace<Number, u64>, clock: &Clock, value: u64) -> Cached<u64> {
    let clock = clock.clone();
    let loader = move |_, _| async move {
        clock.advance(10 * SECOND);
        Ok(value)
    };
    numbers.get_or_load(&KEY, loader).await.unwrap()
}

#[tokio::test]
async fn a_value_that_loads_slowly_is_refreshed_earlier() {
    let (cache, clock) = cache(|builder| builder.randomness(twice())).await;
    let numbers = cache.namespace(LIFETIME).jitter(0.0).build();
    load_slowly(&numbers, &clock, 1).await;
    clock.advance(39 * SECOND);
    load_slowly(&numbers, &clock, 2).await;
    let_run().await;
    assert_eq!(cache.stats().refreshes, 0, "it has 21 s left");
    clock.advance(2 * SECOND);
    let hit = load_slowly(&numbers, &clock, 3).await;
    assert_eq!((*hit.value, hit.layer, hit.freshness), (1, Layer::Memory, Freshness::Fresh));
    let_run().await;
    let hit = load_slowly(&numbers, &clock, 4).await;
    assert_eq!((*hit.value, hit.layer, cache.stats().loads), (3, Layer::Memory, 2));
    assert_eq!(cache.stats().refreshes, 1);
}

#[tokio::test]
async fn beta_sets_how_early_and_zero_disables() {
    let refreshes = async |beta, left: u32| {
        let (cache, clock) = cache(|builder| builder.randomness(twice())).await;
        let numbers = cache.namespace(LIFETIME).jitter(0.0).xfetch_beta(beta).build();
        load_slowly(&numbers, &clock, 1).await;
        clock.advance(FRESH - left * SECOND);
        load_slowly(&numbers, &clock, 2).await;
        cache.stats().refreshes
    };
    assert_eq!((refreshes(1.0, 21).await, refreshes(1.0, 19).await), (0, 1));
    assert_eq!((refreshes(2.0, 41).await, refreshes(2.0, 39).await), (0, 1));
    assert_eq!((refreshes(0.0, 1).await, refreshes(f64::NAN, 1).await), (0, 0));
}

#[tokio::test]
async fn jitter_shortens_the_lifetime_by_a_random_share() {
    let (cache, clock) = cache(|builder| builder.randomness(Randomness::fixed(0.5))).await;
    let numbers = cache.namespace(LIFETIME).jitter(0.2).build();
    load(&numbers, 1).await;
    clock.advance(54 * SECOND - Duration::from_nanos(1));
    assert_eq!(*load(&numbers, 2).await.value, 1);
    clock.advance(Duration::from_nanos(1));
    assert_eq!(*load(&numbers, 2).await.value, 2);
}

#[tokio::test]
async fn an_absent_value_is_stored_for_the_negative_lifetime_or_until_an_invalidation() {
    let (cache, clock) = cache(|builder| builder).await;
    let negative = Lifetime::fresh(5 * SECOND);
    let numbers: Namespace<Number, Option<u64>> =
        cache.namespace(LIFETIME).negative_lifetime(negative).build();
    let read = async |value: Option<u64>| {
        let hit = numbers.get_or_load(&KEY, move |_, _| async move { Ok(value) }).await.unwrap();
        (*hit.value, hit.layer)
    };
    assert_eq!(read(None).await, (None, Layer::Loader));
    assert_eq!(read(Some(1)).await, (None, Layer::Memory));
    numbers.invalidate(&KEY).await;
    assert_eq!(read(None).await, (None, Layer::Loader));
    clock.advance(5 * SECOND);
    assert_eq!(read(Some(2)).await, (Some(2), Layer::Loader));
    clock.advance(59 * SECOND);
    assert_eq!(read(Some(3)).await, (Some(2), Layer::Memory), "a value has the namespace's lifetime");
}

#[tokio::test]
async fn a_memory_copy_expires_at_its_own_limit_or_with_its_source() {
    let (_cache, clock, numbers) = numbers(|numbers| numbers.memory_ttl(25 * SECOND)).await;
    assert_eq!(load(&numbers, 1).await.layer, Layer::Loader);
    for (wait, layer, age) in [(24, Layer::Memory, 24), (1, Layer::Redis, 25), (24, Layer::Memory, 49)] {
        clock.advance(wait * SECOND);
        let hit = load(&numbers, 2).await;
        assert_eq!((*hit.value, hit.layer, hit.age), (1, layer, age * SECOND));
    }
    clock.advance(11 * SECOND);
    assert_eq!(load(&numbers, 2).await.layer, Layer::Loader, "the promotion did not make it live longer");
}

#[tokio::test]
async fn a_hit_in_memory_reads_the_clock_once() {
    let (_cache, _, numbers) = numbers(|numbers| numbers).await;
    load(&numbers, 1).await;
    let before = READS.get();
    load(&numbers, 2).await;
    assert_eq!(READS.get() - before, 1);
}

/// The coarse clock that most hits read has an error. Near a limit the precise one decides.
#[tokio::test]
async fn a_value_is_fresh_to_its_last_millisecond_and_no_longer() {
    let millisecond = Duration::from_millis(1);
    for (left, layer) in [(60, Layer::Memory), (40, Layer::Memory), (1, Layer::Memory), (0, Layer::Loader)] {
        let (_cache, clock, numbers) = numbers(|numbers| numbers.memory_ttl(2 * FRESH)).await;
        load(&numbers, 1).await;
        clock.advance(FRESH - left * millisecond);
        let hit = load(&numbers, 2).await;
        assert_eq!((hit.layer, hit.freshness), (layer, Freshness::Fresh), "{left} ms before its expiry");
    }
}

#[tokio::test]
async fn a_promotion_to_memory_does_not_extend_the_lifetime() {
    let (cache, clock, numbers) = numbers(|numbers| numbers).await;
    load(&numbers, 1).await;
    for age in [20, 40, 59] {
        clock.advance(age * SECOND - clock.now());
        cache.core().memory.clear();
        let hit = load(&numbers, 2).await;
        assert_eq!((*hit.value, hit.layer, hit.age), (1, Layer::Redis, age * SECOND));
    }
    clock.advance(SECOND);
    assert_eq!(*load(&numbers, 2).await.value, 2);
}

/// A cache whose namespace behaves as chosen without the journal, and holds the value 1.
async fn choosing(choice: OnDisconnect) -> (Faults, Clock, Namespace<Number, u64>) {
    let faults = Faults::seeded(1);
    let (cache, clock) = cache(|builder| builder.faults(&faults).max_lag(2 * SECOND)).await;
    let numbers = cache.namespace(LIFETIME).on_disconnect(choice).build();
    load(&numbers, 1).await;
    assert_eq!(load(&numbers, 2).await.freshness, Freshness::Fresh);
    (faults, clock, numbers)
}

#[tokio::test]
async fn while_disconnected_a_namespace_loads_or_serves_stale_as_configured() {
    let (faults, clock, serving) = choosing(OnDisconnect::ServeStale).await;
    faults.cut(true);
    clock.advance(3 * SECOND);
    let hit = load(&serving, 2).await;
    let disconnected = Freshness::Stale(StaleReason::Disconnected);
    assert_eq!((*hit.value, hit.layer, hit.freshness), (1, Layer::Memory, disconnected));
    assert_eq!(serving.get_cached(&KEY).await.unwrap().freshness, disconnected);
    faults.cut(false);
    assert_eq!(load(&serving, 3).await.freshness, Freshness::Fresh);

    let (faults, clock, loading) = choosing(OnDisconnect::Load).await;
    faults.cut(true);
    clock.advance(3 * SECOND);
    assert_eq!(*load(&loading, 2).await.value, 2);
}

#[tokio::test]
async fn while_disconnected_a_batch_loads_or_serves_stale_as_configured() {
    for (choice, expected) in [(OnDisconnect::ServeStale, 1), (OnDisconnect::Load, 2)] {
        let (faults, clock, numbers) = choosing(choice).await;
        faults.cut(true);
        clock.advance(3 * SECOND);
        let loader = |_: Vec<Number>, _: BatchContext| async { Ok([(KEY, 2), (Number { id: 2 }, 2)]) };
        let hits = numbers.get_many_or_load(&[KEY, Number { id: 2 }], loader).await;
        let hits = hits.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
        let values: Vec<_> = hits.into_iter().map(|hit| hit.map(|hit| *hit.value)).collect();
        assert_eq!(values, [Some(expected), Some(2)]);
    }
}

#[tokio::test]
async fn while_disconnected_a_removed_value_is_not_served() {
    let faults = Faults::seeded(1);
    let (cache, clock) = cache(|builder| builder.faults(&faults).max_lag(2 * SECOND)).await;
    let numbers = cache.namespace(LIFETIME).on_disconnect(OnDisconnect::ServeStale).build();
    load(&numbers, 1).await;
    faults.cut(true);
    clock.advance(3 * SECOND);
    numbers.invalidate(&KEY).await;
    assert_eq!(*load(&numbers, 2).await.value, 2);
}
