//! `cargo xtask test`: everything that must pass, with the time of each step.

use std::time::{Duration, Instant};

use strata_harness::error::Result;
use tokio::process::Command;

use super::{build_edge, setup, vectors};
use crate::command::{cargo, run_quietly, run_shown};
use crate::progress::human;
use crate::stack::edge_server;

/// All tests. strata-bindgen has none, and the features of the workspace would compile it a second
/// time. strata-bench has none either, and caches to compare with that take long to compile.
const TESTS: [&str; 6] = ["test", "--workspace", "--exclude", "strata-bindgen", "--exclude", "strata-bench"];
/// The tests of one binary that run at the same time.
const TEST_THREADS: &str = "6";

/// As [`TEST_THREADS`], of the promises on another server.
const SERVER_THREADS: &str = "4";
/// As [`TEST_THREADS`], of the tests of several isolates, which wait even more.
const FLEET_THREADS: &str = "12";

/// Runs all checks and stops at the first that fails.
///
/// # Errors
/// If something cannot be installed or built, or a check fails.
pub(crate) async fn run() -> Result<()> {
    let mut steps = Steps::default();
    let redis = steps.time("setup and builds", prepare()).await?;
    let core_only = cargo(["check", "--package", "strata-shared-keys", "--target", setup::CORE_TARGET]);
    let core_only = run_quietly("checking shared-keys without std", Some("10 s"), core_only);
    steps.time("shared-keys without an operating system", core_only).await?;
    let on_redis = |mut tests: Command, threads| {
        tests.env("STRATA_REDIS_SERVER", &redis);
        at_once(tests, threads)
    };
    let all = on_redis(tests(), TEST_THREADS);
    steps.time("cargo test --workspace", run_shown("cargo test", all)).await?;
    let fleet = on_redis(binary("fleet"), FLEET_THREADS);
    steps.time("several isolates", run_shown("cargo test --test fleet", fleet)).await?;
    steps.print();
    Ok(())
}

/// Installs and builds what the tests need, side by side; returns the path of redis-server.
async fn prepare() -> Result<std::path::PathBuf> {
    // rustup installs one target at a time.
    setup::rust_target(setup::CORE_TARGET).await?;
    let workers = async {
        // One after the other: both have the same profile, whose folder cargo locks.
        build_edge::run().await?;
        vectors::build().await?;
        edge_server::build().await
    };
    let tests = async {
        for mut build in [tests(), binary("fleet")] {
            build.arg("--no-run");
            run_quietly("building the tests", Some("5 min the first time"), build).await?;
        }
        Ok(())
    };
    let (redis, (), ()) = tokio::try_join!(setup::redis_server(), workers, tests)?;
    Ok(redis)
}

/// Runs the tests of the promises on another server. Without filters, all of them.
///
/// # Errors
/// If the server cannot be installed, or a test fails.
pub(crate) async fn run_on(server: setup::Server, filters: &[String]) -> Result<()> {
    let program = server.ensure_installed().await?;
    let mut tests = at_once(binary("promises"), SERVER_THREADS);
    tests.arg("--").args(filters).env("STRATA_REDIS_SERVER", program);
    run_shown("the promises", tests).await
}

/// Returns the command that runs all tests.
fn tests() -> Command {
    let mut tests = cargo(TESTS);
    // The tests of the edge start the worker with this program's `edge` command.
    if let Ok(xtask) = std::env::current_exe() {
        tests.env("STRATA_XTASK", xtask);
    }
    tests
}

/// Returns the command that runs one binary of the tests. The packages are those of all tests, as
/// cargo would compile the dependencies of fewer with other features once more.
pub(crate) fn binary(name: &str) -> Command {
    let mut tests = tests();
    tests.args(["--test", name]);
    tests
}

/// Lets more tests run at once than there are cores, unless the user says how many: most wait for
/// servers.
fn at_once(mut tests: Command, threads: &str) -> Command {
    if std::env::var_os("RUST_TEST_THREADS").is_none() {
        tests.env("RUST_TEST_THREADS", threads);
    }
    tests
}

#[derive(Default)]
struct Steps(Vec<(&'static str, Duration)>);

impl Steps {
    async fn time<T>(&mut self, name: &'static str, step: impl Future<Output = Result<T>>) -> Result<T> {
        println!("== {name}");
        let since = Instant::now();
        let value = step.await?;
        self.0.push((name, since.elapsed()));
        Ok(value)
    }

    fn print(&self) {
        println!("\neverything passed:");
        for (name, time) in &self.0 {
            println!("  {:>8}  {name}", human(*time));
        }
    }
}
