//! The store below all data centres.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::{Method, StatusCode};
use strata_tests::{EdgeFleet, Isolate, Origin, OriginReply, eventually};

use crate::{BOUND, Reply, SHARED, expect_within_the_bound, get};

async fn fleet(origin: &Origin, data_centres: usize) -> EdgeFleet {
    // `only-if-cached` shows what is stored without a fetch.
    let rules = r#"RULES:[{"path": "/**", "obey_requests": true}]"#;
    EdgeFleet::start(origin.url(), data_centres, 1, &["--var", rules, "--", "--shared-mib", "64"]).await
}

/// Reads a path without asking the origin.
async fn stored(isolate: &Isolate, path: &str, language: &str) -> Option<Reply> {
    let request = isolate.request(Method::GET, path).header("cache-control", "only-if-cached");
    let response = request.header("accept-language", language).send().await.unwrap();
    match response.status() {
        StatusCode::GATEWAY_TIMEOUT => None,
        _ => Some(Reply::read(response).await),
    }
}

async fn is_stored(isolate: &Isolate, path: &str) {
    eventually("another data centre finds it", async || stored(isolate, path, "en").await.is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_cold_everywhere_costs_one_fetch_for_ten_data_centres() {
    let origin = Origin::start(|_| OriginReply::ok(&[SHARED, ("etag", "\"1\"")], "x".repeat(100_000))).await;
    let fleet = fleet(&origin, 10).await;
    get(&fleet.isolates()[0], "/a").await;
    is_stored(&fleet.isolates()[1], "/a").await;
    for isolate in fleet.isolates() {
        let response = isolate.get("/a").await;
        assert_eq!(response.headers()["etag"], "\"1\"");
        let reply = Reply::read(response).await;
        assert!(reply.is_hit() && reply.body == "x".repeat(100_000), "{}", reply.edge_status);
    }
    assert_eq!(origin.requests("/a").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_ends_the_copy_that_all_data_centres_share() {
    let origin = Origin::start(|_| OriginReply::ok(&[SHARED, ("cache-tag", "a")], "")).await;
    let fleet = fleet(&origin, 3).await;
    get(&fleet.isolates()[0], "/a").await;
    is_stored(&fleet.isolates()[1], "/a").await;
    fleet.purge(r#"{"scope":"tag:a","mode":"remove"}"#).await;
    let since = std::time::Instant::now();
    for isolate in fleet.isolates() {
        eventually("it is not served", async || stored(isolate, "/a", "en").await.is_none()).await;
    }
    assert!(since.elapsed() <= BOUND);
    get(&fleet.isolates()[2], "/a").await;
    for isolate in fleet.isolates() {
        is_stored(isolate, "/a").await;
    }
    assert_eq!(origin.requests("/a").len(), 2, "one fetch more for all of them");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsafe_request_ends_the_copy_that_all_data_centres_share() {
    let value = Arc::new(AtomicUsize::new(0));
    let shown = Arc::clone(&value);
    let origin =
        Origin::start(move |_| OriginReply::ok(&[SHARED], shown.load(Ordering::SeqCst).to_string())).await;
    let fleet = fleet(&origin, 3).await;
    get(&fleet.isolates()[0], "/a").await;
    is_stored(&fleet.isolates()[1], "/a").await;
    value.store(1, Ordering::SeqCst);
    fleet.isolates()[1].request(Method::PUT, "/a").body("1").send().await.unwrap();
    // The third has no copy of its own yet.
    expect_within_the_bound(&fleet.isolates()[1..], "/a", "1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn variants_are_shared_as_such() {
    let origin = Origin::start(|request| {
        let language = request.headers["accept-language"].to_str().unwrap_or_default().to_owned();
        OriginReply::ok(&[SHARED, ("vary", "accept-language")], language)
    })
    .await;
    let fleet = fleet(&origin, 3).await;
    for (isolate, language) in fleet.isolates().iter().zip(["de", "fr"]) {
        isolate.request(Method::GET, "/a").header("accept-language", language).send().await.unwrap();
        let other = &fleet.isolates()[2];
        eventually("it is found", async || {
            stored(other, "/a", language).await.is_some_and(|reply| reply.body == language)
        })
        .await;
    }
    assert!(stored(&fleet.isolates()[2], "/a", "it").await.is_none());
    assert_eq!(origin.requests("/a").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn private_responses_are_not_shared() {
    let origin = Origin::start(|_| OriginReply::ok(&[("cache-control", "private, max-age=600")], "")).await;
    let fleet = fleet(&origin, 2).await;
    for isolate in fleet.isolates() {
        get(isolate, "/a").await;
    }
    assert!(stored(&fleet.isolates()[1], "/a", "en").await.is_none());
    assert_eq!(origin.requests("/a").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_store_that_fails_costs_fetches_and_no_answers() {
    let origin = Origin::start(|_| OriginReply::ok(&[SHARED], "a")).await;
    let fleet = fleet(&origin, 2).await;
    for fault in ["fail", "silent", "garbage"] {
        let path = format!("/{fault}");
        for isolate in fleet.isolates() {
            isolate.set_faults(&format!("persistent={fault}")).await;
            let reply = get(isolate, &path).await;
            assert_eq!(reply.body, "a", "{fault}: {}", reply.edge_status);
            eventually("it is in the data centre's cache", async || get(isolate, &path).await.is_hit()).await;
            let put = isolate.request(Method::PUT, "/other").body("").send().await.unwrap();
            assert_eq!(put.status(), StatusCode::OK, "{fault}");
        }
        assert_eq!(origin.requests(&path).len(), 2, "{fault}: one per data centre");
    }
}
