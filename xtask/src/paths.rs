//! Where things are: the project's root and the folders that the commands write to.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use tempfile::TempDir;

use crate::error::{Doing, Result};

/// The project's root, the folder of the workspace's Cargo.toml.
pub(crate) fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        // Cargo sets the variable when it runs the command; a copy of the binary that is run alone falls back on where it was built.
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        manifest.parent().map_or_else(|| manifest.clone(), Path::to_path_buf)
    });
    &ROOT
}

/// Cargo's target folder: the variable if it is set, else `target`.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// `.tools`, where the cargo tools of the worker's build are installed.
pub(crate) fn tools() -> PathBuf {
    root().join(".tools")
}

/// A tool of the worker's build, by its name.
pub(crate) fn tool(name: &str) -> PathBuf {
    tools().join("bin").join(name)
}

/// A file below `node_modules`.
pub(crate) fn node_module(path: &str) -> PathBuf {
    root().join("node_modules").join(path)
}

/// The node that npm installed, new enough for wrangler whatever the system's is.
pub(crate) fn node() -> PathBuf {
    node_module(".bin/node")
}

/// PATH with the project's node tools first.
pub(crate) fn path_with_node_tools() -> std::ffi::OsString {
    let mut folders = vec![node_module(".bin")];
    if let Some(path) = std::env::var_os("PATH") {
        folders.extend(std::env::split_paths(&path));
    }
    // A folder with a colon in its name cannot be on PATH at all; the system's own PATH is then the best there is.
    std::env::join_paths(folders).unwrap_or_else(|_| std::env::var_os("PATH").unwrap_or_default())
}

/// `.strata`, what is worth keeping between runs; made if missing.
pub(crate) fn kept() -> Result<PathBuf> {
    let folder = root().join(".strata");
    std::fs::create_dir_all(&folder).doing(|| format!("making {}", folder.display()))?;
    Ok(folder)
}

/// A folder for one run, removed when dropped.
pub(crate) fn temporary() -> Result<TempDir> {
    tempfile::Builder::new().prefix("strata-").tempdir().doing(|| "making a temporary folder".to_owned())
}

/// The file that a program's name leads to on PATH.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}
