//! Refills after a purge that asks for it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Method;
use strata_tests::{EdgeFleet, Isolate, Origin, OriginReply, OriginRequest};

use crate::{SHARED, get, stored_everywhere};

const ALL_WITH_REFILL: &str =
    r#"{"scope":"all","mode":"remove"},{"scope":"tag:__strata_refill","mode":"remove"}"#;

/// How long the origin takes for a page.
const ANSWER_TIME: Duration = Duration::from_millis(100);

/// An origin of pages below `/p/` that notes when each is requested, and how many at once.
struct Pages {
    origin: Origin,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    requests: Mutex<Vec<(Instant, OriginRequest)>>,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    fails: AtomicBool,
}

impl Pages {
    async fn start(fields: &'static [(&'static str, &'static str)]) -> Self {
        let log = Arc::new(Log::default());
        let shared = Arc::clone(&log);
        let origin = Origin::start(move |request| {
            if !request.target.starts_with("/p/") {
                return OriginReply::ok(&[("cache-control", "no-store")], "");
            }
            let at_once = shared.at_once.fetch_add(1, Ordering::SeqCst) + 1;
            shared.most_at_once.fetch_max(at_once, Ordering::SeqCst);
            shared.requests().push((Instant::now(), request.clone()));
            tokio::task::block_in_place(|| std::thread::sleep(ANSWER_TIME));
            shared.at_once.fetch_sub(1, Ordering::SeqCst);
            let status = if shared.fails.load(Ordering::SeqCst) { 503 } else { 200 };
            OriginReply { status, ..OriginReply::ok(fields, request.target.clone()) }
        })
        .await;
        Self { origin, log }
    }

    /// Forgets the requests so far.
    fn reset(&self) {
        self.log.requests().clear();
        self.log.most_at_once.store(0, Ordering::SeqCst);
    }

    fn targets(&self) -> Vec<String> {
        self.log.requests().iter().map(|(_, request)| request.target.clone()).collect()
    }
}

