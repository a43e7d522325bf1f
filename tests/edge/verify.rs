//! `cachectl verify` and `inspect --edge` against the worker in workerd. Checks that need a zone
//! are reported as not checkable.

use origin_sdk::Secret;
use origin_sdk::admin::edge_copy;
use origin_sdk::cloudflare::ApiToken;
use origin_sdk::verify::{Verdict, Verify};
use strata_tests::{CLOUDFLARE_TOKEN, CLOUDFLARE_ZONE, Edge, FakeCloudflare, OriginReply, eventually};

use crate::Stack;

async fn verdicts(verify: Verify) -> Vec<(&'static str, Verdict, String)> {
    let checks = verify.run().await.unwrap();
    checks.into_iter().map(|check| (check.rule, check.verdict, check.detail)).collect()
}

fn page(stack: &Stack, path: &str, headers: &'static [(&'static str, &'static str)]) -> String {
    stack.origin_answers(path, |request| {
        OriginReply::ok(headers, format!("{:?}", request.headers.get("accept-language")))
    });
    format!("{}{path}", stack.edge.url())
}

const STORED: &[(&str, &str)] =
    &[("cdn-cache-control", "max-age=600"), ("vary", "accept-language"), ("cache-tag", "v")];

pub(crate) async fn a_correct_worker_passes_and_zone_checks_are_not_checkable(stack: &Stack) {
    let cloud = FakeCloudflare::start().await;
    let verify = Verify::url(page(stack, "/verify/right", STORED)).secret(Edge::secret()).tag("v");
    let verify = verify.zone(CLOUDFLARE_ZONE, ApiToken::new(CLOUDFLARE_TOKEN)).api(cloud.url());
    let seen = verdicts(verify).await;
    for (rule, verdict, detail) in &seen {
        let expected = if rule.contains("zone purge") { Verdict::NotCheckable } else { Verdict::Pass };
        assert_eq!(*verdict, expected, "{rule}: {detail}");
    }
    assert_eq!(seen.len(), 8);
    assert!(cloud.calls().is_empty(), "without a zone in front nothing is purged");
}

pub(crate) async fn another_secret_fails(stack: &Stack) {
    let verify =
        Verify::url(page(stack, "/verify/secret", STORED)).secret(Secret::new("a guessed secret").unwrap());
    for (rule, verdict, detail) in verdicts(verify).await {
        let needs_secret = ["secret", "clocks", "by the journal"].iter().any(|part| rule.contains(part));
        assert_eq!(verdict == Verdict::Fail, needs_secret, "{rule}: {detail}");
        assert!(!needs_secret || detail.contains("401"), "{rule}: {detail}");
    }
}

pub(crate) async fn without_credentials_no_check_that_needs_them_passes(stack: &Stack) {
    for (rule, verdict, detail) in verdicts(Verify::url(page(stack, "/verify/bare", STORED))).await {
        let is_open = [
            "the worker answers",
            "a page is stored, and hit twice in one data centre",
            "variants stay apart",
        ];
        assert_eq!(verdict == Verdict::Pass, is_open.contains(&rule), "{rule}: {detail}");
        assert_ne!(verdict, Verdict::Fail, "{rule}: {detail}");
    }
}

pub(crate) async fn a_page_that_is_not_stored_fails(stack: &Stack) {
    let verify =
        Verify::url(page(stack, "/verify/private", &[("cache-control", "private")])).secret(Edge::secret());
    let seen = verdicts(verify).await;
    let of = |part: &str| seen.iter().find(|(rule, ..)| rule.contains(part)).map(|(_, verdict, _)| *verdict);
    assert_eq!(of("hit twice"), Some(Verdict::Fail));
    assert_eq!(of("by the journal"), Some(Verdict::NotCheckable));
}

/// Another server at the address, which answers every request with 200.
pub(crate) async fn another_server_fails(stack: &Stack) {
    stack.origin_answers("/verify/none", |_| OriginReply::ok(STORED, "x"));
    let verify = Verify::url(format!("{}/verify/none", stack.origin.url())).secret(Edge::secret());
    let seen = verdicts(verify).await;
    let passed: Vec<_> = seen.iter().filter(|(_, verdict, _)| *verdict == Verdict::Pass).collect();
    assert!(passed.is_empty(), "{passed:?}");
}

pub(crate) async fn inspecting_the_edge_reports_its_entries_and_stores_none(stack: &Stack) {
    let url = page(stack, "/verify/copy", STORED);
    for _ in 0..2 {
        let copy = edge_copy(&url).await.unwrap();
        assert!(copy.status == 200 && copy.cache_status.contains("fwd="), "{copy:?}");
    }
    eventually("it is stored", async || stack.get("/verify/copy").await.is_hit()).await;
    let copy = edge_copy(&url).await.unwrap();
    assert!(copy.cache_status.starts_with("strata-edge; hit") && copy.age_secs.is_some(), "{copy:?}");
    let no_worker = edge_copy(stack.origin.url()).await.unwrap_err();
    assert!(no_worker.to_string().contains("something else answers there"), "{no_worker}");
}
