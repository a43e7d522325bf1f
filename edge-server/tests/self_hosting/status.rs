//! Health and metrics.

use strata_tests::eventually;

use crate::origin_of_large_pages;
use crate::server::{Server, entry};

#[tokio::test(flavor = "multi_thread")]
async fn health_says_that_it_is_ready_and_for_how_long_it_has_run() {
    let origin = origin_of_large_pages().await;
    let more = format!("127.0.0.1:{}", strata_tests::free_port());
    let server = Server::start(origin.url(), &["--listen", &more]).await;
    let (status, health) = server.health().await;
    assert_eq!((status, &health["ready"], &health["reasons"]), (200, &true.into(), &serde_json::json!([])));
    assert!(health["uptime_seconds"].is_u64());
    assert_eq!(health["isolates"][1], serde_json::json!({ "listen": more, "ready": true }));
    assert_eq!(server.status("/health/live").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_says_why_it_is_not_ready_while_workerd_is_frozen() {
    let origin = origin_of_large_pages().await;
    let mut server = Server::start(origin.url(), &[]).await;
    server.signal_workerd("-STOP");
    let (status, health) = server.health().await;
    let live = server.status("/health/live").await.status();
    server.signal_workerd("-CONT");
    assert_eq!((status, &health["ready"], &health["live"]), (503, &false.into(), &true.into()));
    let reasons = health["reasons"].to_string();
    assert!(
        reasons.contains(&server.port.to_string()) && reasons.contains("no answer within 2 s"),
        "{reasons}"
    );
    assert_eq!(live, 200);
    eventually("it is ready again", async || server.health().await.0 == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_says_that_the_journal_object_fails() {
    let origin = origin_of_large_pages().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let broken = r#"
        import Worker, { JournalObject as Real } from "./worker.js";
        export class JournalObject extends Real { fetch() { throw new Error("broken"); } }
        export default Worker;
    "#;
    let port = strata_tests::free_port();
    let server = Server::spawn(origin.url(), port, &["--entry", &entry(folder.path(), broken)]).await;
    eventually("the worker answers", async || server.try_get("/").await.is_ok()).await;
    let (status, health) = server.health().await;
    assert_eq!((status, &health["journal"]["ready"]), (503, &false.into()));
    assert_eq!(health["isolates"][0]["ready"], true);
    assert!(health["reasons"].to_string().contains("the journal object: "), "{health}");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_says_that_rules_are_invalid_and_that_requests_are_served_all_the_same() {
    let origin = origin_of_large_pages().await;
    let server = Server::start(origin.url(), &["--var", "RULES:none"]).await;
    let (status, health) = server.health().await;
    assert_eq!((status, &health["ready"]), (200, &true.into()));
    assert!(health["reasons"].to_string().contains("its configuration is invalid in part"), "{health}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_lookups_and_puts_and_show_the_usage() {
    let origin = origin_of_large_pages().await;
    let server = Server::start(origin.url(), &["--cache-mib", "1"]).await;
    eventually("it is stored", async || server.is_hit("/page").await).await;
    let cache = |name: &str| format!("strata_edge_cache_{name}");
    assert!(server.metric(&cache(r#"lookups_total{data_centre="0",result="hit"}"#)).await >= 1);
    assert!(server.metric(&cache(r#"lookups_total{data_centre="0",result="miss"}"#)).await >= 1);
    assert!(server.metric(&cache(r#"puts_total{data_centre="0",result="stored"}"#)).await >= 1);
    assert!(server.metric(&cache(r#"bytes{data_centre="0",tier="memory"}"#)).await > 100_000);
    let capacity = server.metric(&cache(r#"capacity_bytes{data_centre="0",tier="memory"}"#)).await;
    assert_eq!(capacity, 1024 * 1024);
    for page in 0..20 {
        server.get(&format!("/{page}")).await;
    }
    let evictions = cache(r#"evictions_total{data_centre="0",tier="memory"}"#);
    eventually("responses are evicted", async || server.metric(&evictions).await > 0).await;
    assert!(server.metric(&cache(r#"bytes{data_centre="0",tier="memory"}"#)).await <= capacity);
    assert_eq!(server.metric("strata_edge_workerd_running").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_metric_has_a_type_and_a_help_text_before_its_samples() {
    let origin = origin_of_large_pages().await;
    let server = Server::start(origin.url(), &["--data-centres", "2"]).await;
    let response = server.status("/metrics").await;
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = response.text().await.expect("a body");
    let (mut family, mut samples) = (String::new(), 0);
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            family = help.split(' ').next().expect("a name").to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            assert_eq!(kind == format!("{family} counter"), family.ends_with("_total"), "{line}");
        } else {
            let rest = line.strip_prefix(&family).unwrap_or_else(|| panic!("no HELP before {line}"));
            assert!(rest.starts_with(['{', ' ']), "{line}");
            assert!(rest.rsplit(' ').next().is_some_and(|value| value.parse::<u64>().is_ok()), "{line}");
            samples += 1;
        }
    }
    assert!(samples > 20 && text.ends_with('\n'), "{text}");
}
