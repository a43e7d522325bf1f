//! redis-server, from the system's package manager.

use std::path::PathBuf;

use tokio::process::Command;

use crate::command::{command, run_quietly};
use crate::error::{Error, Result};
use crate::paths;

const PROGRAM: &str = "redis-server";

/// The Redis server's path; installs it first if it is missing.
///
/// # Errors
/// If it is missing and this machine has no package manager that we know, or it needs rights that we lack.
pub(crate) async fn redis_server() -> Result<PathBuf> {
    if let Some(found) = paths::on_path(PROGRAM) {
        return Ok(found);
    }
    if paths::on_path("apt-get").is_some() {
        install_with_apt().await?;
    } else if paths::on_path("brew").is_some() {
        run_quietly("installing redis-server", None, command("brew", ["install", "redis"])).await?;
    } else {
        return Err(missing("install Redis 7 or newer with your package manager, so that `redis-server` is on PATH"));
    }
    paths::on_path(PROGRAM)
        .ok_or_else(|| missing("the package was installed, but its program is not on PATH: add its folder"))
}

async fn install_with_apt() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Err(missing("run `sudo apt-get install redis-server`"));
    }
    // A fresh image has no package lists, an old one has lists that lead nowhere.
    if run_quietly("installing redis-server", None, apt(&["install", "--yes", PROGRAM])).await.is_err() {
        run_quietly("reading Debian's package lists", None, apt(&["update"])).await?;
        run_quietly("installing redis-server", None, apt(&["install", "--yes", PROGRAM])).await?;
    }
    Ok(())
}

fn apt(args: &[&str]) -> Command {
    let mut apt = command("apt-get", ["--quiet"]);
    apt.args(args).env("DEBIAN_FRONTEND", "noninteractive");
    // Debian's scripts start no service in this run level: the commands run a server of their own.
    apt.env("RUNLEVEL", "1");
    apt
}

fn missing(how: &str) -> Error {
    Error::new("redis-server is not installed")
        .mend(format!("{how} (or use a running one: `cargo xtask up --redis URL`)"))
}
