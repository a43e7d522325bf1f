//! Stale responses: RFC 5861 and RFC 9111, 4.2.4.

use strata_tests::{OriginReply, eventually};

use crate::Stack;

fn counting(lifetime: &'static str) -> impl Fn(&strata_tests::OriginRequest) -> OriginReply {
    move |request| OriginReply::ok(&[("cache-control", lifetime)], format!("answer {}", request.number))
}

pub(crate) async fn stale_is_served_while_it_is_revalidated_and_then_the_new(stack: &Stack) {
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
    eventually("the new one is in", async || {
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
