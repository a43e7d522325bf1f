//! `cargo xtask setup`, and the parts of it that other commands need. Each part installs only what
//! is missing, and says so.

mod bench;
mod chromium;
mod fuzz;
mod languages;
mod node;
mod redis;
mod rust;
mod servers;
mod system;
mod valgrind;

pub(crate) use bench::bench_programs;
pub(crate) use chromium::chromium;
pub(crate) use fuzz::fuzz_tools;
pub(crate) use languages::languages;
pub(crate) use node::node_tools;
pub(crate) use redis::redis_server;
pub(crate) use rust::{CORE_TARGET, WASM_TARGET, rust_target};
pub(crate) use servers::Server;
use strata_harness::error::Result;
pub(crate) use valgrind::valgrind;

/// Installs everything that the commands need.
///
/// # Errors
/// If something is missing and cannot be installed.
pub(crate) async fn run() -> Result<()> {
    let ((), (), redis) = tokio::try_join!(rust_target(WASM_TARGET), node_tools(), redis_server())?;
    println!("everything is installed: the {WASM_TARGET} target, the node tools and {}", redis.display());
    Ok(())
}
