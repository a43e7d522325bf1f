//! Validation (RFC 9111 section 4.3): of stored responses by the origin, and of the client's copy
//! by stored responses. Also responses to requests with credentials, and bodies that break off.

use reqwest::Method;
use strata_tests::{OriginReply, OriginRequest, eventually};

use crate::{SHARED, Stack};

const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

fn conditional(requests: &[OriginRequest], condition: &str) -> usize {
    requests.iter().filter(|request| request.headers.contains_key(condition)).count()
}

pub(crate) async fn a_stale_response_is_validated(stack: &Stack) {
    for (validator, value, condition) in
        [("etag", "\"v1\"", "if-none-match"), ("last-modified", MODIFIED, "if-modified-since")]
    {
        let path = format!("/validation/{validator}");
        stack.origin_answers(&path, move |request| match request.headers.get(condition) {
            Some(asked) if asked == value => {
                let fields = [SHARED, (validator, value), ("x-new", "2"), ("content-encoding", "gzip")];
                OriginReply { status: 304, ..OriginReply::ok(&fields, "") }
            }
            _ => OriginReply::ok(
                &[("cache-control", "max-age=1"), (validator, value), ("x-new", "1"), ("x-kept", "1")],
                "old",
            ),
        });
        eventually("it is stored", async || stack.get(&path).await.is_hit()).await;
        eventually("its age has passed, and the origin validates it", async || {
            let reply = stack.get(&path).await;
            assert_eq!((reply.status, reply.body.as_str()), (200, "old"));
            reply.edge_status().starts_with("strata-edge; fwd=stale; fwd-status=304; stored; ttl=")
        })
        .await;
        eventually("it is fresh again", async || stack.get(&path).await.is_hit()).await;
        let reply = stack.get(&path).await;
        assert_eq!((reply.header("x-new"), reply.header("x-kept"), reply.body.as_str()), ("2", "1", "old"));
        assert_eq!(reply.header("content-encoding"), "", "how the stored body is encoded does not change");
        assert!(reply.header("age").parse::<u64>().unwrap() < 60, "the age began again");
        assert_eq!(conditional(&stack.origin.requests(&path), condition), 1);
    }
}

/// RFC 9111 section 4.3.4.
pub(crate) async fn a_304_for_another_representation_validates_nothing(stack: &Stack) {
    let path = "/validation/other";
    stack.origin_answers(path, |_| {
        OriginReply::ok(&[("cache-control", "max-age=1"), ("etag", "\"v1\"")], "old")
    });
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    stack.origin_answers(path, |request| match request.headers.get("if-none-match") {
        Some(_) => OriginReply { status: 304, ..OriginReply::ok(&[SHARED, ("etag", "\"v2\"")], "") },
        None => OriginReply::ok(&[SHARED, ("etag", "\"v2\"")], "new"),
    });
    eventually("the new response is served", async || stack.get(path).await.body == "new").await;
    let requests = stack.origin.requests(path);
    let asked = requests.iter().position(|request| request.headers.contains_key("if-none-match")).unwrap();
    assert_eq!(requests.len(), asked + 2, "asked once more, without a condition");
    assert!(!requests[asked + 1].headers.contains_key("if-none-match"));
}

/// The package `fresh`, by which Express, Koa, Next.js and serve-static answer conditions, sends
/// the whole response to any request with `no-cache`.
pub(crate) async fn an_origin_that_refuses_conditions_beside_no_cache_validates(stack: &Stack) {
    let path = "/validation/fresh";
    stack.origin_answers(path, |request| {
        let is = |name: &str, text| request.headers.get(name).is_some_and(|value| value == text);
        let fields = [("cache-control", "public, max-age=1"), ("etag", "W/\"1\"")];
        let unchanged = is("if-none-match", "W/\"1\"") && !is("cache-control", "no-cache");
        OriginReply { status: if unchanged { 304 } else { 200 }, ..OriginReply::ok(&fields, "x") }
    });
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    eventually("it is validated", async || {
        let reply = stack.get(path).await;
        assert!(
            reply.is_hit() || !reply.edge_status().contains("fwd=stale; fwd-status=200"),
            "{}",
            reply.edge_status()
        );
        reply.edge_status().contains("fwd=stale; fwd-status=304; stored")
    })
    .await;
}

