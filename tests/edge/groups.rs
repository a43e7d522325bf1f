//! Cache groups (RFC 9875) through the built worker.

use reqwest::Method;
use strata_tests::{Edge, OriginReply, eventually};

use crate::{Reply, SHARED, Stack};

const INVALIDATION: &str = "cache-group-invalidation";

/// Makes the origin answer `path` with these groups and the number of the request.
fn answers_in(stack: &Stack, path: &'static str, groups: &'static str) {
    stack.origin_answers(path, move |request| {
        OriginReply::ok(&[SHARED, ("cache-groups", groups)], request.number.to_string())
    });
}

/// Makes the origin answer requests for `path` with this invalidation.
fn invalidates(stack: &Stack, path: &'static str, groups: &'static str) {
    stack.origin_answers(path, move |_| OriginReply::ok(&[(INVALIDATION, groups)], "done"));
}

async fn send(edge: &Edge, method: Method, path: &str, host: Option<&str>) -> Reply {
    let request = edge.request(method, path);
    let request = host.iter().fold(request, |request, host| request.header("host", *host));
    Reply::read(request.send().await.expect("the worker answers")).await
}

async fn store(stack: &Stack, path: &str) {
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
}

pub(crate) async fn an_unsafe_request_invalidates_the_groups_that_its_response_names(stack: &Stack) {
    let paths = ["/groups/one", "/groups/two", "/groups/both", "/groups/other"];
    for (path, groups) in paths.into_iter().zip(["\"one\"", "\"two\";p", "\"x\", \"one\"", "\"One\", \"x\""])
    {
        answers_in(stack, path, groups);
        store(stack, path).await;
    }
    invalidates(stack, "/groups/write", "\"one\"; a=b, \"two\"");
    let reply = send(&stack.edge, Method::POST, "/groups/write", None).await;
    assert_eq!(reply.header(INVALIDATION), "\"one\"; a=b, \"two\"", "other caches obey it as well");
    for path in &paths[..3] {
        let reply = stack.get(path).await;
        assert!(reply.edge_status().contains("detail=purged"), "{path}: {}", reply.edge_status());
        assert!(!reply.header("cache-groups").is_empty());
        store(stack, path).await;
    }
    assert!(stack.get("/groups/other").await.is_hit(), "case counts");
}

pub(crate) async fn after_an_invalidation_no_client_gets_a_response_requested_before_it(stack: &Stack) {
    let path = "/groups/race";
    answers_in(stack, path, "\"race\"");
    invalidates(stack, "/groups/race-write", "\"race\"");
    let rest = stack.origin.body_goes_on(path);
    let mut slow = stack.edge.get(path).await;
    let before = slow.chunk().await.unwrap().expect("the origin's own part");
    send(&stack.edge, Method::DELETE, "/groups/race-write", None).await;
    let mut after = stack.get_at_once(1, path);
    drop(rest);
    while slow.chunk().await.unwrap().is_some() {}
    let after = after.join_next().await.unwrap().unwrap();
    assert_ne!(after.body.as_bytes(), before, "{}", after.edge_status());
}

pub(crate) async fn safe_requests_and_malformed_fields_invalidate_no_group(stack: &Stack) {
    let path = "/groups/kept";
    answers_in(stack, path, "\"kept\"");
    store(stack, path).await;
    invalidates(stack, "/groups/kept-write", "\"kept\"");
    for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::from_bytes(b"QUERY").unwrap()] {
        send(&stack.edge, method, "/groups/kept-write", None).await;
    }
    for malformed in ["kept", "\"kept\",", "\"kept\" \"x\"", "\"kept\", x"] {
        invalidates(stack, "/groups/kept-write", malformed);
        send(&stack.edge, Method::POST, "/groups/kept-write", None).await;
    }
    assert!(stack.get(path).await.is_hit());
}

pub(crate) async fn a_group_of_another_host_is_not_invalidated(stack: &Stack) {
    let path = "/groups/site";
    answers_in(stack, path, "\"site\"");
    invalidates(stack, "/groups/site-write", "\"site\"");
    let get = async |host: &str| send(&stack.edge, Method::GET, path, Some(host)).await;
    for host in ["a.example", "b.example"] {
        eventually("it is stored", async || get(host).await.is_hit()).await;
    }
    send(&stack.edge, Method::POST, "/groups/site-write", Some("a.example")).await;
    assert!(get("b.example").await.is_hit());
    assert!(!get("a.example").await.is_hit());
}

/// A record in the journal object reaches every isolate.
pub(crate) async fn the_invalidation_of_groups_is_appended_to_the_journal(stack: &Stack) {
    let edge = Edge::start(stack.origin.url()).await;
    // An error: groups are invalidated whatever the status, and the URL itself is not.
    stack.origin_answers("/groups/journal-write", |_| {
        let groups = "\"a\", \"b\", \"a\"";
        OriginReply { status: 409, ..OriginReply::ok(&[(INVALIDATION, groups)], "done") }
    });
    let seq = async |nonce: &str| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let body = r#"{"v":1,"records":[{"scope":"tag:groups","mode":"remove"}]}"#;
        let answer = edge.purge(&Edge::secret(), now, nonce, body).await.text().await.unwrap();
        let (_, seq) = answer.split_once("\"seq\":").expect("an accepted purge");
        seq.trim_end_matches('}').parse::<u64>().unwrap()
    };
    let before = seq("groups-nonce-before").await;
    send(&edge, Method::POST, "/groups/journal-write", None).await;
    assert_eq!(seq("groups-nonce-after").await, before + 3);
}
