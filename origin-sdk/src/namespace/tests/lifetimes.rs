//! A lifetime means the same in memory and in the store, at its extremes as well.

use std::time::Duration;

use proptest::prelude::*;

use super::{KEY, Number, cache};
use crate::{Cached, Freshness, Lifetime, Namespace, Randomness, Storage};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::MAX),
        (0..3_000_000_u64).prop_map(Duration::from_nanos),
        (0..10_000_000_u64).prop_map(Duration::from_micros),
        (0..100_000_000_u64).prop_map(Duration::from_millis),
        // Around what Redis takes, in milliseconds.
        (0..1000_u64).prop_map(|less| Duration::from_millis(i64::MAX as u64 / 2 - less)),
        (0..1000_u64).prop_map(|less| Duration::from_millis(u64::MAX - less)),
        any::<u64>().prop_map(Duration::from_secs),
    ]
}

fn lifetime() -> impl Strategy<Value = Lifetime> {
    let parts = [duration(), duration(), duration()];
    parts.prop_map(|[fresh, swr, sie]| Lifetime::fresh(fresh).stale_while_revalidate(swr).stale_if_error(sie))
}

/// Returns what a read finds, and what a read finds whose load fails.
async fn view(numbers: &Namespace<Number, u64>) -> [Option<(Freshness, Duration)>; 2] {
    let view = |cached: Cached<u64>| (cached.freshness, cached.age);
    let read = numbers.get_cached(&KEY).await.map(view);
    let failing = numbers.get_or_load(&KEY, |_, _| async { Err("the source is down".into()) }).await;
    [read, failing.ok().map(view)]
}

async fn assert_equal_in_both_tiers(lifetime: Lifetime, jitter: f64, part: f64) -> Result<(), TestCaseError> {
    let (cache, clock) = cache(|builder| builder.randomness(Randomness::fixed(part))).await;
    let numbers = cache.namespace(lifetime).jitter(jitter).xfetch_beta(0.0).build();
    let placement = numbers.put(&KEY, 1, cache.position()).await;
    prop_assert_eq!(placement.memory, placement.redis);
    prop_assert_eq!(
        numbers.get_cached(&KEY).await.is_some(),
        placement.is_cached() && !is_error_only(lifetime)
    );
    // Just before, at and after each end, and long before the last one.
    let fresh = lifetime.jittered(jitter * part).fresh_for();
    let ends =
        [lifetime.swr_for(), lifetime.sie_for(), Duration::ZERO].map(|window| fresh.saturating_add(window));
    let nearby =
        |end: Duration| [end.saturating_sub(Duration::from_millis(1)), end, end.saturating_add(DAY / 2)];
    let mut ages: Vec<_> =
        ends.into_iter().flat_map(nearby).chain([Duration::ZERO, DAY, 3650 * DAY]).collect();
    ages.retain(|age| *age < 40_000 * DAY);
    ages.sort();
    for age in ages {
        clock.advance(age.saturating_sub(clock.now()));
        let in_memory = view(&numbers).await;
        cache.core().memory.clear();
        let in_store = view(&numbers).await;
        prop_assert_eq!(in_memory, in_store, "at {:?} of {:?}", age, lifetime);
        if let Some((_, found)) = in_store[0] {
            prop_assert_eq!(found, clock.now());
        }
    }
    Ok(())
}

/// Whether a value of this lifetime is served only in place of a failed load.
fn is_error_only(lifetime: Lifetime) -> bool {
    let is_short = |part: Duration| part < Duration::from_millis(1);
    is_short(lifetime.fresh_for()) && is_short(lifetime.swr_for())
}

proptest! {
    #[test]
    fn a_lifetime_ends_at_the_same_time_in_every_tier(lifetime in lifetime(), jitter in 0.0..=0.3, part in 0.0..1.0) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        // Jitter may take a short time below a millisecond, which the check of the first read does
        // not follow.
        let jitter = if lifetime.fresh_for() < Duration::from_millis(2) { 0.0 } else { jitter };
        runtime.block_on(assert_equal_in_both_tiers(lifetime, jitter, part))?;
    }
}

#[tokio::test]
async fn a_lifetime_below_a_millisecond_counts_as_zero() {
    let (cache, _) = cache(|builder| builder).await;
    let numbers: Namespace<Number, u64> = cache.namespace(Lifetime::fresh(DAY)).jitter(0.0).build();
    for nanos in [0, 1, 999_999] {
        let lifetime =
            Lifetime::fresh(Duration::from_nanos(nanos)).stale_if_error(Duration::from_nanos(nanos));
        numbers.put(&KEY, 1, cache.position()).await;
        let placement = numbers.put(&KEY, 2, cache.position()).lifetime(lifetime).await;
        assert_eq!([placement.memory, placement.redis], [Storage::NoLifetime; 2]);
        assert!(numbers.get_cached(&KEY).await.is_none());
    }
}

#[tokio::test]
async fn a_value_without_an_end_has_its_true_age() {
    let (cache, clock) = cache(|builder| builder).await;
    let endless =
        Lifetime::fresh(Duration::MAX).stale_while_revalidate(Duration::MAX).stale_if_error(Duration::MAX);
    let numbers: Namespace<Number, u64> = cache.namespace(endless).build();
    numbers.put(&KEY, 1, cache.position()).await;
    clock.advance(3650 * DAY);
    for _ in 0..2 {
        let cached = numbers.get_cached(&KEY).await.unwrap();
        assert_eq!((cached.freshness, cached.age), (Freshness::Fresh, 3650 * DAY));
        cache.core().memory.clear();
    }
}
