//! `cachectl completions SHELL`

use std::io;

use clap::{Args, Command};
use clap_complete::Shell;

use crate::output::{Exit, Result};

#[derive(Args)]
pub(crate) struct Completions {
    /// The shell that is to complete cachectl's commands
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self, command: &mut Command) -> Result<Exit> {
        // Into memory first: the library panics where a pipe is closed.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, command, "cachectl", &mut script);
        io::Write::write_all(&mut io::stdout(), &script)?;
        Ok(Exit::Done)
    }
}
