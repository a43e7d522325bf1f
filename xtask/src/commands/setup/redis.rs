//! redis-server, from the system's package manager.

use std::path::{Path, PathBuf};

use strata_harness::error::{Context, Error, Result};
use tokio::process::Command;

use super::system::SystemProgram;

const SERVER: SystemProgram = SystemProgram {
    name: "redis-server",
    apt: "redis-server",
    brew: "redis",
    alternative: "(Redis 7 or newer; or use a running server: `cargo xtask up --redis URL`)",
};
const OLDEST_MAJOR: u32 = 7;

/// Returns the path of redis-server, after installing it if it is missing.
///
/// # Errors
/// If it is older than Redis 7, or missing and cannot be installed.
pub(crate) async fn redis_server() -> Result<PathBuf> {
    let server = SERVER.ensure_installed().await?;
    check_version(&server).await?;
    Ok(server)
}

/// Checks for Redis 7, which brought what the journal's scripts use: script flags, and an
/// `XAUTOCLAIM` that reports trimmed records.
async fn check_version(program: &Path) -> Result<()> {
    let output = Command::new(program).arg("--version").output().await;
    let output = output.context(|| format!("running {} --version", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    match major_version(&text) {
        Some(major) if major >= OLDEST_MAJOR => Ok(()),
        _ => Err(Error::new(format!("expected Redis {OLDEST_MAJOR} or newer, got {:?}", text.trim())).mend(
            "install a newer redis-server and put it first on PATH (Debian 12 and Ubuntu 24.04 have one in their packages)",
        )),
    }
}

/// Returns 7 for `Redis server v=7.0.15 sha=00000000:0 …`.
fn major_version(text: &str) -> Option<u32> {
    let (_, version) = text.split_once("v=")?;
    version.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_the_programs_output() {
        let printed =
            "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=d81b8ff71cfb150e";
        assert_eq!(major_version(printed), Some(7));
        assert_eq!(major_version("Redis server v=6.0.16"), Some(6));
        assert_eq!(major_version("something else"), None);
    }
}
