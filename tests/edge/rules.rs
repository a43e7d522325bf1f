//! The rules of the variable `RULES`.

use reqwest::Method;
use strata_tests::{Edge, OriginReply, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::invalidation::purge;
use crate::{Reply, SHARED, Stack};

/// The rules of the worker that the tests share.
pub(crate) const RULES: &str = r#"[
    {"name": "lifetime", "path": "/rules/lifetime/**", "lifetime": {"fresh": 600}},
    {"name": "for-all", "path": "/rules/for-all", "lifetime": {"fresh": 600}, "ignore_credentials": true},
    {"name": "unkeyed", "path": "/rules/unkeyed", "unkeyed": "X-Rule-Field"},
    {"name": "override", "path": "/rules/override/**", "lifetime": {"fresh": 600, "override": true}},
    {"name": "query", "path": ["/rules/query", "/rules/unsafe"], "query": {"drop": ["utm_*"]}},
    {"name": "language", "path": "/rules/language", "vary": {"Accept-Language": {"language": ["en", "de"]}}},
    {"name": "bypass", "path": "/rules/bypass", "bypass": {"cookies": ["sid"], "headers": ["X-Preview"]}},
    {"name": "pass", "path": "/rules/pass/*", "pass": true, "query": {"drop": ["utm_*"]}},
    {"name": "errors", "path": "/rules/errors/**", "errors": {"404": 600}},
    {"name": "stale", "path": "/rules/stale", "allow_stale": true},
    {"name": "strict", "path": "/rules/strict", "strict_s_maxage": true},
    {"name": "unchecked", "path": "/rules/unchecked/**", "check_extension": false},
    {"name": "keep", "path": "/rules/keep", "query": {"keep": ["page"]}},
    {"name": "sorted", "query": {"sort": true}, "path": ["/rules/sorted", "/caching/query", "/caching/order",
        "/caching/own", "/caching/spelled", "/safety/reflect"]},
    {"name": "exact", "path": ["/rules/exact/**", "/rules/posts/exact"], "exact_url": true, "query": {"drop": ["utm_*"]}},
    {"path": ["/conditions/header", "/conditions/header/*"], "when": {"headers": {"X-Beta": "1"}}},
    {"path": ["/conditions/cookie", "/conditions/cookie/*"], "when": {"cookies": {"group": "b"}}},
    {"path": "/conditions/country", "when": {"country": ["AT", "DE"]}},
    {"path": "/conditions/device", "when": {"device": "mobile"}},
    {"path": "/conditions/members", "when": {"cookies": {"sid": true}}, "pass": true},
    {"path": "/conditions/key",
        "key": {"headers": "X-Theme", "cookies": "size", "country": true, "device": true}},
    {"path": "/conditions/unsafe", "when": {"headers": {"X-Beta": true}}, "query": {"drop": ["a"]}},
    {"path": "/conditions/unsafe", "query": {"drop": ["b"]}},
    {"name": "search", "path": "/rules/search", "no_vary_search": false},
    {"name": "writes", "path": "/rules/methods/post", "methods": ["POST"], "pass": true},
    {"name": "posts", "path": ["/rules/posts/**", "/rules/methods/get", "/rules/methods/post"], "methods": ["POST"],
        "store_post": true},
    {"name": "reads", "path": "/rules/methods/get", "methods": ["GET"], "pass": true},
    {"name": "urls", "path": "/rules/urls", "rewrite_urls": false},
    {"name": "obeyed", "path": ["/responses/obeyed", "/responses/obeyed/*"], "obey_requests": true,
        "store_set_cookie": true},
    {"name": "vary", "path": "/responses/vary/*", "vary": {
        "Accept": {"media_type": ["image/jpeg", "image/webp"]}, "Cookie": {"cookies": ["group"]}, "X-List": "list", "X-Dropped": "drop"
    }}
]"#;

async fn is_stored(stack: &Stack, path: &str, script: OriginReply) -> bool {
    stack.origin_answers(path, move |_| script.clone());
    let first = stack.get(path).await;
    if !first.edge_status().contains("; stored") {
        return false;
    }
    eventually("it is a hit", async || stack.get(path).await.is_hit()).await;
    true
}

pub(crate) async fn a_lifetime_applies_if_the_origin_declares_none(stack: &Stack) {
    assert!(is_stored(stack, "/rules/lifetime/none", OriginReply::ok(&[], "x")).await);
    let reply = stack.get("/rules/lifetime/none").await;
    assert!(reply.edge_status().contains("; ttl=600") || reply.edge_status().contains("; ttl=59"));
    assert!(!reply.headers.keys().any(|name| name.as_str().contains("strata")), "{:?}", reply.headers);
    let declared = OriginReply::ok(&[("cache-control", "max-age=0")], "x");
    assert!(!is_stored(stack, "/rules/lifetime/declared", declared).await);
    assert!(!is_stored(stack, "/rules/other", OriginReply::ok(&[], "x")).await);
}

