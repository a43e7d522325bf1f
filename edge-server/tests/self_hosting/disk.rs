//! The disk cache.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use strata_tests::{Origin, OriginReply, eventually, free_port};
use tokio::process::Command;

use crate::SHARED;
use crate::server::Server;

/// An origin whose pages state the version, and are tagged with their path.
async fn versioned_origin() -> (Origin, Arc<AtomicUsize>) {
    let version = Arc::new(AtomicUsize::new(1));
    let shared = Arc::clone(&version);
    let origin = Origin::start(move |request| {
        let tag = request.target.trim_start_matches('/');
        let body = format!("version {}", shared.load(Ordering::SeqCst));
        OriginReply::ok(&[SHARED[0], ("cache-tag", tag)], body)
    })
    .await;
    (origin, version)
}

/// Returns the options of a disk cache and a journal in a folder.
fn options(folder: &Path) -> Vec<String> {
    let below = |name: &str| folder.join(name).display().to_string();
    vec!["--data".to_owned(), below("journal"), "--cache-dir".to_owned(), below("cache")]
}

async fn start(port: u16, origin: &Origin, folder: &Path) -> Server {
    let options = options(folder);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let server = Server::start_on(port, origin.url(), &options).await;
    let scanning = r#"strata_edge_cache_disk_scanning{data_centre="0"}"#;
    eventually("the scan ends", async || server.metric(scanning).await == 0).await;
    server
}

async fn body(server: &Server, path: &str) -> String {
    server.get(path).await.text().await.expect("a body")
}

fn purge(tag: &str) -> String {
    format!(r#"{{"scope":"tag:{tag}","mode":"remove"}}"#)
}

const ENTRIES: &str = r#"strata_edge_cache_entries{data_centre="0",tier="disk"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_stored_responses_and_no_purged_one_is_served_after_it() {
    let (origin, version) = versioned_origin().await;
    let (folder, port) = (tempfile::tempdir().expect("a temporary folder"), free_port());
    let server = start(port, &origin, folder.path()).await;
    for path in ["/before", "/down", "/kept"] {
        eventually("it is stored", async || server.is_hit(path).await).await;
    }
    let stored = server.metric(ENTRIES).await;
    // The file stays: the journal alone says that it is not valid.
    server.purge(&purge("before")).await;
    assert_eq!(server.metric(ENTRIES).await, stored);
    server.stop().await;
    version.store(2, Ordering::SeqCst);

    let server = start(port, &origin, folder.path()).await;
    assert_eq!(server.metric(ENTRIES).await, stored, "the files have outlived the restart");
    // A service that could not send it while the edge was down sends it now.
    server.purge(&purge("down")).await;
    assert_eq!(body(&server, "/before").await, "version 2");
    assert_eq!(body(&server, "/down").await, "version 2");
    let requests = origin.requests("/kept").len();
    assert!(server.is_hit("/kept").await);
    assert_eq!(body(&server, "/kept").await, "version 1");
    assert_eq!(origin.requests("/kept").len(), requests, "the origin is not needed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loss_of_the_journal_ends_all_responses_on_disk() {
    let (origin, version) = versioned_origin().await;
    let (folder, port) = (tempfile::tempdir().expect("a temporary folder"), free_port());
    let server = start(port, &origin, folder.path()).await;
    eventually("it is stored", async || server.is_hit("/page").await).await;
    server.stop().await;
    version.store(2, Ordering::SeqCst);
    std::fs::remove_dir_all(folder.path().join("journal")).expect("the journal");
    let server = start(port, &origin, folder.path()).await;
    assert_eq!(body(&server, "/page").await, "version 2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_leaves_no_broken_response() {
    let (origin, _) = versioned_origin().await;
    let (folder, port) = (tempfile::tempdir().expect("a temporary folder"), free_port());
    let server = start(port, &origin, folder.path()).await;
    for page in 0..50 {
        server.get(&format!("/{page}")).await;
    }
    server.kill().await;
    let server = start(port, &origin, folder.path()).await;
    for page in 0..50 {
        assert_eq!(body(&server, &format!("/{page}")).await, "version 1");
    }
    assert_eq!(server.metric(r#"strata_edge_cache_disk_invalid_files_total{data_centre="0"}"#).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_takes_no_large_file_costs_no_answer() {
    const LEN: usize = 6 << 20;
    let origin = Origin::start(|_| OriginReply::ok(&SHARED, "x".repeat(LEN))).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    // The system refuses writes beyond this size, as it does on a full disk.
    let mut limited = Command::new("sh");
    let script = r#"trap "" XFSZ; ulimit -f 4096; exec "$0" "$@""#;
    limited.args(["-c", script, env!("CARGO_BIN_EXE_strata-edge")]);
    let options = options(folder.path());
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let mut server = Server::spawn_by(limited, origin.url(), free_port(), &options).await;
    server.wait_ready().await;
    let failed = r#"strata_edge_cache_puts_total{data_centre="0",result="failed"}"#;
    let answers = async || {
        assert_eq!(body(&server, "/large").await.len(), LEN);
        server.metric(failed).await > 1
    };
    eventually("writes have failed", answers).await;
    assert_eq!(server.health().await.0, 200);
    let printed = server.printed_with("cannot store a response: ").await;
    assert_eq!(printed.matches("cannot store a response: ").count(), 1, "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_cache_without_a_journal_on_disk_is_an_error() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cache = folder.path().display().to_string();
    let mut server = Server::spawn("http://127.0.0.1:1", free_port(), &["--cache-dir", &cache]).await;
    assert_eq!(server.end().await.code(), Some(2));
    server.printed_with("--data <DIR>").await;
}
