use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use super::{FRESH, KEY, Number, SECOND, gated, load, numbers};
use crate::{BoxError, Freshness, Layer, LoadErrorKind, StaleReason};

#[tokio::test(start_paused = true)]
async fn after_the_soft_timeout_the_stale_value_is_served_and_the_load_goes_on() {
    let (cache, clock, numbers) = numbers(|numbers| numbers.soft_timeout(SECOND)).await;
    load(&numbers, 1).await;
    clock.advance(FRESH);
    let gate = Arc::new(Semaphore::new(0));
    let hit = numbers.get_or_load(&KEY, gated(&gate, 2)).await.unwrap();
    let stale = Freshness::Stale(StaleReason::SoftTimeout);
    assert_eq!((*hit.value, hit.layer, hit.freshness, hit.age), (1, Layer::Memory, stale, FRESH));
    assert_eq!(cache.stats().soft_timeouts, 1);
    gate.add_permits(1);
    let hit = load(&numbers, 3).await;
    assert_eq!(
        (*hit.value, hit.freshness),
        (2, Freshness::Fresh),
        "the load that was not waited for has come in"
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_stale_value_the_soft_timeout_has_no_effect() {
    let (_cache, _, numbers) = numbers(|numbers| numbers.soft_timeout(SECOND)).await;
    let slow = |_, _| async {
        tokio::time::sleep(10 * SECOND).await;
        Ok(1)
    };
    assert_eq!(*numbers.get_or_load(&KEY, slow).await.unwrap().value, 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_removed_while_a_caller_waited_is_not_served_at_the_soft_timeout() {
    let (_cache, clock, numbers) = numbers(|numbers| numbers.soft_timeout(SECOND)).await;
    load(&numbers, 1).await;
    clock.advance(FRESH);
    let slow = |_, _| async {
        tokio::time::sleep(10 * SECOND).await;
        Ok(2)
    };
    let waiting = numbers.get_or_load(&KEY, slow);
    let removing = async {
        tokio::time::sleep(SECOND / 2).await;
        numbers.invalidate(&KEY).await
    };
    let (hit, _) = tokio::join!(waiting, removing);
    assert_eq!(*hit.unwrap().value, 2);
}

/// Notes that it is dropped.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn a_load_past_the_hard_timeout_is_an_error_and_is_aborted() {
    let (cache, _, numbers) = numbers(|numbers| numbers.hard_timeout(5 * SECOND)).await;
    let aborted = Arc::new(AtomicUsize::new(0));
    let guard = Dropped(Arc::clone(&aborted));
    let hanging = |_, _| async move {
        let _guard = guard;
        pending::<Result<u64, BoxError>>().await
    };
    let asked = tokio::time::Instant::now();
    let error = numbers.get_or_load(&KEY, hanging).await.unwrap_err();
    assert_eq!((error.kind(), asked.elapsed()), (LoadErrorKind::TimedOut, 5 * SECOND));
    assert_eq!(error.to_string(), "the load was not done within 5s");
    tokio::task::yield_now().await;
    assert_eq!((aborted.load(Ordering::SeqCst), cache.stats().load_errors), (1, 1));
    assert_eq!(*load(&numbers, 2).await.value, 2, "the next caller starts anew");
}

#[tokio::test(start_paused = true)]
async fn a_load_past_the_hard_timeout_is_answered_with_what_is_stale() {
    let (_cache, clock, numbers) = numbers(|numbers| numbers.hard_timeout(5 * SECOND)).await;
    load(&numbers, 1).await;
    clock.advance(FRESH);
    let hit = numbers.get_or_load(&KEY, |_, _| pending::<Result<u64, BoxError>>()).await.unwrap();
    assert_eq!((*hit.value, hit.freshness), (1, Freshness::Stale(StaleReason::LoadFailed)));
}

#[tokio::test(start_paused = true)]
async fn at_most_loader_concurrency_loaders_run_at_a_time() {
    let (_cache, _, numbers) = numbers(|numbers| numbers.loader_concurrency(2)).await;
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let calls = (0..7).map(|id| {
        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
        let loader = move |_, _| async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(SECOND).await;
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(id)
        };
        let numbers = numbers.clone();
        async move { *numbers.get_or_load(&Number { id }, loader).await.unwrap().value }
    });
    let asked = tokio::time::Instant::now();
    assert_eq!(futures_util::future::join_all(calls).await, (0..7).collect::<Vec<_>>());
    assert_eq!((most.load(Ordering::SeqCst), asked.elapsed()), (2, 4 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_permit_counts_towards_the_hard_timeout() {
    let (_cache, _, numbers) =
        numbers(|numbers| numbers.loader_concurrency(1).hard_timeout(5 * SECOND)).await;
    let gate = Arc::new(Semaphore::new(0));
    let first = numbers.get_or_load(&KEY, gated(&gate, 1));
    let second = numbers.get_or_load(&Number { id: 2 }, gated(&gate, 2));
    let (first, second) = tokio::join!(first, second);
    let kinds = [first, second].map(|result| result.map(|_| ()).unwrap_err().kind());
    assert_eq!(kinds, [LoadErrorKind::TimedOut; 2]);
}
