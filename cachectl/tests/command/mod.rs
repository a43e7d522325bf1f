//! Commands without the settings of the machine that runs the tests.

use std::process::Command;

/// Returns a command that runs the built `cachectl`.
#[allow(dead_code, reason = "not every test binary that includes this file runs it directly")]
pub(crate) fn bare() -> Command {
    without_settings(Command::new(env!("CARGO_BIN_EXE_cachectl")))
}

/// Removes the variables that `cachectl` reads from a command's environment.
pub(crate) fn without_settings(mut command: Command) -> Command {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("STRATA_")) {
        command.env_remove(name);
    }
    command
}
