//! `cargo xtask vectors`: serves the worker that checks the golden vectors, in plain workerd. The
//! tests talk to it.

use std::path::PathBuf;

use strata_harness::error::Result;

use super::setup;
use crate::command::{command, run_shown};
use crate::{paths, wasm};

/// The folder of the worker's JavaScript and workerd.capnp. The build goes into `build` below it.
const FOLDER: &str = "tests/vectors-worker";

/// Builds the worker and serves it on the port until it is stopped.
///
/// # Errors
/// If it cannot be built or started, or ends.
pub(crate) async fn run(port: u16) -> Result<()> {
    build().await?;
    let mut workerd = command(paths::node_module("workerd/bin/workerd"), ["serve"]);
    workerd.arg(folder().join("workerd.capnp")).arg(format!("--socket-addr=http=127.0.0.1:{port}"));
    // Where npm did not run its install script, the package's workerd is a script that `node` runs.
    workerd.env("PATH", paths::path_with_node_tools());
    run_shown("the vectors' worker", workerd).await
}

/// Builds the worker with the profile and generator of the edge worker.
///
/// # Errors
/// If something cannot be installed or does not compile.
pub(crate) async fn build() -> Result<()> {
    let output = folder().join("build");
    tokio::try_join!(setup::node_tools(), wasm::build("strata-vectors", "strata_vectors", &output))?;
    Ok(())
}

fn folder() -> PathBuf {
    paths::root().join(FOLDER)
}
