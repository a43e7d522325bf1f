//! The cost of a hit in memory. Alone in its binary, since it counts what its allocator does.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use futures_util::FutureExt;
use origin_sdk::http::CacheLayer;
use origin_sdk::{Cache, Layer, Lifetime, Namespace, Tag};
use tower::{Layer as _, ServiceExt, service_fn};

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
    let loader = |_, _| async { Ok("a page".to_owned()) };
    // The first read loads; the second makes the buffer that keys render into.
    for layer in [Layer::Loader, Layer::Memory] {
        assert_eq!(pages.get_or_load(&key, loader).await.unwrap().layer, layer);
    }
    let mut layers = [None; 2];
    let cost = allocation_counter::measure(|| {
        for _ in 0..100 {
            let loaded = pages.get_or_load(&key, loader).now_or_never();
            let read = pages.get_cached(&key).now_or_never().flatten();
            layers = [loaded.and_then(Result::ok), read].map(|hit| hit.map(|hit| hit.layer));
        }
    });
    assert_eq!(layers, [Some(Layer::Memory); 2]);
    assert_eq!(cost.count_total, 0, "{cost:?}");
}

/// The entries are held, and spelled out only once the request has run: of many reads only the map
/// of them grows.
#[tokio::test]
async fn a_hit_in_a_request_spells_nothing_and_a_repeated_one_allocates_nothing() {
    let cache = Cache::builder("shop").build().await.unwrap();
    let pages: Namespace<Page, String> = cache.namespace(Lifetime::fresh(Duration::from_secs(600))).build();
    let keys: Vec<_> =
        (0..100).map(|product| Page { product, shop: "berlin mitte".to_owned(), page: 3 }).collect();
    for key in &keys {
        pages.get_or_load(key, |_, _| async { Ok("a page".to_owned()) }).await.unwrap();
    }
    let handler = service_fn(move |_: Request<Body>| {
        let (pages, keys) = (pages.clone(), keys.clone());
        async move {
            let read_all = || {
                let hits = keys.iter().filter(|key| pages.get_cached(key).now_or_never().flatten().is_some());
                assert_eq!(hits.count(), keys.len());
            };
            let (first, again) =
                (allocation_counter::measure(read_all), allocation_counter::measure(read_all));
            assert!(first.count_total < 10, "{first:?}");
            assert_eq!(again.count_total, 0, "{again:?}");
            Ok::<_, Infallible>(Response::new(Body::empty()))
        }
    });
    let response = CacheLayer::new(&cache).layer(handler).oneshot(Request::new(Body::empty())).await.unwrap();
    assert!(response.headers().contains_key("cache-tag"), "the reads were the request's");
}
