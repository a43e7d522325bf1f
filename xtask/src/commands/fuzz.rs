//! `cargo xtask fuzz`: runs each fuzz target on its seeds and on the corpus of earlier runs.

use std::path::{Path, PathBuf};

use strata_harness::error::{Context, Error, Result};

use super::setup;
use crate::command::{command, run_for_lines, run_quietly};
use crate::paths;

/// The maximum length of an input. Longer ones reach no further paths of the parsers.
const MAX_BYTES: u32 = 4096;
/// The timeout of one input. An input that takes longer is a finding.
const MAX_SECS: u32 = 10;

/// Runs the named targets, or all, for `seconds` each. A seed repeats the inputs of a run of the
/// same build.
///
/// # Errors
/// If there is no such target, the tools cannot be installed, or a target has a finding. Its
/// output, which names the file with the input, is then shown.
pub(crate) async fn run(seconds: u32, seed: Option<u32>, wanted: &[String]) -> Result<()> {
    let all = targets()?;
    if let Some(unknown) = wanted.iter().find(|name| !all.contains(name)) {
        return Err(Error::new(format!("there is no fuzz target {unknown}"))
            .mend(format!("name some of {}", all.join(", "))));
    }
    setup::fuzz_tools().await?;
    copy_lock()?;
    run_quietly("building the fuzz targets", Some("1 to 2 min"), cargo_fuzz("build", &[])).await?;
    for target in all.iter().filter(|name| wanted.is_empty() || wanted.contains(name)) {
        fuzz(target, seconds, seed).await?;
    }
    Ok(())
}

async fn fuzz(target: &str, seconds: u32, seed: Option<u32>) -> Result<()> {
    let corpus = folder().join("corpus").join(target);
    std::fs::create_dir_all(&corpus).context(|| format!("creating {}", corpus.display()))?;
    let corpus = corpus.display().to_string();
    let seeds = folder().join("seeds").join(target).display().to_string();
    let mut run = cargo_fuzz("run", &[target, &corpus, &seeds]);
    run.arg("--").arg(format!("-max_total_time={seconds}"));
    // libFuzzer takes 0 as a request for a random seed.
    run.arg(format!("-seed={}", seed.unwrap_or_default()));
    run.arg(format!("-max_len={MAX_BYTES}")).arg(format!("-timeout={MAX_SECS}"));
    let printed = run_for_lines(&format!("fuzzing {target}"), Some(&format!("{seconds} s")), run).await?;
    println!("  {}", summary(&printed));
    Ok(())
}

/// Renders libFuzzer's output as `1234 runs in 11 second(s), 397 edges covered`.
fn summary(printed: &[String]) -> String {
    let runs = printed.iter().find_map(|line| line.strip_prefix("Done "));
    let covered = printed.iter().rev().find_map(|line| line.split_once("cov: ")?.1.split(' ').next());
    format!("{}, {} edges covered", runs.unwrap_or("no runs"), covered.unwrap_or("0"))
}

/// Returns cargo-fuzz without a sanitizer: safe Rust needs none, and the stable toolchain has none.
fn cargo_fuzz(verb: &str, args: &[&str]) -> tokio::process::Command {
    let mut cargo_fuzz = command(paths::tool("cargo-fuzz"), [verb, "--sanitizer=none"]);
    cargo_fuzz.arg("--fuzz-dir").arg(folder()).args(args);
    // Its compiler flags differ from those of all other builds.
    cargo_fuzz.env("CARGO_TARGET_DIR", paths::target().join("fuzz"));
    cargo_fuzz
}

/// Starts from the project's Cargo.lock, so that the fuzzed versions are those that ship.
fn copy_lock() -> Result<()> {
    let (project, own) = (paths::root().join("Cargo.lock"), folder().join("Cargo.lock"));
    let modified_at = |path: &Path| std::fs::metadata(path).and_then(|file| file.modified()).ok();
    if modified_at(&own) < modified_at(&project) {
        std::fs::copy(&project, &own).context(|| format!("copying Cargo.lock to {}", own.display()))?;
    }
    Ok(())
}

/// Returns the sorted names of the targets.
fn targets() -> Result<Vec<String>> {
    let folder = folder().join("fuzz_targets");
    let reading = || format!("reading {}", folder.display());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).context(reading)? {
        let name = entry.context(reading)?.file_name();
        names.extend(name.to_string_lossy().strip_suffix(".rs").map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

fn folder() -> PathBuf {
    paths::root().join("fuzz")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_read_from_libfuzzers_output() {
        let printed = [
            "#2\tINITED cov: 101 ft: 102 corp: 1/1b exec/s: 0 rss: 26Mb",
            "#8\tREDUCE cov: 397 ft: 1114 corp: 346/45Kb lim: 4096",
            "Done 4696526 runs in 606 second(s)",
        ];
        assert_eq!(summary(&printed.map(str::to_owned)), "4696526 runs in 606 second(s), 397 edges covered");
    }

    #[test]
    fn every_target_has_seeds_and_a_manifest_entry() {
        let manifest = std::fs::read_to_string(folder().join("Cargo.toml")).unwrap();
        for target in targets().unwrap() {
            assert!(manifest.contains(&format!("name = \"{target}\"")), "{target} is not in fuzz/Cargo.toml");
            let seeds = std::fs::read_dir(folder().join("seeds").join(&target));
            assert!(seeds.is_ok_and(|mut seeds| seeds.next().is_some()), "{target} has no seeds");
        }
    }
}
