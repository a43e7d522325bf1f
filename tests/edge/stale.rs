//! Stale responses (RFC 5861, and RFC 9111 section 4.2.4).

use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use strata_tests::{OriginReply, WAIT_LIMIT, eventually};

use crate::Stack;
use crate::gate::Gate;
use crate::invalidation::purge;

fn counting(lifetime: &'static str) -> impl Fn(&strata_tests::OriginRequest) -> OriginReply {
    move |request| OriginReply::ok(&[("cache-control", lifetime)], format!("answer {}", request.number))
}

pub(crate) async fn a_stale_response_is_served_during_its_revalidation(stack: &Stack) {
    let path = "/stale/swr";
    stack.origin_answers(path, counting("max-age=1, stale-while-revalidate=600"));
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    let old = stack.get(path).await.body;
    eventually("its age has passed", async || {
        let reply = stack.get(path).await;
        let is_stale = reply.edge_status().contains("detail=stale-while-revalidate");
        assert!(!is_stale || reply.body == old, "stale means the old body");
        is_stale
    })
    .await;
    eventually("the new response is served", async || {
        let reply = stack.get(path).await;
        reply.body != old && reply.is_hit()
    })
    .await;
}

pub(crate) async fn stale_is_served_if_the_origin_fails(stack: &Stack) {
    let path = "/stale/error";
    stack.origin_answers(path, counting("max-age=1, stale-if-error=600"));
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    let old = stack.get(path).await.body;
    stack.origin_answers(path, |_| OriginReply { status: 503, headers: vec![], body: "down".into() });
    eventually("its age has passed", async || {
        let reply = stack.get(path).await;
        assert_eq!((reply.status, &reply.body), (200, &old), "the failure is never seen");
        reply.edge_status().contains("detail=stale-if-error")
    })
    .await;
}

pub(crate) async fn without_a_window_stale_is_not_served(stack: &Stack) {
    let path = "/stale/none";
    stack.origin_answers(path, counting("max-age=1"));
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    stack.origin_answers(path, |_| OriginReply { status: 503, headers: vec![], body: "down".into() });
    eventually("its age has passed", async || stack.get(path).await.status == 503).await;
}

