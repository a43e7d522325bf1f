//! What a hit in memory costs. Alone in its binary, since it counts what its allocator does.

use std::time::Duration;

use futures_util::FutureExt;
use origin_sdk::{Cache, Layer, Lifetime, Namespace, Tag};

origin_sdk::keys! {
    app "shop" version 1;

    /// One of a product's pages, with a key of some length.
    key Page { product: u64, shop: String, page: u32 } = "product:{product}:shop:{shop}:page:{page}";
}

#[tokio::test]
async fn a_hit_in_memory_allocates_nothing() {
    let cache = Cache::builder("shop").build().await.unwrap();
    let pages: Namespace<Page, String> = cache
        .namespace(Lifetime::fresh(Duration::from_secs(600)))
        .tags(|key: &Page| vec![Tag::new(&format!("product:{}", key.product)).unwrap()])
        .build();
    let key = Page { product: 7, shop: "berlin mitte".to_owned(), page: 3 };
    let loader = |_| async { Ok::<_, std::io::Error>("a page".to_owned()) };
    // The first read loads; the second makes the buffer that keys render into.
    for layer in [Layer::Loader, Layer::Memory] {
        assert_eq!(pages.get_or_load(&key, loader).await.unwrap().layer, layer);
    }
    let mut layers = [None; 2];
    let cost = allocation_counter::measure(|| {
        for _ in 0..100 {
            let loaded = pages.get_or_load(&key, loader).now_or_never();
            let read = pages.get(&key).now_or_never().flatten();
            layers = [loaded.and_then(Result::ok), read].map(|hit| hit.map(|hit| hit.layer));
        }
    });
    assert_eq!(layers, [Some(Layer::Memory); 2]);
    assert_eq!(cost.count_total, 0, "{cost:?}");
}
