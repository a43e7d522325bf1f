//! The store below all data centres, on a bucket of R2 and on a namespace of KV.

use reqwest::Method;
use strata_tests::{Edge, OriginReply, eventually};

use crate::{Reply, SHARED, Stack};

async fn get(edge: &Edge, path: &str) -> Reply {
    Reply::read(edge.get(path).await).await
}

/// Runs all cases with one worker, because a worker takes seconds to start.
async fn holds_responses(stack: &Stack, name: &str, config: &str) {
    let edge = Edge::start_with(stack.origin.url(), &["--wrangler", config]).await;
    // Too large for the isolate's memory.
    let (path, body) = (format!("/persistent/{name}"), "ä".repeat(50_000));
    let sent = body.clone();
    stack.origin_answers(&path, move |_| {
        OriginReply::ok(
            &[SHARED, ("etag", "\"1\""), ("cache-tag", "a, b"), ("content-language", "de")],
            &sent,
        )
    });
    eventually("it is stored", async || get(&edge, &path).await.is_hit()).await;
    let requests = stack.origin_requests(&path);
    let response = edge.get(&path).await;
    assert_eq!(
        (&response.headers()["etag"], &response.headers()["content-language"]),
        (&"\"1\"".parse().unwrap(), &"de".parse().unwrap())
    );
    let reply = Reply::read(response).await;
    assert!(reply.is_hit() && reply.body == body, "{}", reply.edge_status());
    let part = edge.request(Method::GET, &path).header("range", "bytes=0-3").send().await.unwrap();
    assert_eq!((part.status().as_u16(), part.text().await.unwrap().as_str()), (206, "ää"));
    assert_eq!(stack.origin_requests(&path), requests);

    edge.request(Method::PUT, &path).send().await.unwrap();
    assert!(!get(&edge, &path).await.is_hit(), "it was deleted");

    // Longer than what the store takes.
    let (path, body) = (format!("/persistent/{name}/long"), "x".repeat((8 << 20) + 1));
    let sent = body.clone();
    stack.origin_answers(&path, move |_| OriginReply::ok(&[SHARED], &sent));
    for requests in 1..=2 {
        let reply = get(&edge, &path).await;
        assert!(reply.body == body && !reply.is_hit(), "{}", reply.edge_status());
        assert_eq!(stack.origin_requests(&path), requests);
    }
}

pub(crate) async fn a_bucket_holds_responses_for_all_data_centres(stack: &Stack) {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/edge/forgetful-bucket.toml");
    holds_responses(stack, "bucket", config).await;
}

pub(crate) async fn a_namespace_holds_responses_for_all_data_centres(stack: &Stack) {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/edge/forgetful-namespace.toml");
    holds_responses(stack, "namespace", config).await;
}