/// An origin that says nothing may still answer by the session of its user.
pub(crate) async fn a_rules_lifetime_shares_no_response_to_credentials(stack: &Stack) {
    for (name, field) in
        [("cookie", ("cookie", "_ga=1; sid=ann")), ("authorization", ("authorization", "Basic eDp5"))]
    {
        for path in
            [format!("/rules/lifetime/credentials/{name}"), format!("/rules/override/credentials/{name}")]
        {
            stack.origin_answers(&path, move |request| {
                OriginReply::ok(
                    &[],
                    if request.headers.contains_key(field.0) { "for Ann" } else { "for all" },
                )
            });
            let own = stack.get_with(&path, &[field]).await;
            assert_eq!(own.body, "for Ann");
            assert!(own.edge_status().contains("detail=credentials"), "{}", own.edge_status());
            for _ in 0..3 {
                assert_eq!(stack.get(&path).await.body, "for all", "{path}");
            }
        }
    }
    let path = "/rules/lifetime/analytics";
    stack.origin_answers(path, |_| OriginReply::ok(&[], "x"));
    assert!(stack.get_with(path, &[("cookie", "_ga=1; _gid=2")]).await.edge_status().contains("; stored"));
    let path = "/rules/for-all";
    stack.origin_answers(path, |_| OriginReply::ok(&[], "x"));
    let request = [("cookie", "sid=1"), ("authorization", "Basic eDp5")];
    assert!(stack.get_with(path, &request).await.edge_status().contains("; stored"));
    eventually("it answers all", async || stack.get_with(path, &request[1..]).await.is_hit()).await;
}

/// `private` says that a response is for its user, and nothing about the one for everyone.
pub(crate) async fn a_private_response_to_credentials_does_not_remove_the_shared_one(stack: &Stack) {
    let path = "/rules/other/shared";
    stack.origin_answers(path, |_| {
        OriginReply::ok(&[("cache-control", "max-age=1, stale-if-error=600")], "for all")
    });
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    stack.origin_answers(path, |request| match request.headers.contains_key("cookie") {
        true => OriginReply::ok(&[("cache-control", "private")], "for Ann"),
        false => OriginReply { status: 503, ..OriginReply::ok(&[], "down") },
    });
    let as_ann = async || stack.get_with(path, &[("cookie", "sid=ann")]).await.body == "for Ann";
    eventually("it is stale", as_ann).await;
    let reply = stack.get(path).await;
    assert_eq!(reply.body, "for all", "{}", reply.edge_status());
}

pub(crate) async fn an_override_replaces_the_origins_lifetime(stack: &Stack) {
    for (path, declared) in [("/rules/override/zero", "max-age=0"), ("/rules/override/no-cache", "no-cache")]
    {
        assert!(
            is_stored(stack, path, OriginReply::ok(&[("cache-control", declared)], "x")).await,
            "{declared}"
        );
        assert_eq!(stack.get(path).await.header("cache-control"), declared, "what the client is told stays");
    }
}

pub(crate) async fn a_rule_does_not_lift_what_the_origin_forbids(stack: &Stack) {
    for (path, field) in [
        ("/rules/override/private", ("cache-control", "private")),
        ("/rules/override/no-store", ("cache-control", "no-store")),
        ("/rules/override/cookie", ("set-cookie", "a=1")),
    ] {
        assert!(!is_stored(stack, path, OriginReply::ok(&[field], "x")).await, "{field:?}");
    }
}

pub(crate) async fn dropped_parameters_are_neither_keyed_nor_forwarded(stack: &Stack) {
    stack.origin_answers("/rules/query", |request| OriginReply::ok(&[SHARED], request.target.clone()));
    let first = stack.get("/rules/query?b=1&utm_source=mail&a=2").await;
    assert_eq!(first.body, "/rules/query?b=1&a=2", "the origin cannot show what is not keyed");
    eventually("it is stored", async || stack.get("/rules/query?b=1&a=2&utm_id=7").await.is_hit()).await;
    assert_eq!(stack.get("/rules/query?b=1&a=2").await.body, first.body);
}

