use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Semaphore;

use super::{FRESH, KEY, LIFETIME, Number, SECOND, cache, gated, let_run, load, numbers};
use crate::{BatchContext, BoxError, Layer, LoadContext, LoadErrorKind, Namespace, ReadThrough, Tag};

/// A connection pool that counts its clones.
#[derive(Default)]
struct Pool(Arc<AtomicUsize>);

impl Clone for Pool {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(&self.0))
    }
}

impl Pool {
    fn clones(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    #[expect(clippy::unused_async, reason = "stands for a query")]
    async fn ten_times(&self, text: &str) -> Result<u64, std::num::ParseIntError> {
        Ok(text.parse::<u64>()? * 10)
    }
}

async fn load_number(pool: Pool, key: Number, context: LoadContext) -> Result<u64, BoxError> {
    context.tag(Tag::new("group:1")?);
    Ok(pool.ten_times(&key.id.to_string()).await?)
}

async fn load_numbers(
    pool: Pool,
    keys: Vec<Number>,
    _: BatchContext,
) -> Result<Vec<(Number, u64)>, BoxError> {
    let mut rows = Vec::new();
    for key in keys {
        let value = pool.ten_times(&key.id.to_string()).await?;
        rows.push((key, value));
    }
    Ok(rows)
}

#[tokio::test]
async fn a_hit_does_not_call_the_loader_that_borrows() {
    let (_cache, _, numbers) = numbers(|numbers| numbers).await;
    let pool = Pool::default();
    for clones in [1, 1] {
        let cached = numbers
            .get_or_load(&KEY, |key, context| {
                let pool = pool.clone();
                async move { load_number(pool, key, context).await }
            })
            .await;
        assert_eq!((*cached.unwrap().value, pool.clones()), (10, clones));
    }
}

#[tokio::test]
async fn an_async_closure_is_a_loader_and_a_writer() {
    let (_cache, _, numbers) = numbers(|numbers| numbers).await;
    let pool = Pool::default();
    let cached =
        numbers.get_or_load(&KEY, async move |key, _| Ok(pool.ten_times(&key.id.to_string()).await?)).await;
    assert_eq!(*cached.unwrap().value, 10);
    let written = numbers.write_through(&KEY, (), async move |key, _| Ok(key.id + 1)).await.unwrap();
    assert_eq!((*written.value, written.cached), (2, true));
    let loader = async move |keys: Vec<Number>, _| Ok(keys.into_iter().map(|key| (key, 3)));
    let cached = numbers.get_many_or_load(&[Number { id: 9 }], loader).await.remove(0).unwrap();
    assert_eq!(cached.map(|cached| *cached.value), Some(3));
}

#[tokio::test]
async fn a_read_through_namespace_clones_its_state_only_when_a_load_starts() {
    let (cache, clock) = cache(|builder| builder).await;
    let pool = Pool::default();
    let numbers: ReadThrough<Number, u64> = cache.namespace(LIFETIME).read_through(pool.clone(), load_number);
    let before = pool.clones();
    for (layer, clones) in [(Layer::Loader, 1), (Layer::Memory, 1)] {
        let cached = numbers.get(&KEY).await.unwrap();
        assert_eq!((*cached.value, cached.layer, pool.clones() - before), (10, layer, clones));
    }
    cache.invalidate([Tag::new("group:1").unwrap()]).await;
    assert!(numbers.get_cached(&KEY).await.is_none(), "the loader has set the tag");
    clock.advance(FRESH);
    assert_eq!(numbers.get(&KEY).await.unwrap().layer, Layer::Loader);
}

#[tokio::test]
async fn a_read_through_namespace_reads_many_keys_with_or_without_a_batch_loader() {
    let (cache, _) = cache(|builder| builder).await;
    let pool = Pool::default();
    let single = cache.namespace(LIFETIME).read_through(pool.clone(), load_number);
    let batched = single.clone().batch_loader(pool.clone(), load_numbers);
    let keys = [1, 2, 3].map(|id| Number { id });
    let values = |cached: Vec<Result<Option<crate::Cached<u64>>, crate::LoadError>>| {
        cached.into_iter().map(|cached| cached.unwrap().map(|cached| *cached.value)).collect::<Vec<_>>()
    };
    for (numbers, loads) in [(single, 3), (batched, 1)] {
        let before = cache.stats().loads;
        assert_eq!(values(numbers.get_many(&keys).await), [Some(10), Some(20), Some(30)]);
        assert_eq!(cache.stats().loads - before, loads);
        cache.invalidate([crate::Scope::All]).await;
    }
}

#[tokio::test]
async fn a_panic_while_a_loader_is_called_is_an_error_of_its_load() {
    let (_cache, _, numbers) = numbers(|numbers| numbers).await;
    #[expect(clippy::panic, reason = "the panic is what is tested")]
    let panicking = |_, _| -> std::future::Ready<Result<u64, BoxError>> { panic!("a bug in the loader") };
    let error = numbers.get_or_load(&KEY, panicking).await.unwrap_err();
    assert_eq!(error.kind(), LoadErrorKind::Panicked);
    assert_eq!(*load(&numbers, 2).await.value, 2);
}

/// The loader reads when it is called, and its load then waits for the concurrency limit.
#[tokio::test]
async fn an_invalidation_while_a_load_waits_covers_what_its_loader_has_read_at_once() {
    let (_cache, _, numbers) = numbers(|numbers| numbers.loader_concurrency(1)).await;
    let (gate, row) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicU64::new(1)));
    let first = tokio::spawn({
        let (numbers, loader) = (numbers.clone(), gated(&gate, 0));
        async move { numbers.get_or_load(&KEY, loader).await.map(|_| ()) }
    });
    let_run().await;
    let key = Number { id: 2 };
    let read = async |numbers: &Namespace<Number, u64>| {
        let row = &row;
        *numbers.get_or_load(&key, |_, _| ready(Ok(row.load(Ordering::SeqCst)))).await.unwrap().value
    };
    let change = async {
        let_run().await;
        row.store(2, Ordering::SeqCst);
        numbers.invalidate(&key).await;
        gate.add_permits(1);
    };
    let (early, ()) = tokio::join!(read(&numbers), change);
    assert_eq!(early, 1, "the caller came before the invalidation");
    first.await.unwrap().unwrap();
    assert_eq!(read(&numbers).await, 2);
}

#[tokio::test]
async fn a_value_that_was_loaded_for_the_read_has_no_age() {
    let (_cache, clock, numbers) = numbers(|numbers| numbers).await;
    let age = async || numbers.get_or_load(&KEY, async move |_, _| Ok(1)).await.unwrap().age;
    assert_eq!(age().await, Duration::ZERO);
    clock.advance(SECOND);
    assert_eq!(age().await, SECOND);
}

#[test]
fn outside_of_a_runtime_a_read_from_memory_succeeds_and_a_load_panics() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (_cache, numbers) = runtime.block_on(async {
        let (cache, _, numbers) = numbers(|numbers| numbers).await;
        load(&numbers, 1).await;
        (cache, numbers)
    });
    let read = |id| {
        let read = async { numbers.get_or_load(&Number { id }, async |_, _| Ok(2)).await };
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| read.now_or_never()))
    };
    assert_eq!(*read(KEY.id).unwrap().unwrap().unwrap().value, 1);
    assert!(read(2).is_err(), "expected a panic as documented");
}
