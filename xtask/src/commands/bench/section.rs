//! The sections of BENCHMARKS.md. Each measurement replaces its own and leaves the others alone.

use std::path::PathBuf;

use strata_harness::error::{Context, Result};

use crate::paths;

const FILE: &str = "BENCHMARKS.md";

/// Writes the section of a command, and returns the path of the file.
///
/// # Errors
/// If the file cannot be read or written.
pub(super) fn write(command: &str, section: &str) -> Result<PathBuf> {
    let path = paths::root().join(FILE);
    let writing = || format!("writing {}", path.display());
    let old = if path.exists() { std::fs::read_to_string(&path).context(writing)? } else { String::new() };
    std::fs::write(&path, with_section(&old, command, section)).context(writing)?;
    Ok(path)
}

/// Returns the file with this section in place of its older one, or at its end.
fn with_section(file: &str, command: &str, section: &str) -> String {
    let (begin, end) = (format!("<!-- {command} -->\n"), format!("<!-- end of {command} -->\n"));
    let section = format!("{begin}\n{section}\n{end}");
    match (file.find(&begin), file.find(&end)) {
        (Some(at), Some(end_at)) if at < end_at => {
            [&file[..at], &section, &file[end_at + end.len()..]].concat()
        }
        _ if file.is_empty() => format!("# Benchmarks\n\n{section}"),
        _ => format!("{file}\n{section}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_own_section_of_the_file_is_replaced() {
        let first = with_section("# Benchmarks\n\nothers\n", "one", "old\n");
        let second = with_section(&first, "two", "other\n");
        let third = with_section(&second, "one", "new\n");
        assert!(third.starts_with("# Benchmarks\n\nothers\n"), "{third}");
        assert!(third.contains("other") && third.contains("new") && !third.contains("old"), "{third}");
    }
}
