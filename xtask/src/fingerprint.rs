//! Detects changed inputs of a build by one hash over their names and contents.
//!
//! Contents rather than times, so that a fresh checkout or another branch rebuilds only what
//! differs.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use strata_harness::error::{Context, Result};

use crate::paths;

/// Returns 16 hex digits that change with each file below one of the `inputs` (paths relative to
/// `root`) and with the `settings` of the build.
///
/// # Errors
/// If an input cannot be read.
pub(crate) fn fingerprint(root: &Path, inputs: &[&str], settings: &[&str]) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    settings.hash(&mut hasher);
    for input in inputs {
        add(&mut hasher, root, &root.join(input))?;
    }
    Ok(format!("{:016x}", hasher.finish()))
}

/// The record that a build has made its outputs from its present inputs.
pub(crate) struct Stamp {
    file: PathBuf,
    inputs: String,
    outputs: Vec<PathBuf>,
}

impl Stamp {
    /// Reads the inputs. `file` is where the record is written.
    ///
    /// # Errors
    /// If an input cannot be read.
    pub(crate) fn new(
        file: PathBuf,
        inputs: &[&str],
        settings: &[&str],
        outputs: Vec<PathBuf>,
    ) -> Result<Self> {
        Ok(Self { file, inputs: fingerprint(paths::root(), inputs, settings)?, outputs })
    }

    /// Whether the outputs are those of these inputs, and no other build has replaced them.
    pub(crate) fn is_current(&self) -> bool {
        let recorded = std::fs::read_to_string(&self.file).ok();
        recorded.is_some() && self.text().ok() == recorded
    }

    /// Records the outputs, which have just been built from the inputs.
    ///
    /// # Errors
    /// If an output is missing, or the record cannot be written.
    pub(crate) fn write(&self) -> Result<()> {
        std::fs::write(&self.file, self.text()?).context(|| format!("writing {}", self.file.display()))
    }

    fn text(&self) -> Result<String> {
        let outputs = self.outputs.iter().map(|output| output.to_str().unwrap_or_default());
        Ok(format!("{} {}", self.inputs, fingerprint(paths::root(), &outputs.collect::<Vec<_>>(), &[])?))
    }
}

fn add(hasher: &mut DefaultHasher, root: &Path, path: &Path) -> Result<()> {
    let reading = || format!("reading {}", path.display());
    if !path.is_dir() {
        path.strip_prefix(root).unwrap_or(path).hash(hasher);
        std::fs::read(path).context(reading)?.hash(hasher);
        return Ok(());
    }
    let mut entries = std::fs::read_dir(path)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, _>>())
        .context(reading)?;
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
    fn neither_place_nor_time_changes_the_fingerprint() {
        assert_eq!(of(&folder()), of(&folder()));
    }

    #[test]
    fn a_changed_renamed_or_added_file_changes_the_fingerprint() {
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
    fn another_setting_changes_the_fingerprint() {
        let folder = folder();
        let other = fingerprint(folder.path(), &["src", "Cargo.lock"], &["0.8.8"]).unwrap();
        assert_ne!(of(&folder), other);
    }

    #[test]
    fn a_stamp_is_current_until_its_inputs_or_outputs_change() {
        let folder = folder();
        let path = |name: &str| folder.path().join(name);
        let (input, output) = (path("src/a.rs"), path("built"));
        let stamp =
            || Stamp::new(path("stamp"), &[input.to_str().unwrap()], &[], vec![output.clone()]).unwrap();
        assert!(!stamp().is_current(), "nothing is built");
        std::fs::write(&output, "1").unwrap();
        stamp().write().unwrap();
        assert!(stamp().is_current());
        for (file, text) in [(&output, "2"), (&input, "b")] {
            let before = std::fs::read(file).unwrap();
            std::fs::write(file, text).unwrap();
            assert!(!stamp().is_current(), "{}", file.display());
            std::fs::write(file, before).unwrap();
        }
        assert!(stamp().is_current());
        std::fs::remove_file(&output).unwrap();
        assert!(!stamp().is_current());
    }

    #[test]
    fn the_error_for_a_missing_input_names_it() {
        let folder = folder();
        let error = fingerprint(folder.path(), &["nothing.toml"], &[]).unwrap_err();
        assert!(error.to_string().contains("nothing.toml"), "{error}");
    }
}
