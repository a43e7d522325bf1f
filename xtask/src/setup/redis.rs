//! redis-server, from the system's package manager.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::command::{command, run_quietly};
use crate::error::{Doing, Error, Result};
use crate::paths;

const PROGRAM: &str = "redis-server";
const OLDEST_MAJOR: u32 = 7;

/// The Redis server's path; installs it first if it is missing.
///
/// # Errors
/// If it is missing and this machine has no package manager that we know, or it needs rights that we lack.
pub(crate) async fn redis_server() -> Result<PathBuf> {
    if let Some(found) = paths::on_path(PROGRAM) {
        check_version(&found).await?;
        return Ok(found);
    }
    if paths::on_path("apt-get").is_some() {
        install_with_apt().await?;
    } else if paths::on_path("brew").is_some() {
        run_quietly("installing redis-server", None, command("brew", ["install", "redis"])).await?;
    } else {
        return Err(missing("install Redis 7 or newer with your package manager, so that `redis-server` is on PATH"));
    }
    let installed = paths::on_path(PROGRAM)
        .ok_or_else(|| missing("the package was installed, but its program is not on PATH: add its folder"))?;
    check_version(&installed).await?;
    Ok(installed)
}

/// The journal's scripts need what Redis 7 brought: script flags, and `XAUTOCLAIM` that tells of trimmed records.
async fn check_version(program: &Path) -> Result<()> {
    let output = Command::new(program).arg("--version").output().await;
    let output = output.doing(|| format!("running {} --version", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    match major_version(&text) {
        Some(major) if major >= OLDEST_MAJOR => Ok(()),
        _ => Err(Error::new(format!("expected Redis {OLDEST_MAJOR} or newer, got {:?}", text.trim())).mend(
            "install a newer redis-server and put it first on PATH (Debian 12 and Ubuntu 24.04 have one in their packages)",
        )),
    }
}

/// 7 in `Redis server v=7.0.15 sha=00000000:0 …`.
fn major_version(text: &str) -> Option<u32> {
    let (_, version) = text.split_once("v=")?;
    version.split('.').next()?.parse().ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_what_redis_prints() {
        let printed = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=d81b8ff71cfb150e";
        assert_eq!(major_version(printed), Some(7));
        assert_eq!(major_version("Redis server v=6.0.16"), Some(6));
        assert_eq!(major_version("something else"), None);
    }
}
