//! The lease of background refreshes.

use std::time::{Duration, Instant};

use strata_tests::{EdgeFleet, Isolate, Origin, OriginReply, eventually};
use tokio::task::JoinSet;

use crate::{get, stored_everywhere};

const STALE: (&str, &str) = ("cache-control", "max-age=1, stale-while-revalidate=600");

/// Requests `path` from each isolate many times at once until it is stale, and some more.
async fn storm(isolates: &[Isolate], path: &'static str) {
    let mut clients = JoinSet::new();
    for isolate in isolates {
        for _ in 0..4 {
            let isolate = isolate.clone();
            clients.spawn(async move {
                let since = Instant::now();
                while since.elapsed() < Duration::from_secs(4) {
                    get(&isolate, path).await;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        }
    }
    clients.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn isolates_of_a_data_centre_share_one_refresh() {
    let origin = Origin::start(|request| {
        // The refresh is in progress while all isolates get requests.
        if request.number > 0 {
            std::thread::sleep(Duration::from_millis(500));
        }
        OriginReply::ok(&[STALE], request.number.to_string())
    })
    .await;
    let fleet = EdgeFleet::start(origin.url(), 1, 4, &[]).await;
    stored_everywhere(fleet.isolates(), "/a").await;
    let before = origin.requests("/a").len();
    let since = Instant::now();
    storm(fleet.isolates(), "/a").await;
    let refreshes = origin.requests("/a").len() - before;
    // A response is fresh for a second. Two isolates may acquire the lease at the same time.
    let periods = usize::try_from(since.elapsed().as_secs()).unwrap_or(usize::MAX);
    assert!((1..=2 * periods).contains(&refreshes), "{refreshes} refreshes in {periods} s by 4 isolates");
}

/// A lease of one data centre does not keep another from its own refresh.
#[tokio::test(flavor = "multi_thread")]
async fn each_data_centre_refreshes_its_own_copy() {
    let origin = Origin::start(|request| OriginReply::ok(&[STALE], request.number.to_string())).await;
    let fleet = EdgeFleet::start(origin.url(), 2, 1, &[]).await;
    stored_everywhere(fleet.isolates(), "/a").await;
    for isolate in fleet.isolates() {
        let old = get(isolate, "/a").await.body;
        eventually("it is refreshed", async || get(isolate, "/a").await.body != old).await;
    }
}
