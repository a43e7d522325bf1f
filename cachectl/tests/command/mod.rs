//! Commands without the settings of the machine that runs the tests.

use std::process::Command;

/// The built `cachectl`.
pub(crate) const CACHECTL: &str = env!("CARGO_BIN_EXE_cachectl");

/// Returns a command that runs `program` without the variables that `cachectl` reads.
pub(crate) fn bare(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("STRATA_")) {
        command.env_remove(name);
    }
    command
}