/// The fields of a 304 update the stored response (RFC 9111 section 3.2), so it is not served while
/// the origin is unreachable either.
pub(crate) async fn a_304_with_no_store_removes_the_stored_response(stack: &Stack) {
    for control in ["no-store", "private"] {
        let path = format!("/validation/forbidden/{control}");
        stack.origin_answers(&path, move |request| match request.headers.get("if-none-match") {
            Some(_) => OriginReply { status: 304, ..OriginReply::ok(&[("cache-control", control)], "") },
            None => OriginReply::ok(
                &[("cache-control", "max-age=1, stale-if-error=600"), ("etag", "\"v1\"")],
                "old",
            ),
        });
        eventually("it is stored", async || stack.get(&path).await.is_hit()).await;
        eventually("the origin forbids it", async || {
            let reply = stack.get(&path).await;
            assert_eq!((reply.status, reply.body.as_str()), (200, "old"), "it was confirmed for this client");
            reply.edge_status().contains(&format!("fwd-status=304; detail={control}"))
        })
        .await;
        stack.origin_answers(&path, |_| OriginReply { status: 503, ..OriginReply::ok(&[], "down") });
        assert_eq!(stack.get(&path).await.status, 503, "{control}");
    }
}

/// The validation is for all clients, its cookie for one.
pub(crate) async fn a_304_with_a_cookie_validates_and_the_cookie_is_for_its_client(stack: &Stack) {
    let path = "/validation/cookie";
    stack.origin_answers(path, |request| match request.headers.get("if-none-match") {
        Some(_) => OriginReply { status: 304, ..OriginReply::ok(&[SHARED, ("set-cookie", "a=1")], "") },
        None => OriginReply::ok(&[("cache-control", "max-age=1"), ("etag", "\"v1\"")], "x"),
    });
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    eventually("its age has passed", async || {
        let reply = stack.get(path).await;
        let is_confirmed = reply.edge_status().contains("fwd-status=304; stored");
        assert_eq!(reply.header("set-cookie"), if is_confirmed { "a=1" } else { "" });
        is_confirmed
    })
    .await;
    eventually("it is fresh again", async || stack.get(path).await.is_hit()).await;
    assert!(!stack.get(path).await.headers.contains_key("set-cookie"));
}

/// The stored response remains usable although one client gets a cookie.
pub(crate) async fn a_cookie_for_one_client_does_not_remove_the_stored_response(stack: &Stack) {
    let path = "/validation/session";
    let stale = ("cache-control", "max-age=1, stale-while-revalidate=600");
    stack.origin_answers(path, move |_| OriginReply::ok(&[stale], "old"));
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    stack.origin_answers(path, move |_| OriginReply::ok(&[stale, ("set-cookie", "a=1")], "old, for one"));
    let asked = stack.origin_requests(path);
    eventually("a refresh got a cookie", async || {
        assert_eq!(stack.get(path).await.body, "old");
        stack.origin_requests(path) > asked
    })
    .await;
    // The refresh is over when another begins: once the lease of the one without a result has
    // expired.
    eventually("another refresh begins", async || {
        assert_eq!(stack.get(path).await.body, "old");
        stack.origin_requests(path) > asked + 1
    })
    .await;
}

/// The origin evaluates dates against its own history, for example after a rollback (RFC 9110
/// section 13.1.3).
pub(crate) async fn the_origins_answer_to_a_date_condition_is_final(stack: &Stack) {
    for (name, control) in [("unstored", "no-store"), ("stored", "max-age=600")] {
        let path = format!("/validation/rollback/{name}");
        stack.origin_answers(&path, move |_| {
            OriginReply::ok(&[("cache-control", control), ("last-modified", MODIFIED)], "rolled back")
        });
        // With a precondition, all the client's conditions are forwarded.
        let fields =
            [("if-modified-since", "Sun, 06 Nov 1994 08:49:38 GMT"), ("if-unmodified-since", MODIFIED)];
        let reply = stack.get_with(&path, &fields).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "rolled back"), "{name}");
        assert_eq!(
            stack.get_with(&path, &fields[..1]).await.status,
            if name == "stored" { 304 } else { 200 },
            "{name}"
        );
    }
}

pub(crate) async fn a_304_to_a_client_has_the_fields_that_caches_need(stack: &Stack) {
    let path = "/validation/client";
    let fields = [
        SHARED,
        ("etag", "W/\"v1\""),
        ("last-modified", MODIFIED),
        ("vary", "x-a"),
        ("content-location", "/a"),
        ("content-type", "text/plain"),
        ("x-own", "1"),
    ];
    stack.origin_answers(path, move |_| OriginReply::ok(&fields, "x"));
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    for (condition, value, status) in [
        ("if-none-match", "\"v0\", \"v1\"", 304),
        ("if-none-match", "*", 304),
        ("if-none-match", "\"v0\"", 200),
        ("if-modified-since", MODIFIED, 304),
        ("if-modified-since", "Sunday, 06-Nov-94 08:49:37 GMT", 304),
        ("if-modified-since", "Sun, 06 Nov 1994 08:49:36 GMT", 200),
    ] {
        let reply = stack.get_with(path, &[(condition, value)]).await;
        assert_eq!((reply.status, reply.is_hit()), (status, true), "{condition}: {value}");
        let has = |name: &str| reply.headers.contains_key(name);
        assert!(["cache-control", "content-location", "date", "etag", "vary", "age"].into_iter().all(has));
        assert_eq!(
            (has("x-own"), has("content-type")),
            (status == 200, status == 200),
            "{condition}: {value}"
        );
    }
}

