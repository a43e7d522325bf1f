//! Loaders that read through the cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use tokio::sync::{Barrier, Semaphore};
use tokio::time::Instant;

use super::{FRESH, KEY, LIFETIME, Number, SECOND, cache, gated, let_run, numbers};
use crate::{
    BatchContext, BoxError, Cache, Freshness, Lifetime, LoadError, LoadErrorKind, Namespace, StaleReason,
};

type Numbers = Namespace<Number, u64>;

/// Reads a chain of numbers: the loader of each reads the next one and adds one to it.
fn read_chain(numbers: Numbers, ids: Vec<u64>) -> BoxFuture<'static, Result<u64, LoadError>> {
    async move {
        let Some((&id, rest)) = ids.split_first() else { return Ok(0) };
        let (inner, rest) = (numbers.clone(), rest.to_vec());
        let loader = async move |_, _| Ok(read_chain(inner, rest).await? + 1);
        Ok(*numbers.get_or_load(&Number { id }, loader).await?.value)
    }
    .boxed()
}

/// Returns the cycle's error, from a load whose loader waited for it.
#[track_caller]
fn cycle_in(result: Result<u64, LoadError>) -> String {
    let mut error = result.expect_err("expected a cycle to be an error");
    while let Some(inner) = error.downcast_ref::<LoadError>() {
        error = inner.clone();
    }
    assert_eq!(error.kind(), LoadErrorKind::Cycle);
    error.to_string()
}

/// Checks that the future ends without any timeout.
async fn at_once<F: Future>(future: F) -> F::Output {
    let start = Instant::now();
    let output = future.await;
    assert_eq!(start.elapsed(), Duration::ZERO, "expected an answer without a wait for a timeout");
    output
}

#[tokio::test(start_paused = true)]
async fn a_load_that_waits_for_another_load_holds_no_permit() {
    let (_cache, _, numbers) = numbers(|numbers| numbers.loader_concurrency(1)).await;
    assert_eq!(at_once(read_chain(numbers, (1..100).collect())).await.unwrap(), 99);
}

