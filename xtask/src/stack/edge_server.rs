//! The worker run by `strata-edge`: workerd with a cache service, and no tool between it and its
//! clients.

use strata_harness::error::Result;
use tokio::process::Command;

use super::worker::Settings;
use crate::command::{cargo, command, run_quietly};
use crate::paths;

/// Builds the program.
///
/// # Errors
/// If it does not compile.
pub(crate) async fn build() -> Result<()> {
    let build = cargo(["build", "--profile", "demo", "--package", "strata-edge-server"]);
    run_quietly("building strata-edge", Some("1 min the first time"), build).await
}

/// Returns the command that runs the worker.
pub(super) fn serve(settings: &Settings<'_>) -> Command {
    let mut edge = command(paths::target().join("demo/strata-edge"), []);
    edge.args(["--listen", &format!("127.0.0.1:{}", settings.port)])
        .args(["--origin", settings.origin, "--config", "wrangler.toml", "--worker", "edge-worker"])
        .arg("--workerd")
        .arg(paths::node_module("workerd/bin/workerd"))
        .env("PURGE_SECRET", settings.purge_secret);
    for variable in settings.variables() {
        edge.args(["--var", &variable]);
    }
    edge.args(settings.options);
    edge
}
