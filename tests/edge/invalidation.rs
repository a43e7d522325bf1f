//! G7 through the built worker: no response outlives a purge of its data by more than
//! `JOURNAL_MAX_LAG_SECS` + 5 s.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use origin_sdk::{Delivery, Secret, Tag};
use reqwest::Method;
use shared_keys::TagSet;
use strata_tests::{Edge, OriginReply, eventually};

use crate::{Stack, later_position};

/// The bound: `JOURNAL_MAX_LAG_SECS` of wrangler.toml, and 5 s.
const BOUND: Duration = Duration::from_secs(10);

/// Makes the origin answer with a shared value and these fields.
fn showing(
    headers: Vec<(&'static str, String)>,
) -> (Arc<AtomicU64>, impl Fn(&strata_tests::OriginRequest) -> OriginReply) {
    let value = Arc::new(AtomicU64::new(0));
    let shown = Arc::clone(&value);
    let script = move |_: &strata_tests::OriginRequest| OriginReply {
        status: 200,
        headers: headers.clone(),
        body: shown.load(Ordering::SeqCst).to_string(),
    };
    (value, script)
}

fn lifetime(directives: &str) -> (&'static str, String) {
    ("cdn-cache-control", directives.to_owned())
}

pub(crate) async fn purge(stack: &Stack, records: &str) {
    purge_by(&Edge::secret(), stack, records).await;
}

async fn purge_by(secret: &Secret, stack: &Stack, records: &str) {
    let body = format!(r#"{{"v":1,"records":[{records}]}}"#);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let nonce = format!("nonce-{:032}", now.as_nanos());
    let answer = stack.edge.purge(secret, now.as_secs(), &nonce, &body).await;
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
}

/// Polls until the edge serves `value`. Fails if that takes longer than the bound.
async fn expect_within_the_bound(stack: &Stack, path: &str, value: &str) {
    let since = Instant::now();
    eventually("the edge shows the new value", async || stack.get(path).await.body == value).await;
    assert!(since.elapsed() <= BOUND, "{:?}", since.elapsed());
}

pub(crate) async fn a_purge_of_a_tag_is_obeyed_within_the_bound(stack: &Stack) {
    let path = "/purge/tag";
    let (value, script) = showing(vec![lifetime("max-age=600"), ("cache-tag", "shelf:1,colour:red".into())]);
    stack.origin_answers(path, script);
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    value.store(1, Ordering::SeqCst);
    assert_eq!(stack.get(path).await.body, "0", "nobody has purged it yet");
    purge(stack, r#"{"scope":"tag:colour:red","mode":"remove"}"#).await;
    expect_within_the_bound(stack, path, "1").await;
    eventually("the new response is stored", async || stack.get(path).await.is_hit()).await;
    assert_eq!(stack.get(path).await.body, "1");
}

pub(crate) async fn a_purge_by_the_previous_secret_is_obeyed_during_a_rotation(stack: &Stack) {
    let path = "/purge/rotation";
    let (value, script) = showing(vec![lifetime("max-age=600"), ("cache-tag", "rotation".into())]);
    stack.origin_answers(path, script);
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    value.store(1, Ordering::SeqCst);
    let previous = Secret::new(Edge::PREVIOUS_SECRET).unwrap();
    purge_by(&previous, stack, r#"{"scope":"tag:rotation","mode":"remove"}"#).await;
    expect_within_the_bound(stack, path, "1").await;
}

/// Processes of two schema versions run side by side: one has built the response, the other purges.
pub(crate) async fn a_purge_by_a_process_of_another_schema_version_reaches_the_response(stack: &Stack) {
    for (user, scope) in [(42, "key:shop:v2:{user:42}:orders:3"), (43, "prefix:shop:v2:{user:43}:")] {
        let (path, key) = (format!("/purge/version/{user}"), format!("shop:v1:{{user:{user}}}:orders:3"));
        let mut tags = TagSet::default();
        tags.insert_key(&key);
        let header = tags.to_header(TagSet::MAX_HEADER_BYTES).unwrap();
        let (value, script) = showing(vec![lifetime("max-age=600"), ("cache-tag", header.value)]);
        stack.origin_answers(&path, script);
        eventually("it is stored", async || stack.get(&path).await.is_hit()).await;
        value.store(1, Ordering::SeqCst);
        purge(stack, r#"{"scope":"key:shop:v2:{user:4}:orders:3","mode":"remove"}"#).await;
        assert_eq!(stack.get(&path).await.body, "0", "another datum was purged");
        purge(stack, &format!(r#"{{"scope":"{scope}","mode":"remove"}}"#)).await;
        expect_within_the_bound(stack, &path, "1").await;
    }
}

pub(crate) async fn a_purge_of_a_path_spares_its_siblings(stack: &Stack) {
    for path in ["/purge/path/api/a", "/purge/path/apis"] {
        let (_, script) = showing(vec![lifetime("max-age=600")]);
        stack.origin_answers(path, script);
        eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    }
    let host = stack.edge.url().trim_start_matches("http://");
    purge(stack, &format!(r#"{{"scope":"path:{host}/purge/path/api","mode":"remove"}}"#)).await;
    let requests = stack.origin_requests("/purge/path/api/a");
    eventually("the path is purged", async || {
        stack.get("/purge/path/api/a").await;
        stack.origin_requests("/purge/path/api/a") > requests
    })
    .await;
    assert!(stack.get("/purge/path/apis").await.is_hit());
}

/// A response with so many keys that its tags contain only their common prefix.
pub(crate) async fn a_purge_of_a_key_reaches_a_response_with_folded_tags(stack: &Stack) {
    let path = "/purge/folded";
    let keys: Vec<String> = (0..1000).map(|id| format!("test:v1:{{folded:{id}}}")).collect();
    let mut tags = TagSet::default();
    keys.iter().for_each(|key| tags.insert_key(key));
    let tags = tags.to_header(TagSet::MAX_HEADER_BYTES).unwrap();
    assert!(tags.folded);
    let (value, script) = showing(vec![lifetime("max-age=600"), ("cache-tag", tags.value)]);
    stack.origin_answers(path, script);
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    purge(stack, r#"{"scope":"key:test:v1:{other:7}","mode":"remove"}"#).await;
    assert!(stack.get(path).await.is_hit());
    for (shown, scope) in [("1", "key:test:v1:{folded:7}"), ("2", "prefix:test:v1:{folded:8}:")] {
        value.store(shown.parse().unwrap(), Ordering::SeqCst);
        purge(stack, &format!(r#"{{"scope":"{scope}","mode":"remove"}}"#)).await;
        expect_within_the_bound(stack, path, shown).await;
        eventually("the new response is stored", async || stack.get(path).await.is_hit()).await;
    }
}

pub(crate) async fn an_expire_may_still_be_served_stale(stack: &Stack) {
    let path = "/purge/expire";
    let headers = vec![lifetime("max-age=600, stale-while-revalidate=600"), ("cache-tag", "shelf:2".into())];
    let (value, script) = showing(headers);
    stack.origin_answers(path, script);
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    value.store(1, Ordering::SeqCst);
    purge(stack, r#"{"scope":"tag:shelf:2","mode":"expire"}"#).await;
    eventually("it is served stale", async || {
        let reply = stack.get(path).await;
        reply.body == "0" && reply.edge_status().contains("detail=stale-while-revalidate")
    })
    .await;
    expect_within_the_bound(stack, path, "1").await;
}

/// An origin process that lags behind the journal builds the old response even after the purge.
pub(crate) async fn a_response_built_before_the_purge_is_delivered_but_not_stored(stack: &Stack) {
    let path = "/purge/lagging";
    let at = |position: &str| {
        let tag = ("cache-tag", "shelf:3".to_owned());
        vec![lifetime("max-age=600"), tag, ("strata-position", position.to_owned())]
    };
    let position = later_position();
    purge(stack, &format!(r#"{{"scope":"tag:shelf:3","mode":"remove","position":"{position}"}}"#)).await;
    stack.origin_answers(path, showing(at(&position.replace("-9", "-8"))).1);
    for _ in 0..3 {
        let reply = stack.get(path).await;
        assert_eq!((reply.status, reply.is_hit()), (200, false), "{}", reply.edge_status());
    }
    stack.origin_answers(path, showing(at(&position)).1);
    eventually("the response built at the purge is stored", async || stack.get(path).await.is_hit()).await;
}

/// No purge would cover the response until then, and the record would cover all until then.
pub(crate) async fn a_position_from_the_future_is_not_believed(stack: &Stack) {
    let path = "/purge/future";
    let fields = |position: &str| {
        let tag = ("cache-tag", "shelf:6".to_owned());
        vec![lifetime("max-age=600"), tag, ("strata-position", position.to_owned())]
    };
    for position in ["9000000000000-0", "18446744073709551615-0"] {
        stack.origin_answers(path, showing(fields(position)).1);
        for _ in 0..3 {
            let reply = stack.get(path).await;
            assert!(reply.edge_status().contains("detail=outdated"), "{}", reply.edge_status());
        }
    }
    stack.origin_answers(path, showing(fields(&later_position())).1);
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    purge(stack, r#"{"scope":"tag:shelf:6","mode":"remove","position":"9000000000000-0"}"#).await;
    eventually("it is purged", async || !stack.get(path).await.is_hit()).await;
    eventually("and what is built since is stored", async || stack.get(path).await.is_hit()).await;
}

/// G6 without faults: the shipper sends a service's invalidation to the edge.
pub(crate) async fn an_invalidation_in_the_sdk_reaches_the_edge(stack: &Stack) {
    let path = "/purge/sdk";
    let (value, script) = showing(vec![lifetime("max-age=600"), ("cache-tag", "shelf:4".into())]);
    stack.origin_answers(path, script);
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    value.store(1, Ordering::SeqCst);
    let shipped = stack.cache.stats().records_shipped;
    let receipt = stack.cache.invalidate([Tag::new("shelf:4").unwrap()]).await;
    assert_eq!(receipt.edge, Delivery::Queued);
    expect_within_the_bound(stack, path, "1").await;
    eventually("the shipment is confirmed", async || stack.cache.stats().records_shipped > shipped).await;
}

/// RFC 9111 section 4.4.
pub(crate) async fn an_unsafe_method_invalidates_its_target(stack: &Stack) {
    let path = "/purge/unsafe";
    let (value, script) = showing(vec![lifetime("max-age=600")]);
    stack.origin_answers(path, script);
    eventually("it is stored", async || stack.get(path).await.is_hit()).await;
    value.store(1, Ordering::SeqCst);
    let put = stack.edge.request(Method::PUT, path).body("1").send().await.unwrap();
    assert_eq!(put.status(), 200);
    expect_within_the_bound(stack, path, "1").await;
}

pub(crate) async fn an_unsafe_method_invalidates_all_variants(stack: &Stack) {
    let path = "/purge/variants";
    let headers = vec![lifetime("max-age=600"), ("vary", "x-colour".into())];
    let (value, script) = showing(headers);
    stack.origin_answers(path, script);
    let of = async |colour| stack.get_with(path, &[("x-colour", colour)]).await;
    for colour in ["red", "blue"] {
        eventually("it is stored", async || of(colour).await.is_hit()).await;
    }
    value.store(1, Ordering::SeqCst);
    let put = stack.edge.request(Method::PUT, path).header("x-colour", "red").send().await.unwrap();
    assert_eq!(put.status(), 200);
    for colour in ["red", "blue"] {
        assert_eq!(of(colour).await.body, "1", "{colour}");
    }
}

/// Runs the example of docs/signed-purge.md unchanged, with a real shell, openssl and curl.
pub(crate) async fn the_documented_curl_example_purges_what_any_origin_tagged(stack: &Stack) {
    let page = include_str!("../../docs/signed-purge.md");
    let script = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let script = script.into_iter().find(|script| script.contains("openssl dgst")).unwrap();
    let script = script.replace("http://localhost:8787", stack.edge.url());
    // An origin without the SDK, once with each field. `Surrogate-Key` separates its tags by
    // spaces.
    for (path, header, tags) in [
        ("/purge/curl/tag", "cache-tag", "a,category:7"),
        ("/purge/curl/key", "surrogate-key", "a category:7 b"),
    ] {
        let (value, script_of_origin) = showing(vec![lifetime("max-age=600"), (header, tags.into())]);
        stack.origin_answers(path, script_of_origin);
        eventually("it is stored", async || stack.get(path).await.is_hit()).await;
        value.store(1, Ordering::SeqCst);
        let mut shell = Command::new("sh");
        shell.args(["-ec", &script]).env("STRATA_PURGE_SECRET", Edge::SECRET);
        let run = tokio::task::block_in_place(|| shell.output().unwrap());
        let answer = String::from_utf8_lossy(&run.stdout).into_owned();
        assert!(run.status.success() && answer.contains(r#""accepted":1"#), "{answer} {run:?}");
        expect_within_the_bound(stack, path, "1").await;
    }
}
