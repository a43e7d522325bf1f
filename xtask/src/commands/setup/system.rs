//! Programs that the system's package manager installs.

use std::path::PathBuf;

use strata_harness::error::{Error, Result};
use tokio::process::Command;

use crate::command::{command, run_quietly};
use crate::paths;

/// A program and the packages that contain it.
pub(super) struct SystemProgram {
    pub(super) name: &'static str,
    /// Debian's and Ubuntu's packages, separated by spaces.
    pub(super) apt: &'static str,
    /// Homebrew's formula.
    pub(super) brew: &'static str,
    /// An alternative, in parentheses, for the error message. May be empty.
    pub(super) alternative: &'static str,
}

impl SystemProgram {
    /// Returns the program's path, after installing it if it is missing.
    ///
    /// # Errors
    /// If it is missing and there is neither apt-get nor Homebrew, or installing it fails or takes
    /// rights that the user lacks.
    pub(super) async fn ensure_installed(&self) -> Result<PathBuf> {
        if let Some(found) = paths::on_path(self.name) {
            return Ok(found);
        }
        self.install().await?;
        paths::on_path(self.name).ok_or_else(|| {
            self.missing("the package was installed, but its program is not on PATH: add its folder")
        })
    }

    /// Installs the packages, even if the program is there already.
    ///
    /// # Errors
    /// If there is neither apt-get nor Homebrew, or installing fails or takes rights that the user
    /// lacks.
    pub(super) async fn install(&self) -> Result<()> {
        let Self { name, apt, brew, .. } = self;
        if paths::on_path("apt-get").is_some() {
            if !rustix::process::geteuid().is_root() {
                return Err(self.missing(&format!("run `sudo apt-get install {apt}`")));
            }
            self.install_with_apt().await
        } else if paths::on_path("brew").is_some() {
            run_quietly(&format!("installing {name}"), None, command("brew", ["install", brew])).await
        } else {
            Err(self.missing(&format!("install it with your package manager, so that `{name}` is on PATH")))
        }
    }

    async fn install_with_apt(&self) -> Result<()> {
        let step = format!("installing {}", self.name);
        let install = || {
            let mut install = apt(&["install", "--yes"]);
            install.args(self.apt.split(' '));
            install
        };
        // A fresh image has no package lists, and an old image's lists name packages that are gone.
        if run_quietly(&step, Some("10 s"), install()).await.is_err() {
            run_quietly("reading Debian's package lists", Some("5 s"), apt(&["update"])).await?;
            run_quietly(&step, Some("10 s"), install()).await?;
        }
        Ok(())
    }

    fn missing(&self, remedy: &str) -> Error {
        let Self { name, alternative, .. } = self;
        Error::new(format!("{name} is not installed")).mend(format!("{remedy} {alternative}"))
    }
}

fn apt(args: &[&str]) -> Command {
    let mut apt = command("apt-get", ["--quiet"]);
    apt.args(args).env("DEBIAN_FRONTEND", "noninteractive");
    // In this run level Debian's scripts start no service. The commands start their own server.
    apt.env("RUNLEVEL", "1");
    apt
}
