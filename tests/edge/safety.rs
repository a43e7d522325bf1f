//! G8 from outside: nothing that a client or a stranger sends poisons, forges or breaks.

use std::time::{SystemTime, UNIX_EPOCH};

use origin_sdk::Secret;
use reqwest::Method;
use shared_keys::purge::PURGE_PATH;
use strata_tests::{Edge, OriginReply, eventually};

use crate::Stack;

const PURGE_ALL: &str = r#"{"v":1,"records":[{"scope":"tag:guarded","mode":"remove"}]}"#;

pub(crate) async fn a_purge_that_is_not_signed_right_changes_nothing(stack: &Stack) {
    let path = "/safety/guarded";
    let headers = [("cdn-cache-control", "max-age=600"), ("cache-tag", "guarded")];
    stack.origin_answers(path, move |_| OriginReply::ok(&headers, "x"));
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    let requests = stack.origin_requests(path);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (secret, stranger) = (Edge::secret(), Secret::new("guessed").unwrap());
    let (edge, nonce) = (&stack.edge, "nonce-of-the-safety-test");

    assert_eq!(edge.purge(&stranger, now, nonce, PURGE_ALL).await.status(), 401, "another secret");
    assert_eq!(edge.purge(&secret, now - 301, nonce, PURGE_ALL).await.status(), 401, "too old");
    assert_eq!(edge.purge(&secret, now + 320, nonce, PURGE_ALL).await.status(), 401, "from the future");
    assert_eq!(edge.purge(&secret, now, nonce, r#"{"v":1,"records":[{"scope":"x"}]}"#).await.status(), 400);
    assert_eq!(edge.purge(&secret, now, nonce, &" ".repeat((1 << 20) + 1)).await.status(), 413);
    let unsigned = edge.request(Method::POST, PURGE_PATH).body(PURGE_ALL).send().await.unwrap();
    assert_eq!(unsigned.status(), 401);
    assert_eq!(edge.request(Method::GET, PURGE_PATH).send().await.unwrap().status(), 405);
    assert!(stack.get(path).await.is_hit(), "nothing was purged");
    assert_eq!(stack.origin_requests(path), requests);

    let other = PURGE_ALL.replace("guarded", "something-else");
    assert_eq!(edge.purge(&secret, now, nonce, &other).await.status(), 200);
    assert_eq!(edge.purge(&secret, now, nonce, &other).await.status(), 401, "replayed");
    assert_eq!(edge.purge(&secret, now, nonce, PURGE_ALL).await.status(), 401, "a nonce is used once");
}

pub(crate) async fn internal_headers_cross_neither_way(stack: &Stack) {
    let path = "/safety/internal";
    let headers = [("cdn-cache-control", "max-age=600"), ("cache-tag", "a"), ("strata-position", "9000000000000-0")];
    stack.origin_answers(path, move |_| OriginReply::ok(&headers, "x"));
    let forged = [("strata-position", "9-0"), ("strata-anything", "1")];
    let miss = stack.get_with(path, &forged).await;
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    let hit = stack.get(path).await;
    for reply in [miss, hit] {
        let seen: Vec<_> = reply.headers.keys().filter(|name| name.as_str().starts_with("strata-")).collect();
        assert!(seen.is_empty() && !reply.headers.contains_key("cache-tag"), "{:?}", reply.headers);
    }
    for request in stack.origin.requests(path) {
        assert!(!request.headers.keys().any(|name| name.as_str().starts_with("strata-")), "{:?}", request.headers);
    }
}

pub(crate) async fn a_client_cannot_name_a_variant(stack: &Stack) {
    let path = "/safety/variant";
    stack.origin_answers(path, |request| {
        let user = request.headers.get("x-user").map_or("nobody", |value| value.to_str().unwrap_or("odd"));
        OriginReply::ok(&[("cache-control", "max-age=600"), ("vary", "X-User")], format!("for {user}"))
    });
    let as_ann = async || stack.get_with(path, &[("x-user", "ann")]).await;
    eventually("Ann's variant is stored", async || as_ann().await.is_hit()).await;
    for query in ["?__strata_variant=", "?__strata_variant=0", "?__strata_%76ariant=x&x=1"] {
        let reply = stack.get_with(&format!("{path}{query}"), &[("x-user", "eve")]).await;
        assert_eq!(reply.body, "for eve");
    }
}

pub(crate) async fn the_origin_sees_no_parameter_that_the_key_drops(stack: &Stack) {
    let path = "/safety/reflect";
    stack.origin_answers(path, |request| OriginReply::ok(&[("cache-control", "max-age=600")], request.target.clone()));
    for (number, name) in ["__strata_variant", "__strata%5Fvariant", "__strata_%76ariant"].into_iter().enumerate() {
        let plain = format!("{path}?b=2&a={number}");
        let forged = format!("{path}?b=2&{name}=EVIL&a={number}");
        assert_eq!(stack.get(&forged).await.body, plain, "the others keep their order");
        eventually("it is stored", async || stack.get(&plain).await.is_hit()).await;
        assert_eq!(stack.get(&plain).await.body, plain);
    }
}

pub(crate) async fn a_status_that_cannot_be_passed_on_is_a_bad_gateway(stack: &Stack) {
    let path = "/safety/status";
    let headers = vec![("cache-control", "max-age=600".to_owned())];
    stack.origin_answers(path, move |_| OriginReply { status: 999, headers: headers.clone(), body: "odd".into() });
    for method in [Method::GET, Method::HEAD, Method::POST] {
        let reply = stack.edge.request(method.clone(), path).send().await.unwrap();
        assert_eq!(reply.status(), 502, "{method}");
    }
}

pub(crate) async fn only_a_websocket_goes_past_the_cache(stack: &Stack) {
    let path = "/safety/upgrade";
    let headers = [("cache-control", "max-age=600"), ("cache-tag", "a")];
    stack.origin_answers(path, move |_| OriginReply::ok(&headers, "x"));
    let other = [("connection", "upgrade"), ("upgrade", "h2c")];
    eventually("it is stored", async || stack.get_with(path, &other).await.is_hit()).await;
    let websocket = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let refused = stack.get_with(path, &websocket).await;
    let status = "strata-edge; fwd=bypass; fwd-status=200; detail=upgrade";
    assert!(refused.status == 200 && refused.edge_status().starts_with(status), "{}", refused.edge_status());
    assert!(!refused.headers.contains_key("cache-tag"), "an ordinary answer is finished as one");
}
