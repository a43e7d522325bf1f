use std::future::ready;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::{FRESH, LIFETIME, Number, SECOND, cache, gated, let_run, numbers};
use crate::{
    BatchContext, BoxError, Cache, Cached, Clock, Faults, Freshness, Layer, Lifetime, LoadError,
    LoadErrorKind, Namespace, StaleReason, Tag,
};

/// A source that answers batches, and records the keys of each call. A number's value is ten times
/// the number.
#[derive(Clone, Default)]
struct Source {
    calls: Arc<Mutex<Vec<Vec<u64>>>>,
    /// Numbers it does not have.
    lacks: Vec<u64>,
}

impl Source {
    fn answer(&self, keys: Vec<Number>) -> Result<Vec<(Number, u64)>, BoxError> {
        self.calls.lock().unwrap().push(keys.iter().map(|key| key.id).collect());
        Ok(keys
            .into_iter()
            .filter(|key| !self.lacks.contains(&key.id))
            .map(|key| (key.clone(), key.id * 10))
            .collect())
    }

    fn calls(&self) -> Vec<Vec<u64>> {
        self.calls.lock().unwrap().clone()
    }
}

fn keys<const N: usize>(ids: [u64; N]) -> [Number; N] {
    ids.map(|id| Number { id })
}

async fn read<const N: usize>(
    numbers: &Namespace<Number, u64>,
    source: &Source,
    ids: [u64; N],
) -> Vec<Option<Cached<u64>>> {
    let source = source.clone();
    let loader = move |keys, _: BatchContext| ready(source.answer(keys));
    all(numbers.get_many_or_load(&keys(ids), loader).await)
}

/// Returns the values of a batch in which no key failed.
fn all<V>(results: Vec<Result<Option<Cached<V>>, LoadError>>) -> Vec<Option<Cached<V>>> {
    results.into_iter().map(Result::unwrap).collect()
}

/// Returns the errors of a batch in which each key failed.
fn errors<V: std::fmt::Debug>(results: Vec<Result<Option<Cached<V>>, LoadError>>) -> Vec<LoadErrorKind> {
    results.into_iter().map(|result| result.unwrap_err().kind()).collect()
}

fn values(hits: &[Option<Cached<u64>>]) -> Vec<Option<u64>> {
    hits.iter().map(|hit| hit.as_ref().map(|hit| *hit.value)).collect()
}

fn layers(hits: &[Option<Cached<u64>>]) -> Vec<Option<Layer>> {
    hits.iter().map(|hit| hit.as_ref().map(|hit| hit.layer)).collect()
}

async fn load_one(numbers: &Namespace<Number, u64>, id: u64, value: u64) {
    numbers.get_or_load(&Number { id }, move |_, _| async move { Ok(value) }).await.unwrap();
}

#[tokio::test]
async fn the_loader_is_called_once_with_only_the_misses_and_the_order_is_that_of_the_keys() {
    let ((cache, _, numbers), source) =
        (numbers(|numbers| numbers).await, Source { lacks: vec![5], ..Source::default() });
    load_one(&numbers, 3, 33).await;
    cache.core().memory.clear();
    load_one(&numbers, 1, 11).await;
    let hits = read(&numbers, &source, [4, 3, 2, 5, 1, 2]).await;
    assert_eq!(values(&hits), [Some(40), Some(33), Some(20), None, Some(11), Some(20)]);
    let (memory, redis, loader) = (Some(Layer::Memory), Some(Layer::Redis), Some(Layer::Loader));
    assert_eq!(layers(&hits), [loader, redis, loader, None, memory, loader]);
    assert_eq!(source.calls(), [[4, 2, 5]]);
    assert_eq!(layers(&read(&numbers, &source, [1, 2, 3, 4]).await), [memory; 4]);
    assert_eq!(values(&numbers.get_many_cached(&keys([5, 4, 6])).await), [None, Some(40), None]);
    assert_eq!(read(&numbers, &source, []).await.len(), 0);
    assert_eq!(source.calls().len(), 1);
}

#[tokio::test]
async fn keys_read_from_the_store_in_a_batch_are_checked_one_by_one() {
    let ((cache, _, numbers), source) = (numbers(|numbers| numbers).await, Source::default());
    read(&numbers, &source, [1, 2, 3]).await;
    numbers.invalidate(&Number { id: 2 }).await;
    cache.core().memory.clear();
    assert_eq!(values(&numbers.get_many_cached(&keys([1, 2, 3])).await), [Some(10), None, Some(30)]);
    assert_eq!(values(&read(&numbers, &source, [1, 2, 3]).await), [Some(10), Some(20), Some(30)]);
    assert_eq!(source.calls(), [vec![1, 2, 3], vec![2]]);
}

