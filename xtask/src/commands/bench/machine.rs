//! The machine and the versions that a measurement names.

use crate::command::output;
use crate::commands::demo::processor;
use crate::paths;

/// Describes the machine: its processor, cores and kernel.
pub(super) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let model = processor().unwrap_or_else(|| "unknown processor".to_owned());
    let kernel = output("uname", &["-sr"]).unwrap_or_default();
    format!("{model}, {cores} cores, {kernel}")
}

/// Returns the versions of packages, as Cargo.lock has them.
pub(super) fn versions(packages: &[&str]) -> String {
    let lock = std::fs::read_to_string(paths::root().join("Cargo.lock")).unwrap_or_default();
    let version_of = |package: &&str| {
        let (_, found) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
        Some(format!("{package} {}", found.split('"').next()?))
    };
    packages.iter().filter_map(version_of).collect::<Vec<_>>().join(", ")
}
