//! The Rust target that the worker is built for.

use std::path::Path;

use crate::command::{command, output, run_quietly};
use crate::error::{Error, Result};
use crate::paths;

pub(crate) const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// Installs the target's standard library if it is missing.
pub(crate) async fn wasm_target() -> Result<()> {
    if is_installed() {
        return Ok(());
    }
    if paths::on_path("rustup").is_none() {
        return Err(Error::new(format!("Rust's {WASM_TARGET} target is missing and rustup is not here to add it"))
            .mend("install Rust with rustup, or the target with the package manager that Rust came from"));
    }
    let what = format!("installing Rust's {WASM_TARGET} target");
    run_quietly(&what, None, command("rustup", ["target", "add", WASM_TARGET])).await
}

fn is_installed() -> bool {
    let args = ["--target", WASM_TARGET, "--print", "target-libdir"];
    output("rustc", &args).is_some_and(|folder| Path::new(&folder).is_dir())
}
