//! The check that the module's bytes depend on its sources alone.

use std::collections::BTreeMap;
use std::path::Path;

use strata_harness::error::{Context, Error, Result};

use super::copy;
use crate::commands::build_edge;
use crate::paths;

/// Folders that are no sources of the worker. Neither are those that begin with a dot, except for
/// [`SETTINGS`].
const NOT_COPIED: [&str; 7] = ["target", "node_modules", "build", "dist", "corpus", "artifacts", "wordpress"];
/// The folder of cargo's settings.
const SETTINGS: &str = ".cargo";

/// Builds two copies of the project from nothing, in folders of names of different lengths, and
/// compares both with the module in `built`.
///
/// # Errors
/// If a copy does not compile, or a file differs.
pub(super) async fn run(built: &Path) -> Result<()> {
    let expected = files(built)?;
    for name in ["a", "another-folder"] {
        let folder = paths::temporary()?;
        let root = folder.path().join(name);
        let is_copied =
            |name: &str| name == SETTINGS || !(name.starts_with('.') || NOT_COPIED.contains(&name));
        copy::folder(paths::root(), &root, &is_copied)?;
        let output = root.join(build_edge::OUTPUT);
        build_edge::build_in(&root, &root.join("target"), &output).await?;
        compare(&expected, &files(&output)?)?;
    }
    println!("two builds from nothing, in other folders, have the same bytes");
    Ok(())
}

/// Returns the contents of all files below a folder whose names begin with no dot.
fn files(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    fn add(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) -> std::io::Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.file_type()?.is_dir() {
                add(&entry.path(), &format!("{name}/"), files)?;
            } else if !name.starts_with('.') {
                files.insert(name, std::fs::read(entry.path())?);
            }
        }
        Ok(())
    }
    let mut found = BTreeMap::new();
    add(folder, "", &mut found).context(|| format!("reading {}", folder.display()))?;
    Ok(found)
}

fn compare(expected: &BTreeMap<String, Vec<u8>>, built: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    let names: Vec<&String> = expected.keys().chain(built.keys()).collect();
    match names.into_iter().find(|name| expected.get(*name) != built.get(*name)) {
        None => Ok(()),
        Some(name) => Err(Error::new(format!("two builds of the same sources differ in {name}"))
            .mend("find what it has of the machine, such as a path or a time: `strings` shows paths")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_differs_or_is_missing_is_an_error_that_names_it() {
        let files = |list: &[(&str, &str)]| -> BTreeMap<String, Vec<u8>> {
            list.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
        };
        let expected = files(&[("a.js", "1"), ("a.wasm", "2")]);
        assert!(compare(&expected, &expected.clone()).is_ok());
        for other in [files(&[("a.js", "1"), ("a.wasm", "3")]), files(&[("a.js", "1")])] {
            assert!(compare(&expected, &other).unwrap_err().to_string().contains("a.wasm"));
            assert!(compare(&other, &expected).is_err());
        }
    }
}
