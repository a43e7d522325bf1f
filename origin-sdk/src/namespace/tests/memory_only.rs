//! Namespaces whose values stay in this process's memory.

use super::*;
use crate::error::Work;
use crate::loader::boxed;
use crate::namespace::run::TaskStart;
use crate::{Faults, Freshness, Key, Layer, Scope, StaleReason, Storage, Tag};

/// A value that serde knows nothing of.
#[derive(Debug, PartialEq)]
struct Template(Box<[u8]>);

fn template(text: &str) -> Template {
    Template(text.as_bytes().into())
}

async fn templates() -> (Cache, Clock, Namespace<Number, Template>) {
    let (cache, clock) = cache(|builder| builder).await;
    let lifetime = LIFETIME.stale_while_revalidate(SECOND);
    let templates = cache.memory_namespace(lifetime).tags(|_| [Tag::new("layout").unwrap()]).build();
    (cache, clock, templates)
}

async fn compiled(templates: &Namespace<Number, Template>, text: &'static str) -> Cached<Template> {
    templates.get_or_load(&KEY, move |_, _| async move { Ok(template(text)) }).await.unwrap()
}

#[tokio::test]
async fn a_value_without_serde_is_served_until_an_invalidation_covers_it() {
    let (cache, _clock, templates) = templates().await;
    let layout = Scope::Tag(Tag::new("layout").unwrap());
    let prefix = Scope::Prefix("shop:v1:".parse().unwrap());
    for scope in [Scope::key(&KEY.to_text()), layout, prefix, Scope::All] {
        assert_eq!(compiled(&templates, "old").await.layer, Layer::Loader, "{scope}");
        assert_eq!(compiled(&templates, "new").await.layer, Layer::Memory);
        cache.invalidate([scope]).await;
        assert!(templates.get_cached(&KEY).await.is_none());
        assert_eq!(*compiled(&templates, "new").await.value, template("new"));
        cache.invalidate([Scope::All]).await;
    }
}

#[tokio::test]
async fn an_expired_value_is_served_stale_and_one_in_a_batch_is_read_like_any_other() {
    let (_cache, _clock, templates) = templates().await;
    compiled(&templates, "old").await;
    templates.expire(&KEY).await;
    let stale = compiled(&templates, "new").await;
    assert_eq!(stale.freshness, Freshness::Stale(StaleReason::Revalidating));
    let_run().await;
    let keys = [KEY, Number { id: 2 }];
    let load = async |keys: Vec<Number>, _| Ok(keys.into_iter().map(|key| (key, template("batch"))));
    let read = templates.get_many_or_load(&keys, load).await;
    let read = read.into_iter().map(|result| result.unwrap().unwrap()).collect::<Vec<_>>();
    assert_eq!((&*read[0].value, read[0].layer), (&template("new"), Layer::Memory));
    assert_eq!((&*read[1].value, read[1].layer), (&template("batch"), Layer::Loader));
    assert!(templates.get_many_cached(&keys).await.iter().all(Option::is_some));
}

#[tokio::test]
async fn a_load_that_began_before_an_invalidation_leaves_nothing_behind() {
    let (cache, _clock) = cache(|builder| builder).await;
    let numbers: Namespace<Number, u64> = cache.memory_namespace(LIFETIME).build();
    let gate = Arc::new(Semaphore::new(0));
    let (reader, load) = (numbers.clone(), gated(&gate, 1));
    let reading = tokio::spawn(async move { reader.get_or_load(&KEY, load).await });
    let_run().await;
    numbers.invalidate(&KEY).await;
    gate.add_permits(1);
    assert_eq!(*reading.await.unwrap().unwrap().value, 1);
    assert!(numbers.get_cached(&KEY).await.is_none());
}

#[tokio::test]
async fn a_caller_that_missed_before_another_load_ended_gets_its_value() {
    let (cache, _clock) = cache(|builder| builder).await;
    let numbers: Namespace<Number, u64> = cache.memory_namespace(LIFETIME).build();
    load(&numbers, 7).await;
    let second = |_, _| async { Ok(8) };
    let (text, caller) = (KEY.to_text().into(), numbers.inner.caller(false));
    let loader = boxed(Work::Loader, second, Some);
    let cached = numbers.load_missed(&KEY, &text, caller, loader, None, TaskStart::InPlace).await.unwrap();
    assert_eq!((*cached.value, cached.layer), (7, Layer::Memory));
}

#[tokio::test]
async fn while_disconnected_a_read_loads() {
    let faults = Faults::seeded(1);
    let (cache, clock) = cache(|builder| builder.faults(&faults).max_lag(2 * SECOND)).await;
    let numbers: Namespace<Number, u64> = cache.memory_namespace(LIFETIME).build();
    load(&numbers, 1).await;
    faults.cut(true);
    clock.advance(3 * SECOND);
    let read = load(&numbers, 2).await;
    assert_eq!((*read.value, read.layer), (2, Layer::Loader));
    let batch = async |_: Vec<Number>, _| Ok([(KEY, 3)]);
    let read = numbers.get_many_or_load(&[KEY], batch).await.remove(0).unwrap().unwrap();
    assert_eq!((*read.value, read.layer), (3, Layer::Loader));
}

#[tokio::test]
async fn a_value_that_memory_has_held_for_long_enough_is_loaded_again() {
    let (cache, clock) = cache(|builder| builder).await;
    let lifetime = LIFETIME.stale_if_error(60 * SECOND);
    let numbers: Namespace<Number, u64> = cache.memory_namespace(lifetime).memory_ttl(SECOND).build();
    load(&numbers, 1).await;
    clock.advance(2 * SECOND);
    let read = load(&numbers, 2).await;
    assert_eq!((*read.value, read.layer), (2, Layer::Loader));
}

#[tokio::test]
async fn writes_are_placed_in_memory_alone() {
    let (cache, _clock, templates) = templates().await;
    let placement = templates.put(&KEY, template("put"), cache.position()).await;
    assert_eq!((placement.memory, placement.redis), (Storage::Stored, Storage::MemoryOnly));
    let written = templates.write_through(&KEY, (), |_, _| async { Ok(template("written")) }).await.unwrap();
    assert_eq!((written.placement.memory, written.placement.redis), (Storage::Stored, Storage::MemoryOnly));
    assert_eq!(*templates.get_cached(&KEY).await.unwrap().value, template("written"));
    cache.core().memory.clear();
    assert!(templates.get_cached(&KEY).await.is_none(), "no other tier has it");
}

#[tokio::test]
async fn a_value_counts_for_what_the_namespace_says() {
    let (cache, _clock) = cache(|builder| builder.memory_bytes(100_000)).await;
    let large: Namespace<Number, u64> = cache.memory_namespace(LIFETIME).bytes_of(|_| 40_000).build();
    for id in 0..10 {
        large.put(&Number { id }, id, cache.position()).await;
    }
    let mut held = 0;
    for id in 0..10 {
        held += u32::from(large.get_cached(&Number { id }).await.is_some());
    }
    assert_eq!(held, 2);
    assert_eq!(
        large.put(&KEY, 1, cache.position()).lifetime(Lifetime::fresh(Duration::ZERO)).await.memory,
        Storage::NoLifetime
    );
    assert!(large.get_cached(&KEY).await.is_none(), "a value that is not kept ends the older one");
}
