//! Unsafe requests (RFC 9111 section 4.4) and the isolates that did not see them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use strata_tests::{EdgeFleet, Origin, OriginReply, OriginRequest, eventually};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::{BOUND, SHARED, expect_within_the_bound, get, stored_everywhere};

/// How long an isolate sends no message after one has failed.
const BACKOFF: Duration = Duration::from_secs(30);

/// Returns a shared value, and an origin's script that shows it.
fn shown() -> (Arc<AtomicU64>, impl Fn(&OriginRequest) -> OriginReply + Send + Sync + 'static) {
    let value = Arc::new(AtomicU64::new(0));
    let shown = Arc::clone(&value);
    let script =
        move |_: &OriginRequest| OriginReply::ok(&[SHARED], shown.load(Ordering::SeqCst).to_string());
    (value, script)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsafe_request_ends_the_copies_of_all_data_centres_and_spares_its_siblings() {
    let (value, script) = shown();
    let origin = Origin::start(script).await;
    let fleet = EdgeFleet::start(origin.url(), 2, 2, &[]).await;
    let siblings = ["/a", "/a/b/c", "/a/b?x=1", "/a/b/"];
    for path in siblings.iter().chain(&["/a/b"]) {
        stored_everywhere(fleet.isolates(), path).await;
    }
    value.store(1, Ordering::SeqCst);
    let put = fleet.isolates()[1].request(Method::PUT, "/a/b").body("1").send().await.unwrap();
    assert_eq!(put.status(), 200);
    expect_within_the_bound(fleet.isolates(), "/a/b", "1").await;
    for path in siblings {
        for isolate in fleet.isolates() {
            let reply = get(isolate, path).await;
            assert_eq!((reply.body.as_str(), reply.is_hit()), ("0", true), "{path}");
        }
    }
    stored_everywhere(fleet.isolates(), "/a/b").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_location_field_of_an_unsafe_request_ends_the_copies_of_all_data_centres() {
    let value = Arc::new(AtomicU64::new(0));
    let shown = Arc::clone(&value);
    let origin = Origin::start(move |request| {
        let location = [("location", "/list")];
        match request.method {
            Method::POST => OriginReply { status: 303, ..OriginReply::ok(&location, "") },
            _ => OriginReply::ok(&[SHARED], shown.load(Ordering::SeqCst).to_string()),
        }
    })
    .await;
    let fleet = EdgeFleet::start(origin.url(), 2, 1, &[]).await;
    stored_everywhere(fleet.isolates(), "/list").await;
    value.store(1, Ordering::SeqCst);
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    let post = fleet.isolates()[0].request(Method::POST, "/items").body("x").build().unwrap();
    let reply = client.build().unwrap().execute(post).await.unwrap();
    assert_eq!(reply.status(), StatusCode::SEE_OTHER);
    expect_within_the_bound(fleet.isolates(), "/list", "1").await;
}

/// The other isolate's request began before the unsafe request, and its response arrives after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_of_another_isolate_that_an_unsafe_request_overtakes_is_not_served_after_the_bound() {
    let (built, may_go) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (is_built, is_free) = (Arc::clone(&built), Arc::clone(&may_go));
    let value = Arc::new(AtomicU64::new(0));
    let shown = Arc::clone(&value);
    let origin = Origin::start(move |request| {
        let value = shown.load(Ordering::SeqCst);
        if request.method == Method::GET && value == 0 {
            is_built.add_permits(1);
            let runtime = tokio::runtime::Handle::current();
            tokio::task::block_in_place(|| runtime.block_on(is_free.acquire()).unwrap().forget());
        }
        OriginReply::ok(&[SHARED], value.to_string())
    })
    .await;
    let fleet = EdgeFleet::start(origin.url(), 2, 2, &[]).await;
    // One isolate of the other data centre, and one of the same.
    let overtaken = [fleet.isolates()[1].clone(), fleet.isolates()[2].clone()];
    let mut waiting = JoinSet::new();
    for isolate in overtaken {
        waiting.spawn(async move { get(&isolate, "/a").await.body });
    }
    built.acquire_many(2).await.unwrap().forget();
    value.store(1, Ordering::SeqCst);
    let put = fleet.isolates()[0].request(Method::PUT, "/a").body("1").send().await.unwrap();
    assert_eq!(put.status(), 200);
    let put_at = Instant::now();
    may_go.add_permits(2);
    assert_eq!(waiting.join_all().await, ["0", "0"], "they began before the unsafe request");
    while put_at.elapsed() < BOUND + Duration::from_secs(2) {
        for isolate in fleet.isolates() {
            let late = put_at.elapsed();
            let body = get(isolate, "/a").await.body;
            assert!(late <= BOUND || body == "1", "{body} {late:?} after the unsafe request");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stored_everywhere(fleet.isolates(), "/a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_whose_response_answers_gets_ends_the_copies_of_all_data_centres() {
    let is_changed = Arc::new(AtomicBool::new(false));
    let changed = Arc::clone(&is_changed);
    let origin = Origin::start(move |request| {
        // An error after the POST, so that no GET that overtakes the storing replaces its response.
        if request.method == Method::GET && changed.load(Ordering::SeqCst) {
            return OriginReply { status: 500, ..OriginReply::ok(&[], "error") };
        }
        OriginReply::ok(&[SHARED, ("content-location", "/posts/1")], request.method.as_str())
    })
    .await;
    let rules = r#"RULES:[{"path":"/posts/*","store_post":true}]"#;
    let fleet = EdgeFleet::start(origin.url(), 2, 1, &["--var", rules]).await;
    let [sender, other] = fleet.isolates() else { panic!("expected two isolates") };
    stored_everywhere(fleet.isolates(), "/posts/1").await;
    is_changed.store(true, Ordering::SeqCst);
    let post = sender.request(Method::POST, "/posts/1").body("x").send().await.unwrap();
    assert_eq!(post.text().await.unwrap(), "POST");
    let posted_at = Instant::now();
    eventually("the response answers GETs", async || get(sender, "/posts/1").await.body == "POST").await;
    eventually("the old copy is not served", async || get(other, "/posts/1").await.body == "error").await;
    assert!(posted_at.elapsed() <= BOUND, "{:?}", posted_at.elapsed());
    while posted_at.elapsed() <= BOUND {
        assert_eq!(get(sender, "/posts/1").await.body, "POST", "its own record does not cover it");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Strangers can send unsafe requests for any URL. Neither the journal nor other responses suffer.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_unsafe_requests_ends_nothing_else_and_costs_few_messages() {
    let origin = Origin::start(|_| OriginReply::ok(&[SHARED, ("cache-tag", "shelf:1")], "x")).await;
    let fleet = EdgeFleet::start(origin.url(), 2, 1, &[]).await;
    let isolates = fleet.isolates();
    stored_everywhere(isolates, "/page").await;
    let requests = origin.requests("/page").len();
    let (calls, since) = (isolates[0].journal_calls().await, Instant::now());
    let mut flood = JoinSet::new();
    for client in 0..8 {
        let isolate = isolates[0].clone();
        flood.spawn(async move {
            for number in 0..100 {
                let path = format!("/flood/{client}/{number}");
                let post = isolate.request(Method::POST, &path).body("x").send().await.unwrap();
                assert_eq!(post.status(), 200);
            }
        });
    }
    flood.join_all().await;
    let reads = 2 * (1 + since.elapsed().as_secs() / 2);
    let calls = isolates[0].journal_calls().await - calls;
    assert!(calls <= 2 * reads + 2, "{calls} calls of the journal object for 800 unsafe requests");
    eventually("it is said that some stay local", async || {
        get(&isolates[0], "/page").await;
        fleet.edge().logged("an unsafe request invalidates responses in this data centre alone") > 0
    })
    .await;
    assert_eq!(origin.requests("/page").len(), requests, "the page is served from the store all the time");
    fleet.purge(r#"{"scope":"tag:shelf:1","mode":"remove"}"#).await;
    eventually("a purge is obeyed as ever", async || {
        get(&isolates[1], "/page").await;
        origin.requests("/page").len() > requests
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_table_of_unsafe_targets_refuses_more_and_spares_all_other_responses() {
    let origin = Origin::start(|_| OriginReply::ok(&[SHARED], "x")).await;
    let fleet = EdgeFleet::start(origin.url(), 1, 2, &[]).await;
    let isolates = fleet.isolates();
    stored_everywhere(isolates, "/page").await;
    let requests = origin.requests("/page").len();
    let mut statuses = Vec::new();
    for message in 0..21 {
        let targets: Vec<String> = (0..100).map(|number| format!("{:013}", message * 100 + number)).collect();
        let sent =
            isolates[0].request(Method::POST, "/__fault/journal?path=/targets").body(targets.join("\n"));
        statuses.push(sent.send().await.unwrap().status().as_u16());
    }
    assert_eq!(statuses, [vec![200; 20], vec![429]].concat());
    let put = isolates[0].request(Method::PUT, "/other").body("x").send().await.unwrap();
    assert_eq!(put.status(), 200, "a refused invalidation does not fail the request");
    eventually("it is said that it stays local", async || {
        fleet.edge().logged("the journal has too many of them") > 0
    })
    .await;
    let since = Instant::now();
    while since.elapsed() < BOUND {
        for isolate in isolates {
            assert!(get(isolate, "/page").await.is_hit());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(origin.requests("/page").len(), requests);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_journal_that_was_cut_off_did_not_take_is_sent_again() {
    let (value, script) = shown();
    let origin = Origin::start(script).await;
    let fleet = EdgeFleet::start(origin.url(), 2, 1, &[]).await;
    let [cut, other] = fleet.isolates() else { panic!("expected two isolates") };
    stored_everywhere(fleet.isolates(), "/a").await;
    cut.set_faults("journal=cut").await;
    value.store(1, Ordering::SeqCst);
    let put = cut.request(Method::PUT, "/a").body("1").send().await.unwrap();
    assert_eq!(put.status(), 200);
    eventually("the message has failed", async || {
        fleet.edge().logged("in this data centre alone for now") > 0
    })
    .await;
    cut.set_faults("").await;
    assert_eq!(get(other, "/a").await.body, "0");
    let mended_at = Instant::now();
    while get(other, "/a").await.body == "0" {
        assert!(mended_at.elapsed() < BACKOFF + BOUND, "{:?}", mended_at.elapsed());
        get(cut, "/other").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsafe_request_does_not_wait_for_a_journal_that_is_cut_off() {
    let (value, script) = shown();
    let origin = Origin::start(script).await;
    let fleet = EdgeFleet::start(origin.url(), 1, 2, &["--var", "JOURNAL_MAX_OUTAGE_SECS:60"]).await;
    stored_everywhere(fleet.isolates(), "/a").await;
    for (isolate, faults) in fleet.isolates().iter().zip(["journal-delay=30000", "journal=cut"]) {
        isolate.set_faults(faults).await;
        let changed = value.fetch_add(1, Ordering::SeqCst) + 1;
        let since = Instant::now();
        let put = isolate.request(Method::PUT, "/a").body("1").send().await.unwrap();
        assert_eq!(put.status(), 200);
        assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
        assert_eq!(get(isolate, "/a").await.body, changed.to_string(), "its own isolate obeys at once");
    }
    eventually("it is said that it stays local", async || {
        fleet.edge().logged("an unsafe request invalidates responses in this data centre alone") > 0
    })
    .await;
}
