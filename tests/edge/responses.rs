//! Tables of fields and the `Cache-Status` that they lead to: whether a response is stored, for how
//! long, and which requests it answers.

use std::time::Duration;

use reqwest::Method;
use strata_tests::{OriginReply, eventually};

use crate::{Reply, SHARED, Stack};

const LONG_AGO: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

pub(crate) async fn cache_status_states_why_a_response_is_not_stored(stack: &Stack) {
    for (detail, status, fields) in [
        ("private", 200, &[("cache-control", "private, max-age=60")][..]),
        ("no-store", 200, &[("cache-control", "no-store")]),
        ("qualified", 200, &[("cache-control", "max-age=60, private=\"vary\"")]),
        ("set-cookie", 200, &[SHARED, ("set-cookie", "a=1")]),
        ("vary-any", 200, &[SHARED, ("vary", "*")]),
        ("vary-any", 200, &[SHARED, ("vary", "x-forwarded-for")]),
        ("no-lifetime", 200, &[]),
        ("no-lifetime", 302, &[]),
        ("no-lifetime", 200, &[SHARED, ("age", "99999999999")]),
        ("no-lifetime", 200, &[("cache-control", "public"), ("expires", "0")]),
        ("status", 299, &[("cache-control", "max-age=600, must-understand")]),
    ] {
        let path = format!("/responses/not/{detail}");
        stack.origin_answers(&path, move |_| OriginReply { status, ..OriginReply::ok(fields, "x") });
        let reply = stack.get(&path).await;
        let expected = format!("strata-edge; fwd=uri-miss; fwd-status={status}; detail={detail}; key=");
        assert!(reply.edge_status().starts_with(&expected), "{fields:?}: {}", reply.edge_status());
    }
}

/// A malformed field counts for what it forbids, wherever the word stands.
pub(crate) async fn a_misspelt_field_still_forbids(stack: &Stack) {
    for (number, value) in [
        "private; max-age=600",
        "max-age=600; private",
        "no-store; no-cache",
        "no-cache no-store",
        "\"private\"",
        "max-age=600 private",
        "PRIVATE/max-age=600",
        "max-age=\"600, no-store\"",
        "no_store, max-age=600",
        "public; max-age=600",
    ]
    .into_iter()
    .enumerate()
    {
        for folder in ["/responses/misspelt", "/rules/lifetime/misspelt"] {
            let path = format!("{folder}/{number}");
            stack.origin_answers(&path, move |_| {
                OriginReply::ok(&[("cache-control", value), ("last-modified", LONG_AGO)], "for one")
            });
            let reply = stack.get(&path).await;
            assert!(!reply.edge_status().contains("; stored; ttl=6"), "{value}: {}", reply.edge_status());
            assert!(!stack.get(&path).await.is_hit(), "{value}");
        }
        if value.contains("600; private") {
            let path = format!("/responses/misspelt/targeted/{number}");
            stack.origin_answers(&path, move |_| {
                OriginReply::ok(&[SHARED, ("cdn-cache-control", value)], "for one")
            });
            let reply = stack.get(&path).await;
            assert!(reply.edge_status().contains("detail=private"), "{value}: {}", reply.edge_status());
        }
    }
}

/// RFC 9111 sections 4.2.1 to 4.2.3, and RFC 9213.
pub(crate) async fn fields_determine_the_lifetime(stack: &Stack) {
    const DAY: i64 = 24 * 60 * 60;
    for (number, (ttl, fields)) in [
        (500, &[SHARED, ("age", "100")][..]),
        (500, &[SHARED, ("age", "100, 7")]),
        (600, &[SHARED, ("age", "-1")]),
        (60, &[SHARED, ("cdn-cache-control", "max-age=60")]),
        (600, &[SHARED, ("cdn-cache-control", "max-age=60, &&&")]),
        (600, &[("cache-control", "no-store, must-understand, max-age=600")]),
        (DAY, &[("last-modified", LONG_AGO)]),
        // The origin's clock is ahead.
        (300, &[("date", "Fri, 01 Jan 2100 00:00:00 GMT"), ("expires", "Fri, 01 Jan 2100 00:05:00 GMT")]),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/responses/lifetime/{number}");
        stack.origin_answers(&path, move |_| OriginReply::ok(fields, "x"));
        let reply = stack.get(&path).await;
        let said =
            reply.edge_status().split("; ttl=").nth(1).and_then(|rest| rest.split(';').next()?.parse().ok());
        let said: i64 = said.unwrap_or_else(|| panic!("{fields:?}: {}", reply.edge_status()));
        assert!((ttl - 2..=ttl).contains(&said), "{fields:?}: {said}");
    }
}