pub(crate) async fn a_response_to_credentials_is_shared_only_if_the_origin_allows_it(stack: &Stack) {
    for (cache_control, shared) in
        [("max-age=600", false), ("max-age=600, public", true), ("s-maxage=600", true)]
    {
        let path = format!("/validation/authorized/{}", cache_control.replace([' ', ','], "-"));
        let fields = [("cache-control", cache_control)];
        stack.origin_answers(&path, move |request| {
            let user = request.headers.get("authorization").map_or("nobody", |value| value.to_str().unwrap());
            OriginReply::ok(&fields, user)
        });
        let as_ann = async || stack.get_with(&path, &[("authorization", "ann")]).await;
        if shared {
            eventually("it is shared", async || as_ann().await.is_hit()).await;
            assert_eq!(stack.get(&path).await.body, "ann");
            continue;
        }
        assert_eq!(as_ann().await.body, "ann");
        assert_eq!(stack.get(&path).await.body, "nobody", "Ann's is not for others");
        eventually("the anonymous one is stored", async || stack.get(&path).await.is_hit()).await;
        let reply = as_ann().await;
        assert_eq!((reply.body.as_str(), reply.is_hit()), ("ann", false), "and theirs is not for Ann");
    }
}

/// RFC 9111 section 4.4.
pub(crate) async fn a_successful_post_invalidates_its_location_fields(stack: &Stack) {
    let other = "http://other.example/validation/changed/d";
    for (number, (path, field, status, invalidated)) in [
        ("/validation/changed/a", "location", 201, true),
        ("/validation/changed/b", "content-location", 200, true),
        ("/validation/changed/c", "location", 422, false),
        (other, "location", 201, false),
    ]
    .into_iter()
    .enumerate()
    {
        let stored = path.trim_start_matches("http://other.example");
        stack.origin_answers(stored, move |request| OriginReply::ok(&[SHARED], request.number.to_string()));
        eventually("it is stored", async || stack.get(stored).await.is_hit()).await;
        let old = stack.get(stored).await.body;
        let post = format!("/validation/post/{number}");
        let fields = [(field, path)];
        stack.origin_answers(&post, move |_| OriginReply { status, ..OriginReply::ok(&fields, "") });
        let reply = stack.edge.request(Method::POST, &post).body("x").send().await.unwrap();
        assert_eq!(reply.status(), status);
        assert_eq!(stack.get(stored).await.body != old, invalidated, "{field}: {path} with {status}");
    }
}

pub(crate) async fn a_body_that_breaks_off_is_not_stored(stack: &Stack) {
    for (name, fields) in [("chunked", vec![SHARED]), ("length", vec![SHARED, ("content-length", "100")])] {
        let path = format!("/validation/broken/{name}");
        let broken = fields.clone();
        stack.origin_answers(&path, move |_| OriginReply::ok(&broken, "one"));
        let rest = stack.origin.body_goes_on(&path);
        let first = stack.edge.get(&path).await;
        assert_eq!(first.status(), 200);
        rest.send(Err(std::io::Error::other("broken off"))).unwrap();
        assert!(first.bytes().await.is_err(), "{name}: the client sees that it broke off");
        stack.origin_answers(&path, |_| OriginReply::ok(&[SHARED], "one,two"));
        assert_eq!(stack.get(&path).await.body, "one,two", "{name}");
        eventually("the whole response is stored", async || stack.get(&path).await.is_hit()).await;
        assert_eq!(stack.get(&path).await.body, "one,two", "{name}");
    }
}

/// The runtime decodes fields as UTF-8, so two entity tags in Latin-1 look alike.
pub(crate) async fn values_in_latin_1_confirm_nothing_and_arrive_unchanged(stack: &Stack) {
    let path = "/validation/latin-1";
    let fields =
        [SHARED, ("etag", "\"\u{e9}\""), ("content-disposition", "attachment; filename=\"\u{e9}.txt\"")];
    stack.origin_answers(path, move |_| OriginReply::ok(&fields, "0123456789"));
    let asked = async |fields: &[(&str, &[u8])]| {
        let request = stack.edge.request(reqwest::Method::GET, path);
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.send().await.unwrap()
    };
    eventually("it is answered", async || asked(&[]).await.status() == 200).await;
    let first = asked(&[]).await;
    let name = first.headers()["content-disposition"].as_bytes();
    assert!(name.contains(&0xE9) && !name.is_ascii() && !name.contains(&0xEF), "{name:?}");
    for _ in 0..3 {
        assert_eq!(asked(&[("if-none-match", b"\"\xE8\"")]).await.status(), 200, "another tag");
        let part = asked(&[("if-range", b"\"\xE8\""), ("range", b"bytes=2-4")]).await;
        assert_eq!(part.status(), 200, "another tag, so not a part");
    }
}
