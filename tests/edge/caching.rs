//! RFC 9111 through the built worker: storing, reusing, selecting and validating responses.

use reqwest::Method;
use strata_tests::{OriginReply, eventually};

use crate::{Reply, SHARED, Stack};

pub(crate) async fn a_miss_is_stored_and_the_next_request_is_a_hit(stack: &Stack) {
    stack.origin_answers("/caching/miss", |request| {
        OriginReply::ok(&[SHARED], format!("answer {}", request.number))
    });
    let first = stack.get("/caching/miss").await;
    let status = "strata-edge; fwd=uri-miss; fwd-status=200; stored; ttl=";
    assert!(first.edge_status().starts_with(status), "{}", first.edge_status());
    assert!(first.edge_status().ends_with(&format!("; key=\"{}/caching/miss\"", stack.edge.url())));
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

/// The key contains neither the body nor the cookie of the POST, so a rule must allow it.
pub(crate) async fn a_post_response_is_stored_for_get_only_if_a_rule_allows_it(stack: &Stack) {
    for (path, location, stored) in [
        ("/rules/posts/own", "/rules/posts/own", true),
        ("/rules/posts/other", "/rules/posts", false),
        ("/rules/posts/spelled/%61", "/rules/posts/spelled/%61", false),
        ("/caching/post/own", "/caching/post/own", false),
    ] {
        let script = path.split('%').next().expect("a path");
        stack.origin_answers(script, move |request| {
            OriginReply::ok(&[SHARED, ("content-location", location)], request.method.as_str())
        });
        let post = async || {
            let reply = stack.edge.request(Method::POST, path).body("x").send().await.unwrap();
            assert_eq!(Reply::read(reply).await.body, "POST");
        };
        post().await;
        if stored {
            // An error, so that no GET that overtakes the storing replaces the POST's response.
            stack.origin_answers(path, |_| OriginReply { status: 500, headers: vec![], body: String::new() });
            eventually("it is stored", async || stack.get(path).await.body == "POST").await;
            stack.origin_answers(path, |_| OriginReply::ok(&[], "next"));
            let next = stack.edge.request(Method::POST, path).body("x").send().await.unwrap();
            assert_eq!(Reply::read(next).await.body, "next");
            assert_eq!(stack.get(path).await.body, "next", "and the next POST invalidates it");
        } else {
            assert_eq!(stack.get(path).await.body, "GET");
        }
    }
}

pub(crate) async fn a_client_that_has_the_current_representation_gets_a_304(stack: &Stack) {
    stack.origin_answers("/caching/etag", |_| OriginReply::ok(&[SHARED, ("etag", "\"v1\"")], "body"));
    eventually("it is stored", async || stack.get("/caching/etag").await.is_hit()).await;
    let current = stack.get_with("/caching/etag", &[("if-none-match", "\"v0\", W/\"v1\"")]).await;
    assert_eq!((current.status, current.body.as_str(), current.header("etag")), (304, "", "\"v1\""));
    let other = stack.get_with("/caching/etag", &[("if-none-match", "\"v0\"")]).await;
    assert_eq!((other.status, other.body.as_str()), (200, "body"));
}

pub(crate) async fn variants_are_separate(stack: &Stack) {
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

/// A rule sorts the parameters of `/caching/query`.
pub(crate) async fn the_order_of_query_parameters_counts_unless_a_rule_sorts_them(stack: &Stack) {
    let plain = "/caching/in-order";
    stack.origin_answers(plain, |request| OriginReply::ok(&[SHARED], request.target.clone()));
    for query in ["?b=2&a=1", "?a=1&b=2"] {
        let target = format!("{plain}{query}");
        assert_eq!(stack.get(&target).await.body, target, "the origin gets the client's order");
        eventually("it is stored", async || stack.get(&target).await.is_hit()).await;
    }
    stack.origin_answers("/caching/query", |request| OriginReply::ok(&[SHARED], request.target.clone()));
    eventually("it is stored", async || stack.get("/caching/query?a=1&b=2").await.is_hit()).await;
    assert!(stack.get("/caching/query?b=2&a=1").await.is_hit());
    assert!(!stack.get("/caching/query?a=2&b=1").await.is_hit());
}

/// An origin that redirects to its own order of parameters: stored, the redirect would lead to its
/// own key.
pub(crate) async fn an_origin_that_redirects_to_its_own_order_of_parameters_does_not_loop(stack: &Stack) {
    let path = "/caching/order";
    stack.origin_answers(path, |request| match request.target.as_str() {
        "/caching/order?b=2&a=1" => OriginReply::ok(&[SHARED], "in order"),
        _ => OriginReply {
            status: 301,
            ..OriginReply::ok(&[SHARED, ("location", "/caching/order?b=2&a=1")], "")
        },
    });
    // The client follows redirects.
    let reply = stack.get("/caching/order?a=1&b=2").await;
    assert_eq!(reply.body, "in order");
    assert!(reply.edge_status().contains("detail=spelling"), "{}", reply.edge_status());

    let path = "/caching/itself";
    stack.origin_answers(path, |request| match request.headers.get("cookie") {
        Some(_) => OriginReply::ok(&[SHARED], "seen"),
        None => OriginReply { status: 301, ..OriginReply::ok(&[SHARED, ("location", "?")], "") },
    });
    let client =
        reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
    let url = format!("{}{path}?", stack.edge.url());
    let reply = Reply::read(client.get(url).send().await.expect("the worker answers")).await;
    assert!(reply.edge_status().contains("fwd-status=301; detail=self-redirect"), "{}", reply.edge_status());
    assert_eq!(stack.get_with("/caching/itself?", &[("cookie", "a=1")]).await.body, "seen");
}

/// The origin redirects to a spelling that the client chooses. Its answer to that spelling must not
/// become the answer to all.
pub(crate) async fn a_response_to_the_clients_own_spelling_is_never_stored(stack: &Stack) {
    let path = "/caching/own";
    stack.origin_answers(path, |request| match request.target.as_str() {
        "/caching/own?a=1&b=2" => {
            let location = [("location", "?b=2&a=1"), SHARED];
            OriginReply { status: 302, ..OriginReply::ok(&location, "") }
        }
        target => OriginReply::ok(&[SHARED, ("etag", "\"evil\"")], target),
    });
    let client =
        reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
    let get = async |method: Method, target: &str| {
        let reply = client.request(method, format!("{}{target}", stack.edge.url())).send().await;
        Reply::read(reply.expect("the worker answers")).await
    };
    for _ in 0..3 {
        let reply = get(Method::GET, "/caching/own?b=2&a=1").await;
        assert_eq!(reply.body, "/caching/own?b=2&a=1");
        assert!(reply.edge_status().contains("detail=spelling"), "{}", reply.edge_status());
        let reply = get(Method::HEAD, "/caching/own?b=2&a=1").await;
        assert!(!reply.is_hit() && !reply.edge_status().contains("; stored"), "{}", reply.edge_status());
        // The key's own spelling gets the redirect to the client, unstored.
        assert_eq!(get(Method::GET, "/caching/own?a=1&b=2").await.status, 302);
    }
}

/// Otherwise a spelling that the origin does not understand would store its error for all clients.
pub(crate) async fn the_origin_gets_the_spelling_of_the_key(stack: &Stack) {
    stack.origin_answers("/caching/", |request| match request.target.as_str() {
        "/caching/spelled?a=~&b=%2F" => OriginReply::ok(&[SHARED], "spelled"),
        _ => OriginReply { status: 404, ..OriginReply::ok(&[SHARED], "") },
    });
    for spelling in ["/caching/%73pelled?b=%2f&a=%7e", "/caching/spelle%64?a=%7E&b=%2F"] {
        assert_eq!(stack.get(spelling).await.body, "spelled", "{spelling}");
    }
}

pub(crate) async fn responses_that_must_not_be_stored_are_not(stack: &Stack) {
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
            assert!(
                !reply.is_hit() && !reply.edge_status().contains("stored"),
                "{name}: {}",
                reply.edge_status()
            );
        }
        assert_eq!(stack.origin_requests(&path), 3, "{name}");
    }
}

