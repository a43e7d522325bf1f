//! Range requests (RFC 9110 section 14): parts are cut from stored responses, or stored as parts,
//! and never served as the whole.

use std::time::{Duration, Instant};

use reqwest::Method;
use strata_tests::{OriginReply, OriginRequest, eventually};

use crate::{Reply, SHARED, Stack};

const DIGITS: &str = "0123456789";
pub(crate) async fn a_part_is_cut_from_a_whole_stored_response(stack: &Stack) {
    let path = "/ranges/whole";
    let modified = ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT");
    stack.origin_answers(path, move |_| OriginReply::ok(&[SHARED, ("etag", "\"v1\""), modified], DIGITS));
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    let requests = stack.origin_requests(path);
    for (range, status, content_range, body) in [
        ("bytes=2-4", 206, "bytes 2-4/10", "234"),
        ("bytes=-1", 206, "bytes 9-9/10", "9"),
        ("bytes=8-", 206, "bytes 8-9/10", "89"),
        ("bytes=0-1, 2-3", 206, "bytes 0-3/10", "0123"),
        ("bytes=0-1, 8-9", 200, "", DIGITS),
        ("bytes=4-2", 200, "", DIGITS),
        ("bytes=20-", 416, "bytes */10", ""),
    ] {
        let reply = stack.get_with(path, &[("range", range)]).await;
        assert!(reply.is_hit(), "{range}");
        assert_eq!((reply.status, reply.header("content-range")), (status, content_range), "{range}");
        assert_eq!(
            (reply.body.as_str(), reply.header("content-length")),
            (body, body.len().to_string().as_str()),
            "{range}"
        );
    }
    let of = async |condition| stack.get_with(path, &[("range", "bytes=2-4"), condition]).await.status;
    assert_eq!(of(("if-range", "\"v1\"")).await, 206);
    assert_eq!(of(("if-range", "\"v0\"")).await, 200);
    assert_eq!(of(("if-range", modified.1)).await, 206);
    assert_eq!(
        of(("if-range", "Sun, 06 Nov 1994 08:49:38 GMT")).await,
        200,
        "it is compared, and not ordered"
    );
    assert_eq!(of(("if-none-match", "\"v1\"")).await, 304);
    assert_eq!(stack.origin_requests(path), requests);
}

/// A client that asks for a part right after the whole can be faster than the store.
pub(crate) async fn a_part_is_cut_from_a_response_that_is_being_stored(stack: &Stack) {
    for (path, field, status, expected) in [
        ("/ranges/storing/part", ("range", "bytes=2-4"), 206, "234"),
        ("/ranges/storing/condition", ("if-none-match", "\"v1\""), 304, ""),
    ] {
        stack.origin_answers(path, |_| {
            OriginReply::ok(&[SHARED, ("etag", "\"v1\""), ("content-length", "10")], "01234")
        });
        let rest = stack.origin.body_goes_on(path);
        let mut whole = stack.edge.get(path).await;
        whole.chunk().await.unwrap();
        let second = tokio::spawn(stack.edge.request(Method::GET, path).header(field.0, field.1).send());
        // Longer than the second request needs to reach the origin, if it is forwarded.
        let deadline = Instant::now() + Duration::from_millis(60);
        eventually("the second request has arrived", async || {
            stack.origin_requests(path) > 1 || Instant::now() > deadline
        })
        .await;
        rest.send(Ok("56789".into())).unwrap();
        drop(rest);
        let reply = Reply::read(second.await.unwrap().unwrap()).await;
        assert_eq!((reply.status, reply.body.as_str()), (status, expected), "{}", reply.edge_status());
        assert!(reply.edge_status().contains("; collapsed"), "{}", reply.edge_status());
        assert_eq!(stack.origin_requests(path), 1);
    }
}

pub(crate) async fn a_stored_part_answers_its_range_and_not_the_whole(stack: &Stack) {
    let path = "/ranges/part";
    stack.origin_answers(path, |request: &OriginRequest| match request.headers.get("range") {
        Some(range) if range == "bytes=4-8" => OriginReply {
            status: 206,
            ..OriginReply::ok(
                &[SHARED, ("content-range", "bytes 4-8/10"), ("etag", "\"v1\"")],
                &DIGITS[4..=8],
            )
        },
        // An error, so that no other part takes the place of the first.
        Some(_) => OriginReply { status: 500, headers: vec![], body: String::new() },
        None => OriginReply::ok(&[SHARED, ("etag", "\"v1\"")], DIGITS),
    });
    let first = stack.get_with(path, &[("range", "bytes=4-8")]).await;
    assert_eq!((first.status, first.body.as_str()), (206, "45678"));
    let inside = async || stack.get_with(path, &[("range", "bytes=5-6")]).await;
    eventually("the part is stored", async || inside().await.is_hit()).await;
    let reply = inside().await;
    assert_eq!(
        (reply.status, reply.header("content-range"), reply.body.as_str()),
        (206, "bytes 5-6/10", "56")
    );
    let whole = stack.get(path).await;
    assert_eq!((whole.status, whole.body.as_str()), (200, DIGITS));
    assert!(whole.edge_status().contains("fwd=partial"), "{}", whole.edge_status());
    eventually("the whole response has replaced it", async || stack.get(path).await.is_hit()).await;
}