#[tokio::test(start_paused = true)]
async fn three_hundred_cold_parents_that_read_children_are_loaded_by_the_default_settings() {
    let (_cache, _, numbers) = numbers(|numbers| numbers).await;
    let start = Instant::now();
    let parents = (1000..1300).map(|id| {
        let (numbers, inner) = (numbers.clone(), numbers.clone());
        async move {
            let loader = move |_, _| async move {
                tokio::time::sleep(SECOND / 20).await;
                Ok(*inner.get_or_load(&Number { id: id % 10 }, async |key, _| Ok(key.id)).await?.value)
            };
            numbers.get_or_load(&Number { id }, loader).await.map(|cached| *cached.value)
        }
    });
    for (id, value) in (1000..).zip(join_all(parents).await) {
        assert_eq!(value.unwrap(), id % 10);
    }
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn loads_of_two_namespaces_that_alternate_hold_no_permit_of_either() {
    let (cache, _, odd) = numbers(|numbers| numbers.loader_concurrency(1)).await;
    let even: Numbers = cache.namespace(LIFETIME).loader_concurrency(1).build();
    let read = |first: u64| {
        let (odd, even, again) = (odd.clone(), even.clone(), odd.clone());
        async move {
            let last = async move |_, _| Ok(1);
            let middle =
                async move |_, _| Ok(*again.get_or_load(&Number { id: first + 2 }, last).await?.value);
            let outer =
                async move |_, _| Ok(*even.get_or_load(&Number { id: first + 1 }, middle).await?.value);
            odd.get_or_load(&Number { id: first }, outer).await.map(|cached| *cached.value)
        }
    };
    for value in at_once(join_all((0..20).map(|i| read(i * 3)))).await {
        assert_eq!(value.unwrap(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_in_the_loader_of_a_batch_needs_no_second_permit() {
    let (_cache, _, numbers) = numbers(|numbers| numbers.loader_concurrency(1)).await;
    let inner = numbers.clone();
    let outer = move |keys: Vec<Number>, _: BatchContext| {
        let inner = inner.clone();
        async move {
            let children: Vec<_> = keys.iter().map(|key| Number { id: key.id + 10 }).collect();
            let tens =
                async |keys: Vec<Number>, _| Ok(keys.into_iter().map(|key| (key.clone(), key.id * 10)));
            let values = inner.get_many_or_load(&children, tens).await.into_iter();
            Ok(keys.into_iter().zip(values.map(|child| *child.unwrap().unwrap().value)).collect::<Vec<_>>())
        }
    };
    let values = at_once(numbers.get_many_or_load(&[1, 2].map(|id| Number { id }), outer)).await.into_iter();
    assert_eq!(values.map(|cached| *cached.unwrap().unwrap().value).collect::<Vec<_>>(), [110, 120]);
}

/// A loader counts again as soon as it waits for nothing any more.
#[tokio::test(start_paused = true)]
async fn after_its_waits_a_load_counts_for_the_limit_again() {
    let (_cache, _, numbers) = numbers(|numbers| numbers.loader_concurrency(2)).await;
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let parents = (100..110).map(|id| {
        let (inner, running, most) = (numbers.clone(), Arc::clone(&running), Arc::clone(&most));
        let loader = move |_, _| async move {
            let child = async |id| inner.get_or_load(&Number { id }, async |key, _| Ok(key.id)).await;
            let (one, two) = tokio::join!(child(id % 3), child(id % 5));
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(SECOND).await;
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(*one?.value + *two?.value)
        };
        let numbers = numbers.clone();
        async move { numbers.get_or_load(&Number { id }, loader).await.map(|cached| *cached.value) }
    });
    let start = Instant::now();
    for (id, value) in (100..).zip(join_all(parents).await) {
        assert_eq!(value.unwrap(), id % 3 + id % 5);
    }
    assert_eq!((most.load(Ordering::SeqCst), start.elapsed()), (2, 5 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_loader_that_stops_waiting_for_a_load_continues() {
    let (_cache, _, numbers) = numbers(|numbers| numbers.loader_concurrency(2)).await;
    let (inner, never) = (numbers.clone(), Arc::new(Semaphore::new(0)));
    let loader = async move |_, _| {
        let slow = inner.get_or_load(&Number { id: 2 }, gated(&never, 2));
        assert!(tokio::time::timeout(SECOND, slow).await.is_err());
        Ok(*inner.get_or_load(&Number { id: 3 }, async |_, _| Ok(3)).await?.value)
    };
    let start = Instant::now();
    assert_eq!(*numbers.get_or_load(&KEY, loader).await.unwrap().value, 3);
    assert_eq!(start.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_loader_that_reads_its_own_key_gets_an_error_that_names_it() {
    let (_cache, _, numbers) = numbers(|numbers| numbers).await;
    let message = cycle_in(at_once(read_chain(numbers, vec![1, 1])).await);
    assert!(message.contains("shop:v1:{number:1} -> shop:v1:{number:1}:"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_cycle_of_three_loads_is_an_error_that_names_them_in_order() {
    let (_cache, _, numbers) = numbers(|numbers| numbers.loader_concurrency(1)).await;
    let message = cycle_in(at_once(read_chain(numbers, vec![1, 2, 3, 1])).await);
    let path = "shop:v1:{number:1} -> shop:v1:{number:2} -> shop:v1:{number:3} -> shop:v1:{number:1}:";
    assert!(message.contains(path), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_cycle_through_another_namespace_of_the_same_keys_is_an_error() {
    let (cache, _, numbers) = numbers(|numbers| numbers).await;
    let other: Numbers = cache.namespace(LIFETIME).build();
    let loader = async move |_, _| Ok(read_chain(other, vec![2, 1]).await?);
    let cached = at_once(numbers.get_or_load(&KEY, loader)).await;
    let message = cycle_in(cached.map(|cached| *cached.value));
    assert!(message.contains("{number:1} -> shop:v1:{number:2} -> shop:v1:{number:1}:"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn without_the_cache_a_cycle_is_an_error_too() {
    let (cache, _) = cache(|builder| builder.bypass(true)).await;
    let numbers: Numbers = cache.namespace(LIFETIME).build();
    let message = cycle_in(at_once(read_chain(numbers.clone(), vec![1, 2, 1])).await);
    assert!(message.contains("{number:1} -> shop:v1:{number:2} -> shop:v1:{number:1}:"), "{message}");
    assert_eq!(read_chain(numbers, vec![1, 2, 3]).await.unwrap(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_read_through_namespace_that_reads_itself_in_a_cycle_gets_an_error() {
    let (cache, _) = cache(|builder| builder).await;
    let cell = Arc::new(std::sync::OnceLock::<crate::ReadThrough<Number, u64>>::new());
    let numbers =
        cache.namespace(LIFETIME).read_through(Arc::clone(&cell), async |cell: Arc<_>, key: Number, _| {
            let numbers: &crate::ReadThrough<Number, u64> = std::sync::OnceLock::get(&cell).unwrap();
            Ok(*numbers.get(&Number { id: (key.id + 1) % 3 }).await?.value)
        });
    cell.set(numbers.clone()).ok().unwrap();
    let cached = at_once(numbers.get(&KEY)).await;
    let message = cycle_in(cached.map(|cached| *cached.value));
    assert!(
        message.contains("{number:1} -> shop:v1:{number:2} -> shop:v1:{number:0} -> shop:v1:{number:1}:")
    );
}

/// Two requests load one key each, and both loaders read the other's key.
#[tokio::test(start_paused = true)]
async fn a_cycle_that_two_requests_close_is_an_error() {
    let (_cache, _, numbers) = numbers(|numbers| numbers).await;
    let both_run = Arc::new(Barrier::new(2));
    let request = |id: u64, other: u64| {
        let (numbers, inner, both_run) = (numbers.clone(), numbers.clone(), Arc::clone(&both_run));
        let loader = async move |_, _| {
            both_run.wait().await;
            Ok(*inner.get_or_load(&Number { id: other }, async |_, _| Ok(0)).await?.value)
        };
        async move { numbers.get_or_load(&Number { id }, loader).await.map(|cached| *cached.value) }
    };
    let (one, two) = at_once(async { tokio::join!(request(1, 2), request(2, 1)) }).await;
    let messages = [one, two].map(cycle_in);
    assert_eq!(messages[0], messages[1], "both fail by the same cycle");
    assert!(
        messages[0].contains("{number:1} -> ") && messages[0].contains("{number:2} -> "),
        "{}",
        messages[0]
    );
}

#[tokio::test(start_paused = true)]
async fn a_writer_in_a_loader_that_reads_the_loaders_key_gets_an_error() {
    let (_cache, _, numbers) = numbers(|numbers| numbers).await;
    let inner = numbers.clone();
    let loader = async move |_, _| {
        let reader = inner.clone();
        let writer = async move |_, _| Ok(read_chain(reader, vec![1]).await?);
        Ok(*inner.write_through(&Number { id: 2 }, (), writer).await?.value)
    };
    let cached = at_once(numbers.get_or_load(&KEY, loader)).await;
    let message = cycle_in(cached.map(|cached| *cached.value));
    assert!(message.contains("{number:1} -> shop:v1:{number:1}:"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn loads_that_share_what_they_read_are_no_cycle() {
    let (_cache, _, numbers) = numbers(|numbers| numbers.loader_concurrency(1)).await;
    let inner = numbers.clone();
    let loader = async move |_, _| {
        let (one, two) =
            tokio::join!(read_chain(inner.clone(), vec![2, 4]), read_chain(inner.clone(), vec![3, 4]));
        Ok(one? + two? + read_chain(inner, vec![2]).await?)
    };
    assert_eq!(*at_once(numbers.get_or_load(&KEY, loader)).await.unwrap().value, 6);
}

/// The loader of the first key reads a stale second key, and its refresh reads the first key. The
/// first load does not wait for that refresh.
#[tokio::test(start_paused = true)]
async fn a_refresh_that_reads_the_key_whose_load_started_it_is_no_cycle() {
    let (cache, clock): (Cache, _) = cache(|builder| builder).await;
    let numbers: Numbers = cache.namespace(Lifetime::fresh(FRESH).stale_while_revalidate(10 * FRESH)).build();
    let second = Number { id: 2 };
    numbers.get_or_load(&second, async |_, _| Ok(5)).await.unwrap();
    clock.advance(FRESH);
    let inner = numbers.clone();
    let loader = async move |_, _| {
        let first = inner.clone();
        let refresh = async move |_, _| Ok(*first.get_or_load(&KEY, async |_, _| Ok(0)).await?.value + 1);
        let stale = inner.get_or_load(&second, refresh).await?;
        let_run().await;
        assert_eq!(stale.freshness, Freshness::Stale(StaleReason::Revalidating));
        Ok(*stale.value)
    };
    assert_eq!(*at_once(numbers.get_or_load(&KEY, loader)).await.unwrap().value, 5);
    let_run().await;
    assert_eq!(
        *numbers.get_cached(&Number { id: 2 }).await.unwrap().value,
        6,
        "the refresh has read the first key"
    );
}

#[tokio::test(start_paused = true)]
async fn a_batch_whose_loader_reads_one_of_its_keys_gets_an_error() {
    let (_cache, _, numbers) = numbers(|numbers| numbers).await;
    let inner = numbers.clone();
    let loader = move |_: Vec<Number>, _: BatchContext| {
        let inner = inner.clone();
        async move { Ok::<_, BoxError>([(KEY, read_chain(inner, vec![9, 2]).await?)]) }
    };
    let results = at_once(numbers.get_many_or_load(&[1, 2].map(|id| Number { id }), loader)).await;
    for result in results {
        let message = cycle_in(result.map(|_| 0));
        assert!(message.contains("{number:2} -> shop:v1:{number:9} -> shop:v1:{number:2}:"), "{message}");
    }
}
