//! The start by `cargo xtask edge`.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use strata_harness::{Placement, Process};
use strata_tests::free_port;
use tokio::process::Command;

use crate::origin_of_large_pages;

/// Long enough to build everything while other tests run.
const BUILD_LIMIT: Duration = Duration::from_secs(500);

/// Starts the worker and waits until it answers.
async fn start(origin: &str, limit: Duration) {
    let port = free_port();
    let mut command = Command::new(env!("CARGO"));
    command.args(["xtask", "edge", "--origin", origin, "--port", &port.to_string()]);
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut process =
        Process::spawn("cargo xtask edge", command, Placement::OwnGroup, None).expect("cargo starts");
    let health = format!("http://127.0.0.1:{port}/__strata/health");
    let client = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
    let ready = process.wait_ready(limit, async || client.get(&health).send().await.is_ok()).await;
    ready.unwrap_or_else(|error| panic!("{error}"));
}

/// Locks the folders of all profiles but that of `cargo xtask`, as another build does.
fn lock_builds() -> Vec<File> {
    let target = Path::new(env!("CARGO_BIN_EXE_strata-edge")).ancestors().nth(2).expect("the target folder");
    let below = |folder: &Path| -> Vec<_> {
        std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()).collect()
    };
    let profiles = below(target).into_iter().filter(|path| path.is_dir() && !path.ends_with("xtask"));
    let folders = profiles.flat_map(|path| [vec![path.clone()], below(&path)].concat());
    let locks: Vec<File> = folders.filter_map(|path| File::open(path.join(".cargo-lock")).ok()).collect();
    for lock in &locks {
        // Another build may hold it, which is as good.
        let _ = lock.try_lock();
    }
    assert!(locks.len() >= 2, "those of this test's build and of strata-edge");
    locks
}

#[tokio::test(flavor = "multi_thread")]
async fn a_built_worker_starts_while_another_build_holds_the_target_folder() {
    let origin = origin_of_large_pages().await;
    start(origin.url(), BUILD_LIMIT).await;
    let _locks = lock_builds();
    start(origin.url(), Duration::from_secs(60)).await;
}