impl Log {
    fn requests(&self) -> std::sync::MutexGuard<'_, Vec<(Instant, OriginRequest)>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the page with this number `requests` times popular, by hits.
async fn make_popular(isolates: &[Isolate], path: &str, requests: usize) {
    stored_everywhere(isolates, path).await;
    for isolate in isolates {
        for _ in 1..requests {
            assert!(get(isolate, path).await.is_hit());
        }
    }
}

/// Sends requests for another page, since an isolate works only beside requests.
async fn drive(isolates: &[Isolate], time: Duration, is_done: impl Fn() -> bool) {
    let since = Instant::now();
    while since.elapsed() < time && !is_done() {
        for isolate in isolates {
            get(isolate, "/other").await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_most_requested_pages_are_fetched_first_one_at_a_time_and_at_a_distance() {
    let pages = Pages::start(&[SHARED]).await;
    let fleet = EdgeFleet::start(pages.origin.url(), 1, 1, &["--var", "REFILL_PER_SECOND:2"]).await;
    let isolates = fleet.isolates();
    for (path, requests) in [("/p/c", 3), ("/p/a", 9), ("/p/d", 2), ("/p/b", 6)] {
        make_popular(isolates, path, requests).await;
    }
    get(&isolates[0], "/p/requested-once").await;
    pages.reset();
    fleet.purge(ALL_WITH_REFILL).await;
    drive(isolates, Duration::from_secs(20), || pages.targets().len() >= 4).await;
    drive(isolates, Duration::from_secs(2), || false).await;
    assert_eq!(pages.targets(), ["/p/a", "/p/b", "/p/c", "/p/d"]);
    assert_eq!(pages.log.most_at_once.load(Ordering::SeqCst), 1);
    let times: Vec<Instant> = pages.log.requests().iter().map(|(at, _)| *at).collect();
    for pair in times.windows(2) {
        assert!(pair[1] - pair[0] > Duration::from_millis(400), "{:?}", pair[1] - pair[0]);
    }
    for path in ["/p/a", "/p/b", "/p/c", "/p/d"] {
        assert!(get(&isolates[0], path).await.is_hit(), "{path}");
    }
    assert_eq!(pages.targets().len(), 4, "clients find what the refill has stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_fetched_again_unless_the_purge_and_the_deployment_ask_for_it() {
    for (variable, records) in [
        ("REFILL_PER_SECOND:5", r#"{"scope":"all","mode":"remove"}"#),
        (
            "REFILL_PER_SECOND:5",
            r#"{"scope":"tag:other","mode":"remove"},{"scope":"tag:__strata_refill","mode":"remove"}"#,
        ),
        ("REFILL_PER_SECOND:0", ALL_WITH_REFILL),
    ] {
        let pages = Pages::start(&[SHARED]).await;
        let fleet = EdgeFleet::start(pages.origin.url(), 1, 1, &["--var", variable]).await;
        make_popular(fleet.isolates(), "/p/a", 9).await;
        pages.reset();
        fleet.purge(records).await;
        drive(fleet.isolates(), Duration::from_secs(8), || false).await;
        assert_eq!(pages.targets(), [""; 0], "{variable} {records}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refill_pauses_while_the_origin_fails() {
    let pages = Pages::start(&[SHARED]).await;
    let fleet = EdgeFleet::start(pages.origin.url(), 1, 1, &["--var", "REFILL_PER_SECOND:100"]).await;
    for path in ["/p/a", "/p/b", "/p/c", "/p/d", "/p/e"] {
        make_popular(fleet.isolates(), path, 3).await;
    }
    pages.log.fails.store(true, Ordering::SeqCst);
    pages.reset();
    fleet.purge(ALL_WITH_REFILL).await;
    drive(fleet.isolates(), Duration::from_secs(10), || !pages.targets().is_empty()).await;
    drive(fleet.isolates(), Duration::from_secs(4), || false).await;
    assert_eq!(pages.targets().len(), 1, "{:?}", pages.targets());
    pages.log.fails.store(false, Ordering::SeqCst);
    drive(fleet.isolates(), Duration::from_secs(15), || pages.targets().len() >= 5).await;
    assert_eq!(pages.targets().len(), 5, "it goes on: {:?}", pages.targets());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_isolates_of_a_data_centre_one_fetches_each_page() {
    let pages = Pages::start(&[SHARED]).await;
    let fleet = EdgeFleet::start(pages.origin.url(), 1, 3, &["--var", "REFILL_PER_SECOND:5"]).await;
    let paths = ["/p/a", "/p/b", "/p/c", "/p/d", "/p/e", "/p/f"];
    for path in paths {
        make_popular(fleet.isolates(), path, 3).await;
    }
    pages.reset();
    fleet.purge(ALL_WITH_REFILL).await;
    drive(fleet.isolates(), Duration::from_secs(20), || pages.targets().len() >= paths.len()).await;
    // The others take their turn, and find everything stored.
    drive(fleet.isolates(), Duration::from_secs(10), || false).await;
    let mut targets = pages.targets();
    targets.sort();
    assert_eq!(targets, paths);
    assert_eq!(pages.log.most_at_once.load(Ordering::SeqCst), 1);
    for isolate in fleet.isolates() {
        for path in paths {
            assert!(get(isolate, path).await.is_hit(), "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refill_has_nothing_of_a_client_but_what_the_response_was_negotiated_by() {
    let pages = Pages::start(&[SHARED, ("vary", "accept-language")]).await;
    let fleet = EdgeFleet::start(pages.origin.url(), 1, 1, &["--var", "REFILL_PER_SECOND:5"]).await;
    let isolate = &fleet.isolates()[0];
    let request = async |path: &str, fields: &[(&str, &str)]| {
        let request = isolate.request(Method::GET, path).header("accept-language", "de");
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        crate::Reply::read(request.send().await.unwrap()).await
    };
    let personal =
        [("referer", "http://site.test/secret"), ("x-other", "1"), ("x-forwarded-for", "192.0.2.1")];
    for _ in 0..5 {
        request("/p/plain", &personal).await;
        request("/p/cookie", &[("cookie", "session=1")]).await;
        request("/p/authorized", &[("authorization", "Basic eA==")]).await;
        request("/p/%61spelled", &[]).await;
        request("/p/range", &[("range", "bytes=0-1")]).await;
    }
    assert!(
        request("/p/plain", &[]).await.is_hit()
            && request("/p/cookie", &[("cookie", "session=1")]).await.is_hit()
    );
    pages.reset();
    fleet.purge(ALL_WITH_REFILL).await;
    drive(fleet.isolates(), Duration::from_secs(15), || !pages.targets().is_empty()).await;
    drive(fleet.isolates(), Duration::from_secs(3), || false).await;
    assert_eq!(pages.targets(), ["/p/plain"]);
    let refilled = pages.log.requests()[0].1.headers.clone();
    assert_eq!(refilled.get("accept-language").unwrap(), "de");
    for name in ["referer", "x-other", "x-forwarded-for", "cookie", "authorization"] {
        assert!(!refilled.contains_key(name), "{name}");
    }
    assert!(request("/p/plain", &[]).await.is_hit());
}

/// As after a client's first request: what must not be stored is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_refill_stores_nothing_that_must_not_be_stored() {
    let is_private = Arc::new(AtomicBool::new(false));
    let private = Arc::clone(&is_private);
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let origin = Origin::start(move |request| {
        if request.target == "/other" {
            return OriginReply::ok(&[("cache-control", "no-store")], "");
        }
        let number = counted.fetch_add(1, Ordering::SeqCst);
        let field =
            if private.load(Ordering::SeqCst) { ("cache-control", "private, max-age=600") } else { SHARED };
        OriginReply::ok(&[field], number.to_string())
    })
    .await;
    let fleet = EdgeFleet::start(origin.url(), 1, 1, &[]).await;
    make_popular(fleet.isolates(), "/p/a", 5).await;
    is_private.store(true, Ordering::SeqCst);
    let before = requests.load(Ordering::SeqCst);
    fleet.purge(ALL_WITH_REFILL).await;
    drive(fleet.isolates(), Duration::from_secs(15), || requests.load(Ordering::SeqCst) > before).await;
    drive(fleet.isolates(), Duration::from_secs(1), || false).await;
    let refilled = requests.load(Ordering::SeqCst);
    assert_eq!(refilled, before + 1);
    assert_eq!(get(&fleet.isolates()[0], "/p/a").await.body, refilled.to_string());
}
