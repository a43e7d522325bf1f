//! A request that follows a response which its client has received whole finds the store as that
//! response left it.

use std::time::{Duration, Instant};

use reqwest::Method;
use strata_tests::{EdgeFleet, Isolate, OriginReply, eventually};

use crate::{Reply, SHARED, Stack};

/// A rule under which a request can bypass fresh responses, and GETs the response to a POST.
const RULES: &str = r#"RULES:[{"path": "/successors/**", "obey_requests": true, "store_post": true}]"#;
const RELOAD: (&str, &str) = ("cache-control", "no-cache");
/// Longer than an isolate takes to send two messages to the journal.
const TWO_MESSAGES: Duration = Duration::from_secs(5);
/// The lengths of bodies: none, one that memory holds, and one that it does not.
const LENGTHS: [usize; 3] = [0, 3, 100_000];

/// One isolate, whose Cache API takes longer than the way to its clients.
struct Slow<'a> {
    stack: &'a Stack,
    isolate: &'a Isolate,
}

/// Runs all cases with one worker, because a worker takes a while to start.
pub(crate) async fn the_next_request_sees_the_effect_of_a_response(stack: &Stack) {
    let fleet = EdgeFleet::start(stack.origin.url(), 1, 1, &["--var", RULES]).await;
    let isolate = &fleet.isolates()[0];
    isolate.set_faults("cache-delay=20").await;
    let slow = Slow { stack, isolate };
    for length in LENGTHS {
        for varies in [false, true] {
            slow.each_response_is_validated_by_the_next_request(length, varies).await;
            slow.a_reloaded_response_answers_the_next_request(length, varies).await;
        }
        slow.a_response_answers_the_next_request_of_another_kind(length).await;
        slow.a_response_to_post_answers_the_next_get(length).await;
    }
    slow.a_body_of_unknown_length_answers_the_next_head().await;
    slow.a_head_is_obeyed_by_the_next_get().await;
    slow.a_response_answers_the_next_url_that_shares_it().await;
}

/// The journal takes only one message of an isolate in a while. The invalidation by a POST that
/// must wait for the next one reaches it after the response to the POST was stored.
pub(crate) async fn a_response_to_post_outlasts_its_late_invalidation(stack: &Stack) {
    // A worker of its own: the unsafe requests of other tests may push the POST's target out.
    let fleet = EdgeFleet::start(stack.origin.url(), 1, 1, &["--var", RULES]).await;
    let isolate = &fleet.isolates()[0];
    let path = "/successors/late";
    stack.origin_answers(path, move |request| {
        OriginReply::ok(&[SHARED, ("content-location", path)], request.method.as_str())
    });
    let post = async |path: &str| {
        let reply = isolate.request(Method::POST, path).body("x").send().await.unwrap();
        Reply::read(reply).await
    };
    // An isolate stores nothing before it has the journal, which a GET fetches.
    isolate.get(path).await;
    post("/successors/late/other").await;
    let stored = Instant::now();
    let answer = post(path).await;
    assert!(answer.edge_status().contains("; stored"), "{}", answer.edge_status());
    eventually("its message is sent", async || {
        let reply = Reply::read(isolate.get(path).await).await;
        assert_eq!(reply.body, "POST", "{:?}: {}", stored.elapsed(), reply.edge_status());
        stored.elapsed() > TWO_MESSAGES
    })
    .await;
}

