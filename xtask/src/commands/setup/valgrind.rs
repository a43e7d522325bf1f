//! Valgrind, from the system's package manager.

use std::path::PathBuf;

use strata_harness::error::Result;

use super::system::SystemProgram;

const VALGRIND: SystemProgram =
    SystemProgram { name: "valgrind", apt: "valgrind", brew: "valgrind", alternative: "" };

/// Returns the path of valgrind, after installing it if it is missing.
///
/// # Errors
/// If it is missing and cannot be installed.
pub(crate) async fn valgrind() -> Result<PathBuf> {
    VALGRIND.ensure_installed().await
}
