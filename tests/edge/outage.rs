//! A worker whose journal cannot be reached.

use std::time::{SystemTime, UNIX_EPOCH};

use strata_tests::{Edge, OriginReply};

use crate::{Reply, Stack};

/// The project's `wrangler.toml` without the journal's object.
fn config() -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let project = include_str!("../../wrangler.toml")
        .replace("\"edge-worker/build/index.js\"", &format!("\"{root}/edge-worker/build/index.js\""));
    let (before, _) = project.split_once("[[durable_objects.bindings]]").expect("it binds the journal's object");
    before.to_owned()
}

/// Also where stored responses may be served for a while without it: this worker has never known the journal.
pub(crate) async fn what_is_stored_is_not_served_without_a_journal_and_a_purge_is_sent_back(stack: &Stack) {
    let path = "/outage/page";
    stack.origin_answers(path, |request| {
        OriginReply::ok(&[("cdn-cache-control", "max-age=600")], format!("answer {}", request.number))
    });
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("wrangler.toml");
    std::fs::write(&file, config()).expect("it is writable");
    let options = ["--config", file.to_str().expect("a path of text"), "--var", "JOURNAL_MAX_OUTAGE_SECS:60"];
    let edge = Edge::start_with(stack.origin.url(), &options).await;
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
