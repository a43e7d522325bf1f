//! The built binary, for the tests.

use std::process::Command;

/// Returns a command that runs `cachectl` without the settings of the machine that runs the tests.
pub(crate) fn bare() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cachectl"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("STRATA_")) {
        command.env_remove(name);
    }
    command
}
