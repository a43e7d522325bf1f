//! A value that a later load or write does not keep: the older one ends with it, in every tier.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::{FRESH, KEY, Number, cache, gated, let_run, unshared};
use crate::{
    BatchContext, BoxError, Cache, Cached, Clock, Faults, Key as _, Lifetime, LoadContext, LoadError,
    Namespace,
};

const HOUR: Duration = Duration::from_secs(3600);
const LIFETIME: Lifetime = Lifetime::fresh(FRESH).stale_while_revalidate(HOUR).stale_if_error(HOUR);
const IF_ERROR: Lifetime = Lifetime::fresh(FRESH).stale_if_error(HOUR);
const ZERO: Lifetime = Lifetime::fresh(Duration::ZERO);

type Options = Namespace<Number, Option<u64>>;

/// The ways in which a load says that there is nothing to keep.
#[derive(Debug, Clone, Copy)]
enum Gone {
    None,
    ZeroLifetime,
    LeftOutOfBatch,
}

const WAYS: [Gone; 3] = [Gone::None, Gone::ZeroLifetime, Gone::LeftOutOfBatch];

/// Returns a namespace that holds 1, which has just become stale. It does not keep `None`.
async fn with_stale_value(gone: Gone, lifetime: Lifetime) -> (Cache, Clock, Options) {
    let (cache, clock) = cache(|builder| builder).await;
    let builder = cache.namespace(lifetime).jitter(0.0);
    // An absent value of a batch without a negative lifetime is not kept either.
    let builder = if matches!(gone, Gone::None) { builder.negative_lifetime(ZERO) } else { builder };
    let options = builder.build();
    options.get_or_load(&KEY, |_, _| async { Ok(Some(1)) }).await.unwrap();
    clock.advance(FRESH);
    (cache, clock, options)
}

/// Reads the key. A load finds that the value is gone.
async fn read_gone(options: &Options, gone: Gone) -> Option<u64> {
    let loader = |_, context: LoadContext| async move {
        if matches!(gone, Gone::ZeroLifetime) {
            context.lifetime(ZERO);
        }
        Ok(None)
    };
    match gone {
        Gone::None | Gone::ZeroLifetime => *options.get_or_load(&KEY, loader).await.unwrap().value,
        Gone::LeftOutOfBatch => {
            let empty = |_: Vec<Number>, _: BatchContext| async { Ok([(); 0].map(|()| (KEY, None))) };
            let cached = options.get_many_or_load(&[KEY], empty).await.remove(0).unwrap();
            cached.and_then(|cached| *cached.value)
        }
    }
}

async fn read_failing(options: &Options) -> Result<Cached<Option<u64>>, LoadError> {
    options.get_or_load(&KEY, |_, _| async { Err("the source is down".into()) }).await
}

#[tokio::test]
async fn a_refresh_that_finds_nothing_to_keep_ends_the_old_value_in_every_tier() {
    for gone in WAYS {
        let (cache, _, options) = with_stale_value(gone, LIFETIME).await;
        assert_eq!(read_gone(&options, gone).await, Some(1), "{gone:?}: stale while it is refreshed");
        let_run().await;
        assert!(options.get_cached(&KEY).await.is_none(), "{gone:?}: memory");
        cache.core().memory.clear();
        assert!(options.get_cached(&KEY).await.is_none(), "{gone:?}: the store");
        assert_eq!(read_gone(&options, gone).await, None, "{gone:?}");
    }
}

#[tokio::test]
async fn a_load_that_fails_after_one_that_found_nothing_does_not_return_the_old_value() {
    for gone in WAYS {
        let (_cache, _, options) = with_stale_value(gone, IF_ERROR).await;
        assert_eq!(*read_failing(&options).await.unwrap().value, Some(1), "{gone:?}: the load fails first");
        assert_eq!(read_gone(&options, gone).await, None, "{gone:?}");
        assert!(read_failing(&options).await.is_err(), "{gone:?}");
    }
}

