//! Invalidations while the store fails.

use crate::{Cache, Delivery, Faults, Tag};

fn tags() -> impl Iterator<Item = Tag> {
    (0..10_000).map(|n| Tag::new(&format!("t:{n}")).unwrap())
}

#[tokio::test(start_paused = true)]
async fn single_failures_do_not_queue_the_rest_of_a_large_invalidation() {
    // With this seed the first append succeeds, and later ones fail now and then.
    let faults = Faults::seeded(1);
    let cache = Cache::builder("shop").faults(&faults).build().await.unwrap();
    faults.fail(0.2);
    let receipt = cache.invalidate(tags()).await;
    assert_eq!((receipt.journal, cache.stats().invalidations_queued), (Delivery::Done, 0));
    assert!(cache.stats().store_errors > 0, "appends have failed");

    faults.fail(1.0);
    assert_eq!(cache.invalidate(tags()).await.journal, Delivery::Queued);
}
