//! `cargo xtask test`: everything that must pass, with the time that each step took.

use std::time::{Duration, Instant};

use crate::command::{cargo, run_shown};
use crate::error::Result;
use crate::progress::human;
use crate::{build, setup, vectors};

/// Runs all checks and stops at the first that fails.
pub(crate) async fn run() -> Result<()> {
    let mut steps = Steps::default();
    let redis = steps.time("setup", async {
        setup::edge_build_tools().await?;
        setup::redis_server().await
    });
    let redis = redis.await?;
    steps.time("the worker's wasm", build::edge()).await?;
    steps.time("the vectors' wasm", vectors::build()).await?;
    setup::rust_target(setup::CORE_TARGET).await?;
    let core_only = cargo(["check", "--package", "strata-shared-keys", "--target", setup::CORE_TARGET]);
    steps
        .time("shared-keys without an operating system", run_shown("checking shared-keys without std", core_only))
        .await?;
    let mut tests = cargo(["test", "--workspace"]);
    tests.env("STRATA_REDIS_SERVER", redis);
    // The tests of the edge start the worker by this program's own `edge` command.
    if let Ok(xtask) = std::env::current_exe() {
        tests.env("STRATA_XTASK", xtask);
    }
    steps.time("cargo test --workspace", run_shown("cargo test", tests)).await?;
    steps.print();
    Ok(())
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
