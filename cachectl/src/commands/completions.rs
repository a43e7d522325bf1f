//! `cachectl completions SHELL`

use std::io;

use clap::{Args, Command};
use clap_complete::Shell;

use crate::output::{Exit, Result};

#[derive(Args)]
pub(crate) struct Completions {
    /// The shell to print the script for
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self, command: &mut Command) -> Result<Exit> {
        // Generate in memory, because the library panics when it writes to a closed pipe.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, command, "cachectl", &mut script);
        io::Write::write_all(&mut io::stdout(), &script)?;
        Ok(Exit::Done)
    }
}