pub(crate) async fn languages_with_the_same_normal_value_share_a_variant(stack: &Stack) {
    let path = "/rules/language";
    stack.origin_answers(path, |request| {
        let language = request.headers.get("accept-language").map_or("none", |value| value.to_str().unwrap());
        OriginReply::ok(&[SHARED, ("vary", "accept-language")], language)
    });
    let of = async |language: &str| stack.get_with(path, &[("accept-language", language)]).await;
    assert_eq!(of("de-AT, en;q=0.3").await.body, "de");
    eventually("it is stored", async || of("fr, de;q=0.9").await.is_hit()).await;
    assert_eq!(of("ja").await.body, "en");
    assert_eq!(stack.origin_requests(path), 2);
}

pub(crate) async fn cookies_and_fields_bypass(stack: &Stack) {
    let path = "/rules/bypass";
    assert!(is_stored(stack, path, OriginReply::ok(&[SHARED], "shared")).await);
    stack.origin_answers(path, |_| OriginReply::ok(&[SHARED], "own"));
    for field in [("cookie", "a=1; sid=7"), ("x-preview", "1")] {
        let reply = stack.get_with(path, &[field]).await;
        assert!(
            reply.body == "own" && reply.edge_status().contains("fwd=bypass; fwd-status=200; detail=rule")
        );
    }
    let two_lines = stack.get_with(path, &[("cookie", "a=1"), ("cookie", "sid=7")]).await;
    assert_eq!(two_lines.body, "own", "the runtime joins the lines with a comma");
    assert_eq!(stack.get_with(path, &[("cookie", "a=1")]).await.body, "shared");
    stack.origin_answers(path, move |_| OriginReply::ok(&[SHARED, ("content-location", path)], "own"));
    let post =
        stack.edge.request(Method::POST, path).header("cookie", "sid=7").body("x").send().await.unwrap();
    let reply = Reply::read(post).await;
    assert!(
        reply.headers.contains_key("date") && !reply.edge_status().contains("stored"),
        "{}",
        reply.edge_status()
    );
}

pub(crate) async fn a_path_bypasses_the_store(stack: &Stack) {
    assert!(!is_stored(stack, "/rules/pass/x", OriginReply::ok(&[SHARED], "x")).await);
    assert!(
        is_stored(stack, "/rules/pass/x/y", OriginReply::ok(&[SHARED], "x")).await,
        "a star ends at the segment"
    );
    let escaped = stack.get("/rules/%70ass/x").await;
    assert!(escaped.edge_status().contains("detail=rule"), "{}", escaped.edge_status());
}

/// An origin that decodes the escape before it resolves the dots would answer with a page that
/// another rule keeps out of the cache.
pub(crate) async fn an_ambiguous_path_bypasses_the_store(stack: &Stack) {
    stack.origin_answers("/rules/override/", |_| OriginReply::ok(&[SHARED], "x"));
    for path in [
        "/rules/override/..%2Fpass/x",
        "/rules/override/%2e%2e%5cpass/x",
        "/rules/override/..;a=b/pass/x",
        "//rules/pass/x",
        "/rules//pass/x",
        "/rules/PASS/x",
        "/rules/pass%2Fx",
        "/rules/pass;a=b/x",
        "/rules/pass./x",
        "/rules/pass/x/",
        "/rules/%2570ass/x",
        "/rules/pass/x%00.css",
        "/rules/pass/x%3F/y",
    ] {
        for _ in 0..2 {
            let reply = stack.get(path).await;
            assert!(
                reply.edge_status().contains("fwd=bypass") && reply.edge_status().contains("detail=path"),
                "{path}"
            );
        }
    }
    assert!(is_stored(stack, "/rules/override/a%2Fb", OriginReply::ok(&[SHARED], "x")).await);
}

pub(crate) async fn a_bypassing_request_is_forwarded_unchanged(stack: &Stack) {
    let sent = "?b=%7e&utm_source=y&a=2";
    for (method, path) in
        [(Method::GET, "/rules/pass/raw"), (Method::POST, "/rules/query"), (Method::PUT, "/rules/keep")]
    {
        stack.origin_answers(path, |request| OriginReply::ok(&[SHARED], request.target.clone()));
        let url = format!("{path}{sent}");
        let reply = Reply::read(stack.edge.request(method, &url).send().await.unwrap()).await;
        assert_eq!(reply.body, url);
    }
}

pub(crate) async fn errors_have_lifetimes(stack: &Stack) {
    let error = |status| OriginReply { status, ..OriginReply::ok(&[], "missing") };
    assert!(is_stored(stack, "/rules/errors/404", error(404)).await);
    assert_eq!(stack.get("/rules/errors/404").await.status, 404);
    assert!(!is_stored(stack, "/rules/errors/410", error(410)).await);
}

