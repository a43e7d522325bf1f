//! The worker as `wrangler` bundles and binds it for a deployment. All other tests run it by
//! `strata-edge`.

use std::time::{SystemTime, UNIX_EPOCH};

use strata_tests::{Edge, OriginReply, eventually};

use crate::{Reply, SHARED, Stack};

/// Rules as tables, a data point per request, and a purge through the Durable Object.
pub(crate) async fn wrangler_runs_the_worker_with_its_bindings(stack: &Stack) {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/edge/deployment.toml");
    let edge = Edge::start_with(stack.origin.url(), &["--wrangler", config]).await;
    let get = async |path: &str| Reply::read(edge.get(path).await).await;
    stack.origin_answers("/deployment/tables", |request| {
        OriginReply::ok(&[("cache-tag", "deployment")], format!("{} {}", request.target, request.number))
    });
    eventually("a lifetime holds, and a parameter does not count", async || {
        get("/deployment/tables/a?utm_source=x&b=1").await.is_hit()
    })
    .await;
    let stored = get("/deployment/tables/a?b=1").await;
    assert!(stored.is_hit() && stored.body.starts_with("/deployment/tables/a?b=1 "), "{}", stored.body);
    stack.origin_answers("/deployment/passed", |_| OriginReply::ok(&[SHARED], "x"));
    assert!(get("/deployment/passed").await.edge_status().contains("detail=rule"));

    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let purge = r#"{"v":1,"records":[{"scope":"tag:deployment","mode":"remove"}]}"#;
    let answer = edge.purge(&Edge::secret(), now, "nonce-of-a-deployment", purge).await;
    assert_eq!(answer.status(), 200);
    eventually("the purge is obeyed", async || get("/deployment/tables/a?b=1").await.body != stored.body)
        .await;
}
