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
    build_in(paths::root(), &paths::target(), package, library, folder).await
}

/// As [`build`], from a copy of the project at `root` and with the target folder `target`.
///
/// # Errors
/// If something does not compile, or the target cannot be installed.
pub(crate) async fn build_in(
    root: &Path,
    target: &Path,
    package: &str,
    library: &str,
    folder: &Path,
) -> Result<()> {
    let (wasm, bindgen) = tokio::try_join!(compile(root, target, package, library), bindgen())?;
    let mut bindgen = command(bindgen, []);
    bindgen.arg(wasm).arg(folder);
    run_quietly(&format!("generating the JavaScript of {package}"), Some("1 s"), bindgen).await
}

/// Compiles the library for size and returns the wasm's path.
async fn compile(root: &Path, target: &Path, package: &str, library: &str) -> Result<PathBuf> {
    setup::rust_target(setup::WASM_TARGET).await?;
    let mut build = cargo(["build", "--lib", "--profile", "release-edge", "--target", setup::WASM_TARGET]);
    build.args(["--locked", "--package", package, "--config", &without_local_paths(root)]);
    build.current_dir(root).env("CARGO_TARGET_DIR", target);
    run_quietly(&format!("compiling {package} to wasm"), Some("1 to 2 min"), build).await?;
    Ok(target.join(setup::WASM_TARGET).join(format!("release-edge/{library}.wasm")))
}

/// Returns the setting of cargo that keeps the folders of this machine out of the module, which
/// has the names of source files for panics. Without it, no two machines build the same bytes.
fn without_local_paths(root: &Path) -> String {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cargo_home = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    let flags = [(&*cargo_home, "/cargo"), (root, "/strata")]
        .map(|(folder, name)| format!("{:?}", format!("--remap-path-prefix={}={name}", folder.display())));
    format!("target.{}.rustflags=[{}]", setup::WASM_TARGET, flags.join(","))
}

/// Builds the generator and returns its path.
async fn bindgen() -> Result<PathBuf> {
    let build = cargo(["build", "--package", "strata-bindgen"]);
    run_quietly("building the wasm-bindgen generator", Some("1 min"), build).await?;
    Ok(paths::target().join("debug/strata-bindgen"))
}
