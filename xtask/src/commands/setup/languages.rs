//! The interpreters and compilers of the recipes, from the system's package manager.

use strata_harness::error::Result;

use super::system::SystemProgram;
use crate::command::output;

const PYTHON: SystemProgram =
    SystemProgram { name: "python3", apt: "python3-venv", brew: "python", alternative: "(3.10 or newer)" };
const PHP: SystemProgram =
    SystemProgram { name: "php", apt: "php-cli php-sqlite3", brew: "php", alternative: "(8.0 or newer)" };
const GO: SystemProgram =
    SystemProgram { name: "go", apt: "golang-go", brew: "go", alternative: "(1.18 or newer)" };

/// Installs Python, PHP and Go where they are missing.
///
/// # Errors
/// If one is missing and cannot be installed.
pub(crate) async fn languages() -> Result<()> {
    // The package manager installs one program at a time.
    python().await?;
    for program in [PHP, GO] {
        program.ensure_installed().await?;
    }
    // WordPress runs on SQLite here. The extension has no program of its own.
    if output("php", &["-r", "exit(extension_loaded('pdo_sqlite') ? 0 : 1);"]).is_none() {
        PHP.install().await?;
    }
    Ok(())
}

/// Installs Python where it is missing, or where it cannot make environments: Debian has that part
/// in a package of its own.
///
/// # Errors
/// If it is missing and cannot be installed.
pub(super) async fn python() -> Result<()> {
    PYTHON.ensure_installed().await?;
    if output("python3", &["-c", "import ensurepip"]).is_none() {
        PYTHON.install().await?;
    }
    Ok(())
}
