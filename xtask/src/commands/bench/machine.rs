//! The machine, the compiler and the versions behind the figures.

use crate::command::output;
use crate::commands::demo::processor;
use crate::paths;

/// Returns the list that begins each section about the origin SDK.
pub(super) fn facts() -> String {
    format!(
        "- Machine: {}.\n- Compiler: {}.\n- Versions: {}.",
        machine(),
        output("rustc", &["--version"]).unwrap_or_default(),
        versions(),
    )
}

/// Describes the machine: its processor, cores and kernel.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let model = processor().unwrap_or_else(|| "unknown processor".to_owned());
    let kernel = output("uname", &["-sr"]).unwrap_or_default();
    format!("{model}, {cores} cores, {kernel}")
}

/// Returns the versions of the peers, as Cargo.lock has them.
fn versions() -> String {
    let lock = std::fs::read_to_string(paths::root().join("Cargo.lock")).unwrap_or_default();
    let version_of = |package: &str| {
        let (_, found) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
        Some(format!("{package} {}", found.split('"').next()?))
    };
    let packages = ["quick_cache", "lru", "moka", "foyer-memory"];
    packages.into_iter().filter_map(version_of).collect::<Vec<_>>().join(", ")
}
