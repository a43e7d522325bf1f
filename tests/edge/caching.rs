//! RFC 9111 from outside: storing, reusing, selecting, validating.

use reqwest::Method;
use strata_tests::{OriginReply, eventually};

use crate::{Reply, Stack};

const SHARED: (&str, &str) = ("cache-control", "max-age=600");

pub(crate) async fn a_miss_is_stored_and_the_next_request_is_a_hit(stack: &Stack) {
    stack.origin_answers("/caching/miss", |request| OriginReply::ok(&[SHARED], format!("answer {}", request.number)));
    let first = stack.get("/caching/miss").await;
    assert!(first.edge_status().starts_with("strata-edge; fwd=uri-miss; stored"), "{}", first.edge_status());
    eventually("the response is stored", async || stack.get("/caching/miss").await.is_hit()).await;
    let second = stack.get("/caching/miss").await;
    assert!(second.is_hit() && second.body == first.body);
    assert!(second.header("age").parse::<u64>().is_ok(), "a hit has an Age");
}

pub(crate) async fn a_head_is_answered_from_a_stored_get(stack: &Stack) {
    stack.origin_answers("/caching/head", |_| OriginReply::ok(&[SHARED, ("x-kept", "1")], "body"));
    eventually("it is stored", async || stack.get("/caching/head").await.is_hit()).await;
    let requests = stack.origin_requests("/caching/head");
    let head = stack.edge.request(Method::HEAD, "/caching/head").send().await.unwrap();
    let head = Reply::read(head).await;
    assert!(head.is_hit() && head.header("x-kept") == "1" && head.body.is_empty());
    assert_eq!(stack.origin_requests("/caching/head"), requests);
}

pub(crate) async fn a_client_that_has_the_current_representation_gets_a_304(stack: &Stack) {
    stack.origin_answers("/caching/etag", |_| OriginReply::ok(&[SHARED, ("etag", "\"v1\"")], "body"));
    eventually("it is stored", async || stack.get("/caching/etag").await.is_hit()).await;
    let current = stack.get_with("/caching/etag", &[("if-none-match", "\"v0\", W/\"v1\"")]).await;
    assert_eq!((current.status, current.body.as_str(), current.header("etag")), (304, "", "\"v1\""));
    let other = stack.get_with("/caching/etag", &[("if-none-match", "\"v0\"")]).await;
    assert_eq!((other.status, other.body.as_str()), (200, "body"));
}

pub(crate) async fn variants_stay_apart(stack: &Stack) {
    stack.origin_answers("/caching/vary", |request| {
        let colour = request.headers.get("x-colour").map_or("none", |value| value.to_str().unwrap_or("odd"));
        OriginReply::ok(&[SHARED, ("vary", "X-Colour")], format!("in {colour}"))
    });
    for colour in ["red", "blue"] {
        let of = async || stack.get_with("/caching/vary", &[("x-colour", colour)]).await;
        eventually("the variant is stored", async || of().await.is_hit()).await;
    }
    for colour in ["red", "blue"] {
        let reply = stack.get_with("/caching/vary", &[("x-colour", colour)]).await;
        assert!(reply.is_hit());
        assert_eq!(reply.body, format!("in {colour}"));
    }
    let without = stack.get("/caching/vary").await;
    assert_eq!((without.is_hit(), without.body.as_str()), (false, "in none"));
}

pub(crate) async fn the_order_of_query_parameters_does_not_matter(stack: &Stack) {
    stack.origin_answers("/caching/query", |request| OriginReply::ok(&[SHARED], request.target.clone()));
    eventually("it is stored", async || stack.get("/caching/query?a=1&b=2").await.is_hit()).await;
    assert!(stack.get("/caching/query?b=2&a=1").await.is_hit());
    assert!(!stack.get("/caching/query?a=2&b=1").await.is_hit());
}

pub(crate) async fn what_must_not_be_stored_is_not(stack: &Stack) {
    let cases: [(&str, &[(&'static str, &str)]); 6] = [
        ("private", &[("cache-control", "private, max-age=600")]),
        ("no-store", &[("cache-control", "no-store, max-age=600")]),
        ("no-lifetime", &[]),
        ("vary-star", &[SHARED, ("vary", "*")]),
        ("cookie", &[SHARED, ("set-cookie", "session=1")]),
        ("zero", &[("cache-control", "max-age=0")]),
    ];
    for (name, headers) in cases {
        let reply = OriginReply::ok(headers, "x");
        let path = format!("/caching/not/{name}");
        stack.origin_answers(&path, move |_| reply.clone());
        for _ in 0..3 {
            let reply = stack.get(&path).await;
            assert!(!reply.is_hit() && !reply.edge_status().contains("stored"), "{name}: {}", reply.edge_status());
        }
        assert_eq!(stack.origin_requests(&path), 3, "{name}");
    }
}

pub(crate) async fn a_targeted_field_wins_over_cache_control(stack: &Stack) {
    let headers = [("cache-control", "public, no-cache"), ("cdn-cache-control", "max-age=600")];
    stack.origin_answers("/caching/targeted", move |_| OriginReply::ok(&headers, "x"));
    eventually("it is stored", async || stack.get("/caching/targeted").await.is_hit()).await;
    let reply = stack.get("/caching/targeted").await;
    assert_eq!(reply.header("cache-control"), "public, no-cache", "what the browser is told stays");
}
