//! QUERY, a safe method whose response depends on the content of the request (RFC 10008).

use reqwest::{Body, Method, RequestBuilder};
use strata_tests::{OriginReply, eventually};

use crate::gate::Gate;
use crate::invalidation::purge;
use crate::{Reply, SHARED, Stack};

const JSON: (&str, &str) = ("content-type", "application/json");

fn request(stack: &Stack, path: &str, fields: &[(&str, &str)], content: impl Into<Body>) -> RequestBuilder {
    let method = Method::from_bytes(b"QUERY").expect("a method");
    let request = stack.edge.request(method, path).body(content);
    fields.iter().fold(request, |request, (name, value)| request.header(*name, *value))
}

async fn query(stack: &Stack, path: &str, fields: &[(&str, &str)], content: impl Into<Body>) -> Reply {
    Reply::read(request(stack, path, fields, content).send().await.expect("the worker answers")).await
}

/// Makes the origin answer each request with another body.
fn numbered(stack: &Stack, path: &str, fields: &'static [(&'static str, &'static str)]) {
    stack.origin_answers(path, move |request| {
        OriginReply::ok(fields, format!("{} {}", request.method, request.number))
    });
}

/// Waits until the response is stored, and returns its body.
async fn stored(stack: &Stack, path: &str, fields: &[(&str, &str)], content: &'static str) -> String {
    eventually("it is stored", async || query(stack, path, fields, content).await.is_hit()).await;
    query(stack, path, fields, content).await.body
}

pub(crate) async fn a_query_is_stored_under_its_content_and_the_fields_about_it(stack: &Stack) {
    let path = "/query/content";
    numbered(stack, path, &[SHARED]);
    let own = stored(stack, path, &[JSON], "{\"q\":1}").await;
    assert!(own.starts_with("QUERY "), "{own}");
    assert_eq!(query(stack, path, &[JSON, ("x-other", "1")], "{\"q\":1}").await.body, own);
    for (fields, content) in [
        (&[JSON][..], "{\"q\":2}"),
        (&[JSON][..], "{\"q\":1} "),
        (&[JSON][..], ""),
        (&[("content-type", "text/plain")][..], "{\"q\":1}"),
        (&[JSON, ("content-encoding", "identity")][..], "{\"q\":1}"),
        (&[JSON, ("content-language", "de")][..], "{\"q\":1}"),
        (&[][..], "{\"q\":1}"),
    ] {
        let other = query(stack, path, fields, content).await;
        assert!(!other.is_hit() && other.body != own, "{fields:?} {content}: {}", other.edge_status());
    }
    let get = stack.get(path).await;
    assert!(!get.is_hit() && get.body.starts_with("GET "), "{}", get.edge_status());
    // No client reaches it by another method, or by its key.
    let key = query(stack, path, &[JSON], "{\"q\":1}").await;
    let key = key.edge_status().split("key=\"").nth(1).and_then(|key| key.strip_suffix('"')).unwrap();
    let forged = Reply::read(stack.edge.get(key.strip_prefix(stack.edge.url()).unwrap()).await).await;
    assert!(!forged.body.starts_with("QUERY "), "{}", forged.body);
}

