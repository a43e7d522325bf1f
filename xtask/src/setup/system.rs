//! Programs that come from the system's package manager.

use std::path::PathBuf;

use tokio::process::Command;

use crate::command::{command, run_quietly};
use crate::error::{Error, Result};
use crate::paths;

/// A program, and the packages that bring it.
pub(super) struct SystemProgram {
    pub(super) name: &'static str,
    /// Debian's and Ubuntu's package.
    pub(super) apt: &'static str,
    /// Homebrew's formula.
    pub(super) brew: &'static str,
    /// What else would do, in parentheses, or nothing.
    pub(super) instead: &'static str,
}

impl SystemProgram {
    /// Its path; installs it first if it is missing.
    ///
    /// # Errors
    /// If it is missing and this machine has no package manager that we know, or it needs rights that we lack.
    pub(super) async fn installed(&self) -> Result<PathBuf> {
        let Self { name, apt, brew, .. } = self;
        if let Some(found) = paths::on_path(name) {
            return Ok(found);
        }
        if paths::on_path("apt-get").is_some() {
            if !rustix::process::geteuid().is_root() {
                return Err(self.missing(&format!("run `sudo apt-get install {apt}`")));
            }
            self.install_with_apt().await?;
        } else if paths::on_path("brew").is_some() {
            run_quietly(&format!("installing {name}"), None, command("brew", ["install", brew])).await?;
        } else {
            return Err(self.missing(&format!("install it with your package manager, so that `{name}` is on PATH")));
        }
        paths::on_path(name)
            .ok_or_else(|| self.missing("the package was installed, but its program is not on PATH: add its folder"))
    }

    async fn install_with_apt(&self) -> Result<()> {
        let what = format!("installing {}", self.name);
        let install = || apt(&["install", "--yes", self.apt]);
        // A fresh image has no package lists, an old one has lists that lead nowhere.
        if run_quietly(&what, None, install()).await.is_err() {
            run_quietly("reading Debian's package lists", None, apt(&["update"])).await?;
            run_quietly(&what, None, install()).await?;
        }
        Ok(())
    }

    fn missing(&self, how: &str) -> Error {
        let Self { name, instead, .. } = self;
        Error::new(format!("{name} is not installed")).mend(format!("{how} {instead}"))
    }
}

fn apt(args: &[&str]) -> Command {
    let mut apt = command("apt-get", ["--quiet"]);
    apt.args(args).env("DEBIAN_FRONTEND", "noninteractive");
    // Debian's scripts start no service in this run level: the commands run a server of their own.
    apt.env("RUNLEVEL", "1");
    apt
}
