//! The tools of the fuzz targets: a C++ compiler, and cargo-fuzz below `.tools`.

use strata_harness::error::{Error, Result};

use super::system::SystemProgram;
use crate::command::{cargo, output, run_quietly};
use crate::paths;

/// Compiles libFuzzer, which is C++, together with the targets.
const COMPILER: SystemProgram = SystemProgram {
    name: "c++",
    apt: "g++",
    brew: "llvm",
    alternative: "(on macOS `xcode-select --install` brings it)",
};

const CARGO_FUZZ_VERSION: &str = "0.13.2";

/// Installs cargo-fuzz and a C++ compiler if they are missing.
///
/// # Errors
/// If they cannot be installed.
pub(crate) async fn fuzz_tools() -> Result<()> {
    COMPILER.ensure_installed().await?;
    if installed_version().as_deref() == Some(CARGO_FUZZ_VERSION) {
        return Ok(());
    }
    let step = format!("installing cargo-fuzz {CARGO_FUZZ_VERSION}");
    let install = |lock: &[&str]| {
        let mut install = cargo(["install", "--root"]);
        install.arg(paths::tools()).args(lock).arg(format!("cargo-fuzz@{CARGO_FUZZ_VERSION}"));
        install.env("CARGO_TARGET_DIR", paths::tools().join("build"));
        install
    };
    // A package's own lock can name a release that a mirror lacks. Its manifest allows others.
    if run_quietly(&step, Some("1 min"), install(&["--locked"])).await.is_err() {
        eprintln!("trying again without the lock of cargo-fuzz");
        run_quietly(&step, Some("1 min"), install(&[])).await?;
    }
    match installed_version() {
        Some(found) if found == CARGO_FUZZ_VERSION => Ok(()),
        found => Err(Error::new(format!(
            "cargo-fuzz below .tools is {}, expected {CARGO_FUZZ_VERSION}",
            found.as_deref().unwrap_or("missing")
        ))
        .mend("remove .tools and run the command again")),
    }
}

/// The version at the end of what it prints: "cargo-fuzz 0.13.2".
fn installed_version() -> Option<String> {
    let printed = output(paths::tool("cargo-fuzz"), &["--version"])?;
    printed.split_whitespace().last().map(str::to_owned)
}
