//! The worker run by `strata-edge`: workerd with a cache service, and no tool between it and its
//! clients.

use std::path::{Path, PathBuf};

use strata_harness::error::{Context, Result};
use tempfile::TempDir;
use tokio::process::Command;

use super::worker::Settings;
use crate::command::{cargo, command, run_quietly};
use crate::fingerprint::Stamp;
use crate::paths;

/// The inputs of the build, besides the crates that Cargo.lock pins.
const INPUTS: [&str; 7] = [
    "Cargo.lock",
    "Cargo.toml",
    ".cargo/config.toml",
    "edge-server/Cargo.toml",
    "edge-server/src",
    "shared-keys/Cargo.toml",
    "shared-keys/src",
];

/// Builds the program unless its inputs are unchanged. Then cargo is not called: it would wait for
/// any other build of this folder.
///
/// # Errors
/// If it does not compile.
pub(crate) async fn build() -> Result<()> {
    let stamp = Stamp::new(program().with_extension("fingerprint"), &INPUTS, &["demo"], vec![program()])?;
    if stamp.is_current() {
        return Ok(());
    }
    let build = cargo(["build", "--profile", "demo", "--package", "strata-edge-server"]);
    run_quietly("building strata-edge", Some("1 min the first time"), build).await?;
    stamp.write()
}

fn program() -> PathBuf {
    paths::target().join("demo/strata-edge")
}

/// Returns the command that runs the worker of a folder.
pub(super) fn serve(settings: &Settings<'_>, worker: &Path, options: &[String]) -> Command {
    let mut edge = command(program(), []);
    edge.args(["--listen", &format!("127.0.0.1:{}", settings.port)])
        .args(["--origin", settings.origin, "--config", "wrangler.toml", "--worker"])
        .arg(worker)
        .arg("--workerd")
        .arg(paths::node_module("workerd/bin/workerd"))
        // Shorter than the time after which the children of this program are killed.
        .args(["--stop-timeout", "1"])
        .env("PURGE_SECRET", settings.purge_secret);
    for variable in settings.variables() {
        edge.args(["--var", &variable]);
    }
    edge.args(options);
    edge
}

/// The smallest module of wasm.
const EMPTY_WASM: &[u8] = b"\0asm\x01\0\0\0";

/// Returns a folder that `strata-edge` runs: a worker of this JavaScript alone, which exports no
/// `JournalObject`.
///
/// # Errors
/// If the files cannot be written.
pub(crate) fn script_folder(script: &str) -> Result<TempDir> {
    let folder = paths::temporary()?;
    let writing = || format!("writing a worker into {}", folder.path().display());
    // strata-edge has an object of this class.
    let script = format!(
        "import {{ DurableObject }} from 'cloudflare:workers'\nexport class JournalObject extends DurableObject {{}}\n{script}"
    );
    let build = folder.path().join("build");
    std::fs::create_dir(&build)
        .and_then(|()| std::fs::write(folder.path().join("worker.js"), script))
        .and_then(|()| std::fs::write(build.join("edge_worker.js"), ""))
        .and_then(|()| std::fs::write(build.join("edge_worker_bg.wasm"), EMPTY_WASM))
        .context(writing)?;
    Ok(folder)
}
