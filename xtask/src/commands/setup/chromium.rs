//! Chromium, from the system's package manager.

use std::path::PathBuf;

use strata_harness::error::Result;

use super::system::SystemProgram;

const CHROMIUM: SystemProgram = SystemProgram {
    name: "chromium",
    apt: "chromium",
    brew: "chromium",
    alternative: "(or put another Chromium on PATH under this name)",
};

/// Returns the path of Chromium, after installing it if it is missing.
///
/// # Errors
/// If it is missing and cannot be installed.
pub(crate) async fn chromium() -> Result<PathBuf> {
    CHROMIUM.ensure_installed().await
}