/// The origin either validates the old response after the purge, because it lags behind the
/// journal, or fails.
pub(crate) async fn a_purge_during_a_validation_is_obeyed(stack: &Stack) {
    for (path, tag, status) in
        [("/stale/meanwhile/304", "late:304", 304), ("/stale/meanwhile/503", "late:503", 503)]
    {
        let headers = vec![
            ("cdn-cache-control", "max-age=1, stale-if-error=600".to_owned()),
            ("cache-tag", tag.to_owned()),
            ("etag", "\"old\"".to_owned()),
        ];
        let old = OriginReply { status: 200, headers, body: "old".into() };
        let first = old.clone();
        stack.origin_answers(path, move |_| first.clone());
        eventually("it is stored", async || stack.get(path).await.is_hit()).await;

        let (asked, was_asked) = mpsc::channel();
        let (purged, was_purged) = mpsc::channel();
        let (asked, was_purged) = (Mutex::new(asked), Mutex::new(was_purged));
        stack.origin_answers(path, move |request| {
            if !request.headers.contains_key("if-none-match") {
                return OriginReply {
                    body: "new".into(),
                    ..OriginReply::ok(&[("cache-control", "no-store")], "")
                };
            }
            asked.lock().unwrap().send(()).unwrap();
            // The purge passes through the same runtime at this time.
            tokio::task::block_in_place(|| was_purged.lock().unwrap().recv_timeout(WAIT_LIMIT)).unwrap();
            OriginReply { status, headers: vec![], body: String::new() }
        });
        let purge_once_asked = async {
            eventually("the stored response is validated", async || was_asked.try_recv().is_ok()).await;
            purge(stack, &format!(r#"{{"scope":"tag:{tag}","mode":"remove"}}"#)).await;
            purged.send(()).unwrap();
        };
        let get_until_asked = async {
            loop {
                let reply = stack.get(path).await;
                if !reply.is_hit() || reply.edge_status().contains("stale-if-error") {
                    return reply;
                }
            }
        };
        let (reply, ()) = tokio::join!(get_until_asked, purge_once_asked);
        assert_ne!(reply.body, "old", "{status}: {}", reply.edge_status());
        assert_eq!(reply.status, if status == 304 { 200 } else { status });
    }
}

pub(crate) async fn a_response_for_one_client_does_not_remove_a_stale_one(stack: &Stack) {
    let path = "/stale/forbidden";
    stack.origin_answers(path, counting("max-age=1, stale-while-revalidate=600"));
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    let old = stack.get(path).await.body;
    for status in [403, 429] {
        let headers = vec![("cache-control", "no-store".to_owned())];
        stack.origin_answers(path, move |_| OriginReply {
            status,
            headers: headers.clone(),
            body: "not you".into(),
        });
        let requests = stack.origin_requests(path);
        eventually("it was refreshed twice without a result", async || {
            let reply = stack.get(path).await;
            assert_eq!((reply.status, &reply.body), (200, &old), "{}", reply.edge_status());
            stack.origin_requests(path) >= requests + 2
        })
        .await;
    }
}

pub(crate) async fn a_failing_origin_is_not_requested_per_stale_hit(stack: &Stack) {
    let path = "/stale/failing";
    stack.origin_answers(path, counting("max-age=1, stale-while-revalidate=600"));
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    let (old, requests) = (stack.get(path).await.body, stack.origin_requests(path));
    stack.origin_answers(path, |_| OriginReply { status: 503, ..OriginReply::ok(&[], "down") });
    eventually("a refresh has failed", async || {
        stack.get(path).await;
        stack.origin_requests(path) > requests
    })
    .await;
    let since = Instant::now();
    for _ in 0..50 {
        assert_eq!(stack.get(path).await.body, old);
    }
    // A refresh is retried at most every 5 s, and once more by a hit before the lease was renewed.
    let asked = stack.origin_requests(path) - requests;
    assert!(asked as u64 <= 2 + since.elapsed().as_secs() / 5, "{asked} in {:?}", since.elapsed());
    stack.origin_answers(path, counting("max-age=600"));
    eventually("the origin is requested again", async || stack.get(path).await.body != old).await;
}

/// The worker of these tests has an `ORIGIN_TIMEOUT_SECS` of 5.
pub(crate) async fn stale_is_served_if_the_origin_takes_too_long(stack: &Stack) {
    let path = "/stale/slow";
    stack.origin_answers(path, counting("max-age=1, stale-if-error=600"));
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    let old = stack.get(path).await.body;
    let gate = Gate::default();
    let closed = gate.clone();
    stack.origin_answers(path, move |_| {
        closed.pass();
        OriginReply::ok(&[], "too late")
    });
    let since = Instant::now();
    eventually("its age has passed", async || {
        let reply = stack.get(path).await;
        assert_eq!((reply.status, &reply.body), (200, &old), "{}", reply.edge_status());
        reply.edge_status().starts_with("strata-edge; fwd=stale; ttl=")
            && reply.edge_status().contains("stale-if-error")
    })
    .await;
    assert!(since.elapsed() < Duration::from_secs(12), "{:?}", since.elapsed());
    gate.open();
}

pub(crate) async fn many_stale_hits_start_one_refresh(stack: &Stack) {
    let path = "/stale/one-refresh";
    stack.origin_answers(path, counting("max-age=1, stale-while-revalidate=600"));
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    let requests = stack.origin_requests(path);
    let gate = Gate::default();
    let closed = gate.clone();
    stack.origin_answers(path, move |_| {
        closed.pass();
        OriginReply::ok(&[("cache-control", "max-age=600")], "new")
    });
    eventually("a refresh has begun", async || {
        stack.get(path).await;
        stack.origin_requests(path) > requests
    })
    .await;
    for reply in stack.get_at_once(20, path).join_all().await {
        assert!(reply.edge_status().contains("stale-while-revalidate"), "{}", reply.edge_status());
    }
    assert_eq!(stack.origin_requests(path), requests + 1);
    gate.open();
    eventually("the new response is served", async || stack.get(path).await.body == "new").await;
    assert_eq!(stack.origin_requests(path), requests + 1);
}

/// The runtime would end the refresh after 30 s, in any state.
pub(crate) async fn a_refresh_times_out_and_another_begins(stack: &Stack) {
    let path = "/stale/held-up";
    stack.origin_answers(path, counting("max-age=1, stale-while-revalidate=600"));
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    let (old, requests) = (stack.get(path).await.body, stack.origin_requests(path));
    let endless = stack.origin.body_goes_on(path);
    eventually("a refresh has begun", async || {
        assert_eq!(stack.get(path).await.body, old);
        stack.origin_requests(path) > requests
    })
    .await;
    tokio::time::timeout(2 * WAIT_LIMIT, endless.closed()).await.expect("the origin's connection is closed");
    eventually("the refresh timed out before the runtime ended it", async || {
        stack.edge.logged("not refreshed: expected an answer within 25 s") > 0
    })
    .await;
    eventually("another refresh stores the new response", async || stack.get(path).await.body != old).await;
}

/// Most frameworks send `s-maxage` with a window. RFC 9111 lets `s-maxage` forbid stale responses,
/// but an origin that declares a window wants them.
pub(crate) async fn a_window_beside_s_maxage_is_obeyed(stack: &Stack) {
    let path = "/stale/s-maxage";
    stack.origin_answers(path, counting("s-maxage=1, stale-while-revalidate=600"));
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    let old = stack.get(path).await.body;
    eventually("it is served stale", async || {
        let reply = stack.get(path).await;
        assert!(reply.is_hit(), "{}", reply.edge_status());
        reply.edge_status().contains("detail=stale-while-revalidate")
    })
    .await;
    eventually("and refreshed", async || stack.get(path).await.body != old).await;
    let path = "/stale/s-maxage/error";
    stack.origin_answers(path, counting("s-maxage=1, stale-if-error=600"));
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    stack.origin_answers(path, |_| OriginReply { status: 503, ..OriginReply::ok(&[], "down") });
    eventually("its age has passed", async || {
        let reply = stack.get(path).await;
        assert_eq!(reply.status, 200, "{}", reply.edge_status());
        reply.edge_status().contains("detail=stale-if-error")
    })
    .await;
}

/// Directives that forbid, and the rule that keeps the RFC's strict reading of `s-maxage`.
pub(crate) async fn a_refused_window_is_reported(stack: &Stack) {
    for (path, directive) in [
        ("/stale/refused/must", "must-revalidate, max-age=1"),
        ("/stale/refused/proxy", "proxy-revalidate, s-maxage=1"),
        ("/rules/strict", "s-maxage=1"),
    ] {
        let control = format!("{directive}, stale-while-revalidate=600, stale-if-error=600");
        stack.origin_answers(path, move |_| OriginReply::ok(&[("cache-control", &control)], "x"));
        eventually("it is stored", async || stack.get(path).await.is_hit()).await;
        eventually("its age has passed", async || {
            let reply = stack.get(path).await;
            assert!(!reply.edge_status().contains("detail=stale"), "{path}: {}", reply.edge_status());
            reply
                .edge_status()
                .starts_with("strata-edge; fwd=stale; fwd-status=200; stored; ttl=1; detail=window-refused")
        })
        .await;
    }
}
