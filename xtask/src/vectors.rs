//! `cargo xtask vectors`: the worker that checks the golden vectors, in workerd itself; the tests talk to it.

use std::path::PathBuf;

use crate::command::{cargo, command, run_shown};
use crate::error::Result;
use crate::{paths, setup};

/// Where the worker's JavaScript and workerd.capnp are, and below it what is built.
const FOLDER: &str = "tests/vectors-worker";

/// Builds the worker and serves it until it is stopped.
///
/// # Errors
/// If it cannot be built or started, or ends.
pub(crate) async fn run(port: u16) -> Result<()> {
    build().await?;
    let mut workerd = command(paths::node_module("workerd/bin/workerd"), ["serve"]);
    workerd.arg(folder().join("workerd.capnp")).arg(format!("--socket-addr=http=127.0.0.1:{port}"));
    // Where workerd's npm package could not run its install script, the program is a script for `node`.
    workerd.env("PATH", paths::path_with_node_tools());
    run_shown("the vectors' worker", workerd).await
}

/// The wasm with the shipped worker's profile and wasm-bindgen. Cargo knows whether there is anything to do.
pub(crate) async fn build() -> Result<()> {
    setup::rust_target(setup::WASM_TARGET).await?;
    setup::node_tools().await?;
    setup::wasm_bindgen().await?;
    let cargo = cargo([
        "build",
        "--quiet",
        "--package=strata-vectors",
        "--lib",
        "--profile=release-edge",
        "--target",
        setup::WASM_TARGET,
    ]);
    run_shown("building the vectors' worker", cargo).await?;
    let wasm = paths::target().join(setup::WASM_TARGET).join("release-edge/strata_vectors.wasm");
    let mut bindgen = command(paths::tool("wasm-bindgen"), ["--target=web", "--no-typescript", "--out-dir"]);
    bindgen.arg(folder().join("build")).arg(wasm);
    run_shown("wasm-bindgen", bindgen).await
}

fn folder() -> PathBuf {
    paths::root().join(FOLDER)
}
