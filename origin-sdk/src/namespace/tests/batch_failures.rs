//! Keys of a batch that cannot be loaded, by the batch itself or by another caller.

use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;

use super::{FRESH, KEY, LIFETIME, Number, cache, let_run, numbers};
use crate::{BatchContext, BoxError, Cached, Freshness, LoadError, LoadErrorKind, Namespace, StaleReason};

type Calls = Arc<Mutex<Vec<Vec<u64>>>>;

fn keys<const N: usize>(ids: [u64; N]) -> [Number; N] {
    ids.map(|id| Number { id })
}

/// Returns each key's value, or the text of its error.
fn texts(results: Vec<Result<Option<Cached<u64>>, LoadError>>) -> Vec<String> {
    let text = |result: Result<Option<Cached<u64>>, LoadError>| match result {
        Ok(cached) => cached.map_or_else(|| "none".to_owned(), |cached| cached.value.to_string()),
        Err(error) => error.to_string(),
    };
    results.into_iter().map(text).collect()
}

/// Reads a batch whose loader returns ten times each number, and records the keys of each call.
async fn read<const N: usize>(numbers: &Namespace<Number, u64>, ids: [u64; N], calls: &Calls) -> Vec<String> {
    let calls = Arc::clone(calls);
    let loader = move |keys: Vec<Number>, _: BatchContext| {
        calls.lock().unwrap().push(keys.iter().map(|key| key.id).collect());
        async { Ok(keys.into_iter().map(|key| (key.clone(), key.id * 10)).collect::<Vec<_>>()) }
    };
    texts(numbers.get_many_or_load(&keys(ids), loader).await)
}

/// A loader that fails once a permit is added.
fn failing<K, C>(
    gate: &Arc<Semaphore>,
) -> impl Fn(K, C) -> futures_util::future::BoxFuture<'static, Result<u64, BoxError>> + use<K, C> {
    let gate = Arc::clone(gate);
    move |_, _| {
        let gate = Arc::clone(&gate);
        Box::pin(async move {
            gate.acquire().await.unwrap().forget();
            Err("the token of this caller has expired".into())
        })
    }
}

/// A batch that fails once a permit is added.
async fn failing_batch<const N: usize>(
    numbers: Namespace<Number, u64>,
    ids: [u64; N],
    gate: Arc<Semaphore>,
) -> Vec<String> {
    let loader = failing(&gate);
    let loader = move |keys: Vec<Number>, context: BatchContext| {
        let load = loader(keys, context);
        async move { load.await.map(|value| [(KEY, value)]) }
    };
    texts(numbers.get_many_or_load(&keys(ids), loader).await)
}

