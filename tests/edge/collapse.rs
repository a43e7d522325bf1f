//! Request collapsing (G4 at the edge): requests for a response that another request is fetching.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use strata_tests::{Edge, OriginReply, WAIT_LIMIT, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::gate::Gate;
use crate::invalidation::purge;
use crate::{Reply, SHARED, Stack};

/// The time until requests that were sent have reached the worker. If it is too short, a test
/// proves less, but does not fail.
const UNDER_WAY: Duration = Duration::from_millis(300);

pub(crate) async fn cold_misses_become_one_request(stack: &Stack) {
    let path = "/collapse/cold";
    let gate = Gate::default();
    let answers = gate.clone();
    stack.origin_answers(path, move |request| {
        answers.pass();
        OriginReply::ok(&[SHARED], format!("answer {}", request.number))
    });
    let replies = stack.get_at_once(20, path);
    eventually("the origin is requested", async || stack.origin_requests(path) > 0).await;
    tokio::time::sleep(UNDER_WAY).await;
    gate.open();
    let replies = replies.join_all().await;
    assert_eq!(stack.origin_requests(path), 1);
    assert!(replies.iter().all(|reply| reply.status == 200 && reply.body == replies[0].body));
    let collapsed: Vec<&Reply> =
        replies.iter().filter(|reply| reply.edge_status().contains("; collapsed")).collect();
    assert!(collapsed.len() >= 10, "{}", collapsed.len());
    let status = "strata-edge; fwd=uri-miss; collapsed; ttl=";
    assert!(
        collapsed.iter().all(|reply| reply.edge_status().starts_with(status)),
        "{}",
        collapsed[0].edge_status()
    );
}

pub(crate) async fn each_variant_collapses_separately(stack: &Stack) {
    let path = "/collapse/vary";
    let gate = Gate::default();
    let answers = gate.clone();
    stack.origin_answers(path, move |request| {
        answers.pass();
        let colour = request.headers.get("x-colour").map_or("none", |value| value.to_str().unwrap());
        OriginReply::ok(&[SHARED, ("vary", "x-colour")], colour)
    });
    let mut replies = JoinSet::new();
    for number in 0..12 {
        let colour = ["red", "blue"][number % 2];
        let reply = stack.edge.request(Method::GET, path).header("x-colour", colour).send();
        replies.spawn(async move { (colour, Reply::read(reply.await.unwrap()).await) });
    }
    eventually("the origin is requested", async || stack.origin_requests(path) > 0).await;
    tokio::time::sleep(UNDER_WAY).await;
    gate.open();
    for (colour, reply) in replies.join_all().await {
        assert_eq!((reply.status, reply.body.as_str()), (200, colour));
    }
    assert_eq!(stack.origin_requests(path), 2);
}

/// The origin answers only once all but the first request are with it. The same holds for a stored
/// response that must be validated before each use.
pub(crate) async fn requests_for_an_uncacheable_response_are_not_serialised(stack: &Stack) {
    for (name, fields) in [
        ("private", &[("cache-control", "private")][..]),
        ("validated", &[("cache-control", "no-cache"), ("etag", "\"v1\"")]),
        ("stale", &[("cache-control", "max-age=0"), ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")]),
    ] {
        let path = format!("/collapse/unusable/{name}");
        let (gate, all_arrived) = (Gate::default(), Gate::default());
        let (first, others) = (gate.clone(), all_arrived.clone());
        let asked = Arc::new(AtomicUsize::new(0));
        stack.origin_answers(&path, move |_| {
            match asked.fetch_add(1, Ordering::SeqCst) {
                0 => first.pass(),
                9 => others.open(),
                _ => others.pass(),
            }
            OriginReply::ok(fields, "yours")
        });
        let since = Instant::now();
        let replies = stack.get_at_once(10, &path);
        eventually("the origin is requested", async || stack.origin_requests(&path) > 0).await;
        tokio::time::sleep(UNDER_WAY).await;
        gate.open();
        for reply in replies.join_all().await {
            assert_eq!((reply.status, reply.body.as_str()), (200, "yours"), "{}", reply.edge_status());
        }
        assert_eq!(stack.origin_requests(&path), 10, "{name}");
        assert!(since.elapsed() < WAIT_LIMIT / 2, "{name}: {:?}", since.elapsed());
    }
}

pub(crate) async fn a_failing_origin_is_not_requested_per_client_if_stale_can_be_served(stack: &Stack) {
    let path = "/collapse/failing";
    stack.origin_answers(path, |_| {
        OriginReply::ok(&[("cache-control", "max-age=1, stale-if-error=600")], "old")
    });
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    stack.origin_answers(path, |_| OriginReply { status: 503, ..OriginReply::ok(&[], "down") });
    let failed = |reply: &Reply| reply.edge_status().contains("detail=stale-if-error");
    eventually("its age has passed", async || failed(&stack.get(path).await)).await;
    let requests = stack.origin_requests(path);
    for reply in stack.get_at_once(10, path).join_all().await {
        assert!(reply.body == "old" && failed(&reply), "{}", reply.edge_status());
    }
    assert!(stack.origin_requests(path) <= requests + 1, "one request may find that the backoff has ended");
    eventually("the origin is requested again", async || {
        stack.get(path).await;
        stack.origin_requests(path) > requests
    })
    .await;
}

pub(crate) async fn a_lost_leader_costs_a_bounded_time(stack: &Stack) {
    let path = "/collapse/lost";
    let gate = Gate::default();
    let never = gate.clone();
    let asked = Arc::new(AtomicUsize::new(0));
    stack.origin_answers(path, move |_| {
        if asked.fetch_add(1, Ordering::SeqCst) == 0 {
            never.pass();
        }
        OriginReply::ok(&[SHARED], "answer")
    });
    let lost = stack.get_at_once(1, path);
    eventually("the origin is requested", async || stack.origin_requests(path) > 0).await;
    drop(lost);
    let since = Instant::now();
    let reply = stack.get(path).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "answer"));
    assert!(since.elapsed() < Duration::from_secs(8), "{:?}", since.elapsed());
    gate.open();
}