impl Slow<'_> {
    async fn send(&self, method: Method, path: &str, fields: &[(&str, &str)]) -> Reply {
        let request = self.isolate.request(method, path);
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        Reply::read(request.send().await.unwrap()).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, &[]).await
    }

    /// Answers the requests for `path` with versions 1, 2, … of the resource, of which each has
    /// another entity tag. If `validates`, a condition is answered with a 304 instead.
    fn answer_with_versions(
        &self,
        path: &str,
        fields: &'static [(&'static str, &'static str)],
        length: usize,
        validates: fn(usize) -> bool,
    ) {
        let (origin, target) = (self.stack.origin.clone(), path.to_owned());
        self.stack.origin_answers(path, move |request| {
            let version = origin.requests(&target).len();
            let condition = request.headers.get("if-none-match").map(|tag| tag.to_str().unwrap().to_owned());
            let validated = condition.filter(|_| validates(version));
            let is_validated = validated.is_some();
            let tag = validated.unwrap_or_else(|| format!("\"v{version}\""));
            let own = [("etag", tag.as_str()), ("x-version", &version.to_string())];
            let reply = OriginReply::ok(&[fields, &own].concat(), "x".repeat(length));
            if is_validated { OriginReply { status: 304, body: String::new(), ..reply } } else { reply }
        });
    }

    /// Returns the condition of the latest request to the origin.
    fn condition(&self, path: &str) -> String {
        let request = self.stack.origin.requests(path).pop().expect("the origin is requested");
        request.headers.get("if-none-match").map_or("", |tag| tag.to_str().unwrap()).to_owned()
    }

    async fn each_response_is_validated_by_the_next_request(&self, length: usize, varies: bool) {
        let path = format!("/successors/validated/{length}/{varies}");
        let fields = if varies { &[RELOAD, ("vary", "accept-language")][..] } else { &[RELOAD] };
        self.answer_with_versions(&path, fields, length, |version| version % 3 == 0);
        let mut tag = String::new();
        for version in 1..=6 {
            let reply = self.get(&path).await;
            assert_eq!((reply.status, reply.body.len()), (200, length), "{path} {version}");
            assert_eq!(reply.header("x-version"), version.to_string(), "{path} {}", reply.edge_status());
            assert_eq!(self.condition(&path), tag, "{path} {version}");
            reply.header("etag").clone_into(&mut tag);
        }
    }

    async fn a_reloaded_response_answers_the_next_request(&self, length: usize, varies: bool) {
        let path = format!("/successors/reloaded/{length}/{varies}");
        let fields = if varies { &[SHARED, ("vary", "accept-language")][..] } else { &[SHARED] };
        self.answer_with_versions(&path, fields, length, |version| version == 3);
        self.get(&path).await;
        for version in ["2", "3", "4"] {
            let reloaded = self.send(Method::GET, &path, &[RELOAD]).await;
            assert_eq!(reloaded.header("x-version"), version, "{path}");
            let next = self.get(&path).await;
            assert_eq!((next.header("x-version"), next.body.len()), (version, length), "{path}");
            assert!(next.is_hit(), "{path}: {}", next.edge_status());
        }
    }

    async fn a_response_answers_the_next_request_of_another_kind(&self, length: usize) {
        let kinds = [
            (Method::HEAD, None, 200),
            (Method::GET, Some(("if-none-match", "\"v1\"")), 304),
            (Method::GET, Some(("range", "bytes=0-0")), if length == 0 { 200 } else { 206 }),
        ];
        for (number, (method, field, status)) in kinds.into_iter().enumerate() {
            let path = format!("/successors/kinds/{length}/{number}");
            self.answer_with_versions(&path, &[SHARED], length, |_| false);
            self.get(&path).await;
            let reply = self.send(method, &path, field.as_slice()).await;
            assert_eq!(reply.status, status, "{path}: {}", reply.edge_status());
            assert_eq!(self.stack.origin_requests(&path), 1, "{path}: {}", reply.edge_status());
        }
    }

    async fn a_response_to_post_answers_the_next_get(&self, length: usize) {
        let path = format!("/successors/post/{length}");
        let location = path.clone();
        self.stack.origin_answers(&path, move |request| {
            let fields =
                [SHARED, ("content-location", location.as_str()), ("x-method", request.method.as_str())];
            OriginReply::ok(&fields, "x".repeat(length))
        });
        let post = self.send(Method::POST, &path, &[]).await;
        assert!(post.edge_status().contains("; stored"), "{path}: {}", post.edge_status());
        let next = self.get(&path).await;
        assert_eq!(
            (next.header("x-method"), next.is_hit()),
            ("POST", true),
            "{path}: {}",
            next.edge_status()
        );
    }

    async fn a_body_of_unknown_length_answers_the_next_head(&self) {
        let path = "/successors/chunked";
        self.answer_with_versions(path, &[SHARED], 3, |_| false);
        drop(self.stack.origin.body_goes_on(path));
        assert_eq!(self.get(path).await.body, "xxx");
        let head = self.send(Method::HEAD, path, &[]).await;
        assert!(head.is_hit(), "{}", head.edge_status());
    }

    /// RFC 9111 section 4.3.5.
    async fn a_head_is_obeyed_by_the_next_get(&self) {
        let path = "/successors/head";
        self.answer_with_versions(path, &[SHARED], 3, |_| false);
        self.get(path).await;
        assert_eq!(self.send(Method::HEAD, path, &[RELOAD]).await.header("x-version"), "2");
        let next = self.get(path).await;
        assert_eq!(next.header("x-version"), "3", "{}", next.edge_status());
    }

    async fn a_response_answers_the_next_url_that_shares_it(&self) {
        let path = "/successors/shared";
        let fields = &[SHARED, ("no-vary-search", "params=(\"utm\")")];
        self.answer_with_versions(path, fields, 3, |_| false);
        self.get(&format!("{path}?utm=1")).await;
        let next = self.get(&format!("{path}?utm=2")).await;
        assert!(next.is_hit(), "{}", next.edge_status());
    }
}
