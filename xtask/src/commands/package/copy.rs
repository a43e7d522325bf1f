//! Copies of files and folders.

use std::path::Path;

use strata_harness::error::{Context, Result};

/// Copies a file into a folder that is created if it is missing.
///
/// # Errors
/// If it cannot be read or written.
pub(super) fn file(from: &Path, to: &Path) -> Result<()> {
    let created = to.parent().map_or(Ok(()), std::fs::create_dir_all);
    created
        .and_then(|()| std::fs::copy(from, to))
        .map(drop)
        .context(|| format!("copying {} to {}", from.display(), to.display()))
}

/// Copies the files and folders below a folder whose names `is_wanted`. Links are left out.
///
/// # Errors
/// If something cannot be read or written.
pub(super) fn folder(from: &Path, to: &Path, is_wanted: &dyn Fn(&str) -> bool) -> Result<()> {
    let reading = || format!("reading {}", from.display());
    for entry in std::fs::read_dir(from).context(reading)? {
        let entry = entry.context(reading)?;
        let (kind, name) = (entry.file_type().context(reading)?, entry.file_name());
        if !is_wanted(&name.to_string_lossy()) {
            continue;
        }
        if kind.is_dir() {
            folder(&entry.path(), &to.join(name), is_wanted)?;
        } else if kind.is_file() {
            file(&entry.path(), &to.join(name))?;
        }
    }
    Ok(())
}