/// The W3C's Edge Architecture: the field is for this cache, so it is removed.
pub(crate) async fn surrogate_control_is_obeyed(stack: &Stack) {
    for (number, (expected, fields)) in [
        ("detail=no-store", &[SHARED, ("surrogate-control", "no-store")][..]),
        ("detail=private", &[SHARED, ("surrogate-control", "max-age=60, private")]),
        ("; stored; ttl=60", &[SHARED, ("surrogate-control", "max-age=60")]),
        (
            "; stored; ttl=60",
            &[("cache-control", "no-store, max-age=0"), ("surrogate-control", "max-age=60+30")],
        ),
        ("; stored; ttl=600", &[SHARED, ("surrogate-control", "content=\"ESI/1.0\"")]),
        ("; stored; ttl=70", &[("cdn-cache-control", "max-age=70"), ("surrogate-control", "max-age=60")]),
        ("detail=private", &[("cache-control", "private"), ("surrogate-control", "max-age=60")]),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/responses/surrogate/{number}");
        stack.origin_answers(&path, move |_| OriginReply::ok(fields, "x"));
        let reply = stack.get(&path).await;
        assert!(reply.edge_status().contains(expected), "{fields:?}: {}", reply.edge_status());
        assert!(!reply.headers.contains_key("surrogate-control"), "{fields:?}");
    }
}

pub(crate) async fn responses_of_many_statuses_are_stored(stack: &Stack) {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    for status in [203, 204, 301, 302, 404, 410, 500, 503] {
        let path = format!("/responses/status/{status}");
        let fields = [SHARED, ("location", "/responses/elsewhere")];
        stack.origin_answers(&path, move |_| OriginReply { status, ..OriginReply::ok(&fields, "") });
        eventually("it is stored", async || {
            let url = format!("{}{path}", stack.edge.url());
            let reply = Reply::read(client.get(url).send().await.unwrap()).await;
            assert_eq!(reply.status, status, "as it came, and no redirect is followed");
            reply.is_hit()
        })
        .await;
    }
    assert_eq!(stack.origin_requests("/responses/elsewhere"), 0);
}

/// The entry stays for as long as it can explain the miss.
pub(crate) async fn an_expired_response_is_said_to_be_stale(stack: &Stack) {
    let path = "/responses/expired";
    stack.origin_answers(path, |_| OriginReply::ok(&[("cache-control", "s-maxage=1")], "x"));
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    // A request in between would store it anew.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let reply = stack.get(path).await;
    assert!(reply.edge_status().starts_with("strata-edge; fwd=stale"), "{}", reply.edge_status());
}

/// RFC 9111 sections 5.2.2.2 and 5.2.2.8.
pub(crate) async fn stale_is_not_served_if_a_directive_forbids_it(stack: &Stack) {
    for directive in ["must-revalidate", "proxy-revalidate", "s-maxage=1, proxy-revalidate"] {
        let path = format!("/responses/forbidden/{}", &directive[..4]);
        let cache_control = format!("max-age=1, stale-while-revalidate=600, stale-if-error=600, {directive}");
        stack.origin_answers(&path, move |_| OriginReply::ok(&[("cache-control", &cache_control)], "old"));
        eventually("it is stored", async || stack.get(&path).await.is_hit()).await;
        stack.origin_answers(&path, |_| OriginReply { status: 503, ..OriginReply::ok(&[], "down") });
        eventually("its age has passed", async || {
            let reply = stack.get(&path).await;
            assert!(!reply.edge_status().contains("detail=stale"), "{directive}: {}", reply.edge_status());
            reply.status == 503
        })
        .await;
    }
}

