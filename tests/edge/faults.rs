//! Failures of the platform's parts: the origin answers all the same.

use std::time::{Duration, Instant};

use strata_tests::{Edge, OriginReply, eventually};

use crate::gate::Gate;
use crate::{Reply, SHARED, Stack, entry};

/// A rule with a name, for the index of data points.
const RULES: &str = r#"RULES:[{"name": "named", "path": "/faults/points/**", "lifetime": {"fresh": 600}}]"#;

/// Runs all cases with one worker, because a worker takes seconds to start.
pub(crate) async fn the_origin_answers_if_a_part_of_the_platform_fails(stack: &Stack) {
    let edge = entry::start(stack.origin.url(), include_str!("faulty.mjs"), &[RULES]).await;
    a_broken_cache(stack, &edge).await;
    a_cache_that_does_not_answer(stack, &edge).await;
    an_unreadable_entry(stack, &edge).await;
    a_broken_journal(stack, &edge).await;
    a_hit_in_memory_calls_nothing(stack, &edge).await;
    a_lease_that_another_isolate_holds(stack, &edge).await;
    a_lease_of_its_own(stack, &edge).await;
    data_points(stack, &edge).await;
    a_panic(stack, &edge).await;
}

async fn get(edge: &Edge, path: &str) -> Reply {
    Reply::read(edge.get(path).await).await
}

async fn a_broken_cache(stack: &Stack, edge: &Edge) {
    let path = "/faults/cache";
    // Too large for the isolate's memory.
    stack.origin_answers(path, |_| OriginReply::ok(&[SHARED], "x".repeat(100_000)));
    eventually("it is stored", async || get(edge, path).await.is_hit()).await;
    let requests = stack.origin_requests(path);
    get(edge, "/__fault/break?what=cache").await;
    for number in 1..=3 {
        let reply = get(edge, path).await;
        assert_eq!((reply.status, reply.body.len()), (200, 100_000), "{}", reply.edge_status());
        assert_eq!(stack.origin_requests(path), requests + number);
    }
    let put = edge.request(reqwest::Method::PUT, path).send().await.unwrap();
    assert_eq!(put.status(), 200, "a failed invalidation does not fail the request");
    get(edge, "/__fault/mend?what=cache").await;
    eventually("it recovers", async || get(edge, path).await.is_hit()).await;
}

async fn a_cache_that_does_not_answer(stack: &Stack, edge: &Edge) {
    let path = "/faults/silent";
    // Too large for the isolate's memory.
    stack.origin_answers(path, |_| OriginReply::ok(&[SHARED], "x".repeat(100_000)));
    eventually("it is stored", async || get(edge, path).await.is_hit()).await;
    for what in ["silent", "body"] {
        get(edge, &format!("/__fault/break?what={what}")).await;
        let part = edge.request(reqwest::Method::GET, path).header("range", "bytes=0-4").send();
        let reply = Reply::read(part.await.unwrap()).await;
        assert_eq!(
            (reply.status, reply.body.contains("xxxxx"), reply.is_hit()),
            (200, true, false),
            "{what}"
        );
        let put = edge.request(reqwest::Method::PUT, path).send().await.unwrap();
        assert_eq!(put.status(), 200, "{what}: a slow invalidation does not delay the request");
        get(edge, &format!("/__fault/mend?what={what}")).await;
    }
    eventually("it recovers", async || get(edge, path).await.is_hit()).await;
}

/// An entry of another version of the worker, for example.
async fn an_unreadable_entry(stack: &Stack, edge: &Edge) {
    let path = "/faults/garbage";
    stack.origin_answers(path, |_| OriginReply::ok(&[SHARED], "x"));
    let key = format!("{}{path}", edge.url());
    get(edge, &format!("/__fault/plant?what={key}")).await;
    assert_eq!(get(edge, &format!("/__fault/holds?what={key}")).await.body, "true");
    let reply = get(edge, path).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "x"));
    assert!(reply.edge_status().starts_with("strata-edge; fwd=uri-miss"), "{}", reply.edge_status());
    eventually("it is replaced", async || get(edge, path).await.is_hit()).await;
}

async fn a_broken_journal(stack: &Stack, edge: &Edge) {
    let path = "/faults/journal";
    stack.origin_answers(path, |_| OriginReply::ok(&[SHARED], "x"));
    eventually("it is stored", async || get(edge, path).await.is_hit()).await;
    get(edge, "/__fault/break?what=journal").await;
    eventually("no stored response is served without a recent snapshot", async || {
        let reply = get(edge, path).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "x"));
        reply.edge_status().contains("detail=journal-unreachable")
    })
    .await;
    get(edge, "/__fault/mend?what=journal").await;
    eventually("it recovers", async || get(edge, path).await.is_hit()).await;
}

async fn a_lease_that_another_isolate_holds(stack: &Stack, edge: &Edge) {
    let path = "/faults/lease";
    stack.origin_answers(path, |request| {
        OriginReply::ok(
            &[("cache-control", "max-age=1, stale-while-revalidate=600")],
            format!("answer {}", request.number),
        )
    });
    eventually("it is stored", async || get(edge, path).await.is_hit()).await;
    let key = format!("{}{path}?__strata_lease", edge.url());
    get(edge, &format!("/__fault/plant?what={key}")).await;
    let requests = stack.origin_requests(path);
    eventually("it is stale", async || {
        get(edge, path).await.edge_status().contains("stale-while-revalidate")
    })
    .await;
    for _ in 0..20 {
        assert!(get(edge, path).await.edge_status().contains("stale-while-revalidate"));
    }
    assert_eq!(stack.origin_requests(path), requests, "the holder of the lease refreshes it");
}