pub(crate) async fn a_targeted_field_wins_over_cache_control(stack: &Stack) {
    let headers = [
        ("cache-control", "public, no-cache"),
        ("cdn-cache-control", "max-age=600"),
        ("cloudflare-cdn-cache-control", "max-age=500"),
    ];
    stack.origin_answers("/caching/targeted", move |_| OriginReply::ok(&headers, "x"));
    eventually("it is stored", async || stack.get("/caching/targeted").await.is_hit()).await;
    let reply = stack.get("/caching/targeted").await;
    assert_eq!(reply.header("cache-control"), "public, no-cache", "what the browser is told stays");
    assert_eq!(reply.header("cdn-cache-control"), "max-age=600", "and what other CDNs are told");
    assert!(reply.edge_status().contains("; ttl=500") || reply.edge_status().contains("; ttl=49"));
    assert!(!reply.headers.contains_key("cloudflare-cdn-cache-control"), "for this edge alone");
}

/// The edge forwards a client's bytes unchanged, and values that differ have different keys.
pub(crate) async fn values_beyond_ascii_are_forwarded_and_select(stack: &Stack) {
    let path = "/caching/names";
    stack.origin_answers(path, |request| {
        let name = String::from_utf8_lossy(request.headers["x-name"].as_bytes()).into_owned();
        OriginReply::ok(&[SHARED, ("vary", "X-Name")], format!("for {name}"))
    });
    for name in ["Zoë", "Zoè"] {
        let of = async || named(stack, path, name.as_bytes()).await;
        assert_eq!(of().await.body, format!("for {name}"));
        eventually("the variant is stored", async || of().await.is_hit()).await;
        assert_eq!(of().await.body, format!("for {name}"));
    }
}

