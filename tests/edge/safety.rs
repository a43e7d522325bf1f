//! G8 through the built worker: no client can poison the cache, forge a field or break the worker.

use futures_util::{SinkExt, StreamExt};
use reqwest::Method;
use strata_tests::{Edge, OriginReply, eventually, free_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

use crate::{Reply, Stack, later_position, outage};

pub(crate) async fn internal_fields_are_removed_in_both_directions(stack: &Stack) {
    let path = "/safety/internal";
    let headers = [("cdn-cache-control", "max-age=600"), ("cache-tag", "a")];
    let position = later_position();
    stack.origin_answers(path, move |_| {
        OriginReply::ok(&[&headers[..], &[("strata-position", &position)]].concat(), "x")
    });
    let forged = [("strata-position", "9-0"), ("strata-anything", "1")];
    let miss = stack.get_with(path, &forged).await;
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    let hit = stack.get(path).await;
    for reply in [miss, hit] {
        let seen: Vec<_> = reply.headers.keys().filter(|name| name.as_str().starts_with("strata-")).collect();
        assert!(seen.is_empty() && !reply.headers.contains_key("cache-tag"), "{:?}", reply.headers);
        assert!(!reply.headers.contains_key("cdn-cache-control"), "no purge reaches a cache further out");
    }
    for request in stack.origin.requests(path) {
        assert!(
            !request.headers.keys().any(|name| name.as_str().starts_with("strata-")),
            "{:?}",
            request.headers
        );
    }
}

pub(crate) async fn a_client_cannot_choose_a_variants_key(stack: &Stack) {
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

pub(crate) async fn the_origin_gets_no_parameter_outside_the_key(stack: &Stack) {
    let path = "/safety/reflect";
    stack.origin_answers(path, |request| {
        OriginReply::ok(&[("cache-control", "max-age=600")], request.target.clone())
    });
    for (number, name) in
        ["__strata_variant", "__strata%5Fvariant", "__strata_%76ariant"].into_iter().enumerate()
    {
        let plain = format!("{path}?a={number}&b=2");
        let forged = format!("{path}?b=2&{name}=EVIL&a={number}");
        assert_eq!(stack.get(&forged).await.body, plain);
        eventually("it is stored", async || stack.get(&plain).await.is_hit()).await;
        assert_eq!(stack.get(&plain).await.body, plain);
    }
}

/// Another worker behind this one would take the path for its own.
pub(crate) async fn no_spelling_of_a_reserved_path_reaches_the_origin(stack: &Stack) {
    for path in [
        "/__strata/purge/x",
        "/%5f%5fstrata/purge",
        "/%255F_strata/purge",
        "//__strata/purge",
        "/__STRATA/purge",
        "/__strata;a/purge",
        "/__strata%2Fpurge",
        "/__strata",
    ] {
        for method in [Method::GET, Method::POST] {
            let reply = stack.edge.request(method.clone(), path).send().await.unwrap();
            assert_eq!(reply.status(), 404, "{method} {path}");
        }
        assert_eq!(stack.origin_requests(path), 0, "{path}");
    }
}

pub(crate) async fn an_invalid_status_of_the_origin_is_a_bad_gateway(stack: &Stack) {
    let path = "/safety/status";
    let headers = vec![("cache-control", "max-age=600".to_owned())];
    stack.origin_answers(path, move |_| OriginReply {
        status: 999,
        headers: headers.clone(),
        body: "odd".into(),
    });
    for method in [Method::GET, Method::HEAD, Method::POST] {
        let reply = stack.edge.request(method.clone(), path).send().await.unwrap();
        assert_eq!(reply.status(), 502, "{method}");
    }
}

pub(crate) async fn only_a_websocket_upgrade_bypasses_the_cache(stack: &Stack) {
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
    let forged = [&websocket[..], &[("x-forwarded-host", "evil.example"), ("strata-x", "1")]].concat();
    let refused = stack.get_with(path, &forged).await;
    let status = "strata-edge; fwd=bypass; fwd-status=200; detail=upgrade";
    assert!(refused.status == 200 && refused.edge_status().starts_with(status), "{}", refused.edge_status());
    assert!(!refused.headers.contains_key("cache-tag"), "an ordinary answer is finished as one");
    let requests = stack.origin.requests(path);
    let seen = &requests.last().expect("the upgrade").headers;
    let site = stack.edge.url().trim_start_matches("http://");
    assert_eq!(
        (seen["x-forwarded-host"].as_bytes(), seen["cdn-loop"].as_bytes()),
        (site.as_bytes(), site.as_bytes())
    );
    assert!(!seen.contains_key("strata-x"));
}

pub(crate) async fn a_websocket_reaches_the_origin_and_back(stack: &Stack) {
    let url = format!("{}/websocket/echo", stack.edge.url().replace("http://", "ws://"));
    let (mut socket, response) = tokio_tungstenite::connect_async(url).await.unwrap();
    assert_eq!(response.status(), 101);
    for text in ["one", "two"] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
    }
}

/// The origin receives the beginning of the body before the client has sent the end.
pub(crate) async fn the_body_of_an_unsafe_request_is_streamed(stack: &Stack) {
    let (pieces, receive) = tokio::sync::mpsc::unbounded_channel::<Result<String, std::io::Error>>();
    let mut receive = receive;
    let body =
        reqwest::Body::wrap_stream(futures_util::stream::poll_fn(move |context| receive.poll_recv(context)));
    let asking = tokio::spawn(stack.edge.request(Method::PUT, "/uploads/streamed").body(body).send());
    pieces.send(Ok("begin".repeat(20_000))).unwrap();
    eventually("the beginning arrives", async || stack.origin.uploaded("streamed").starts_with("begin"))
        .await;
    pieces.send(Ok("end".to_owned())).unwrap();
    drop(pieces);
    assert_eq!(asking.await.unwrap().unwrap().status(), 200);
    eventually("the end arrives", async || stack.origin.uploaded("streamed").ends_with("end")).await;
}

pub(crate) async fn unkeyed_fields_do_not_reach_the_origin(stack: &Stack) {
    let path = "/rules/unkeyed";
    stack.origin_answers(path, |_| OriginReply::ok(&[("cache-control", "max-age=600")], "x"));
    let fields = [
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-scheme", "http"),
        ("x-forwarded-port", "81"),
        ("x-forwarded-prefix", "/evil"),
        ("x-original-url", "/admin"),
        ("x-rewrite-url", "/admin"),
        ("x-http-method-override", "DELETE"),
        ("x-middleware-subrequest", "middleware"),
        ("forwarded", "host=evil.example"),
        ("client-ip", "192.0.2.1"),
        // Outside Cloudflare a client states these itself. That the worker knows where it runs also
        // keeps `Host` from choosing the target.
        ("cf-connecting-ip", "192.0.2.1"),
        ("x-forwarded-for", "192.0.2.1"),
        ("cf-visitor", r#"{"scheme":"http"}"#),
        ("proxy", "evil.example"),
        ("x-sendfile-type", "x-accel-redirect"),
        ("x-accel-mapping", "/=/etc/"),
        ("request-uri", "/admin"),
        ("x-http-path-override", "/admin"),
        ("x-remote-user", "admin"),
        ("fastly-client-ip", "192.0.2.1"),
        ("surrogate-capability", "a=\"ESI/1.0\""),
        ("x.original.url", "/admin"),
        ("x-rule-field", "1"),
        ("x-middleware-anything", "1"),
        // Gateways that pass fields as variables read `_` as `-`.
        ("accept_language", "de"),
    ];
    assert_eq!(stack.get_with(path, &fields).await.status, 200);
    let request = &stack.origin.requests(path)[0];
    for (name, _) in fields {
        if !["forwarded", "x-forwarded-host"].contains(&name) {
            assert!(!request.headers.contains_key(name), "{name}");
        }
    }
    assert_eq!(request.headers["x-forwarded-host"], stack.edge.host());
    assert_eq!(request.headers["forwarded"], format!("host=\"{}\";proto=http", stack.edge.host()));
}

/// RFC 9110 section 5.1 allows `_` in names. Only a name that an origin could take for another
/// field is removed.
pub(crate) async fn a_field_with_an_underscore_reaches_the_origin(stack: &Stack) {
    let path = "/safety/underscore";
    stack.origin_answers(path, |_| OriginReply::ok(&[("cache-control", "max-age=600")], "x"));
    let fields = [
        ("api_key", "s3cret"),
        ("x_tenant", "a"),
        ("x-tenant", "b"),
        ("cookie_", "a=b"),
        ("content_length", "9"),
    ];
    assert_eq!(stack.get_with(path, &fields).await.status, 200);
    let seen = &stack.origin.requests(path)[0].headers;
    let reached = fields.map(|(name, _)| seen.contains_key(name));
    assert_eq!(reached, [true, false, true, true, false], "{seen:?}");
    // An origin that reads `_` as `-` selects by it, and the key does not contain it.
    let path = "/safety/underscore/vary";
    stack.origin_answers(path, |_| {
        OriginReply::ok(&[("cache-control", "max-age=600"), ("vary", "X-Tenant")], "x")
    });
    for _ in 0..2 {
        let reply = stack.get_with(path, &[("x_tenant", "a")]).await;
        assert!(!reply.is_hit() && !reply.edge_status().contains("stored"), "{}", reply.edge_status());
    }
}

/// No client library sends such requests. The server in front of the worker may refuse them first.
pub(crate) async fn a_body_of_ambiguous_length_is_refused(stack: &Stack) {
    let path = "/safety/length";
    stack.origin_answers(path, |_| OriginReply::ok(&[], "reached"));
    for fields in [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 6",
        "Content-Length: +5",
        "Transfer-Encoding: xchunked",
    ] {
        let answer = raw(stack, path, fields).await;
        assert!(!answer.contains("reached") && !answer.starts_with("HTTP/1.1 2"), "{fields}: {answer}");
    }
    assert_eq!(stack.origin_requests(path), 0);
}

/// The runtime obeys the transfer coding, as RFC 9112 section 6.3 permits, and hides the length.
/// The forwarded request has only one of them.
pub(crate) async fn a_body_is_forwarded_with_its_own_framing(stack: &Stack) {
    let path = "/safety/frame";
    stack.origin_answers(path, |_| OriginReply::ok(&[], "reached"));
    raw(stack, path, "Content-Length: 5\r\nTransfer-Encoding: chunked").await;
    for request in stack.origin.requests(path) {
        let (length, coding) =
            (request.headers.get("content-length"), request.headers.get("transfer-encoding"));
        assert!(length.is_none_or(|length| length == "0") || coding.is_none(), "{:?}", request.headers);
        assert!(length.is_none_or(|length| length != "5"), "{:?}", request.headers);
    }
}

/// Returns the answer to a POST with these fields, and with an empty chunked body and one byte
/// more.
async fn raw(stack: &Stack, path: &str, fields: &str) -> String {
    let host = stack.edge.url().trim_start_matches("http://");
    let mut connection = tokio::net::TcpStream::connect(host).await.unwrap();
    let request =
        format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}\r\n\r\n0\r\n\r\nx");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(strata_tests::WAIT_LIMIT, connection.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "{fields}: no end of the answer");
    String::from_utf8_lossy(&answer).into_owned()
}

/// A value may contain a password, and clients need no detail.
pub(crate) async fn a_misconfigured_worker_tells_no_client_why(stack: &Stack) {
    const WITH_ORIGIN: &str = r#"
import worker, { JournalObject } from "EDGE_WORKER/worker.js";
export { JournalObject };
export default {
  fetch(request, env, context) {
    if (new URL(request.url).pathname === "/__strata/health") return new Response();
    return worker.fetch(request, { ...env, ORIGIN: "VALUE" }, context);
  },
};
"#;
    for value in ["https://user:hunter2@127.0.0.1:1", "user:hunter2@127.0.0.1", ""] {
        let (_folder, config) = outage::config(&WITH_ORIGIN.replace("VALUE", value));
        let options = ["--wrangler", config.to_str().expect("a path of text")];
        let edge = Edge::start_with(stack.origin.url(), &options).await;
        // Without an origin, `Host` would choose the target.
        let host = stack.origin.url().trim_start_matches("http://");
        for method in [Method::GET, Method::POST] {
            let answer =
                edge.request(method, "/safety/misconfigured").header("host", host).send().await.unwrap();
            assert_eq!(answer.status(), 500, "{value}");
            let body = answer.text().await.unwrap();
            assert!(
                body.contains("see its log") && !body.contains("ORIGIN") && !body.contains("hunter2"),
                "{body}"
            );
        }
        eventually("the log says why", async || edge.logged("ORIGIN: expected a base URL") > 0).await;
        assert_eq!(edge.logged("hunter2"), 0);
    }
    assert_eq!(stack.origin_requests("/safety/misconfigured"), 0);
}

pub(crate) async fn a_loop_is_detected(stack: &Stack) {
    let path = "/safety/loop";
    stack.origin_answers(path, |_| OriginReply::ok(&[], "x"));
    let site = stack.edge.url().trim_start_matches("http://");
    for (name, value) in
        [("cdn-loop", format!("other, {site}")), ("via", format!("1.1 other, 1.1 {site} (strata-edge)"))]
    {
        let reply = stack.get_with(path, &[(name, &value)]).await;
        assert_eq!((reply.status, reply.edge_status()), (508, "strata-edge; detail=loop"), "{name}");
    }
    assert_eq!(stack.origin_requests(path), 0);
    // A proxy in front of the worker may use the site's name.
    let by_name = format!("1.1 {site}");
    assert_eq!(stack.get_with(path, &[("via", &by_name), ("cdn-loop", "other")]).await.status, 200);
    let seen = &stack.origin.requests(path)[0].headers;
    assert_eq!(seen["via"], format!("1.1 {site}, 1.1 {site} (strata-edge)"));
    assert_eq!(seen["cdn-loop"], format!("other, {site}"));
}

pub(crate) async fn an_origin_url_that_leads_back_is_reported(_: &Stack) {
    let port = free_port();
    let edge = Edge::start_on(port, &format!("http://127.0.0.1:{port}"), &[]).await;
    let upgrade = [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13")];
    for (method, fields) in [(Method::GET, &[][..]), (Method::POST, &[][..]), (Method::GET, &upgrade[..])] {
        let request = edge.request(method.clone(), "/");
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        assert_eq!(request.send().await.unwrap().status(), 508, "{method} {fields:?}");
    }
}

pub(crate) async fn max_forwards_is_obeyed(stack: &Stack) {
    let path = "/safety/hops";
    stack.origin_answers(path, |_| OriginReply::ok(&[], "x"));
    for (hops, forwarded) in [("0", None), ("7", Some("6"))] {
        let options = stack.edge.request(Method::OPTIONS, path).header("max-forwards", hops);
        let reply = Reply::read(options.send().await.unwrap()).await;
        assert_eq!(
            (reply.status, reply.edge_status().contains("detail=max-forwards")),
            (200, forwarded.is_none())
        );
        let seen = stack.origin.requests(path).pop().map(|request| request.headers["max-forwards"].clone());
        assert_eq!(seen.as_ref().map(|value| value.to_str().unwrap()), forwarded);
    }
}