/// The caller has found the old value before it joined the load that finds nothing.
#[tokio::test]
async fn a_caller_that_joined_the_load_does_not_return_the_old_value_either() {
    let (_cache, _, options) = with_stale_value(Gone::LeftOutOfBatch, IF_ERROR).await;
    let gate = Arc::new(Semaphore::new(0));
    let batch = tokio::spawn({
        let (options, gate) = (options.clone(), Arc::clone(&gate));
        let loader = move |_: Vec<Number>, _: BatchContext| {
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await?.forget();
                Ok([(); 0].map(|()| (KEY, None)))
            }
        };
        async move { options.get_many_or_load(&[KEY], loader).await.remove(0).map(|cached| cached.is_some()) }
    });
    let_run().await;
    let joined = tokio::spawn(async move { read_failing(&options).await });
    let_run().await;
    gate.add_permits(1);
    assert!(!batch.await.unwrap().unwrap());
    assert!(joined.await.unwrap().is_err());
}

#[tokio::test]
async fn a_value_built_on_a_stale_one_is_not_kept_and_leaves_the_old_one() {
    let (cache, clock) = cache(|builder| builder).await;
    let numbers: Namespace<Number, u64> = cache.namespace(LIFETIME).jitter(0.0).build();
    let inner = Number { id: 2 };
    let through = |value| {
        let numbers = numbers.clone();
        move |_, _| async move {
            numbers.get_cached(&Number { id: 2 }).await;
            Ok::<_, BoxError>(value)
        }
    };
    numbers.put(&inner, 1, cache.position()).await;
    numbers.get_or_load(&KEY, through(1)).await.unwrap();
    clock.advance(FRESH);
    numbers.get_or_load(&KEY, through(2)).await.unwrap();
    let_run().await;
    assert_eq!(*numbers.get_cached(&KEY).await.unwrap().value, 1);
}

type Maps = Namespace<Number, BTreeMap<String, BTreeMap<(u8, u8), String>>>;

/// A value that serialises only if it is empty, since JSON has no keys that are pairs.
fn map(entry: Option<&str>) -> BTreeMap<String, BTreeMap<(u8, u8), String>> {
    entry.into_iter().map(|text| ("map".to_owned(), BTreeMap::from([((1, 2), text.to_owned())]))).collect()
}

#[tokio::test]
async fn a_write_of_a_value_that_is_not_kept_ends_the_old_value_in_every_tier() {
    let (cache, _) = cache(|builder| builder.memory_bytes(20_000)).await;
    let texts: Namespace<Number, String> = cache.namespace(LIFETIME).build();
    let short_lived: Namespace<Number, String> = unshared(&cache, ZERO);
    let large = "x".repeat(30_000);
    for (namespace, value) in [(&short_lived, "new"), (&texts, large.as_str())] {
        for through in [false, true] {
            texts.put(&KEY, "old".to_owned(), cache.position()).await;
            assert!(texts.get_cached(&KEY).await.is_some());
            if through {
                let value = value.to_owned();
                namespace.write_through(&KEY, (), async move |_, _| Ok(value)).await.unwrap();
            } else {
                namespace.put(&KEY, value.to_owned(), cache.position()).await;
            }
            assert!(texts.get_cached(&KEY).await.is_none(), "{} bytes, through {through}", value.len());
            cache.core().memory.clear();
            assert!(texts.get_cached(&KEY).await.is_none(), "{} bytes, through {through}", value.len());
        }
    }
}

#[tokio::test]
async fn a_value_that_does_not_serialise_ends_the_old_value_in_every_tier() {
    let (cache, clock) = cache(|builder| builder).await;
    let maps: Maps = cache.namespace(LIFETIME).jitter(0.0).build();
    for loads in [false, true] {
        maps.put(&KEY, map(None), cache.position()).await;
        assert!(maps.get_cached(&KEY).await.is_some());
        if loads {
            clock.advance(FRESH);
            maps.get_or_load(&KEY, |_, _| async { Ok(map(Some("new"))) }).await.unwrap();
            let_run().await;
        } else {
            maps.put(&KEY, map(Some("new")), cache.position()).await;
        }
        assert!(maps.get_cached(&KEY).await.is_none(), "loads {loads}");
        cache.core().memory.clear();
        assert!(maps.get_cached(&KEY).await.is_none(), "loads {loads}");
    }
}