/// RFC 9111 section 5.2.1. The rule also lets cookies be stored.
pub(crate) async fn a_rule_obeys_request_directives_and_stores_cookies(stack: &Stack) {
    let path = "/responses/obeyed";
    let fields = [SHARED, ("set-cookie", "a=1"), ("set-cookie", "b=2")];
    stack.origin_answers(path, move |request| OriginReply::ok(&fields, request.number.to_string()));
    let only = stack.get_with(path, &[("cache-control", "only-if-cached")]).await;
    assert_eq!((only.status, only.edge_status()), (504, "strata-edge; detail=only-if-cached"));
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    let stored = stack.get(path).await;
    assert_eq!(stored.headers.get_all("set-cookie").iter().count(), 2, "{:?}", stored.headers);
    for (asked, taken) in [
        ("max-age=600", true),
        ("min-fresh=1", true),
        ("only-if-cached", true),
        ("no-cache", false),
        ("min-fresh=601", false),
    ] {
        let reply = stack.get_with(path, &[("cache-control", asked)]).await;
        assert_eq!(reply.is_hit(), taken, "{asked}: {}", reply.edge_status());
        assert!(taken || reply.edge_status().contains("fwd=request"), "{asked}: {}", reply.edge_status());
        eventually("the requested response is stored", async || stack.get(path).await.is_hit()).await;
    }
}

/// RFC 9111 sections 5.2.1.1 and 5.2.1.2.
pub(crate) async fn a_request_limits_age_and_staleness(stack: &Stack) {
    for (path, lifetime) in
        [("/responses/obeyed/stale", "max-age=1"), ("/responses/obeyed/fresh", "max-age=600")]
    {
        let fields = [("cache-control", lifetime)];
        stack.origin_answers(path, move |request| OriginReply::ok(&fields, request.number.to_string()));
        eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    }
    let asking = async |path, asked| stack.get_with(path, &[("cache-control", asked)]).await;
    let (path, requests) = ("/responses/obeyed/stale", stack.origin_requests("/responses/obeyed/stale"));
    eventually("the request accepts it stale", async || {
        let reply = asking(path, "max-stale=60").await;
        assert!(reply.is_hit(), "{}", reply.edge_status());
        reply.edge_status().contains("detail=max-stale")
    })
    .await;
    assert_eq!(stack.origin_requests(path), requests);
    assert!(!asking(path, "max-stale=0").await.is_hit());
    let path = "/responses/obeyed/fresh";
    eventually("it is older than the request accepts", async || {
        asking(path, "max-age=0").await.edge_status().starts_with("strata-edge; fwd=request")
    })
    .await;
}

/// The body's length is known only once it has ended, after `Cache-Status` was sent.
pub(crate) async fn a_body_of_unknown_length_is_not_said_to_be_stored(stack: &Stack) {
    let path = "/responses/chunked";
    stack.origin_answers(path, |_| OriginReply::ok(&[SHARED], "one,"));
    let rest = stack.origin.body_goes_on(path);
    rest.send(Ok("two".into())).unwrap();
    drop(rest);
    let reply = stack.get(path).await;
    assert!(!reply.edge_status().contains("; stored"), "{}", reply.edge_status());
    assert!(reply.edge_status().contains("detail=unknown-length"), "{}", reply.edge_status());
    eventually("it is stored all the same", async || stack.get(path).await.is_hit()).await;
}

pub(crate) async fn the_origin_gets_the_normal_value(stack: &Stack) {
    for (name, value, seen) in [
        ("accept-encoding", "gzip;q=0.5, BR", "br, gzip"),
        ("accept", "image/webp, */*;q=0.1", "image/webp"),
        ("cookie", "sid=7; group=b; x=1", "group=b"),
        ("x-list", "B, a", "b,a"),
        ("x-dropped", "1", "none"),
    ] {
        let path = format!("/responses/vary/{name}");
        stack.origin_answers(&path, move |request| {
            let value = request.headers.get(name).map_or("none", |value| value.to_str().unwrap());
            OriginReply::ok(&[SHARED, ("vary", name), ("x-seen", value)], "")
        });
        assert_eq!(stack.get_with(&path, &[(name, value)]).await.header("x-seen"), seen, "{name}");
        eventually("the variant is stored", async || stack.get_with(&path, &[(name, value)]).await.is_hit())
            .await;
    }
    let other = stack.get_with("/responses/vary/cookie", &[("cookie", "group=c")]).await;
    assert!(other.edge_status().contains("fwd=vary-miss"), "{}", other.edge_status());
}

