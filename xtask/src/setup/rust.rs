//! The Rust targets that the worker is built for, and that `shared-keys` is checked for.

use std::path::Path;

use crate::command::{command, output, run_quietly};
use crate::error::{Error, Result};
use crate::paths;

pub(crate) const WASM_TARGET: &str = "wasm32-unknown-unknown";
/// Has no `std`, unlike the worker's, so that building for it proves that a crate needs none.
pub(crate) const CORE_TARGET: &str = "wasm32v1-none";

/// Installs a target's libraries if they are missing.
pub(crate) async fn rust_target(target: &str) -> Result<()> {
    if is_installed(target) {
        return Ok(());
    }
    if paths::on_path("rustup").is_none() {
        return Err(Error::new(format!("Rust's {target} target is missing and rustup is not here to add it"))
            .mend("install Rust with rustup, or the target with the package manager that Rust came from"));
    }
    let what = format!("installing Rust's {target} target");
    run_quietly(&what, None, command("rustup", ["target", "add", target])).await
}

fn is_installed(target: &str) -> bool {
    let args = ["--target", target, "--print", "target-libdir"];
    output("rustc", &args).is_some_and(|folder| Path::new(&folder).is_dir())
}