#[tokio::test]
async fn another_callers_failure_does_not_fail_a_batch() {
    let (_cache, _, numbers) = numbers(|numbers| numbers).await;
    let (gate, calls) = (Arc::new(Semaphore::new(0)), Calls::default());
    let (single, loader) = (numbers.clone(), failing(&gate));
    let single = tokio::spawn(async move { single.get_or_load(&Number { id: 2 }, loader).await.map(|_| ()) });
    let_run().await;
    let batch = tokio::spawn({
        let (numbers, calls) = (numbers.clone(), Arc::clone(&calls));
        async move { read(&numbers, [1, 2, 3], &calls).await }
    });
    let_run().await;
    gate.add_permits(1);
    assert_eq!(batch.await.unwrap(), ["10", "20", "30"]);
    assert_eq!(*calls.lock().unwrap(), [vec![1, 3], vec![2]]);
    single.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_batch_that_joins_a_failing_batch_loads_what_is_left_with_one_call() {
    let (_cache, _, numbers) = numbers(|numbers| numbers).await;
    let (gate, calls) = (Arc::new(Semaphore::new(0)), Calls::default());
    let failing = tokio::spawn(failing_batch(numbers.clone(), [1, 2, 3], Arc::clone(&gate)));
    let_run().await;
    let batch = tokio::spawn({
        let (numbers, calls) = (numbers.clone(), Arc::clone(&calls));
        async move { read(&numbers, [2, 3, 4], &calls).await }
    });
    let_run().await;
    gate.add_permits(1);
    assert_eq!(batch.await.unwrap(), ["20", "30", "40"]);
    assert_eq!(*calls.lock().unwrap(), [vec![4], vec![2, 3]]);
    assert!(failing.await.unwrap().iter().all(|text| text.contains("expired")));
}

/// The batch may have failed because of its other keys.
#[tokio::test]
async fn a_single_caller_that_joins_a_failing_batch_calls_its_own_loader() {
    let (cache, _, numbers) = numbers(|numbers| numbers).await;
    let gate = Arc::new(Semaphore::new(0));
    let failing = tokio::spawn(failing_batch(numbers.clone(), [1, 2], Arc::clone(&gate)));
    let_run().await;
    let single = tokio::spawn(async move { *super::load(&numbers, 7).await.value });
    let_run().await;
    assert_eq!(cache.stats().coalesced, 1);
    gate.add_permits(1);
    assert_eq!(single.await.unwrap(), 7);
    failing.await.unwrap();
}

fn load_all_but_two(keys: Vec<Number>, batch: &BatchContext) -> Result<Vec<(Number, u64)>, BoxError> {
    batch.fail(&Number { id: 2 }, "row 2 is locked");
    Ok(keys.into_iter().map(|key| (key.clone(), key.id * 10)).collect())
}

#[tokio::test]
async fn one_key_that_cannot_be_loaded_does_not_hide_the_other_keys() {
    for bypass in [false, true] {
        let (cache, _) = cache(|builder| builder.bypass(bypass)).await;
        let numbers: Namespace<Number, u64> = cache.namespace(LIFETIME).build();
        let loader = async |keys, batch: BatchContext| load_all_but_two(keys, &batch);
        let results = numbers.get_many_or_load(&keys([1, 2, 3]), loader).await;
        assert_eq!(texts(results), ["10", "the loader failed: row 2 is locked", "30"], "bypass: {bypass}");
        let held = numbers.get_many_cached(&keys([1, 2, 3])).await;
        assert_eq!(held.iter().map(Option::is_some).collect::<Vec<_>>(), [!bypass, false, !bypass]);
    }
}

#[tokio::test]
async fn a_key_that_cannot_be_loaded_is_served_stale_beside_the_others() {
    let (_cache, clock, numbers) = numbers(|numbers| numbers).await;
    read(&numbers, [1, 2, 3], &Calls::default()).await;
    clock.advance(FRESH);
    let loader = async |keys, batch: BatchContext| load_all_but_two(keys, &batch);
    let results = numbers.get_many_or_load(&keys([1, 2, 3]), loader).await;
    let freshness = |result: Result<Option<Cached<u64>>, LoadError>| result.unwrap().unwrap().freshness;
    let stale = Freshness::Stale(StaleReason::LoadFailed);
    let all: Vec<_> = results.into_iter().map(freshness).collect();
    assert_eq!(all, [Freshness::Fresh, stale, Freshness::Fresh]);
}

#[tokio::test]
async fn read_through_batches_have_a_result_for_each_key() {
    let (cache, _) = cache(|builder| builder).await;
    let load =
        async |(), key: Number, _| if key.id == 2 { Err("row 2 is locked".into()) } else { Ok(key.id * 10) };
    let single = cache.namespace(LIFETIME).read_through((), load);
    let batched =
        single.clone().batch_loader((), async |(), keys, batch: BatchContext| load_all_but_two(keys, &batch));
    for numbers in [single, batched] {
        let results = numbers.get_many(&keys([3, 2, 1])).await;
        assert_eq!(texts(results), ["30", "the loader failed: row 2 is locked", "10"]);
        cache.invalidate([crate::Scope::All]).await;
    }
}

#[tokio::test]
async fn a_key_that_occurs_twice_in_a_batch_is_loaded_once_even_if_that_fails() {
    let (cache, _, numbers) = numbers(|numbers| numbers).await;
    let results = failing_batch(numbers, [1, 1], Arc::new(Semaphore::new(9))).await;
    assert!(results.iter().all(|text| text.contains("expired")), "{results:?}");
    assert_eq!(cache.stats().load_errors, 1);
}

/// A value that does not serialise if it is 2, because its implementation panics.
#[derive(Debug, serde::Deserialize)]
struct PanickingTwo(u64);

impl serde::Serialize for PanickingTwo {
    #[expect(clippy::panic, reason = "the panic is what is tested")]
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 == 2 { panic!("a bug in a value") } else { serializer.serialize_u64(self.0) }
    }
}

#[tokio::test]
async fn a_panic_while_a_value_of_a_batch_is_stored_is_an_error_of_its_key_alone() {
    let (cache, _) = cache(|builder| builder).await;
    let numbers: Namespace<Number, PanickingTwo> = cache.namespace(LIFETIME).build();
    let loader =
        async |keys: Vec<Number>, _| Ok(keys.into_iter().map(|key| (key.clone(), PanickingTwo(key.id))));
    let results = numbers.get_many_or_load(&keys([1, 2, 3]), loader).await;
    let kinds: Vec<_> = results.into_iter().map(|result| result.err().map(|error| error.kind())).collect();
    assert_eq!(kinds, [None, Some(LoadErrorKind::Panicked), None]);
}
