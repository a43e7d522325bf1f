//! Namespaces that are built more than once.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::Tag;

/// Loads, the loaders that run now, and the most that ran at a time.
#[derive(Default)]
struct Counts {
    loads: AtomicUsize,
    running: AtomicUsize,
    most: AtomicUsize,
}

/// Builds the namespace for each of 100 requests, and reads one key in each. Returns the loads, and
/// the most that ran at a time.
async fn read_per_request(key: fn(u64) -> Number) -> (usize, usize) {
    let (cache, _clock) = cache(|builder| builder).await;
    let counts = Arc::<Counts>::default();
    let mut requests = tokio::task::JoinSet::new();
    for n in 0..100 {
        let (cache, counts) = (cache.clone(), Arc::clone(&counts));
        requests.spawn(async move {
            let numbers: Namespace<Number, u64> = cache.namespace(LIFETIME).loader_concurrency(4).build();
            let load = async move |_, _| {
                counts.loads.fetch_add(1, Ordering::SeqCst);
                counts.most.fetch_max(counts.running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let_run().await;
                counts.running.fetch_sub(1, Ordering::SeqCst);
                Ok(n)
            };
            numbers.get_or_load(&key(n), load).await.map(|_| ())
        });
    }
    for read in requests.join_all().await {
        read.unwrap();
    }
    (counts.loads.load(Ordering::SeqCst), counts.most.load(Ordering::SeqCst))
}

#[tokio::test]
async fn namespaces_built_per_request_share_a_load_of_one_key() {
    assert_eq!(read_per_request(|_| KEY).await, (1, 1));
}

#[tokio::test]
async fn namespaces_built_per_request_share_their_concurrency_limit() {
    assert_eq!(read_per_request(|id| Number { id }).await, (100, 4));
}

#[tokio::test]
async fn a_second_build_with_other_settings_is_an_error_that_names_them() {
    type Set<T> = fn(NamespaceBuilder<Number, T>) -> NamespaceBuilder<Number, T>;
    let (cache, _clock) = cache(|builder| builder).await;
    let _first: Namespace<Number, u64> = cache.namespace(LIFETIME).build();
    let cases: [(Set<u64>, &str); 11] = [
        (|builder| builder.private(), "private: expected false, got true"),
        (|builder| builder.jitter(0.5), "jitter: expected 0.1, got 0.5"),
        (|builder| builder.xfetch_beta(0.0), "xfetch_beta: expected 1, got 0"),
        (|builder| builder.memory_ttl(SECOND), "memory_ttl: expected None, got Some(1s)"),
        (|builder| builder.on_disconnect(crate::OnDisconnect::ServeStale), "expected Load, got ServeStale"),
        (|builder| builder.source_lag(SECOND), "source_lag: expected 0ns, got 1s"),
        (|builder| builder.soft_timeout(SECOND), "soft_timeout: expected None, got Some(1s)"),
        (
            |builder| builder.hard_timeout(SECOND).loader_concurrency(1),
            "30s, got 1s; loader_concurrency: expected 256, got 1",
        ),
        (|builder| builder.failure_backoff(SECOND / 2), "failure_backoff: expected 1s, got 500ms"),
        (|builder| builder.tags(|_| [Tag::new("a").unwrap()]), "tags: expected none, got "),
        (|builder| builder.bytes_of(|_| 1), "bytes_of: expected none, got "),
    ];
    for (set, expected) in cases {
        let error = set(cache.namespace(LIFETIME)).try_build().err().unwrap().to_string();
        assert!(error.starts_with("namespace of Number: ") && error.contains(expected), "{error}");
    }
    let error =
        cache.namespace::<Number, u64>(Lifetime::fresh(SECOND)).try_build().err().unwrap().to_string();
    assert!(error.contains("lifetime: expected "), "{error}");
    let error = cache.namespace::<Number, String>(LIFETIME).try_build().err().unwrap().to_string();
    assert!(error.contains("value type: expected u64, got alloc::string::String"), "{error}");
    // A failed build changes nothing.
    assert!(cache.namespace::<Number, u64>(LIFETIME).try_build().is_ok());
    assert!(
        Cache::builder("shop")
            .build()
            .await
            .unwrap()
            .namespace::<Number, String>(LIFETIME)
            .try_build()
            .is_ok()
    );
}