/// The runtime replaces all bytes that are not UTF-8 by one character.
pub(crate) async fn a_value_that_is_not_utf8_selects_nothing(stack: &Stack) {
    let path = "/caching/not-utf-8";
    stack.origin_answers(path, |_| OriginReply::ok(&[SHARED, ("vary", "X-Name")], "x"));
    for last in [0xEB, 0xE8, 0xEB, 0xEB] {
        let reply = named(stack, path, &[b'Z', b'o', last]).await;
        assert!(!reply.is_hit() && !reply.edge_status().contains("stored"), "{}", reply.edge_status());
    }
}

async fn named(stack: &Stack, path: &str, name: &[u8]) -> Reply {
    Reply::read(stack.edge.request(Method::GET, path).header("x-name", name).send().await.unwrap()).await
}

pub(crate) async fn the_cookie_of_a_response_that_is_not_stored_arrives(stack: &Stack) {
    let headers = [("cache-control", "max-age=600"), ("etag", "\"v1\""), ("set-cookie", "session=1")];
    stack.origin_answers("/caching/cookie", move |_| OriginReply::ok(&headers, "x"));
    let reply = stack.get_with("/caching/cookie", &[("if-none-match", "\"v1\"")]).await;
    assert_eq!((reply.status, reply.header("set-cookie"), reply.body.as_str()), (304, "session=1", ""));
    assert!(reply.edge_status().contains("detail=set-cookie"), "{}", reply.edge_status());
}

/// A client that has the current representation gets a 304, although nothing is stored here.
pub(crate) async fn a_response_that_is_not_stored_answers_conditions(stack: &Stack) {
    for (name, extra) in
        [("no-store", ("cache-control", "no-store")), ("private", ("cache-control", "private, no-cache"))]
    {
        let path = format!("/caching/conditions/{name}");
        stack.origin_answers(&path, move |_| OriginReply::ok(&[extra, ("etag", "\"v1\"")], "x"));
        assert_eq!(stack.get_with(&path, &[("if-none-match", "\"v1\"")]).await.status, 304, "{name}");
        assert_eq!(stack.get_with(&path, &[("if-none-match", "\"v0\"")]).await.status, 200, "{name}");
        // Requests for the key no longer collapse, so the origin gets the condition and can omit
        // the body.
        let seen = stack.origin.requests(&path).pop().expect("a request");
        assert_eq!(seen.headers["if-none-match"], "\"v0\"", "{name}");
    }
}

pub(crate) async fn the_origin_evaluates_preconditions(stack: &Stack) {
    let path = "/caching/precondition";
    stack.origin_answers(path, |request| match request.headers.get("if-match") {
        Some(wanted) if wanted != "\"v1\"" => OriginReply { status: 412, ..OriginReply::ok(&[SHARED], "") },
        _ => OriginReply::ok(&[SHARED, ("etag", "\"v1\"")], "x"),
    });
    assert_eq!(stack.get_with(path, &[("if-match", "\"v0\""), ("range", "bytes=0-0")]).await.status, 412);
    assert_eq!(stack.get(path).await.status, 200, "the failure is not kept");
}

