//! Builds a worker's module: Rust → wasm → the module and JavaScript that workerd loads.

use std::path::{Path, PathBuf};

use strata_harness::error::Result;

use crate::command::{cargo, command, run_quietly};
use crate::commands::setup;
use crate::paths;

/// Compiles the package's library and the wasm-bindgen generator side by side, and writes
/// `NAME.js` and `NAME_bg.wasm` into `folder`, where `NAME` is the library's.
///
/// # Errors
/// If something does not compile, or the target cannot be installed.
pub(crate) async fn build(package: &str, library: &str, folder: &Path) -> Result<()> {
    let (wasm, bindgen) = tokio::try_join!(compile(package, library), bindgen())?;
    let mut bindgen = command(bindgen, []);
    bindgen.arg(wasm).arg(folder);
    run_quietly(&format!("generating the JavaScript of {package}"), Some("1 s"), bindgen).await
}

/// Compiles the library for size and returns the wasm's path.
async fn compile(package: &str, library: &str) -> Result<PathBuf> {
    setup::rust_target(setup::WASM_TARGET).await?;
    let mut build = cargo(["build", "--lib", "--profile", "release-edge", "--target", setup::WASM_TARGET]);
    build.args(["--package", package]);
    run_quietly(&format!("compiling {package} to wasm"), Some("1 to 2 min"), build).await?;
    Ok(paths::target().join(setup::WASM_TARGET).join(format!("release-edge/{library}.wasm")))
}

/// Builds the generator and returns its path.
async fn bindgen() -> Result<PathBuf> {
    let build = cargo(["build", "--package", "strata-bindgen"]);
    run_quietly("building the wasm-bindgen generator", Some("1 min"), build).await?;
    Ok(paths::target().join("debug/strata-bindgen"))
}