#[tokio::test]
async fn a_put_while_an_older_load_runs_is_not_overwritten_by_it() {
    let (cache, _) = cache(|builder| builder).await;
    let numbers: Namespace<Number, u64> = cache.namespace(LIFETIME).build();
    let short_lived: Namespace<Number, u64> = unshared(&cache, ZERO);
    for (namespace, expected) in [(&numbers, Some(2)), (&short_lived, None)] {
        let gate = Arc::new(Semaphore::new(0));
        let load = tokio::spawn({
            let (numbers, loader) = (numbers.clone(), gated(&gate, 1));
            async move { numbers.get_or_load(&KEY, loader).await.map(|cached| *cached.value) }
        });
        let_run().await;
        namespace.put(&KEY, 2, cache.position()).await;
        gate.add_permits(1);
        assert_eq!(load.await.unwrap().unwrap(), 1, "its caller came before the put");
        let held = async || numbers.get_cached(&KEY).await.map(|cached| *cached.value);
        assert_eq!(held().await, expected);
        cache.core().memory.clear();
        assert_eq!(held().await, expected);
        numbers.invalidate(&KEY).await;
    }
}

#[tokio::test]
async fn a_put_while_an_older_batch_runs_is_not_overwritten_by_it() {
    let (cache, _) = cache(|builder| builder).await;
    let numbers: Namespace<Number, u64> = cache.namespace(LIFETIME).build();
    let (gate, other) = (Arc::new(Semaphore::new(0)), Number { id: 2 });
    let batch = tokio::spawn({
        let (numbers, gate, keys) = (numbers.clone(), Arc::clone(&gate), [KEY, other.clone()]);
        let loader = move |keys: Vec<Number>, _: BatchContext| {
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await?.forget();
                Ok(keys.into_iter().map(|key| (key, 1)))
            }
        };
        async move { numbers.get_many_or_load(&keys, loader).await }
    });
    let_run().await;
    numbers.put(&KEY, 2, cache.position()).await;
    gate.add_permits(1);
    assert!(batch.await.unwrap().iter().all(Result::is_ok));
    for _ in 0..2 {
        let held = numbers.get_many_cached(&[KEY, other.clone()]).await;
        let held: Vec<_> = held.into_iter().flatten().map(|cached| *cached.value).collect();
        assert_eq!(held, [2, 1], "the batch's other key is stored");
        cache.core().memory.clear();
    }
}

#[tokio::test]
async fn a_put_of_a_value_older_than_a_running_load_is_overwritten_by_it() {
    let (cache, _) = cache(|builder| builder).await;
    let numbers: Namespace<Number, u64> = cache.namespace(LIFETIME).build();
    let before = cache.position();
    numbers.invalidate(&Number { id: 9 }).await;
    let gate = Arc::new(Semaphore::new(0));
    let load = tokio::spawn({
        let (numbers, loader) = (numbers.clone(), gated(&gate, 1));
        async move { numbers.get_or_load(&KEY, loader).await.map(|cached| *cached.value) }
    });
    let_run().await;
    numbers.put(&KEY, 2, before).await;
    gate.add_permits(1);
    load.await.unwrap().unwrap();
    assert_eq!(*numbers.get_cached(&KEY).await.unwrap().value, 1);
    numbers.put(&KEY, 2, before).await;
    assert_eq!(*numbers.get_cached(&KEY).await.unwrap().value, 1, "the value in memory is newer");
}

#[tokio::test]
async fn a_value_that_the_store_could_not_take_is_not_followed_by_the_older_one() {
    for gone in [false, true] {
        for load in [false, true] {
            let faults = Faults::seeded(1);
            let (cache, clock) = cache(|builder| builder.faults(&faults)).await;
            let options: Options = cache.namespace(LIFETIME).jitter(0.0).negative_lifetime(ZERO).build();
            options.put(&KEY, Some(1), cache.position()).await;
            clock.advance(FRESH);
            let value = (!gone).then_some(2);
            faults.cut(true);
            if load {
                options.get_or_load(&KEY, async move |_, _| Ok(value)).await.unwrap();
                let_run().await;
            } else {
                options.put(&KEY, value, cache.position()).await;
            }
            let held = async || options.get_cached(&KEY).await.map(|cached| *cached.value);
            assert_eq!(held().await, value.map(Some), "gone {gone}, load {load}");
            faults.cut(false);
            cache.core().memory.clear();
            assert_eq!(held().await, None, "gone {gone}, load {load}: the store holds the older value");
            options.put(&KEY, Some(3), cache.position()).await;
            cache.core().memory.clear();
            assert_eq!(held().await, Some(Some(3)), "gone {gone}, load {load}: it takes values again");
        }
    }
}

