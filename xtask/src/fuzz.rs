//! `cargo xtask fuzz`: each fuzz target for a while, on its seeds and on what earlier runs have found.

use std::path::{Path, PathBuf};

use crate::command::{command, run_for_lines, run_quietly};
use crate::error::{Doing, Error, Result};
use crate::{paths, setup};

/// No input that the parsers take needs to be longer for its paths to be found.
const MAX_BYTES: u32 = 4096;
/// A single input that takes longer is a finding.
const MAX_SECS: u32 = 10;

/// Runs the named targets, or all, for `seconds` each; with a seed, on the same inputs for the same build.
///
/// # Errors
/// If there is no such target, the tools cannot be installed, or a target finds something; what it printed is then shown, with the
/// file that has the input.
pub(crate) async fn run(seconds: u32, seed: Option<u32>, wanted: &[String]) -> Result<()> {
    let all = targets()?;
    if let Some(unknown) = wanted.iter().find(|name| !all.contains(name)) {
        return Err(
            Error::new(format!("there is no fuzz target {unknown}")).mend(format!("name some of {}", all.join(", ")))
        );
    }
    setup::fuzz_tools().await?;
    take_lock()?;
    run_quietly("building the fuzz targets", Some("takes a minute or two"), cargo_fuzz("build", &[])).await?;
    for target in all.iter().filter(|name| wanted.is_empty() || wanted.contains(name)) {
        fuzz(target, seconds, seed).await?;
    }
    Ok(())
}

async fn fuzz(target: &str, seconds: u32, seed: Option<u32>) -> Result<()> {
    let corpus = folder().join("corpus").join(target);
    std::fs::create_dir_all(&corpus).doing(|| format!("making {}", corpus.display()))?;
    let corpus = corpus.display().to_string();
    let seeds = folder().join("seeds").join(target).display().to_string();
    let mut run = cargo_fuzz("run", &[target, &corpus, &seeds]);
    run.arg("--").arg(format!("-max_total_time={seconds}"));
    // Its own meaning of 0 is one by chance.
    run.arg(format!("-seed={}", seed.unwrap_or_default()));
    run.arg(format!("-max_len={MAX_BYTES}")).arg(format!("-timeout={MAX_SECS}"));
    let printed = run_for_lines(&format!("fuzzing {target}"), Some(&format!("takes {seconds} s")), run).await?;
    println!("  {}", summary(&printed));
    Ok(())
}

/// `1234 runs in 11 second(s), 397 edges covered`, from the lines of libFuzzer.
fn summary(printed: &[String]) -> String {
    let runs = printed.iter().find_map(|line| line.strip_prefix("Done "));
    let covered = printed.iter().rev().find_map(|line| line.split_once("cov: ")?.1.split(' ').next());
    format!("{}, {} edges covered", runs.unwrap_or("no runs"), covered.unwrap_or("0"))
}

/// Without a sanitizer: all of it is safe Rust, and so it builds with the stable toolchain.
fn cargo_fuzz(verb: &str, args: &[&str]) -> tokio::process::Command {
    let mut cargo_fuzz = command(paths::tool("cargo-fuzz"), [verb, "--sanitizer=none"]);
    cargo_fuzz.arg("--fuzz-dir").arg(folder()).args(args);
    // Its flags differ from those of every other build.
    cargo_fuzz.env("CARGO_TARGET_DIR", paths::target().join("fuzz"));
    cargo_fuzz
}

/// What is fuzzed has the versions that ship: the targets' own lock only adds to the project's.
fn take_lock() -> Result<()> {
    let (project, own) = (paths::root().join("Cargo.lock"), folder().join("Cargo.lock"));
    let written = |path: &Path| std::fs::metadata(path).and_then(|file| file.modified()).ok();
    if written(&own) < written(&project) {
        std::fs::copy(&project, &own).doing(|| format!("copying Cargo.lock to {}", own.display()))?;
    }
    Ok(())
}

/// The targets' names, sorted.
fn targets() -> Result<Vec<String>> {
    let folder = folder().join("fuzz_targets");
    let reading = || format!("reading {}", folder.display());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).doing(reading)? {
        let name = entry.doing(reading)?.file_name();
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
    fn the_summary_is_read_from_what_libfuzzer_prints() {
        let printed = [
            "#2\tINITED cov: 101 ft: 102 corp: 1/1b exec/s: 0 rss: 26Mb",
            "#8\tREDUCE cov: 397 ft: 1114 corp: 346/45Kb lim: 4096",
            "Done 4696526 runs in 606 second(s)",
        ];
        assert_eq!(summary(&printed.map(str::to_owned)), "4696526 runs in 606 second(s), 397 edges covered");
    }

    #[test]
    fn every_target_has_seeds_and_stands_in_the_manifest() {
        let manifest = std::fs::read_to_string(folder().join("Cargo.toml")).unwrap();
        for target in targets().unwrap() {
            assert!(manifest.contains(&format!("name = \"{target}\"")), "{target} is not in fuzz/Cargo.toml");
            let seeds = std::fs::read_dir(folder().join("seeds").join(&target));
            assert!(seeds.is_ok_and(|mut seeds| seeds.next().is_some()), "{target} has no seeds");
        }
    }
}