pub(crate) async fn equal_queries_become_one_request(stack: &Stack) {
    let path = "/query/collapse";
    let gate = Gate::default();
    let answers = gate.clone();
    stack.origin_answers(path, move |request| {
        answers.pass();
        OriginReply::ok(&[SHARED], request.number.to_string())
    });
    let sent: Vec<_> = ["a", "b"]
        .repeat(8)
        .into_iter()
        .map(|content| tokio::spawn(request(stack, path, &[], content).send()))
        .collect();
    eventually("the origin is requested", async || stack.origin_requests(path) == 2).await;
    gate.open();
    for reply in sent {
        assert_eq!(reply.await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(stack.origin_requests(path), 2);
}

/// Nothing is known of the content that a guessed lifetime could be based on.
pub(crate) async fn a_query_is_stored_only_with_an_explicit_lifetime(stack: &Stack) {
    let path = "/query/heuristic";
    numbered(stack, path, &[("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")]);
    for _ in 0..3 {
        let reply = query(stack, path, &[], "x").await;
        assert!(
            !reply.is_hit() && reply.edge_status().contains("detail=no-lifetime"),
            "{}",
            reply.edge_status()
        );
    }
}

/// A body that the worker has begun to read still reaches the origin whole.
pub(crate) async fn a_long_query_bypasses_the_store_with_its_content(stack: &Stack) {
    let path = "/query/long";
    numbered(stack, path, &[SHARED]);
    let chunked = |content: &str| {
        let chunks: Vec<_> =
            content.as_bytes().chunks(9000).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect();
        Body::wrap_stream(futures_util::stream::iter(chunks))
    };
    for (length, is_stored) in [(65_536, true), (65_537, false)] {
        let content = "x".repeat(length);
        for body in [Body::from(content.clone()), chunked(&content)] {
            let reply = query(stack, path, &[], body).await;
            let is_bypass = reply.edge_status().starts_with("strata-edge; fwd=method");
            assert_eq!(is_bypass, !is_stored, "{length}: {}", reply.edge_status());
        }
        for (name, body) in [("stated", Body::from(content.clone())), ("chunked", chunked(&content))] {
            let name = format!("query-{length}-{name}");
            assert_eq!(query(stack, &format!("/uploads/{name}"), &[], body).await.status, 200);
            assert_eq!(stack.origin.uploaded(&name), content, "{name}");
        }
    }
}

pub(crate) async fn a_query_varies_is_validated_and_answers_conditions_as_a_get(stack: &Stack) {
    let path = "/query/vary";
    numbered(stack, path, &[SHARED, ("vary", "X-Colour"), ("etag", "\"v1\"")]);
    let red = stored(stack, path, &[("x-colour", "red")], "x").await;
    let blue = query(stack, path, &[("x-colour", "blue")], "x").await;
    assert!(!blue.is_hit() && blue.body != red);
    let reply = query(stack, path, &[("x-colour", "red"), ("if-none-match", "\"v1\"")], "x").await;
    assert!(reply.status == 304 && reply.is_hit(), "{}", reply.edge_status());

    let path = "/query/stale";
    let fields = [("cache-control", "max-age=1"), ("etag", "\"v1\"")];
    stack.origin_answers(path, move |request| match request.headers.get("if-none-match") {
        Some(_) if request.method == "QUERY" => OriginReply { status: 304, ..OriginReply::ok(&fields, "") },
        _ => OriginReply::ok(&fields, "first"),
    });
    assert_eq!(stored(stack, path, &[], "x").await, "first");
    eventually("it is validated", async || {
        let reply = query(stack, path, &[], "x").await;
        assert_eq!(reply.body, "first", "{}", reply.edge_status());
        reply.edge_status().contains("fwd-status=304")
    })
    .await;
}

pub(crate) async fn purges_end_stored_queries(stack: &Stack) {
    for (name, scope) in
        [("tag", "tag:query:a".to_owned()), ("path", format!("path:{}/query/purge/path", stack.edge.host()))]
    {
        let path = format!("/query/purge/{name}");
        numbered(stack, &path, &[SHARED, ("cache-tag", "query:a")]);
        let old = stored(stack, &path, &[], "x").await;
        purge(stack, &format!(r#"{{"scope":"{scope}","mode":"remove"}}"#)).await;
        eventually("it is purged", async || query(stack, &path, &[], "x").await.body != old).await;
    }
}

/// Whatever the content of the requests that they answer.
pub(crate) async fn an_unsafe_request_invalidates_all_queries_of_its_url(stack: &Stack) {
    let path = "/query/unsafe";
    numbered(stack, path, &[SHARED]);
    let (x, y) = (stored(stack, path, &[], "x").await, stored(stack, path, &[JSON], "y").await);
    let other = stored(stack, "/query/unsafe?a", &[], "x").await;
    for method in ["REPORT", "QUERY"] {
        let safe = stack.edge.request(method.parse().unwrap(), path).body("z").send().await.unwrap();
        assert_eq!(safe.status(), 200);
    }
    assert_eq!(query(stack, path, &[], "x").await.body, x, "a safe method invalidates nothing");
    assert_eq!(stack.edge.request(Method::PUT, path).body("new").send().await.unwrap().status(), 200);
    for (fields, content, old) in [(&[][..], "x", x), (&[JSON][..], "y", y)] {
        let reply = query(stack, path, fields, content).await;
        assert!(!reply.is_hit() && reply.body != old, "{}", reply.edge_status());
    }
    assert_eq!(query(stack, "/query/unsafe?a", &[], "x").await.body, other);
}

pub(crate) async fn a_rule_keeps_queries_from_the_store(stack: &Stack) {
    let path = "/rules/pass/query";
    numbered(stack, path, &[SHARED]);
    for _ in 0..2 {
        let reply = query(stack, path, &[], "x").await;
        assert!(reply.edge_status().starts_with("strata-edge; fwd=method"), "{}", reply.edge_status());
    }
    // Credentials keep the response private, as for GET.
    let path = "/query/credentials";
    numbered(stack, path, &[("cache-control", "private, max-age=600")]);
    for _ in 0..2 {
        let reply = query(stack, path, &[("cookie", "sid=1")], "x").await;
        assert!(reply.edge_status().contains("detail=private"), "{}", reply.edge_status());
    }
}
