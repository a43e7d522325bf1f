//! Keys whose loads fail again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use super::{FRESH, KEY, LIFETIME, Number, SECOND, cache, let_run, load, numbers};
use crate::{
    BatchContext, BoxError, Cached, Freshness, Lifetime, LoadError, Namespace, Randomness, StaleReason,
};

/// Reads the key by a loader that fails, and counts the loader's calls.
async fn fail(numbers: &Namespace<Number, u64>, calls: &Arc<AtomicUsize>) -> Result<Cached<u64>, LoadError> {
    let calls = Arc::clone(calls);
    let loader = async move |_, _| {
        let call = calls.fetch_add(1, Ordering::SeqCst) + 1;
        Err(BoxError::from(format!("failure {call}")))
    };
    numbers.get_or_load(&KEY, loader).await
}

#[tokio::test]
async fn after_two_failures_in_a_row_a_key_is_not_loaded_until_its_backoff_ends() {
    let (cache, clock, numbers) = numbers(|numbers| numbers).await;
    let calls = Arc::default();
    for text in ["failure 1", "failure 2", "failure 2", "failure 2"] {
        assert_eq!(
            fail(&numbers, &calls).await.unwrap_err().to_string(),
            format!("the loader failed: {text}")
        );
    }
    assert_eq!(cache.stats().backed_off, 2);
    clock.advance(SECOND);
    for _ in 0..10 {
        assert_eq!(fail(&numbers, &calls).await.unwrap_err().to_string(), "the loader failed: failure 3");
    }
    let other = numbers.get_or_load(&Number { id: 2 }, async |_, _| Ok(2)).await.unwrap();
    assert_eq!(*other.value, 2, "the backoff is of the key alone");
    clock.advance(SECOND);
    assert_eq!(*load(&numbers, 7).await.value, 7);
}

#[tokio::test]
async fn after_one_failure_the_next_caller_loads_and_a_success_ends_the_count() {
    let (_cache, _, numbers) = numbers(|numbers| numbers).await;
    let calls = Arc::default();
    for value in 0..3 {
        fail(&numbers, &calls).await.unwrap_err();
        assert_eq!(*load(&numbers, value).await.value, value);
        numbers.invalidate(&KEY).await;
    }
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn during_a_backoff_what_may_be_served_stale_is_served_without_a_load() {
    let (_cache, clock, numbers) = numbers(|numbers| numbers).await;
    load(&numbers, 1).await;
    clock.advance(FRESH);
    let calls = Arc::default();
    for _ in 0..5 {
        let cached = fail(&numbers, &calls).await.unwrap();
        assert_eq!((*cached.value, cached.freshness), (1, Freshness::Stale(StaleReason::LoadFailed)));
    }
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    numbers.invalidate(&KEY).await;
    fail(&numbers, &calls).await.expect_err("expected the removed value not to be served");
}

#[tokio::test]
async fn a_refresh_that_fails_twice_is_not_repeated_during_the_backoff() {
    let (cache, clock) = cache(|builder| builder).await;
    let numbers = cache.namespace(Lifetime::fresh(FRESH).stale_while_revalidate(10 * FRESH)).build();
    load(&numbers, 1).await;
    clock.advance(FRESH);
    let calls = Arc::default();
    for expected in [1, 2, 2, 2] {
        assert_eq!(*fail(&numbers, &calls).await.unwrap().value, 1);
        let_run().await;
        assert_eq!(calls.load(Ordering::SeqCst), expected);
    }
    clock.advance(SECOND);
    fail(&numbers, &calls).await.unwrap();
    let_run().await;
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn the_loader_of_a_batch_does_not_see_the_keys_in_their_backoff() {
    let (_cache, _, numbers) = numbers(|numbers| numbers).await;
    let calls = Arc::default();
    for _ in 0..2 {
        fail(&numbers, &calls).await.unwrap_err();
    }
    let loader = async |keys: Vec<Number>, _: BatchContext| {
        assert_eq!(keys, [Number { id: 2 }]);
        Ok([(Number { id: 2 }, 20)])
    };
    let mut results = numbers.get_many_or_load(&[KEY, Number { id: 2 }], loader).await;
    assert_eq!(*results.remove(1).unwrap().unwrap().value, 20);
    assert_eq!(results.remove(0).unwrap_err().to_string(), "the loader failed: failure 2");
}

#[tokio::test]
async fn the_backoff_is_shortened_at_random_by_up_to_half() {
    for (draw, left) in [(0.0, SECOND), (0.5, SECOND * 3 / 4), (0.999_999_9, SECOND / 2)] {
        let (cache, clock) = cache(|builder| builder.randomness(Randomness::fixed(draw))).await;
        let numbers = cache.namespace(LIFETIME).build();
        let calls = Arc::default();
        let after = async |passed, expected| {
            clock.advance(passed);
            fail(&numbers, &calls).await.unwrap_err();
            assert_eq!(calls.load(Ordering::SeqCst), expected, "{draw}");
        };
        after(SECOND, 1).await;
        after(SECOND, 2).await;
        after(left - SECOND / 100, 2).await;
        after(SECOND / 50, 3).await;
    }
}

#[tokio::test]
async fn a_backoff_of_zero_disables_it_and_the_longest_one_is_valid() {
    for (backoff, expected) in [(std::time::Duration::ZERO, 5), (std::time::Duration::MAX, 2)] {
        let (_cache, _, numbers) = numbers(|numbers| numbers.failure_backoff(backoff)).await;
        let calls = Arc::default();
        for _ in 0..5 {
            fail(&numbers, &calls).await.unwrap_err();
        }
        assert_eq!(calls.load(Ordering::SeqCst), expected);
    }
}

#[tokio::test]
async fn a_caller_that_joins_a_failing_refresh_gets_its_own_stale_value() {
    let (cache, clock) = cache(|builder| builder).await;
    let numbers: Namespace<Number, u64> = cache.namespace(LIFETIME.stale_while_revalidate(SECOND)).build();
    load(&numbers, 1).await;
    clock.advance(FRESH);
    let gate = Arc::new(Semaphore::new(0));
    let refresh = Arc::clone(&gate);
    let refreshing = numbers.get_or_load(&KEY, async move |_, _| {
        drop(refresh.acquire().await);
        Err("the source is down".into())
    });
    assert_eq!(refreshing.await.unwrap().freshness, Freshness::Stale(StaleReason::Revalidating));
    let_run().await;
    // The second caller comes after the window, and joins the refresh.
    clock.advance(SECOND);
    let joining = numbers.get_or_load(&KEY, async |_, _| Ok(2));
    let (joined, ()) = tokio::join!(joining, async {
        let_run().await;
        gate.add_permits(1);
    });
    let joined = joined.unwrap();
    assert_eq!((*joined.value, joined.freshness), (1, Freshness::Stale(StaleReason::LoadFailed)));
}