#[tokio::test]
async fn a_batch_waits_for_a_single_load_and_a_single_load_for_a_batch() {
    let ((cache, _, numbers), source) = (numbers(|numbers| numbers).await, Source::default());
    let gate = Arc::new(Semaphore::new(0));
    let single = tokio::spawn({
        let (numbers, loader) = (numbers.clone(), gated(&gate, 11));
        async move { *numbers.get_or_load(&Number { id: 1 }, loader).await.unwrap().value }
    });
    let_run().await;
    let held = Arc::new(Semaphore::new(0));
    let batch = tokio::spawn({
        let (numbers, source, held) = (numbers.clone(), source.clone(), Arc::clone(&held));
        let loader = move |keys, _: BatchContext| {
            let (source, held) = (source.clone(), Arc::clone(&held));
            async move {
                held.acquire().await.unwrap().forget();
                source.answer(keys)
            }
        };
        async move { values(&all(numbers.get_many_or_load(&keys([1, 2]), loader).await)) }
    });
    let_run().await;
    let joining = tokio::spawn({
        let numbers = numbers.clone();
        async move { load_one(&numbers, 2, 0).await }
    });
    let_run().await;
    assert_eq!(cache.stats().coalesced, 2);
    held.add_permits(1);
    gate.add_permits(1);
    assert_eq!(batch.await.unwrap(), [Some(11), Some(20)]);
    assert_eq!(single.await.unwrap(), 11);
    joining.await.unwrap();
    assert_eq!((source.calls(), cache.stats().loads), (vec![vec![2]], 2));
}

#[tokio::test]
async fn a_single_read_runs_its_loader_for_a_key_that_a_batch_did_not_find() {
    let (cache, _, numbers) = numbers(|numbers| numbers).await;
    let held = Arc::new(Semaphore::new(0));
    let batch = tokio::spawn({
        let (numbers, held) = (numbers.clone(), Arc::clone(&held));
        let loader = move |_: Vec<Number>, _: BatchContext| {
            let held = Arc::clone(&held);
            async move {
                held.acquire().await.unwrap().forget();
                Ok(Vec::new())
            }
        };
        async move { values(&all(numbers.get_many_or_load(&keys([1]), loader).await)) }
    });
    let_run().await;
    let single = tokio::spawn({
        let numbers = numbers.clone();
        async move { super::load(&numbers, 7).await }
    });
    let_run().await;
    assert_eq!(cache.stats().coalesced, 1);
    held.add_permits(1);
    assert_eq!(batch.await.unwrap(), [None]);
    assert_eq!(*single.await.unwrap().value, 7);
}

/// A batch that waits for a load which an invalidation has overtaken calls its own loader for that
/// key.
#[tokio::test]
async fn a_batch_does_not_join_a_load_that_an_invalidation_has_overtaken() {
    let ((cache, _, numbers), source) = (numbers(|numbers| numbers).await, Source::default());
    let gate = Arc::new(Semaphore::new(0));
    let tag = || Tag::new("group:1").unwrap();
    let single = tokio::spawn({
        let (numbers, loader) = (numbers.clone(), gated(&gate, 11));
        let tagged = move |key, load: crate::LoadContext| {
            load.tag(tag());
            loader(key, load)
        };
        async move { *numbers.get_or_load(&Number { id: 1 }, tagged).await.unwrap().value }
    });
    let_run().await;
    // Only the tag tells that it concerns the key, so the batch joins the load.
    cache.invalidate([tag()]).await;
    let batch = tokio::spawn({
        let (numbers, source) = (numbers.clone(), source.clone());
        async move { values(&read(&numbers, &source, [1, 2]).await) }
    });
    let_run().await;
    gate.add_permits(1);
    assert_eq!(batch.await.unwrap(), [Some(10), Some(20)]);
    assert_eq!((single.await.unwrap(), source.calls()), (11, vec![vec![2], vec![1]]));
}

#[tokio::test]
async fn tags_and_lifetimes_of_a_batch_apply_to_their_key_alone() {
    let (cache, clock, numbers) = numbers(|numbers| numbers).await;
    let loader = |keys: Vec<Number>, loads: BatchContext| async move {
        loads.of(&Number { id: 1 }).tag(Tag::new("group:1").unwrap());
        loads.of(&Number { id: 2 }).lifetime(Lifetime::fresh(SECOND));
        loads.of(&Number { id: 9 }).tag(Tag::new("group:9").unwrap());
        Ok(keys.into_iter().map(|key| (key, 0)).collect::<Vec<_>>())
    };
    all(numbers.get_many_or_load(&keys([1, 2, 3]), loader).await);
    cache.invalidate([Tag::new("group:1").unwrap()]).await;
    clock.advance(SECOND);
    assert_eq!(values(&numbers.get_many_cached(&keys([1, 2, 3])).await), [None, None, Some(0)]);
}

