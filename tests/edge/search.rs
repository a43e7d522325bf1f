//! `No-Vary-Search` through the built worker.

use reqwest::Method;
use strata_tests::{OriginReply, OriginRequest, eventually};

use crate::{Reply, SHARED, Stack};

const FIELD: &str = "no-vary-search";

/// Makes the origin answer requests below `path` with this statement; the body is the request's
/// target and number.
fn states(stack: &Stack, path: &'static str, statement: &'static str) {
    stack.origin_answers(path, move |request| OriginReply::ok(&[SHARED, (FIELD, statement)], shown(request)));
}

fn shown(request: &OriginRequest) -> String {
    format!("{} {}", request.target, request.number)
}

async fn store(stack: &Stack, url: &str) -> Reply {
    eventually("it is stored", async || stack.get(url).await.is_hit()).await;
    stack.get(url).await
}

async fn send(stack: &Stack, method: Method, url: &str) -> Reply {
    Reply::read(stack.edge.request(method, url).send().await.expect("the worker answers")).await
}

pub(crate) async fn urls_that_the_origin_declares_equivalent_share_a_response(stack: &Stack) {
    for (path, statement, same, other) in [
        ("/search/params", "params=(\"utm\")", ["id=1", "utm=7&id=1"], ["id=2", "id=1&UTM=1"]),
        ("/search/except", "except=(\"id\")", ["x=9&id=1", "id=1&y"], ["id=2", "id=1&id=1"]),
        ("/search/older", "params, except=(\"id\")", ["x=9&id=1", "id=1&y"], ["id=2", "id=1&id=1"]),
        ("/search/order", "key-order, params=(\"utm\")", ["id=%31", "utm&id=1"], ["id=2", "id=1&b"]),
    ] {
        states(stack, path, statement);
        let first = store(stack, &format!("{path}?id=1&utm=1")).await;
        assert_eq!(first.header(FIELD), statement, "browsers obey it as well");
        for query in same {
            let reply = stack.get(&format!("{path}?{query}")).await;
            assert!(reply.is_hit() && reply.body == first.body, "{path}?{query}: {}", reply.edge_status());
        }
        for query in other {
            let reply = stack.get(&format!("{path}?{query}")).await;
            assert!(reply.body.starts_with(path) && reply.body != first.body, "{path}?{query}");
        }
    }
}

pub(crate) async fn a_malformed_statement_makes_no_urls_equivalent(stack: &Stack) {
    for (path, statement) in [
        ("/search/malformed/1", "params=(utm)"),
        ("/search/malformed/2", "params=(\"utm\"), except=(\"id\")"),
        ("/search/malformed/3", "params=(\"utm\"),"),
        ("/search/malformed/4", "key-order=1, params=(\"utm\")"),
    ] {
        states(stack, path, statement);
        store(stack, &format!("{path}?utm=1")).await;
        assert!(!stack.get(&format!("{path}?utm=2")).await.is_hit(), "{statement}");
    }
}

pub(crate) async fn a_rule_ignores_no_vary_search(stack: &Stack) {
    states(stack, "/rules/search", "params=(\"utm\")");
    store(stack, "/rules/search?utm=1").await;
    assert!(!stack.get("/rules/search?utm=2").await.is_hit());
}

/// A page that is an error, or is different for some value, states so by leaving the field out.
pub(crate) async fn a_response_is_used_only_for_urls_that_its_own_statement_covers(stack: &Stack) {
    let path = "/search/own";
    stack.origin_answers(path, |request| {
        let is_special = request.target.contains("special");
        let fields = [SHARED, (FIELD, "params=(\"utm\" \"special\")")];
        OriginReply::ok(&fields[..if is_special { 1 } else { 2 }], shown(request))
    });
    let usual = store(stack, "/search/own?utm=1").await;
    let special = "/search/own?special&utm=1";
    // The path's latest statement leads to the usual response; its own statement covers this URL.
    assert_eq!(stack.get(special).await.body, usual.body);
    let path = "/search/own/other";
    stack.origin_answers(path, |request| {
        let fields = [SHARED, (FIELD, "params=(\"utm\")")];
        OriginReply::ok(&fields[..if request.target.contains("special") { 1 } else { 2 }], shown(request))
    });
    store(stack, "/search/own/other?utm=1").await;
    store(stack, "/search/own/other?utm=1&special").await;
    assert!(!stack.get("/search/own/other?utm=2&special").await.is_hit());
    assert!(stack.get("/search/own/other?utm=2").await.is_hit());
}

