//! Whether a build's inputs changed: one number over their names and contents.
//!
//! Contents and not times, so that a fresh checkout or a switched branch rebuilds only what differs.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use crate::error::{Doing, Result};

/// A number that differs when a file below one of the `inputs`, or one of the `versions`, does; 16 hex digits.
pub(crate) fn fingerprint(root: &Path, inputs: &[&str], versions: &[&str]) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    versions.hash(&mut hasher);
    for input in inputs {
        add(&mut hasher, root, &root.join(input))?;
    }
    Ok(format!("{:016x}", hasher.finish()))
}

fn add(hasher: &mut DefaultHasher, root: &Path, path: &Path) -> Result<()> {
    let reading = || format!("reading {}", path.display());
    if !path.is_dir() {
        path.strip_prefix(root).unwrap_or(path).hash(hasher);
        std::fs::read(path).doing(reading)?.hash(hasher);
        return Ok(());
    }
    let mut entries = std::fs::read_dir(path)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, _>>())
        .doing(reading)?;
    entries.sort();
    entries.iter().try_for_each(|entry| add(hasher, root, entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("src/deep")).unwrap();
        std::fs::write(folder.path().join("src/a.rs"), "a").unwrap();
        std::fs::write(folder.path().join("src/deep/b.rs"), "b").unwrap();
        std::fs::write(folder.path().join("Cargo.lock"), "1").unwrap();
        folder
    }

    fn of(folder: &tempfile::TempDir) -> String {
        fingerprint(folder.path(), &["src", "Cargo.lock"], &["0.8.7"]).unwrap()
    }

    #[test]
    fn equal_contents_have_equal_fingerprints_wherever_and_whenever_they_were_written() {
        assert_eq!(of(&folder()), of(&folder()));
    }

    #[test]
    fn a_changed_renamed_or_added_file_changes_it() {
        let before = of(&folder());
        let changed = folder();
        std::fs::write(changed.path().join("src/deep/b.rs"), "c").unwrap();
        let renamed = folder();
        std::fs::rename(renamed.path().join("src/a.rs"), renamed.path().join("src/z.rs")).unwrap();
        let added = folder();
        std::fs::write(added.path().join("src/c.rs"), "").unwrap();
        for other in [changed, renamed, added] {
            assert_ne!(of(&other), before);
        }
    }

    #[test]
    fn another_tool_version_changes_it() {
        let folder = folder();
        let other = fingerprint(folder.path(), &["src", "Cargo.lock"], &["0.8.8"]).unwrap();
        assert_ne!(of(&folder), other);
    }

    #[test]
    fn a_missing_input_is_an_error_that_names_it() {
        let folder = folder();
        let error = fingerprint(folder.path(), &["nothing.toml"], &[]).unwrap_err();
        assert!(error.to_string().contains("nothing.toml"), "{error}");
    }
}