#[tokio::test]
async fn keys_missing_from_a_batch_result_are_stored_as_absent_if_configured() {
    let (cache, clock) = cache(|builder| builder).await;
    let numbers: Namespace<Number, Option<u64>> =
        cache.namespace(LIFETIME).negative_lifetime(Lifetime::fresh(5 * SECOND)).build();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let read = async || {
        let calls = Arc::clone(&calls);
        let loader = move |keys: Vec<Number>, _: BatchContext| {
            calls.lock().unwrap().push(keys.len());
            async { Ok([(Number { id: 1 }, Some(10))]) }
        };
        let hits = all(numbers.get_many_or_load(&keys([1, 2]), loader).await);
        hits.into_iter().map(|hit| *hit.unwrap().value).collect::<Vec<_>>()
    };
    assert_eq!(read().await, [Some(10), None]);
    assert_eq!(read().await, [Some(10), None]);
    assert_eq!(*calls.lock().unwrap(), [2]);
    clock.advance(5 * SECOND);
    read().await;
    assert_eq!(*calls.lock().unwrap(), [2, 1]);
}

#[tokio::test]
async fn a_failing_loader_is_an_error_of_each_key_that_may_not_be_served_stale() {
    let ((_cache, clock, numbers), source) = (numbers(|numbers| numbers).await, Source::default());
    read(&numbers, &source, [1, 2]).await;
    clock.advance(FRESH);
    let failing = |_: Vec<Number>, _: BatchContext| async {
        Err::<Vec<(Number, u64)>, BoxError>("the source is down".into())
    };
    let hits = all(numbers.get_many_or_load(&keys([1, 2]), failing).await);
    let freshness = |hit: &Option<Cached<u64>>| hit.as_ref().map(|hit| hit.freshness);
    assert_eq!(
        hits.iter().map(freshness).collect::<Vec<_>>(),
        [Some(Freshness::Stale(StaleReason::LoadFailed)); 2]
    );
    let mut results = numbers.get_many_or_load(&keys([1, 2, 3]), failing).await;
    assert_eq!(errors(results.split_off(2)), [LoadErrorKind::Failed]);
    assert_eq!(
        values(&all(results)),
        [Some(10), Some(20)],
        "the failure of a key does not hide the other keys"
    );
}

#[tokio::test(start_paused = true)]
async fn a_panic_or_timeout_of_a_batch_loader_is_an_error_of_that_read_alone() {
    let (_cache, clock, numbers) = numbers(|numbers| numbers.hard_timeout(5 * SECOND)).await;
    #[expect(clippy::panic, reason = "the panic is what is tested")]
    let panicking =
        |_: Vec<Number>, _: BatchContext| async { if true { panic!("a bug in the loader") } else { Ok([]) } };
    assert_eq!(
        errors(numbers.get_many_or_load(&keys([1, 2]), panicking).await),
        [LoadErrorKind::Panicked; 2]
    );
    let hanging =
        |_: Vec<Number>, _: BatchContext| std::future::pending::<Result<Vec<(Number, u64)>, BoxError>>();
    assert_eq!(errors(numbers.get_many_or_load(&keys([1, 2]), hanging).await), [LoadErrorKind::TimedOut; 2]);
    clock.advance(SECOND);
    assert_eq!(values(&read(&numbers, &Source::default(), [1, 2]).await), [Some(10), Some(20)]);
}

#[tokio::test]
async fn stale_values_of_a_batch_are_served_and_refreshed_together() {
    let (cache, clock) = cache(|builder| builder).await;
    let source = Source::default();
    let numbers = cache.namespace(Lifetime::fresh(FRESH).stale_while_revalidate(FRESH)).build();
    read(&numbers, &source, [1, 2]).await;
    clock.advance(FRESH);
    let hits = read(&numbers, &source, [1, 2, 3]).await;
    let stale = |hit: &Option<Cached<u64>>| hit.as_ref().is_some_and(|hit| hit.freshness != Freshness::Fresh);
    assert_eq!(hits.iter().map(stale).collect::<Vec<_>>(), [true, true, false]);
    let_run().await;
    let mut calls = source.calls();
    calls.sort();
    assert_eq!(calls, [vec![1, 2], vec![1, 2], vec![3]]);
    assert!(!numbers.get_many_cached(&keys([1, 2])).await.iter().any(stale));
}

#[tokio::test]
async fn without_the_store_a_batch_runs_its_loader() {
    let faults = Faults::seeded(1);
    let (cache, _): (Cache, Clock) = cache(|builder| builder.faults(&faults)).await;
    let numbers = cache.namespace(LIFETIME).build();
    faults.cut(true);
    assert_eq!(values(&read(&numbers, &Source::default(), [1, 2]).await), [Some(10), Some(20)]);
    assert!(cache.stats().store_errors > 0);
    assert_eq!(Duration::ZERO, numbers.get_many_cached(&keys([1])).await[0].as_ref().unwrap().age);
}

#[tokio::test]
async fn a_bypassed_batch_runs_its_loader_every_time() {
    let (cache, _) = cache(|builder| builder.bypass(true)).await;
    let (numbers, source) = (cache.namespace(LIFETIME).build(), Source::default());
    for _ in 0..2 {
        assert_eq!(values(&read(&numbers, &source, [2, 1]).await), [Some(20), Some(10)]);
    }
    assert_eq!(source.calls().len(), 2);
    assert_eq!(values(&numbers.get_many_cached(&keys([1])).await), [None]);
}