/// The lease is held during the refresh, and for some seconds after a refresh without a result.
async fn a_lease_of_its_own(stack: &Stack, edge: &Edge) {
    const STALE: [(&str, &str); 1] = [("cache-control", "max-age=1, stale-while-revalidate=600")];
    let path = "/faults/own-lease";
    let lease = format!("/__fault/holds?what={}{path}?__strata_lease", edge.url());
    let is_held = async || get(edge, &lease).await.body == "true";
    stack.origin_answers(path, |_| OriginReply::ok(&STALE, "old"));
    eventually("it is stored", async || get(edge, path).await.is_hit()).await;
    assert!(!is_held().await);
    for status in [503, 200] {
        let (gate, requests) = (Gate::default(), stack.origin_requests(path));
        let closed = gate.clone();
        stack.origin_answers(path, move |_| {
            closed.pass();
            OriginReply { status, ..OriginReply::ok(&[SHARED], "new") }
        });
        eventually("a refresh has begun", async || {
            get(edge, path).await;
            stack.origin_requests(path) > requests
        })
        .await;
        assert!(is_held().await);
        let answered = Instant::now();
        gate.open();
        if status == 503 {
            eventually("two seconds have passed", async || {
                assert!(is_held().await, "{:?}", answered.elapsed());
                answered.elapsed() > Duration::from_secs(2)
            })
            .await;
        }
        eventually("it is released", async || !is_held().await).await;
        assert!(
            answered.elapsed() < Duration::from_secs(12),
            "the lease was not renewed for the whole timeout"
        );
    }
    assert_eq!(get(edge, path).await.body, "new");
}

async fn a_hit_in_memory_calls_nothing(stack: &Stack, edge: &Edge) {
    let path = "/faults/calls";
    stack.origin_answers(path, |_| OriginReply::ok(&[SHARED, ("etag", "\"v1\"")], "small"));
    let calls = async || get(edge, "/__fault/calls").await.body;
    // Memory is trusted for a while, then the Cache API is read again. Of several attempts, one
    // reads memory only.
    eventually("hits in memory make no call of the Cache API", async || {
        let before = calls().await;
        let mut all_from_memory = true;
        for _ in 0..5 {
            all_from_memory &= get(edge, path).await.edge_status().contains("; detail=memory");
        }
        let after = calls().await;
        assert!(!all_from_memory || before == after, "{before} {after}");
        all_from_memory
    })
    .await;
    stack.origin_answers("/faults/large", |_| OriginReply::ok(&[SHARED], "x".repeat(100_000)));
    eventually("it is stored", async || get(edge, "/faults/large").await.is_hit()).await;
    let before = calls().await;
    get(edge, "/faults/large").await;
    assert_ne!(before, calls().await, "calls of the Cache API are counted");
    let before = reads(&calls().await);
    assert!(get(edge, "/faults/large").await.is_hit());
    assert_eq!(reads(&calls().await), before + 1, "a hit in the Cache API makes one call of it");
}

/// Returns the number of reads among the counted calls of the Cache API.
fn reads(calls: &str) -> u64 {
    let (_, rest) = calls.split_once("\"match\":").expect("the number of reads");
    rest.split(',').next().and_then(|number| number.parse().ok()).expect("a number")
}

async fn data_points(stack: &Stack, edge: &Edge) {
    let path = "/faults/points/not-stored";
    stack.origin_answers(path, |_| OriginReply::ok(&[("cache-control", "no-store")], "12345"));
    get(edge, path).await;
    stack.origin_answers("/faults/points/stored", |_| OriginReply::ok(&[SHARED], "1234567"));
    eventually("a hit", async || get(edge, "/faults/points/stored").await.is_hit()).await;
    let points = get(edge, "/__fault/points").await.body;
    assert!(points.contains(r#"{"indexes":["named"],"blobs":["origin","GET"],"doubles":[5,"#), "{points}");
    assert!(points.contains(r#"{"indexes":["named"],"blobs":["edge","GET"],"doubles":[7,"#), "{points}");
    get(edge, "/__fault/break?what=analytics").await;
    assert_eq!(get(edge, path).await.body, "12345", "a dataset that fails costs the point alone");
}

/// The panic hook sets a flag, by which the next request begins with a new wasm instance.
async fn a_panic(stack: &Stack, edge: &Edge) {
    let path = "/faults/panic";
    stack.origin_answers(path, |_| OriginReply::ok(&[SHARED], "x"));
    eventually("it is stored", async || get(edge, path).await.is_hit()).await;
    let before = get(edge, "/__fault/instance").await.body;
    get(edge, "/__fault/panic").await;
    let reply = get(edge, path).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "x"));
    assert_ne!(get(edge, "/__fault/instance").await.body, before, "the instance was replaced");
    // The new instance has no snapshot of the journal. It reads one from the object, whose Rust
    // side is replaced too.
    eventually("stored responses are served again", async || get(edge, path).await.is_hit()).await;
}
