//! The node tools that package-lock.json pins: wrangler and the node that runs it, wasm-opt, the
//! chart library of the demo's report, and the test suite for HTTP caches.

use strata_harness::error::{Context, Error, Result};
use tokio::sync::Mutex;

use crate::command::{command, run_quietly};
use crate::fingerprint::fingerprint;
use crate::paths;

/// One file of each tool, at the path that the commands use.
const USED_FILES: [&str; 5] = [
    ".bin/node",
    "wrangler/bin/wrangler.js",
    ".bin/wasm-opt",
    "chart.js/dist/chart.umd.min.js",
    "http-cache-tests/package.json",
];

/// Steps that run side by side can need the tools at the same time.
static INSTALLATION: Mutex<()> = Mutex::const_new(());

/// Runs `npm ci` unless it has run for the present lock file.
///
/// # Errors
/// If npm is missing or fails, or a file of [`USED_FILES`] is then missing.
pub(crate) async fn node_tools() -> Result<()> {
    let _installation = INSTALLATION.lock().await;
    let lock = fingerprint(paths::root(), &["package.json", "package-lock.json"], &[])?;
    let stamp = paths::node_module(".strata-lock");
    if std::fs::read_to_string(&stamp).is_ok_and(|stamped| stamped == lock) && missing_file().is_none() {
        return Ok(());
    }
    if paths::on_path("npm").is_none() {
        return Err(Error::new("npm is not installed").mend("install Node.js 20 or newer, which brings it"));
    }
    let npm = command("npm", ["ci", "--no-audit", "--no-fund"]);
    run_quietly("installing the node tools", Some("30 s"), npm).await?;
    if let Some(file) = missing_file() {
        return Err(Error::new(format!("npm ci succeeded, but node_modules/{file} is missing")).mend(
            "let npm run install scripts (`npm config set ignore-scripts false`) and run `cargo xtask setup` again",
        ));
    }
    std::fs::write(&stamp, lock).context(|| format!("writing {}", stamp.display()))
}

fn missing_file() -> Option<&'static str> {
    USED_FILES.into_iter().find(|file| !paths::node_module(file).exists())
}