pub(crate) async fn a_multipart_response_answers_the_same_range_field(stack: &Stack) {
    let path = "/ranges/several";
    let parts = "--a\r\nContent-Range: bytes 0-0/10\r\n\r\n0\r\n--a\r\nContent-Range: bytes 9-9/10\r\n\r\n9\r\n--a--\r\n";
    let multipart = ("content-type", "multipart/byteranges; boundary=a");
    stack.origin_answers(path, move |request: &OriginRequest| match request.headers.get("range") {
        Some(_) => OriginReply { status: 206, ..OriginReply::ok(&[SHARED, multipart], parts) },
        None => OriginReply::ok(&[SHARED], DIGITS),
    });
    let several = async || stack.get_with(path, &[("range", "bytes=0-0, -1")]).await;
    eventually("they are stored", async || several().await.is_hit()).await;
    let reply = several().await;
    assert_eq!((reply.status, reply.body.as_str(), reply.header("content-type")), (206, parts, multipart.1));
    assert!(!reply.headers.contains_key("strata-range") && !reply.headers.contains_key("content-range"));
    assert!(!stack.get_with(path, &[("range", "bytes=0-0")]).await.is_hit());
    let whole = stack.get(path).await;
    assert_eq!((whole.status, whole.body.as_str()), (200, DIGITS));
}

pub(crate) async fn a_part_of_the_whole_length_is_stored_as_the_whole(stack: &Stack) {
    let path = "/ranges/all";
    stack.origin_answers(path, |_| OriginReply {
        status: 206,
        ..OriginReply::ok(&[SHARED, ("content-range", "bytes 0-9/10")], DIGITS)
    });
    assert_eq!(stack.get_with(path, &[("range", "bytes=0-")]).await.status, 206);
    eventually("it is stored", async || stack.get_with(path, &[("range", "bytes=0-")]).await.is_hit()).await;
    let whole = stack.get(path).await;
    assert_eq!((whole.status, whole.body.as_str(), whole.header("content-range")), (200, DIGITS, ""));
    assert!(whole.is_hit());
}

async fn a_head_without_a_validator_changes_nothing(stack: &Stack) {
    let path = "/ranges/head/silent";
    stack.origin_answers(path, move |_| OriginReply::ok(&[("cache-control", "max-age=1")], DIGITS));
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    eventually("its age has passed, and a HEAD has reached the origin", async || {
        let head = stack.edge.request(Method::HEAD, path).send().await.unwrap();
        Reply::read(head).await.edge_status().contains("fwd=stale")
    })
    .await;
    assert!(!stack.get(path).await.is_hit(), "the body is no fresher for it");
}

pub(crate) async fn a_head_updates_or_removes_the_stored_response(stack: &Stack) {
    for (path, etag, updated) in
        [("/ranges/head/same", "\"v1\"", true), ("/ranges/head/other", "\"v2\"", false)]
    {
        stack.origin_answers(path, move |request: &OriginRequest| match request.method {
            // The test's server sends no body for HEAD, but the length of the body for GET.
            Method::HEAD => OriginReply::ok(&[SHARED, ("etag", etag), ("x-new", "1")], DIGITS),
            _ => OriginReply::ok(&[("cache-control", "max-age=1"), ("etag", "\"v1\"")], DIGITS),
        });
        eventually("it is stored", async || stack.get(path).await.is_hit()).await;
        eventually("its age has passed, and a HEAD has reached the origin", async || {
            let head = stack.edge.request(Method::HEAD, path).send().await.unwrap();
            Reply::read(head).await.header("x-new") == "1"
        })
        .await;
        if updated {
            // An error, so that no GET that overtakes the update replaces it.
            stack.origin_answers(path, |_| OriginReply { status: 500, headers: vec![], body: String::new() });
            eventually("the fields are updated", async || stack.get(path).await.header("x-new") == "1").await;
        }
        let reply = stack.get(path).await;
        assert_eq!((reply.header("x-new") == "1", reply.body.as_str()), (updated, DIGITS), "{path}");
    }
    a_head_without_a_validator_changes_nothing(stack).await;
}

/// Some origins answer HEAD with `Content-Length: 0`. A length that differs makes a response stale
/// (RFC 9111 section 4.3.5), no more.
pub(crate) async fn a_head_does_not_delete_what_a_failing_origin_needs(stack: &Stack) {
    for (path, etag) in [("/ranges/head/empty", "\"v1\""), ("/ranges/head/changed", "\"v2\"")] {
        stack.origin_answers(path, move |request: &OriginRequest| match request.method {
            Method::HEAD => OriginReply::ok(&[("etag", etag), ("x-new", "1")], ""),
            _ => OriginReply::ok(
                &[("cache-control", "max-age=1, stale-if-error=600"), ("etag", "\"v1\"")],
                DIGITS,
            ),
        });
        eventually("it is stored", async || stack.get(path).await.is_hit()).await;
        eventually("its age has passed, and a HEAD has reached the origin", async || {
            let head = stack.edge.request(Method::HEAD, path).send().await.unwrap();
            Reply::read(head).await.header("x-new") == "1"
        })
        .await;
        stack.origin_answers(path, |_| OriginReply { status: 503, ..OriginReply::ok(&[], "down") });
        let reply = stack.get(path).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, DIGITS), "{path}: {}", reply.edge_status());
    }
}
