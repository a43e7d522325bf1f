//! What the commands need on this machine: each part installs only what is missing and says so.

mod cargo_tools;
mod fuzz;
mod node;
mod redis;
mod rust;
mod system;

pub(crate) use cargo_tools::{WORKER_BUILD_VERSION, wasm_bindgen, wasm_bindgen_version, worker_build};
pub(crate) use fuzz::fuzz_tools;
pub(crate) use node::node_tools;
pub(crate) use redis::redis_server;
pub(crate) use rust::{CORE_TARGET, WASM_TARGET, rust_target};

use crate::error::Result;

/// Installs everything that is missing.
pub(crate) async fn all() -> Result<()> {
    rust_target(WASM_TARGET).await?;
    node_tools().await?;
    worker_build().await?;
    wasm_bindgen().await?;
    let redis = redis_server().await?;
    println!("everything is installed: the {WASM_TARGET} target, the node tools, worker-build {WORKER_BUILD_VERSION},");
    println!("wasm-bindgen {} and {}", wasm_bindgen_version()?, redis.display());
    Ok(())
}

/// Installs what building the worker needs.
pub(crate) async fn edge_build_tools() -> Result<()> {
    rust_target(WASM_TARGET).await?;
    node_tools().await?;
    worker_build().await?;
    wasm_bindgen().await
}