pub(crate) async fn an_unsafe_request_invalidates_all_equivalent_urls(stack: &Stack) {
    let path = "/search/unsafe";
    states(stack, path, "params=(\"utm\")");
    let own = store(stack, "/search/unsafe?id=1&utm=1").await;
    let other = store(stack, "/search/unsafe?id=2&utm=1").await;
    send(stack, Method::POST, "/search/unsafe?utm=3&id=1").await;
    for url in ["/search/unsafe?id=1", "/search/unsafe?id=1&utm=1"] {
        let reply = stack.get(url).await;
        assert_ne!(reply.body, own.body, "{url}: {}", reply.edge_status());
    }
    assert_eq!(stack.get("/search/unsafe?utm=9&id=2").await.body, other.body);
}

/// The first response of a path is in progress: no marker yet says which URLs will share it.
pub(crate) async fn an_unsafe_request_invalidates_a_first_response_in_progress(stack: &Stack) {
    let path = "/search/first";
    states(stack, path, "params=(\"utm\")");
    let rest = stack.origin.body_goes_on("/search/first?utm=1");
    let mut slow = stack.edge.get("/search/first?utm=1").await;
    let before = slow.chunk().await.unwrap().expect("the origin's own part");
    // It is released once the response is stored, or is not.
    let waiter = stack.get_at_once(1, "/search/first?utm=1");
    send(stack, Method::DELETE, "/search/first?utm=2").await;
    drop(rest);
    while slow.chunk().await.unwrap().is_some() {}
    waiter.join_all().await;
    let after = stack.get("/search/first?utm=2").await;
    assert_ne!(after.body.as_bytes(), before, "requested before the deletion");
}

pub(crate) async fn a_purge_of_a_path_or_tag_ends_the_response_of_all_equivalent_urls(stack: &Stack) {
    for (path, scope) in [("/search/purge/path", "path"), ("/search/purge/tag", "tag")] {
        stack.origin_answers(path, |request| {
            let fields = [SHARED, (FIELD, "params=(\"utm\")"), ("cache-tag", "searched")];
            OriginReply::ok(&fields, shown(request))
        });
        let url = |utm: u32| format!("{path}?utm={utm}");
        let old = store(stack, &url(1)).await.body;
        assert_eq!(stack.get(&url(2)).await.body, old);
        let scope = match scope {
            "path" => format!("path:{}{path}", stack.edge.host()),
            _ => "tag:searched".to_owned(),
        };
        crate::invalidation::purge(stack, &format!(r#"{{"scope":"{scope}","mode":"remove"}}"#)).await;
        for utm in [2, 1, 3] {
            eventually("it is purged", async || stack.get(&url(utm)).await.body != old).await;
        }
    }
}

/// A shared redirect to one of the URLs that share it would never end.
pub(crate) async fn a_redirect_to_an_equivalent_url_is_not_stored(stack: &Stack) {
    stack.origin_answers("/search/redirect", |request| match request.target.contains("utm") {
        true => OriginReply {
            status: 301,
            ..OriginReply::ok(
                &[SHARED, (FIELD, "params=(\"utm\")"), ("location", "/search/redirect?id=1")],
                "moved",
            )
        },
        false => OriginReply::ok(&[SHARED, (FIELD, "params=(\"utm\")")], "here"),
    });
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build();
    let url = format!("{}/search/redirect?utm=1&id=1", stack.edge.url());
    let reply = Reply::read(client.unwrap().get(url).send().await.unwrap()).await;
    assert_eq!(reply.status, 301);
    assert!(reply.edge_status().contains("detail=self-redirect"), "{}", reply.edge_status());
    assert_eq!(stack.get("/search/redirect?id=1").await.body, "here");
}

pub(crate) async fn equivalent_urls_collapse_once_the_path_is_known(stack: &Stack) {
    let path = "/search/collapse";
    states(stack, path, "params=(\"utm\")");
    store(stack, "/search/collapse?id=0").await;
    let rest = stack.origin.body_goes_on("/search/collapse?id=1&utm=0");
    let first = stack.get_at_once(1, "/search/collapse?id=1&utm=0");
    eventually("the first is in progress", async || {
        stack.origin_requests("/search/collapse?id=1&utm=0") == 1
    })
    .await;
    let others: Vec<_> =
        (1..5).map(|utm| stack.get_at_once(1, &format!("/search/collapse?utm={utm}&id=1"))).collect();
    drop(rest);
    let first = first.join_all().await.remove(0);
    for other in others {
        assert_eq!(other.join_all().await[0].body, first.body);
    }
    for utm in 1..5 {
        assert_eq!(stack.origin_requests(&format!("/search/collapse?utm={utm}&id=1")), 0);
    }
}
