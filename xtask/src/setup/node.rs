//! The node tools that package-lock.json pins: wrangler and the node it runs on, esbuild, wasm-opt, the
//! chart library, the test suite for HTTP caches.

use crate::command::{command, run_quietly};
use crate::error::{Doing, Error, Result};
use crate::fingerprint::fingerprint;
use crate::paths;

// One file of each tool, as the commands use it.
const USED: [&str; 6] = [
    ".bin/node",
    "wrangler/bin/wrangler.js",
    ".bin/esbuild",
    ".bin/wasm-opt",
    "chart.js/dist/chart.umd.min.js",
    "http-cache-tests/package.json",
];

/// Runs `npm ci` unless it ran for this very lock already.
pub(crate) async fn node_tools() -> Result<()> {
    let lock = fingerprint(paths::root(), &["package.json", "package-lock.json"], &[])?;
    let stamp = paths::node_module(".strata-lock");
    if std::fs::read_to_string(&stamp).is_ok_and(|stamped| stamped == lock) && missing().is_none() {
        return Ok(());
    }
    if paths::on_path("npm").is_none() {
        return Err(Error::new("npm is not installed").mend("install Node.js 20 or newer, which brings it"));
    }
    let npm = command("npm", ["ci", "--no-audit", "--no-fund"]);
    run_quietly("installing the node tools", Some("takes about 30 s"), npm).await?;
    if let Some(file) = missing() {
        return Err(Error::new(format!("npm ci left no node_modules/{file}")).mend(
            "let npm run install scripts (`npm config set ignore-scripts false`) and run `cargo xtask setup` again",
        ));
    }
    std::fs::write(&stamp, lock).doing(|| format!("writing {}", stamp.display()))
}

fn missing() -> Option<&'static str> {
    USED.into_iter().find(|file| !paths::node_module(file).exists())
}
