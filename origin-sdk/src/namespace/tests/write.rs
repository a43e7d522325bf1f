use super::{KEY, load, numbers};
use crate::Layer;

#[tokio::test]
async fn what_is_put_is_read_by_all_tiers() {
    let (cache, _, numbers) = numbers(|numbers| numbers).await;
    assert!(numbers.put(&KEY, 1, cache.position()).await.is_cached());
    assert_eq!(load(&numbers, 2).await.layer, Layer::Memory);
    cache.core().memory.clear();
    let hit = load(&numbers, 2).await;
    assert_eq!((*hit.value, hit.layer), (1, Layer::Redis));
}

#[tokio::test]
async fn what_was_read_before_an_invalidation_cannot_be_put_after_it() {
    let (cache, _, numbers) = numbers(|numbers| numbers).await;
    let before = cache.position();
    numbers.invalidate(&KEY).await;
    assert!(!numbers.put(&KEY, 1, before).await.is_cached());
    assert!(numbers.get_cached(&KEY).await.is_none());
}
