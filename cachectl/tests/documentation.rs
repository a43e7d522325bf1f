//! Runs the commands of README and `docs/` as they are printed there, against a real Redis.

mod command;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use command::{CACHECTL, bare};
use origin_sdk::{Cache, Lifetime, Namespace};
use strata_tests::{FakeWorker, RedisServer, worker_secret};

origin_sdk::keys! {
    app "shop" version 1;
    key Product { product: u64 } = "product:{product}";
}

/// Commands that need a deployed worker: `tests/edge/verify.rs` runs them.
const ELSEWHERE: [&str; 1] = ["cachectl verify"];

/// Returns the commands of `cachectl` in the `sh` examples of a page.
fn commands(page: &str) -> Vec<String> {
    let mut commands = Vec::new();
    for block in page.split("```sh\n").skip(1) {
        let example = block.split("```").next().unwrap_or(block);
        let of_cachectl = example.lines().map(str::trim).filter(|line| line.starts_with("cachectl "));
        commands.extend(of_cachectl.map(|line| line.split(" #").next().unwrap_or(line).trim().to_owned()));
    }
    commands
}

fn pages(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            pages(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documented_commands_succeed() {
    let (redis, worker) = (RedisServer::start().await, FakeWorker::start().await);
    let _: String = redis.run(&["CONFIG", "SET", "maxmemory", "100mb"]).await;
    let _: String = redis.run(&["CONFIG", "SET", "maxmemory-policy", "volatile-lru"]).await;
    let cache = Cache::builder("shop").redis(redis.url()).edge(worker.url(), worker_secret());
    let cache = cache.build().await.unwrap();
    let names: Namespace<Product, String> = cache.namespace(Lifetime::fresh(Duration::from_secs(60))).build();
    names.invalidate(&Product { product: 8 }).await;

    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = vec![root.join("README.md")];
    pages(&root.join("docs"), &mut found);
    let binary = Path::new(CACHECTL).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap_or_default());
    let mut run = 0;
    for page in found {
        for command in commands(&fs::read_to_string(&page).unwrap()) {
            if ELSEWHERE.iter().any(|other| command.starts_with(other)) {
                continue;
            }
            // A command before this one may have ended the value.
            names.put(&Product { product: 7 }, "Lamp".to_owned(), cache.position()).await;
            // A followed journal has no end, and a watch needs a terminal.
            let command = command.replace(" --follow", "").replace(" --watch", "");
            let mut shell = bare("sh");
            shell.args(["-c", &command]).env("PATH", &path).env("STRATA_REDIS_URL", redis.url());
            let output = shell.output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {command}: {} {text}", page.display(), output.status);
            run += 1;
        }
    }
    assert!(run > 0, "expected commands in the documentation");
}
