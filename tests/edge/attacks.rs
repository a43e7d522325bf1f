//! Attacks on the purge endpoint (G6). Each is refused with its status and logged, and changes
//! nothing.

use std::time::{SystemTime, UNIX_EPOCH};

use origin_sdk::Secret;
use reqwest::{Method, Response};
use serde_json::Value;
use shared_keys::purge::{PURGE_PATH, SignedParts, sign, sign_without_host};
use strata_tests::{Edge, OriginReply, eventually};

use crate::Stack;

/// A stored page, and a purge of it that must be refused.
struct Guarded<'a> {
    stack: &'a Stack,
    path: String,
    body: String,
    requests: usize,
}

impl<'a> Guarded<'a> {
    async fn by(stack: &'a Stack, name: &str) -> Self {
        let (path, tag) = (format!("/attacks/{name}/page"), format!("guarded:{name}"));
        let body = format!(r#"{{"v":1,"records":[{{"scope":"tag:{tag}","mode":"remove"}}]}}"#);
        stack.origin_answers(&path, move |_| {
            OriginReply::ok(&[("cdn-cache-control", "max-age=600"), ("cache-tag", &tag)], "x")
        });
        eventually("it is stored", async || stack.get(&path).await.is_hit()).await;
        let requests = stack.origin_requests(&path);
        Self { stack, path, body, requests }
    }

    fn edge(&self) -> &Edge {
        &self.stack.edge
    }

    /// Asserts that the answer states the reason, that the worker has logged it, and that the page
    /// is still stored.
    async fn holds_against(&self, answer: Response, status: u16, reason: &str) {
        let answered = answer.status();
        let text = answer.text().await.expect("the body arrives");
        assert_eq!(answered, status, "{text}");
        let answer: Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(answer["error"], reason, "{answer}");
        eventually("it is logged", async || self.edge().logged(&format!("purge refused: {reason}")) > 0)
            .await;
        for _ in 0..3 {
            assert!(self.stack.get(&self.path).await.is_hit(), "nothing was purged");
        }
        assert_eq!(self.stack.origin_requests(&self.path), self.requests);
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

fn signature(edge: &Edge, secret: &Secret, nonce: &str, body: &str) -> String {
    let parts = SignedParts { method: "POST", host: edge.host(), path: PURGE_PATH, body: body.as_bytes() };
    sign(secret, parts, now(), &nonce.parse().expect("a nonce"))
}

pub(crate) async fn a_purge_signed_with_another_secret_is_refused(stack: &Stack) {
    let guarded = Guarded::by(stack, "stranger").await;
    let stranger = Secret::new("a guessed secret").expect("it is long enough");
    let answer = guarded.edge().purge(&stranger, now(), "nonce-of-a-stranger", &guarded.body).await;
    guarded.holds_against(answer, 401, "signature-mismatch").await;
}

/// Two deployments may share a secret.
pub(crate) async fn a_purge_for_another_host_is_refused(stack: &Stack) {
    let guarded = Guarded::by(stack, "host").await;
    let parts = SignedParts {
        method: "POST",
        host: "other.example",
        path: PURGE_PATH,
        body: guarded.body.as_bytes(),
    };
    let nonce = "nonce-of-another-host".parse().expect("a nonce");
    let signed = sign(&Edge::secret(), parts, now(), &nonce);
    let answer = guarded.edge().purge_signed(&signed, &guarded.body).await;
    guarded.holds_against(answer, 401, "signature-mismatch").await;
    // The form before hosts were signed is accepted for one more version.
    let signed = sign_without_host(&Edge::secret(), parts, now(), &nonce);
    assert_eq!(guarded.edge().purge_signed(&signed, &guarded.body).await.status(), 200);
}

pub(crate) async fn a_purge_whose_body_was_changed_is_refused(stack: &Stack) {
    let guarded = Guarded::by(stack, "changed").await;
    let signed = signature(
        guarded.edge(),
        &Edge::secret(),
        "nonce-of-another-body",
        &guarded.body.replace("remove", "expire"),
    );
    let answer = guarded.edge().purge_signed(&signed, &guarded.body).await;
    guarded.holds_against(answer, 401, "signature-mismatch").await;
}

pub(crate) async fn a_purge_with_a_truncated_mac_is_refused(stack: &Stack) {
    let guarded = Guarded::by(stack, "truncated").await;
    let signed = signature(guarded.edge(), &Edge::secret(), "nonce-of-a-short-mac", &guarded.body);
    let mac = signed.rfind("s=").expect("a signature has a MAC") + 2;
    for digits in [0, 2, 32, 62, 63] {
        let answer = guarded.edge().purge_signed(&signed[..mac + digits], &guarded.body).await;
        guarded.holds_against(answer, 401, "malformed-signature").await;
    }
    // The complete MAC would be valid.
    assert_eq!(guarded.edge().purge_signed(&signed, &guarded.body).await.status(), 200);
}

pub(crate) async fn a_purge_without_a_signature_is_refused(stack: &Stack) {
    let guarded = Guarded::by(stack, "unsigned").await;
    let request = guarded.edge().request(Method::POST, PURGE_PATH).body(guarded.body.clone());
    let answer = request.send().await.expect("the worker answers");
    guarded.holds_against(answer, 401, "missing-signature").await;
}

pub(crate) async fn a_purge_from_another_time_is_refused(stack: &Stack) {
    let guarded = Guarded::by(stack, "time").await;
    for (nonce, at) in [
        ("nonce-of-the-past-1", now() - 320),
        ("nonce-of-the-future", now() + 320),
        ("nonce-of-the-past-2", 0),
    ] {
        let answer = guarded.edge().purge(&Edge::secret(), at, nonce, &guarded.body).await;
        guarded.holds_against(answer, 401, "outside-clock-window").await;
    }
}

pub(crate) async fn a_purge_that_is_replayed_is_refused(stack: &Stack) {
    let guarded = Guarded::by(stack, "replayed").await;
    let signed = signature(guarded.edge(), &Edge::secret(), "nonce-that-is-replayed", &guarded.body);
    assert_eq!(guarded.edge().purge_signed(&signed, &guarded.body).await.status(), 200);
    // The page is stored again; the same message must not remove it a second time.
    eventually("it is stored again", async || stack.get(&guarded.path).await.is_hit()).await;
    let guarded = Guarded { requests: stack.origin_requests(&guarded.path), ..guarded };
    let answer = guarded.edge().purge_signed(&signed, &guarded.body).await;
    guarded.holds_against(answer, 401, "replayed").await;
}

pub(crate) async fn a_nonce_that_was_used_for_another_purge_is_refused(stack: &Stack) {
    let guarded = Guarded::by(stack, "nonce").await;
    let (secret, nonce, other) =
        (Edge::secret(), "nonce-that-is-used-twice", guarded.body.replace("guarded", "other"));
    assert_eq!(guarded.edge().purge(&secret, now(), nonce, &other).await.status(), 200);
    let answer = guarded.edge().purge(&secret, now(), nonce, &guarded.body).await;
    guarded.holds_against(answer, 401, "replayed").await;
}

pub(crate) async fn a_purge_with_a_huge_body_is_refused(stack: &Stack) {
    let guarded = Guarded::by(stack, "huge").await;
    let body = format!("{}{}", guarded.body, " ".repeat(1 << 20));
    let answer = guarded.edge().purge(&Edge::secret(), now(), "nonce-of-a-huge-body", &body).await;
    guarded.holds_against(answer, 413, "too-large").await;
}

/// Neither is a valid record beside a malformed one applied.
pub(crate) async fn a_purge_with_a_malformed_scope_is_refused_as_a_whole(stack: &Stack) {
    let guarded = Guarded::by(stack, "malformed").await;
    let long = format!("key:{}", "k".repeat(5000));
    for (number, scope) in [
        "",
        "tag:",
        "nonsense",
        "prefix:no-colon-at-its-end",
        "path:/",
        "path:https://shop.example/a",
        "ALL",
        &long,
    ]
    .into_iter()
    .enumerate()
    {
        let bad = format!(r#",{{"scope":"{scope}","mode":"remove"}}]}}"#);
        let body = guarded.body.replace("]}", &bad);
        let nonce = format!("nonce-of-a-malformed-scope-{number}");
        let answer = guarded.edge().purge(&Edge::secret(), now(), &nonce, &body).await;
        guarded.holds_against(answer, 400, "malformed-message").await;
    }
}

pub(crate) async fn only_a_post_purges(stack: &Stack) {
    let guarded = Guarded::by(stack, "method").await;
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let signed = signature(guarded.edge(), &Edge::secret(), "nonce-of-another-method", &guarded.body);
        let request = guarded.edge().request(method, PURGE_PATH).header("strata-signature", signed);
        let answer = request.send().await.expect("the worker answers");
        guarded.holds_against(answer, 405, "method").await;
    }
}
