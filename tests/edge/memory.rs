//! Responses in the isolate's memory.

use strata_tests::{OriginReply, eventually};

use crate::invalidation::purge;
use crate::{SHARED, Stack};

async fn is_in_memory(stack: &Stack, path: &str, headers: &[(&str, &str)]) -> bool {
    let reply = stack.get_with(path, headers).await;
    reply.is_hit() && reply.edge_status().contains("; detail=memory")
}

pub(crate) async fn a_small_response_is_soon_served_from_memory(stack: &Stack) {
    let path = "/memory/small";
    stack.origin_answers(path, |_| OriginReply::ok(&[SHARED, ("etag", "\"v1\""), ("x-kept", "1")], "small"));
    eventually("it is served from memory", async || is_in_memory(stack, path, &[]).await).await;
    for _ in 0..3 {
        let reply = stack.get(path).await;
        assert_eq!(
            (reply.body.as_str(), reply.header("x-kept")),
            ("small", "1"),
            "the same bytes serve many"
        );
        assert!(reply.header("age").parse::<u64>().is_ok());
    }
    let head = stack.edge.request(reqwest::Method::HEAD, path).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], "5");
    assert_eq!(stack.get_with(path, &[("if-none-match", "\"v1\"")]).await.status, 304);
    assert_eq!(stack.origin_requests(path), 1);
}

pub(crate) async fn a_large_response_is_served_from_the_store(stack: &Stack) {
    let path = "/memory/large";
    stack.origin_answers(path, |_| OriginReply::ok(&[SHARED], "x".repeat(100_000)));
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    for _ in 0..5 {
        let reply = stack.get(path).await;
        assert!(reply.is_hit() && !reply.edge_status().contains("detail=memory"), "{}", reply.edge_status());
        assert_eq!(reply.body.len(), 100_000);
    }
}

pub(crate) async fn a_purge_removes_a_response_from_memory(stack: &Stack) {
    let path = "/memory/purged";
    stack.origin_answers(path, |_| OriginReply::ok(&[SHARED, ("cache-tag", "memory:purged")], "old"));
    eventually("it is served from memory", async || is_in_memory(stack, path, &[]).await).await;
    stack.origin_answers(path, |_| OriginReply::ok(&[SHARED, ("cache-tag", "memory:purged")], "new"));
    purge(stack, r#"{"scope":"tag:memory:purged","mode":"remove"}"#).await;
    assert_eq!(stack.get(path).await.body, "new", "the isolate that took the purge obeys it at once");
}

pub(crate) async fn memory_separates_variants(stack: &Stack) {
    let path = "/memory/vary";
    stack.origin_answers(path, |request| {
        let colour = request.headers.get("x-colour").map_or("none", |value| value.to_str().unwrap());
        OriginReply::ok(&[SHARED, ("vary", "x-colour")], colour)
    });
    for colour in ["red", "blue"] {
        eventually("it is served from memory", async || {
            is_in_memory(stack, path, &[("x-colour", colour)]).await
        })
        .await;
    }
    for colour in ["red", "blue"] {
        assert_eq!(stack.get_with(path, &[("x-colour", colour)]).await.body, colour);
    }
}
