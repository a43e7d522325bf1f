//! worker-build, the wasm-bindgen CLI and cargo-fuzz, installed below `.tools` in exactly the versions that are needed.

use std::path::Path;

use crate::command::{cargo, output, run_quietly};
use crate::error::{Doing, Error, Result};
use crate::paths;

/// Goes together with the `worker` crate of Cargo.lock: worker-build refuses another minor version.
pub(crate) const WORKER_BUILD_VERSION: &str = "0.8.7";

const CARGO_FUZZ_VERSION: &str = "0.13.2";

/// Installs worker-build if it is missing or of another version.
pub(crate) async fn worker_build() -> Result<()> {
    install("worker-build", "worker-build", WORKER_BUILD_VERSION, "takes about 5 min").await
}

/// Installs cargo-fuzz if it is missing or of another version.
pub(super) async fn cargo_fuzz() -> Result<()> {
    install("cargo-fuzz", "cargo-fuzz", CARGO_FUZZ_VERSION, "takes about 1 min").await
}

/// Installs the wasm-bindgen CLI if it is missing or of another version than the library.
pub(crate) async fn wasm_bindgen() -> Result<()> {
    install("wasm-bindgen-cli", "wasm-bindgen", &wasm_bindgen_version()?, "takes about 3 min").await
}

/// The version of the wasm-bindgen library in Cargo.lock; the CLI must be the same to the last digit.
pub(crate) fn wasm_bindgen_version() -> Result<String> {
    let path = paths::root().join("Cargo.lock");
    let lock = std::fs::read_to_string(&path).doing(|| format!("reading {}", path.display()))?;
    locked_version(&lock, "wasm-bindgen").map(str::to_owned).ok_or_else(|| {
        Error::new("Cargo.lock names no wasm-bindgen").mend("run `cargo generate-lockfile` or restore the file")
    })
}

async fn install(package: &str, program: &str, version: &str, hint: &str) -> Result<()> {
    if installed_version(&paths::tool(program)).as_deref() == Some(version) {
        return Ok(());
    }
    let what = format!("installing {program} {version}");
    let exact = format!("{package}@{version}");
    let tools = paths::tools();
    let install = |lock: &[&str]| {
        let mut install = cargo(["install", "--root"]);
        install.arg(&tools).args(lock).arg(&exact);
        // Kept, so that the second tool and the next version reuse what the first has compiled.
        install.env("CARGO_TARGET_DIR", tools.join("build"));
        install
    };
    // A package's own lock can name a release that a mirror does not have (yet); any that its manifest allows will do then.
    if run_quietly(&what, Some(hint), install(&["--locked"])).await.is_err() {
        eprintln!("trying again without the lock of {package}");
        run_quietly(&what, Some(hint), install(&[])).await?;
    }
    match installed_version(&paths::tool(program)) {
        Some(found) if found == version => Ok(()),
        found => Err(Error::new(format!(
            "{} is {}, expected {version}",
            paths::tool(program).display(),
            found.as_deref().unwrap_or("missing")
        ))
        .mend("remove .tools and run `cargo xtask setup`")),
    }
}

fn installed_version(program: &Path) -> Option<String> {
    // "0.8.7" from worker-build, "wasm-bindgen 0.2.130" from wasm-bindgen.
    output(program, &["--version"])?.split_whitespace().last().map(str::to_owned)
}

/// The version of a package in the text of a Cargo.lock.
fn locked_version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines();
    lines.find(|line| *line == name)?;
    lines.next()?.strip_prefix("version = \"")?.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "version = 4\n\n[[package]]\nname = \"wasm-bindgen-futures\"\nversion = \"0.4.80\"\n\n\
                        [[package]]\nname = \"wasm-bindgen\"\nversion = \"0.2.130\"\ndependencies = [\n \"wasm-bindgen-macro\",\n]\n";

    #[test]
    fn the_lock_gives_the_version_of_exactly_that_package() {
        assert_eq!(locked_version(LOCK, "wasm-bindgen"), Some("0.2.130"));
        assert_eq!(locked_version(LOCK, "wasm-bindgen-futures"), Some("0.4.80"));
        assert_eq!(locked_version(LOCK, "wasm"), None);
    }

    #[test]
    fn the_projects_own_lock_names_a_wasm_bindgen() {
        assert!(wasm_bindgen_version().unwrap().starts_with("0.2."));
    }
}