pub(crate) async fn a_rule_allows_stale_responses(stack: &Stack) {
    let headers = [("cache-control", "max-age=2, proxy-revalidate, stale-while-revalidate=600")];
    for (path, allowed) in [("/rules/stale", true), ("/rules/not-stale", false)] {
        stack.origin_answers(path, move |request| {
            OriginReply::ok(&headers, format!("answer {}", request.number))
        });
        eventually("it is stored", async || stack.get(path).await.is_hit()).await;
        let old = stack.get(path).await.body;
        eventually("its age has passed", async || {
            let reply = stack.get(path).await;
            let stale = reply.edge_status().contains("detail=stale-while-revalidate");
            assert!(allowed || !stale, "{}", reply.edge_status());
            if allowed { stale } else { reply.body != old }
        })
        .await;
    }
}

pub(crate) async fn an_unsafe_request_invalidates_the_key_of_its_rule(stack: &Stack) {
    let path = "/rules/unsafe?c=3";
    stack.origin_answers("/rules/unsafe", |_| OriginReply::ok(&[SHARED], "old"));
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    stack.origin_answers("/rules/unsafe", |_| OriginReply::ok(&[SHARED], "new"));
    let put = stack.edge.request(Method::PUT, "/rules/unsafe?c=3&utm_source=x").send().await.unwrap();
    assert_eq!(put.status(), 200);
    assert_eq!(stack.get(path).await.body, "new");
}

/// `/account/x.css` shows the account page. The origin states no lifetime, so the type must match
/// the extension.
pub(crate) async fn a_page_at_a_files_url_is_not_stored(stack: &Stack) {
    let page = OriginReply::ok(&[("content-type", "text/html")], "your account");
    assert!(!is_stored(stack, "/rules/lifetime/account/x.css", page.clone()).await);
    let reply = stack.get("/rules/lifetime/account/x.css").await;
    assert!(reply.edge_status().contains("detail=content-type"), "{}", reply.edge_status());
    assert!(is_stored(stack, "/rules/lifetime/account/x", page).await);
    let file = OriginReply::ok(&[("content-type", "text/css")], "a {}");
    assert!(is_stored(stack, "/rules/lifetime/y.css", file).await);
    let declared = OriginReply::ok(&[SHARED, ("content-type", "text/html")], "a page");
    assert!(is_stored(stack, "/rules/lifetime/z.css", declared).await, "at the origin's word");
}

