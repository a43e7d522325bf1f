//! The paths of the project: its root, its tools, and the folders that the commands write to.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use strata_harness::error::{Context, Result};
use tempfile::TempDir;

/// The project's root: the folder of the workspace's Cargo.toml.
pub(crate) fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        // Cargo sets the variable when it runs the command. Without cargo, the folder in which the
        // binary was built counts.
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        manifest.parent().map_or_else(|| manifest.clone(), Path::to_path_buf)
    });
    &ROOT
}

/// Cargo's target folder: `CARGO_TARGET_DIR` if it is set, otherwise `target`.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// `.tools`, in which cargo-fuzz is installed.
pub(crate) fn tools() -> PathBuf {
    root().join(".tools")
}

/// A program that was installed in `.tools`.
pub(crate) fn tool(name: &str) -> PathBuf {
    tools().join("bin").join(name)
}

/// A file below `node_modules`.
pub(crate) fn node_module(path: &str) -> PathBuf {
    root().join("node_modules").join(path)
}

/// The node that npm installed. The system's can be too old for wrangler.
pub(crate) fn node() -> PathBuf {
    node_module(".bin/node")
}

/// `PATH` with the project's node tools first.
pub(crate) fn path_with_node_tools() -> std::ffi::OsString {
    let mut folders = vec![node_module(".bin")];
    if let Some(path) = std::env::var_os("PATH") {
        folders.extend(std::env::split_paths(&path));
    }
    // A folder with a colon in its name cannot be on PATH. The system's PATH then has to do.
    std::env::join_paths(folders).unwrap_or_else(|_| std::env::var_os("PATH").unwrap_or_default())
}

/// `.strata`, for data that later runs use again. Creates it if it is missing.
///
/// # Errors
/// If it cannot be created.
pub(crate) fn data() -> Result<PathBuf> {
    let folder = root().join(".strata");
    std::fs::create_dir_all(&folder).context(|| format!("creating {}", folder.display()))?;
    Ok(folder)
}

/// Creates a folder for one run. Removed when dropped.
///
/// # Errors
/// If it cannot be created.
pub(crate) fn temporary() -> Result<TempDir> {
    tempfile::Builder::new().prefix("strata-").tempdir().context(|| "creating a temporary folder".to_owned())
}

/// Finds a program on `PATH`.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}
