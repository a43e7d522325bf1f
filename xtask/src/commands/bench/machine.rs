//! The machine, the compiler and the versions behind the figures.

use crate::command::output;
use crate::commands::demo::processor;
use crate::paths;

/// Returns the list that begins a section about the origin SDK, with the versions of these packages
/// and of other programs.
pub(super) fn facts(packages: &[&str], programs: &[&str]) -> String {
    let versions: Vec<_> =
        versions(packages).into_iter().chain(programs.iter().map(|program| (*program).to_owned())).collect();
    format!(
        "- Machine: {}.\n- Compiler: {}.\n- Versions: {}.",
        machine(),
        output("rustc", &["--version"]).unwrap_or_default(),
        versions.join(", "),
    )
}

/// Describes the machine: its processor, cores and kernel.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let model = processor().unwrap_or_else(|| "unknown processor".to_owned());
    let kernel = output("uname", &["-sr"]).unwrap_or_default();
    format!("{model}, {cores} cores, {kernel}")
}

/// Returns the versions of packages, as Cargo.lock has them.
fn versions(packages: &[&str]) -> Vec<String> {
    let lock = std::fs::read_to_string(paths::root().join("Cargo.lock")).unwrap_or_default();
    let version_of = |package: &&str| {
        let (_, found) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
        Some(format!("{package} {}", found.split('"').next()?))
    };
    packages.iter().filter_map(version_of).collect()
}
