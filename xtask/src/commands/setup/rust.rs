//! The Rust targets: the one that the workers are built for, and one without `std`.

use std::path::Path;

use strata_harness::error::{Error, Result};

use crate::command::{command, output, run_quietly};
use crate::paths;

/// The target of the workers.
pub(crate) const WASM_TARGET: &str = "wasm32-unknown-unknown";
/// A target without `std`: a crate that compiles for it needs none.
pub(crate) const CORE_TARGET: &str = "wasm32v1-none";

/// Installs a target's libraries if they are missing.
///
/// # Errors
/// If they are missing and there is no rustup, or it fails.
pub(crate) async fn rust_target(target: &str) -> Result<()> {
    if is_installed(target) {
        return Ok(());
    }
    if paths::on_path("rustup").is_none() {
        return Err(Error::new(format!(
            "Rust's {target} target is missing, and there is no rustup to add it"
        ))
        .mend("install Rust with rustup, or the target with the package manager that Rust came from"));
    }
    let step = format!("installing Rust's {target} target");
    run_quietly(&step, Some("5 s"), command("rustup", ["target", "add", target])).await
}

fn is_installed(target: &str) -> bool {
    let args = ["--target", target, "--print", "target-libdir"];
    output("rustc", &args).is_some_and(|folder| Path::new(&folder).is_dir())
}
