//! The bounds of the memory tier, as a namespace's callers see them.

use super::*;
#[cfg(feature = "zstd")]
use crate::Key as _;
use crate::Layer;

/// Creates a cache and a namespace of texts, and stores a text of `len` letters under each of the
/// ids.
async fn texts(
    set: impl FnOnce(CacheBuilder) -> CacheBuilder,
    ids: std::ops::Range<u64>,
    len: usize,
) -> (Cache, Namespace<Number, String>) {
    let (cache, _) = cache(set).await;
    let texts = cache.namespace(LIFETIME).build();
    for id in ids {
        texts.put(&Number { id }, "x".repeat(len), cache.position()).await;
    }
    (cache, texts)
}

async fn layer(texts: &Namespace<Number, String>, id: u64) -> Option<Layer> {
    texts.get_cached(&Number { id }).await.map(|cached| cached.layer)
}

#[tokio::test]
async fn a_value_of_more_than_a_sixteenth_of_the_budget_is_held_in_memory() {
    let (cache, texts) = texts(|builder| builder, 1..2, 4_300_000).await;
    assert_eq!(layer(&texts, 1).await, Some(Layer::Memory));
    assert_eq!(cache.stats().too_large_for_memory, 0);
}

#[tokio::test]
async fn a_value_beyond_the_budget_is_refused_and_counted() {
    let (cache, texts) = texts(|builder| builder.memory_bytes(10_000), 1..2, 20_000).await;
    assert_eq!(layer(&texts, 1).await, None);
    assert_eq!(cache.stats().too_large_for_memory, 1);
}

#[tokio::test]
async fn one_entry_is_held_if_one_is_allowed() {
    let (_cache, texts) = texts(|builder| builder.memory_entries(1), 0..20, 10).await;
    for id in 0..19 {
        assert_eq!(layer(&texts, id).await, None);
    }
    assert_eq!(layer(&texts, 19).await, Some(Layer::Memory));
}

#[cfg(feature = "zstd")]
#[tokio::test]
async fn a_compressed_value_counts_for_its_size_in_memory() {
    let (cache, texts) =
        texts(|builder| builder.memory_bytes(100_000).compress_over(1_000), 0..10, 40_000).await;
    let is_held = |id: &u64| {
        let text = Number { id: *id }.to_text();
        cache.core().memory.get::<crate::entry::Entry<String>>(&text).is_some()
    };
    let (held, evicted): (Vec<_>, Vec<_>) = (0..10).partition(is_held);
    // Memory has room for two values, and one is the latest. The embedded store holds all ten,
    // since it holds them compressed.
    assert_eq!((held.len(), held.contains(&9)), (2, true));
    assert_eq!(layer(&texts, evicted[0]).await, Some(Layer::Redis));
}
