//! Bodies that do not end: event streams, feeds, and bodies that arrive slowly.

use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder, Response};
use strata_tests::{OriginReply, Rest, eventually};

use crate::gate::Gate;
use crate::{Reply, SHARED, Stack};

/// The longest time to the first bytes of a body that does not wait for another request's.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A client that has received the beginning of a body, and the origin's end of it.
struct Reader {
    response: Response,
    origin: Rest,
    took: Duration,
}

/// Sends a request whose body the origin begins and does not end.
async fn read(stack: &Stack, path: &str, request: RequestBuilder) -> Reader {
    let origin = stack.origin.body_goes_on(path);
    let since = Instant::now();
    let mut response = request.send().await.expect("the worker answers");
    assert_eq!(response.chunk().await.unwrap().as_deref(), Some(&b"one,"[..]), "{path}");
    Reader { response, origin, took: since.elapsed() }
}

impl Reader {
    /// Receives what the origin sends now.
    async fn receives(&mut self, chunk: &'static str) {
        self.origin.send(Ok(chunk.into())).expect("the origin's connection is open");
        assert_eq!(self.response.chunk().await.unwrap().as_deref(), Some(chunk.as_bytes()));
    }
}

/// The answers to requests for streams that could be stored by their directives or a rule.
const STREAMS: [(&str, &[(&str, &str)]); 4] = [
    (
        "/streams/events",
        &[
            ("content-type", "text/event-stream"),
            ("cache-control", "no-cache"),
            ("last-modified", "Wed, 01 Jan 2025 00:00:00 GMT"),
        ],
    ),
    ("/streams/shared-events", &[("content-type", "Text/Event-Stream;charset=utf-8"), SHARED]),
    ("/rules/lifetime/events", &[("content-type", "text/event-stream")]),
    ("/streams/camera", &[("content-type", "multipart/x-mixed-replace; boundary=frame"), SHARED]),
];

pub(crate) async fn each_client_of_a_stream_gets_its_beginning_at_once(stack: &Stack) {
    for (path, fields) in STREAMS {
        stack.origin_answers(path, move |_| OriginReply::ok(fields, "one,"));
        let mut readers = Vec::new();
        for number in 1..=4 {
            let reader = read(stack, path, stack.edge.request(Method::GET, path)).await;
            assert!(reader.took < AT_ONCE, "{path}, client {number}: {:?}", reader.took);
            readers.push(reader);
        }
        for mut reader in readers {
            reader.receives("two,").await;
            let status = reader.response.headers()["cache-status"].to_str().unwrap();
            assert!(status.contains("detail=endless"), "{status}");
        }
        assert_eq!(stack.origin_requests(path), 4, "{path}");
        let head = stack.edge.request(Method::HEAD, path).send().await.unwrap();
        assert_eq!(head.status(), 200, "{path}");
    }
}

/// The origin sends the header section with its first event. A waiting client would miss events.
pub(crate) async fn an_event_source_does_not_wait_for_another(stack: &Stack) {
    let path = "/streams/late";
    let gate = Gate::default();
    let first = gate.clone();
    stack.origin_answers(path, move |request| {
        if request.headers.contains_key("x-first") {
            first.pass();
        }
        OriginReply::ok(&[SHARED, ("content-type", "text/event-stream")], "data: x\n\n")
    });
    let source = || stack.edge.request(Method::GET, path).header("accept", "text/event-stream");
    let held = tokio::spawn(source().header("x-first", "1").send());
    eventually("the origin is requested", async || stack.origin_requests(path) > 0).await;
    let since = Instant::now();
    let reply = Reply::read(source().send().await.unwrap()).await;
    assert_eq!(reply.body, "data: x\n\n");
    assert!(since.elapsed() < AT_ONCE, "{:?}", since.elapsed());
    gate.open();
    assert_eq!(held.await.unwrap().unwrap().status(), 200);
}

/// Nothing but the missing length tells a feed from a page.
pub(crate) async fn a_feed_holds_other_clients_for_a_moment_only(stack: &Stack) {
    let path = "/streams/feed";
    stack.origin_answers(path, |_| {
        OriginReply::ok(&[SHARED, ("content-type", "application/x-ndjson")], "one,")
    });
    let request = || stack.edge.request(Method::GET, path);
    let mut readers = vec![read(stack, path, request()).await];
    for limit in [Duration::from_millis(2500), AT_ONCE, AT_ONCE] {
        let reader = read(stack, path, request()).await;
        assert!(reader.took < limit, "{:?}", reader.took);
        readers.push(reader);
    }
    for mut reader in readers {
        reader.receives("two,").await;
    }
}

/// A response that must be validated before each use cannot answer others, whenever its body ends.
pub(crate) async fn a_body_that_cannot_answer_others_holds_none(stack: &Stack) {
    let path = "/streams/validated";
    stack.origin_answers(path, |_| {
        OriginReply::ok(
            &[("cache-control", "no-cache"), ("etag", "\"a\""), ("content-length", "400")],
            "one,",
        )
    });
    let first = read(stack, path, stack.edge.request(Method::GET, path)).await;
    let second = read(stack, path, stack.edge.request(Method::GET, path)).await;
    assert!(second.took < AT_ONCE, "{:?}", second.took);
    drop(first);
}

/// A body of known length ends, but not soon.
pub(crate) async fn a_slow_body_holds_other_clients_once(stack: &Stack) {
    let path = "/streams/slow";
    stack.origin_answers(path, |_| OriginReply::ok(&[SHARED, ("content-length", "400")], "one,"));
    let first = read(stack, path, stack.edge.request(Method::GET, path)).await;
    let second = read(stack, path, stack.edge.request(Method::GET, path)).await;
    assert!(second.took < Duration::from_millis(7500), "{:?}", second.took);
    let third = read(stack, path, stack.edge.request(Method::GET, path)).await;
    assert!(third.took < AT_ONCE, "{:?}", third.took);
    drop(first);
}

/// The runtime notices a disconnect when it sends the next chunk.
pub(crate) async fn the_origin_sees_that_the_client_of_a_stream_has_left(stack: &Stack) {
    let storable: (&str, &[(&str, &str)]) = ("/streams/left", &[SHARED]);
    for (method, (path, fields)) in STREAMS
        .iter()
        .chain([&storable])
        .map(|stream| (Method::GET, *stream))
        .chain([(Method::POST, storable)])
    {
        stack.origin_answers(path, move |_| OriginReply::ok(fields, "one,"));
        let Reader { response, origin, .. } =
            read(stack, path, stack.edge.request(method.clone(), path)).await;
        drop(response);
        let since = Instant::now();
        eventually("the origin's connection is closed", async || origin.send(Ok("x".into())).is_err()).await;
        assert!(since.elapsed() < Duration::from_secs(3), "{method} {path}: {:?}", since.elapsed());
    }
}

/// The store takes no part of it, and the client all of it.
pub(crate) async fn a_feed_that_breaks_off_breaks_off_for_its_client(stack: &Stack) {
    let path = "/streams/broken";
    stack.origin_answers(path, |_| OriginReply::ok(&[SHARED], "one,"));
    let reader = read(stack, path, stack.edge.request(Method::GET, path)).await;
    reader.origin.send(Err(std::io::Error::other("the origin breaks off"))).unwrap();
    assert!(reader.response.text().await.is_err(), "the client sees that the body is not complete");
    stack.origin_answers(path, |_| OriginReply::ok(&[SHARED], "complete"));
    assert_eq!(stack.get(path).await.body, "complete");
}
