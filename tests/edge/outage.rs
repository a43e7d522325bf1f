//! A worker whose journal object is unreachable.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use strata_tests::{Edge, OriginReply, eventually};
use tempfile::TempDir;

use crate::{Reply, Stack};

/// The built worker, which loses its binding to the journal object at the first request for `/cut`.
const CUT_OFF: &str = r#"
import worker, { JournalObject } from "EDGE_WORKER/worker.js";
export { JournalObject };
let cut = false;
export default {
  fetch(request, env, context) {
    cut ||= new URL(request.url).pathname === "/cut";
    return worker.fetch(request, cut ? { ...env, JOURNAL: undefined } : env, context);
  },
};
"#;

/// Writes the project's `wrangler.toml` for the built worker inside a script. Dropping the first
/// value deletes its folder.
pub(crate) fn config(script: &str) -> (TempDir, PathBuf) {
    let edge_worker = concat!(env!("CARGO_MANIFEST_DIR"), "/../edge-worker");
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("index.js"), script.replace("EDGE_WORKER", edge_worker))
        .expect("it is writable");
    let project = include_str!("../../wrangler.toml").replace("edge-worker/worker.js", "index.js");
    let file = folder.path().join("wrangler.toml");
    std::fs::write(&file, project).expect("it is writable");
    (folder, file)
}

/// Starts such a worker. Dropping the first value deletes its files.
async fn start(stack: &Stack, vars: &[&str]) -> (TempDir, Edge) {
    let (folder, file) = config(CUT_OFF);
    let mut options = vec!["--wrangler", file.to_str().expect("a path of text")];
    vars.iter().for_each(|var| options.extend(["--var", var]));
    (folder, Edge::start_with(stack.origin.url(), &options).await)
}

/// This holds even with a permitted outage, because this worker has never had a snapshot of the
/// journal.
pub(crate) async fn without_a_journal_no_stored_response_is_served_and_a_purge_is_refused(stack: &Stack) {
    let path = "/outage/page";
    stack.origin_answers(path, |request| {
        OriginReply::ok(&[("cdn-cache-control", "max-age=600")], format!("answer {}", request.number))
    });
    let (_folder, edge) = start(stack, &["JOURNAL_MAX_OUTAGE_SECS:60"]).await;
    edge.get("/cut").await;
    let mut bodies = Vec::new();
    for _ in 0..3 {
        let reply = Reply::read(edge.get(path).await).await;
        assert_eq!(reply.status, 200);
        assert!(reply.edge_status().contains("journal"), "{}", reply.edge_status());
        bodies.push(reply.body);
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 3, "each time the origin's own answer");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let purge = r#"{"v":1,"records":[{"scope":"tag:a","mode":"remove"}]}"#;
    let answer = edge.purge(&Edge::secret(), now, "nonce-of-an-outage", purge).await;
    assert_eq!(answer.status(), 503, "the sender tries again");
}

pub(crate) async fn stored_responses_are_served_for_the_configured_outage(stack: &Stack) {
    let path = "/outage/bounded";
    stack.origin_answers(path, |_| OriginReply::ok(&[("cdn-cache-control", "max-age=600")], "x"));
    let (_folder, edge) = start(stack, &["JOURNAL_MAX_LAG_SECS:1", "JOURNAL_MAX_OUTAGE_SECS:4"]).await;
    let ask = async || Reply::read(edge.get(path).await).await;
    eventually("it is stored", async || ask().await.is_hit()).await;
    edge.get("/cut").await;
    let since = Instant::now();
    let (mut last_hit, mut first_miss) = (Duration::ZERO, None);
    eventually("it is not served any more", async || {
        let requested_at = since.elapsed();
        if ask().await.is_hit() {
            last_hit = requested_at;
        } else {
            first_miss.get_or_insert(requested_at);
        }
        first_miss.is_some()
    })
    .await;
    // The snapshot was complete at most a second before the cut.
    assert!(
        last_hit > Duration::from_secs(2),
        "expected hits beyond the lag, got the last after {last_hit:?}"
    );
    assert!(
        last_hit <= Duration::from_secs(6),
        "expected no hit beyond lag and outage, got one after {last_hit:?}"
    );
    assert!(edge.logged("served without knowledge of recent purges") > 0);
}
