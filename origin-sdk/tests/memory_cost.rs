//! The memory that a full memory tier takes. Alone in its binary, since it counts what its
//! allocator does.

use std::future::IntoFuture;
use std::time::Duration;

use futures_util::FutureExt;
use origin_sdk::{Cache, Lifetime, Namespace};

origin_sdk::keys! {
    app "shop" version 1;

    /// A page.
    key Page { id: u64 } = "page:{id}";
}

const BUDGET: usize = 16 << 20;

/// Returns the bytes that are allocated for a full memory tier of values of this length.
async fn allocated(value_bytes: usize) -> usize {
    let cache = Cache::builder("shop").memory_bytes(BUDGET).memory_entries(usize::MAX).build().await.unwrap();
    let pages: Namespace<Page, String> = cache
        .memory_namespace(Lifetime::fresh(Duration::from_secs(600)))
        .bytes_of(|value: &String| size_of::<String>() + value.capacity())
        .build();
    let (text, position) = ("x".repeat(value_bytes), cache.position());
    // A quarter more than fits.
    let count = BUDGET as u64 / (value_bytes as u64 + 250) * 5 / 4;
    let cost = allocation_counter::measure(|| {
        for id in 0..count {
            let placed = pages.put(&Page { id }, text.clone(), position).into_future().now_or_never();
            assert!(placed.is_some_and(|placement| placement.is_cached()));
        }
    });
    usize::try_from(cost.bytes_current).unwrap()
}

#[tokio::test]
async fn a_full_memory_tier_takes_its_budget_within_a_tenth_at_any_length_of_values() {
    for value_bytes in [0, 10, 100, 400, 1_000, 20_000] {
        let part = allocated(value_bytes).await as f64 / BUDGET as f64;
        assert!((0.9..=1.1).contains(&part), "{part:.3} of the budget with values of {value_bytes} bytes");
    }
}
