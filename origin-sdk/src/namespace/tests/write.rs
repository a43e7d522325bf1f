use std::time::Duration;

use super::{KEY, LIFETIME, Number, cache, load, numbers};
use crate::{Cache, Delivery, Faults, Layer, Lifetime, Namespace, Placement, Storage, Tag};

#[tokio::test]
async fn a_put_value_is_read_from_every_tier() {
    let (cache, _, numbers) = numbers(|numbers| numbers).await;
    assert!(numbers.put(&KEY, 1, cache.position()).await.is_cached());
    assert_eq!(load(&numbers, 2).await.layer, Layer::Memory);
    cache.core().memory.clear();
    let hit = load(&numbers, 2).await;
    assert_eq!((*hit.value, hit.layer), (1, Layer::Redis));
}

#[tokio::test]
async fn a_value_that_was_read_before_an_invalidation_cannot_be_put_after_it() {
    let (cache, _, numbers) = numbers(|numbers| numbers).await;
    let before = cache.position();
    numbers.invalidate(&KEY).await;
    assert!(!numbers.put(&KEY, 1, before).await.is_cached());
    assert!(numbers.get_cached(&KEY).await.is_none());
}

#[tokio::test]
async fn a_put_has_the_tags_and_the_lifetime_that_it_was_given() {
    let (cache, clock, numbers) = numbers(|numbers| numbers.jitter(0.0)).await;
    let group = Tag::new("group:7").unwrap();
    let put = numbers.put(&KEY, 1, cache.position()).tag(group.clone());
    put.lifetime(Lifetime::fresh(Duration::from_secs(5))).await;
    clock.advance(Duration::from_secs(4));
    assert!(numbers.get_cached(&KEY).await.is_some());
    clock.advance(Duration::from_secs(1));
    assert!(numbers.get_cached(&KEY).await.is_none());
    numbers.put(&KEY, 2, cache.position()).tag(group.clone()).await;
    cache.invalidate([group]).await;
    assert!(numbers.get_cached(&KEY).await.is_none());
}

/// Puts a text of `len` letters, and checks that the result says what a read finds.
async fn put(cache: &Cache, lifetime: Lifetime, len: usize) -> Placement {
    let texts: Namespace<Number, String> = cache.namespace(lifetime).build();
    let placement = texts.put(&KEY, "x".repeat(len), cache.position()).await;
    assert_found_as_said(cache, &texts, placement).await;
    placement
}

async fn write(cache: &Cache, lifetime: Lifetime, len: usize) -> Placement {
    let texts: Namespace<Number, String> = cache.namespace(lifetime).build();
    let written = texts.write_through(&KEY, (), async move |_, _| Ok("x".repeat(len))).await.unwrap();
    assert_eq!(written.cached, written.placement.is_cached());
    let is_unavailable = written.placement.redis == Storage::Unavailable;
    assert_eq!(written.receipt.redis == Delivery::Failed, is_unavailable);
    assert_found_as_said(cache, &texts, written.placement).await;
    written.placement
}

async fn assert_found_as_said(cache: &Cache, texts: &Namespace<Number, String>, placement: Placement) {
    assert_eq!(texts.get_cached(&KEY).await.is_some(), placement.is_cached());
    cache.core().memory.clear();
    assert_eq!(texts.get_cached(&KEY).await.is_some(), placement.redis == Storage::Stored);
}

#[tokio::test]
async fn a_write_says_which_tiers_hold_its_value_and_why_others_do_not() {
    let zero = Lifetime::fresh(Duration::ZERO);
    for (memory_bytes, bypass, lifetime, len, expected) in [
        (1 << 20, false, LIFETIME, 10, Storage::Stored),
        (1 << 20, false, zero, 10, Storage::NoLifetime),
        (10_000, false, LIFETIME, 20_000, Storage::TooLarge),
        (1 << 20, true, LIFETIME, 10, Storage::Bypassed),
    ] {
        let (cache, _) = cache(|builder| builder.memory_bytes(memory_bytes).bypass(bypass)).await;
        for placement in [put(&cache, lifetime, len).await, write(&cache, lifetime, len).await] {
            assert_eq!([placement.memory, placement.redis], [expected; 2]);
        }
    }
}

#[cfg(feature = "zstd")]
#[tokio::test]
async fn a_value_that_only_the_store_has_room_for_is_cached() {
    let (cache, _) = cache(|builder| builder.memory_bytes(10_000).compress_over(100)).await;
    for placement in [put(&cache, LIFETIME, 20_000).await, write(&cache, LIFETIME, 20_000).await] {
        assert_eq!((placement.memory, placement.redis), (Storage::TooLarge, Storage::Stored));
    }
}

#[tokio::test]
async fn a_write_while_the_store_is_down_says_so() {
    let faults = Faults::seeded(1);
    let (cache, _) = cache(|builder| builder.faults(&faults)).await;
    faults.cut(true);
    let placement = put(&cache, LIFETIME, 10).await;
    assert_eq!((placement.memory, placement.redis), (Storage::Stored, Storage::Unavailable));
    let placement = write(&cache, LIFETIME, 10).await;
    assert_eq!([placement.memory, placement.redis], [Storage::Disconnected; 2]);
}

#[tokio::test]
async fn an_overtaken_write_says_so() {
    let (cache, _, numbers) = numbers(|numbers| numbers).await;
    let before = cache.position();
    let writer = numbers.clone();
    let written = numbers
        .write_through(&KEY, (), async move |key, _| {
            writer.invalidate(&key).await;
            Ok(1)
        })
        .await
        .unwrap();
    let put = numbers.put(&KEY, 1, before).await;
    for placement in [written.placement, put] {
        assert_eq!([placement.memory, placement.redis], [Storage::Overtaken; 2]);
    }
}