/// The body could change the answer, so the answer is for this request alone.
pub(crate) async fn a_get_or_head_with_a_body_bypasses_the_store(stack: &Stack) {
    let path = "/responses/search";
    stack.origin_answers(path, |request| {
        let length = request.headers.get("content-length").map_or("0", |length| length.to_str().unwrap());
        OriginReply::ok(
            &[SHARED, ("x-length", length)],
            format!("{} answer {}", request.method, request.number),
        )
    });
    for method in [Method::GET, Method::HEAD] {
        for body in ["{\"q\":1}", "{\"q\":12}"] {
            let sent = stack.edge.request(method.clone(), path).body(body).send().await.unwrap();
            let reply = Reply::read(sent).await;
            let status = "strata-edge; fwd=bypass; fwd-status=200; detail=body";
            assert!(reply.edge_status().starts_with(status), "{method}: {}", reply.edge_status());
            assert_eq!(
                reply.header("x-length"),
                body.len().to_string(),
                "{method}: the origin gets the body"
            );
        }
    }
    let plain = stack.get(path).await;
    assert!(plain.edge_status().contains("fwd=uri-miss"), "{}", plain.edge_status());
    assert_eq!(plain.header("x-length"), "0");
    eventually("a GET without a body is stored", async || stack.get(path).await.is_hit()).await;
}

pub(crate) async fn hop_by_hop_fields_are_removed(stack: &Stack) {
    let path = "/responses/hops";
    stack.origin_answers(path, |_| {
        OriginReply::ok(&[SHARED, ("proxy-authentication-info", "x"), ("x-end", "1")], "x")
    });
    let fields = [("proxy-authorization", "x"), ("keep-alive", "timeout=5"), ("x-end", "1")];
    let reply = stack.get_with(path, &fields).await;
    assert!(!reply.headers.contains_key("proxy-authentication-info") && reply.header("x-end") == "1");
    let seen = &stack.origin.requests(path)[0].headers;
    let reached = ["proxy-authorization", "keep-alive", "x-end"].map(|name| seen.contains_key(name));
    assert_eq!(reached, [false, false, true], "{seen:?}");
}

/// RFC 9110 section 9.2.1, and the safe methods in IANA's registry.
pub(crate) async fn a_safe_method_evicts_nothing(stack: &Stack) {
    let path = "/responses/safe";
    stack.origin_answers(path, |request| OriginReply::ok(&[SHARED], request.method.as_str()));
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    for method in ["OPTIONS", "PROPFIND", "QUERY", "REPORT", "SEARCH"] {
        let sent = stack.edge.request(method.parse().unwrap(), path).body("x").send().await.unwrap();
        assert_eq!(Reply::read(sent).await.body, method);
        assert!(stack.get(path).await.is_hit(), "{method}");
    }
}

pub(crate) async fn other_methods_are_forwarded_with_their_bodies(stack: &Stack) {
    let path = "/responses/methods";
    let fields = [SHARED, ("cache-tag", "a"), ("strata-position", "1763900000000-0")];
    stack.origin_answers(path, move |request| OriginReply::ok(&fields, request.method.as_str()));
    for method in [Method::OPTIONS, Method::DELETE, Method::PATCH, Method::POST] {
        let sent = stack
            .edge
            .request(method.clone(), path)
            .header("strata-x", "1")
            .body("content")
            .send()
            .await
            .unwrap();
        let reply = Reply::read(sent).await;
        assert_eq!(reply.body, method.as_str());
        assert!(
            reply.edge_status().starts_with("strata-edge; fwd=method; fwd-status=200"),
            "{}",
            reply.edge_status()
        );
        assert!(
            !reply.headers.keys().any(|name| name.as_str().starts_with("strata-") || name == "cache-tag")
        );
        let seen = stack.origin.requests(path).pop().unwrap();
        assert_eq!(seen.headers["content-length"], "7");
        assert!(!seen.headers.contains_key("strata-x"));
    }
}