/// The stored response is outdated, although the new one is not stored in its place.
pub(crate) async fn a_newer_response_that_is_not_stored_removes_the_old_one(stack: &Stack) {
    for (name, status, newer) in [("forbidden", 200, "no-store"), ("gone", 404, "")] {
        let path = format!("/caching/ends/{name}");
        let stale = [("cache-control", "max-age=1, stale-if-error=600")];
        stack.origin_answers(&path, move |_| OriginReply::ok(&stale, "old"));
        eventually("it is stored", async || stack.get(&path).await.is_hit()).await;
        stack.origin_answers(&path, move |_| OriginReply {
            status,
            ..OriginReply::ok(&[("cache-control", newer)], "new")
        });
        eventually("the newer response is served", async || stack.get(&path).await.body == "new").await;
        stack.origin_answers(&path, |_| OriginReply { status: 503, ..OriginReply::ok(&[], "down") });
        assert_eq!(stack.get(&path).await.status, 503, "{name}: the old one is not served in its place");
    }
}

/// That cache would store responses that no purge through the journal reaches. The runtime would
/// state the bypass to the origin as `no-cache`, to which many frameworks never answer 304.
pub(crate) async fn the_networks_own_cache_is_bypassed(stack: &Stack) {
    let path = "/caching/network";
    stack.origin_answers(path, |_| OriginReply::ok(&[("cache-control", "no-store")], "x"));
    for method in [Method::GET, Method::POST] {
        stack.edge.request(method, path).send().await.unwrap();
    }
    for request in stack.origin.requests(path) {
        for name in ["cache-control", "pragma"] {
            assert_eq!(request.headers[name], "max-age=0", "{}", request.method);
        }
    }
}

/// A variant that many clients request stays, whatever number of others is requested once or twice.
pub(crate) async fn rarely_used_variants_give_way_to_new_ones(stack: &Stack) {
    let path = "/caching/many-variants";
    stack.origin_answers(path, |_| OriginReply::ok(&[SHARED, ("vary", "x-number")], "x"));
    let of = async |number: usize| stack.get_with(path, &[("x-number", &number.to_string())]).await;
    eventually("the popular variant is stored", async || of(0).await.is_hit()).await;
    for _ in 0..20 {
        assert!(of(0).await.is_hit());
    }
    for number in 1..60 {
        assert!(of(number).await.edge_status().contains("; stored"), "{number}");
        eventually("the variant is stored", async || of(number).await.is_hit()).await;
    }
    assert!(of(0).await.is_hit(), "the popular variant stays");
    assert!(of(59).await.is_hit(), "so does the latest");
    let requests = stack.origin_requests(path);
    assert!(!of(1).await.is_hit() && stack.origin_requests(path) > requests, "the least used went");
}

pub(crate) async fn responses_with_different_vary_fields_do_not_replace_each_other(stack: &Stack) {
    let path = "/caching/changing-vary";
    stack.origin_answers(path, |request| {
        let user = request.headers.get("x-user").map_or("nobody", |value| value.to_str().unwrap());
        let vary = if user == "nobody" { "x-colour" } else { "x-colour, x-user" };
        OriginReply::ok(&[SHARED, ("vary", vary)], user)
    });
    let of = async |user: &str| {
        let fields: &[(&str, &str)] = if user == "nobody" { &[] } else { &[("x-user", user)] };
        stack.get_with(path, fields).await
    };
    for _ in 0..2 {
        for user in ["ann", "eve", "nobody"] {
            eventually("it is stored", async || of(user).await.is_hit()).await;
        }
    }
    let requests = stack.origin_requests(path);
    for user in ["nobody", "ann", "eve", "ann", "nobody"] {
        let reply = of(user).await;
        assert!(reply.is_hit() && reply.body == user, "{user}: {}", reply.edge_status());
    }
    assert_eq!(stack.origin_requests(path), requests);
}

pub(crate) async fn server_timing_names_the_layer(stack: &Stack) {
    let path = "/caching/timing";
    stack.origin_answers(path, |_| OriginReply::ok(&[SHARED], "x"));
    assert!(stack.get(path).await.header("server-timing").starts_with("edge;desc=origin;dur="));
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    assert!(stack.get(path).await.header("server-timing").starts_with("edge;desc=edge;dur="));
}