/// A batch and a load under a lease read the store as well.
#[tokio::test]
async fn an_older_value_in_the_store_is_not_read_by_a_batch_or_found_by_a_load() {
    let faults = Faults::seeded(1);
    let (cache, clock) = cache(|builder| builder.faults(&faults)).await;
    let numbers: Namespace<Number, u64> = cache.namespace(LIFETIME).jitter(0.0).build();
    numbers.put(&KEY, 1, cache.position()).await;
    clock.advance(FRESH / 2);
    faults.cut(true);
    numbers.put(&KEY, 2, cache.position()).await;
    faults.cut(false);
    cache.core().memory.clear();
    assert!(numbers.get_many_cached(&[KEY]).await[0].is_none());
    let cached = numbers.get_or_load(&KEY, |_, _| async { Ok(3) }).await.unwrap();
    assert_eq!(*cached.value, 3);
    cache.core().memory.clear();
    assert_eq!(*numbers.get_many_cached(&[KEY]).await[0].as_ref().unwrap().value, 3);
}

/// A copy is read from the store just before a newer value replaces it, and decoded afterwards.
#[tokio::test]
async fn a_copy_read_before_a_newer_value_was_written_does_not_replace_it_in_memory() {
    let (cache, clock) = cache(|builder| builder).await;
    let options: Options = cache.namespace(LIFETIME).jitter(0.0).negative_lifetime(ZERO).build();
    let (inner, text) = (&options.inner, KEY.to_text());
    for (value, expected) in [(Some(2), Some(Some(2))), (None, None)] {
        for loads in [false, true] {
            options.put(&KEY, Some(1), cache.position()).await;
            clock.advance(FRESH);
            let read = inner.begin_read(text.as_str());
            let copy = cache.core().store.get(&text).await.unwrap().unwrap();
            if loads {
                options.get_or_load(&KEY, async move |_, _| Ok(value)).await.unwrap();
                let_run().await;
            } else {
                options.put(&KEY, value, cache.position()).await;
            }
            let found = inner.promote(&text, &copy, &read).map(|entry| *entry.value);
            let held = options.get_cached(&KEY).await.map(|cached| *cached.value);
            assert_eq!((found, held), (expected, expected), "{value:?}, loads {loads}");
        }
    }
}

/// A store that was frozen runs a command that was given up once it is thawed.
#[tokio::test]
async fn a_value_that_the_store_takes_late_does_not_replace_a_newer_one() {
    let faults = Faults::seeded(1);
    let (cache, clock) = cache(|builder| builder.faults(&faults)).await;
    let numbers: Namespace<Number, u64> = cache.namespace(IF_ERROR).jitter(0.0).build();
    let (store, text) = (&cache.core().store, KEY.to_text());
    numbers.put(&KEY, 2, cache.position()).await;
    let late = store.get(&text).await.unwrap().unwrap().bytes;
    faults.cut(true);
    for value in [2, 3] {
        clock.advance(Duration::from_secs(1));
        numbers.put(&KEY, value, cache.position()).await;
    }
    clock.advance(Duration::from_secs(1));
    faults.cut(false);
    let store_copy = async || {
        store.put(&text, late.clone(), IF_ERROR.total(), None).await.unwrap();
        clock.advance(Duration::from_secs(1));
        cache.core().memory.clear();
        numbers.get_cached(&KEY).await.map(|cached| *cached.value)
    };
    assert_eq!(store_copy().await, None, "stored after the newer value, and before the store answered again");
    clock.advance(Duration::from_secs(1));
    assert_eq!(store_copy().await, Some(2), "another process has stored it since");
}