pub(crate) async fn after_an_unsafe_request_no_client_gets_a_response_requested_before_it(stack: &Stack) {
    let path = "/collapse/unsafe";
    no_later_client_gets_the_old_value(stack, path, async || {
        let put = stack.edge.request(Method::PUT, path).body("new").send().await.unwrap();
        assert_eq!(put.status(), 200);
    })
    .await;
}

pub(crate) async fn after_a_purge_no_client_gets_a_response_requested_before_it(stack: &Stack) {
    no_later_client_gets_the_old_value(stack, "/collapse/purge", async || {
        purge(stack, r#"{"scope":"tag:collapse:purge","mode":"remove"}"#).await;
    })
    .await;
}

/// Runs `invalidate` while the first request is at the origin, which has read the old value.
async fn no_later_client_gets_the_old_value(stack: &Stack, path: &str, invalidate: impl AsyncFn()) {
    let gate = Gate::default();
    let old = gate.clone();
    let asked = Arc::new(AtomicUsize::new(0));
    stack.origin_answers(path, move |request| {
        let value = if request.method == "GET" && asked.fetch_add(1, Ordering::SeqCst) == 0 {
            old.pass();
            "old"
        } else {
            "new"
        };
        OriginReply::ok(&[SHARED, ("cache-tag", "collapse:purge")], value)
    });
    let first = stack.get_at_once(1, path);
    eventually("the origin is requested", async || stack.origin_requests(path) > 0).await;
    invalidate().await;
    let later = stack.get_at_once(5, path);
    tokio::time::sleep(UNDER_WAY).await;
    gate.open();
    assert!(
        first.join_all().await.iter().all(|reply| reply.body == "old"),
        "the first request began before the invalidation"
    );
    for reply in later.join_all().await {
        assert_eq!(reply.body, "new", "{}", reply.edge_status());
    }
    for _ in 0..20 {
        let reply = stack.get(path).await;
        assert_eq!(reply.body, "new", "{}", reply.edge_status());
    }
}

pub(crate) async fn a_body_streams_to_the_first_client_while_it_is_stored(stack: &Stack) {
    let path = "/collapse/stream";
    stack.origin_answers(path, |_| OriginReply::ok(&[SHARED], "one,"));
    let rest = stack.origin.body_goes_on(path);
    let mut first = stack.edge.get(path).await;
    assert_eq!(
        first.chunk().await.unwrap().as_deref(),
        Some(&b"one,"[..]),
        "the beginning arrives before the origin sends the rest"
    );
    let follower = stack.get_at_once(1, path);
    rest.send(Ok("two".into())).unwrap();
    drop(rest);
    assert_eq!(first.text().await.unwrap(), "two");
    assert!(follower.join_all().await.iter().all(|reply| reply.body == "one,two"));
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    assert_eq!(stack.get(path).await.body, "one,two");
    assert_eq!(stack.origin_requests(path), 1);
}

/// The origin takes longer than a leader is waited for.
pub(crate) async fn a_response_that_is_stored_while_others_wait_answers_them_at_once(stack: &Stack) {
    let path = "/collapse/slow";
    stack.origin_answers(path, |_| {
        tokio::task::block_in_place(|| std::thread::sleep(Duration::from_millis(5500)));
        OriginReply::ok(&[SHARED], "answer")
    });
    let since = Instant::now();
    for reply in stack.get_at_once(4, path).join_all().await {
        assert_eq!((reply.status, reply.body.as_str()), (200, "answer"), "{}", reply.edge_status());
    }
    assert!(since.elapsed() < Duration::from_millis(8500), "{:?}", since.elapsed());
    assert!(stack.origin_requests(path) <= 2, "{}", stack.origin_requests(path));
}

/// A waiter that finds no stored response sends a request of its own, with all others.
pub(crate) async fn an_origin_that_breaks_off_releases_all_waiters(_: &Stack) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(break_off(connection));
        }
    });
    let edge = Edge::start_with(&url, &[]).await;
    for (path, expected) in [("/reset", 504), ("/odd-status", 502)] {
        let since = Instant::now();
        let replies: JoinSet<Reply> = (0..6)
            .map(|_| edge.request(Method::GET, path).send())
            .map(async |reply| Reply::read(reply.await.expect("the worker answers")).await)
            .collect();
        for reply in replies.join_all().await {
            assert_eq!(reply.status, expected, "{path}: {}", reply.edge_status());
        }
        // Two rounds: the first request, then all others at once.
        assert!(since.elapsed() < Duration::from_millis(3800), "{path}: {:?}", since.elapsed());
    }
}

/// Reads a request, and a second later closes the connection or sends a status that cannot be
/// passed on.
async fn break_off(mut connection: TcpStream) {
    let mut request = [0; 4096];
    let length = connection.read(&mut request).await.unwrap_or_default();
    tokio::time::sleep(Duration::from_secs(1)).await;
    if request[..length].starts_with(b"GET /odd-status") {
        let _ =
            connection.write_all(b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    }
}