/// A heuristic lifetime from `Last-Modified` is not stated by the origin either.
pub(crate) async fn a_heuristic_lifetime_stores_no_page_at_a_files_url_unless_a_rule_allows_it(
    stack: &Stack,
) {
    let fields = [("content-type", "text/html"), ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")];
    let page = OriginReply::ok(&fields, "your account");
    for (path, stored) in
        [("/rules/guessed/x.css", false), ("/rules/guessed/x", true), ("/rules/unchecked/x.css", true)]
    {
        assert_eq!(is_stored(stack, path, page.clone()).await, stored, "{path}");
    }
    let reply = stack.get("/rules/guessed/x.css").await;
    assert!(reply.edge_status().contains("detail=content-type"), "{}", reply.edge_status());
}

pub(crate) async fn a_rule_chooses_the_parameters_and_their_order(stack: &Stack) {
    for (asked, seen, same, other) in [
        ("/rules/keep?sid=1&page=2", "/rules/keep?page=2", "/rules/keep?page=2&sid=2", "/rules/keep?page=3"),
        ("/rules/order?b=1&a=2", "/rules/order?b=1&a=2", "/rules/order?b=1&a=2", "/rules/order?a=2&b=1"),
        ("/rules/sorted?b=1&a=2", "/rules/sorted?a=2&b=1", "/rules/sorted?a=2&b=1", "/rules/sorted?a=1&b=2"),
    ] {
        let path = asked.split('?').next().unwrap();
        stack.origin_answers(path, |request| OriginReply::ok(&[SHARED], request.target.clone()));
        assert_eq!(stack.get(asked).await.body, seen);
        eventually("it is stored", async || stack.get(same).await.is_hit()).await;
        let reply = stack.get(other).await;
        assert_eq!((reply.is_hit(), reply.body.as_str()), (false, other));
    }
}

/// Sends a GET whose target is not normalised by an HTTP library, and returns the answer.
async fn get_exactly(stack: &Stack, target: &str) -> String {
    let mut connection = TcpStream::connect(stack.edge.host()).await.unwrap();
    let request =
        format!("GET {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", stack.edge.host());
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

/// An origin that checks a signature over the URL gets the octets that the client signed.
pub(crate) async fn an_exact_url_reaches_the_origin_octet_by_octet(stack: &Stack) {
    let path = "/rules/exact/";
    stack.origin_answers(path, |request| OriginReply::ok(&[SHARED], format!("signed {}", request.target)));
    for target in [
        "/rules/exact/a?b=1&a=2",
        "/rules/exact/%7e%2f%C3%a9?X-Amz-Credential=k%2f2026%2Fs3&X-Amz-Signature=0a&x=~*()!",
        "/rules/exact/b?Expires=1&Signature=a%2bb+c==&Key-Pair-Id=K",
        "/rules/exact/c?&&b=&a&&a=%00",
        "/rules/exact/d?",
    ] {
        let answer = get_exactly(stack, target).await;
        assert!(answer.contains(&format!("signed {target}")), "{target}: {answer}");
        eventually("it is stored", async || get_exactly(stack, target).await.contains("strata-edge; hit"))
            .await;
    }
    let answer = get_exactly(stack, "/rules/exact/e?b=%2f&utm_source=x&a=1").await;
    assert!(answer.contains("signed /rules/exact/e?b=%2f&a=1"), "{answer}");
}

/// The origin refuses all spellings but one. What it says to them answers them alone.
pub(crate) async fn a_refused_spelling_of_an_exact_url_answers_no_other(stack: &Stack) {
    let path = "/rules/exact/signed";
    stack.origin_answers(path, |request| match request.target.as_str() {
        "/rules/exact/signed?b=%2f&a=1" => {
            OriginReply::ok(&[SHARED, ("cache-tag", "exact:signed")], "signed")
        }
        _ => OriginReply { status: 403, ..OriginReply::ok(&[SHARED], "refused") },
    });
    for spelling in ["?a=1&b=%2f", "?b=%2F&a=1", "?b=/&a=1", "?%62=%2f&a=1"] {
        assert!(get_exactly(stack, &format!("{path}{spelling}")).await.contains("refused"), "{spelling}");
    }
    let signed = format!("{path}?b=%2f&a=1");
    assert!(get_exactly(stack, &signed).await.contains("signed"));
    eventually("it is stored", async || get_exactly(stack, &signed).await.contains("strata-edge; hit")).await;
    assert!(get_exactly(stack, &format!("{path}?a=1&b=%2f")).await.contains("refused"));
    // A purge by path reaches every spelling of the path.
    let scope = format!("path:{}/rules/exact", stack.edge.host());
    purge(stack, &format!(r#"{{"scope":"{scope}","mode":"remove"}}"#)).await;
    eventually("it is purged", async || !get_exactly(stack, &signed).await.contains("strata-edge; hit"))
        .await;
}

pub(crate) async fn a_rule_applies_to_its_methods(stack: &Stack) {
    for (path, posts_are_passed) in [("/rules/methods/post", true), ("/rules/methods/get", false)] {
        stack.origin_answers(path, move |_| OriginReply::ok(&[SHARED, ("content-location", path)], "x"));
        let post = Reply::read(stack.edge.request(Method::POST, path).send().await.unwrap()).await;
        assert_ne!(post.edge_status().contains("; stored"), posts_are_passed, "{}", post.edge_status());
        for method in [Method::GET, Method::HEAD] {
            let reply = Reply::read(stack.edge.request(method, path).send().await.unwrap()).await;
            assert_ne!(
                reply.edge_status().contains("detail=rule"),
                posts_are_passed,
                "{}",
                reply.edge_status()
            );
        }
    }
}

pub(crate) async fn invalid_rules_send_every_request_to_the_origin(stack: &Stack) {
    let path = "/rules/wrong";
    stack.origin_answers(path, |request| OriginReply::ok(&[SHARED], format!("answer {}", request.number)));
    let wrong = r#"RULES:[{"path": "/a", "lifetime": {"fresh": "long"}}]"#;
    let edge = Edge::start_with(stack.origin.url(), &["--var", wrong]).await;
    for number in 1..=3 {
        let reply = Reply::read(edge.get(path).await).await;
        assert_eq!(reply.status, 200);
        assert!(reply.edge_status().contains("fwd=bypass; fwd-status=200; detail=misconfigured"));
        assert_eq!(stack.origin_requests(path), number);
    }
    let health = edge.get("/__strata/health").await.text().await.unwrap();
    assert_eq!(health, r#"{"ok":false}"#, "clients are not told what is wrong");
    eventually("the log says why", async || edge.logged("RULES[0].lifetime.fresh: expected") > 0).await;
}
