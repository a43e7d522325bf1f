//! The section of BENCHMARKS.md about reads: the measurements, the machine, and the goals.

use std::fmt::Write;

use super::{Memory, SUBJECTS, Scenario, Trace, median};
use crate::command::output;
use crate::commands::demo::processor;
use crate::paths;

/// The instructions that a hit in memory may take, by the project's goal.
const INSTRUCTIONS_GOAL: u64 = 450;
/// The fastest peer, to which the times are compared.
const PEER: &str = "quick_cache";

/// Returns the section.
pub(super) fn page(memory: &Memory, rounds: u32) -> String {
    let mut page = format!(
        "## Reads that memory answers

`cargo xtask bench memory --rounds {rounds}` has written this section, and the same results as JSON to
[bench/memory.json](bench/memory.json).

- Machine: {}.
- Compiler: {}.
- Versions: {}.

A read is `get_or_load` of `page:{{id}}`, with 1,000 keys that are all in memory; other caches get the
key as a text, which is formatted into a buffer for each read. Values are `Arc<String>`s of 100
bytes.

Instructions of one hit, counted by callgrind. They do not depend on the load of the machine.

",
        machine(),
        output("rustc", &["--version"]).unwrap_or_default(),
        versions(),
    );
    table(&mut page, "instructions", |subject| {
        memory.instructions.get(subject).map(u64::to_string).unwrap_or_default()
    });
    let strata = memory.instructions.get("strata").copied().unwrap_or(u64::MAX);
    let _ = write!(
        page,
        "
Goal: at most {INSTRUCTIONS_GOAL}. {} A hit allocates nothing (`origin-sdk/tests/hit_path.rs`).

Nanoseconds of one read, the medians of {rounds} rounds. Each round measures all caches in turn, as the
machine may be faster at one time than at another. The ratio is the median of the rounds' ratios
of Strata to {PEER}. Goal: at most 1.00.

| load | {} | ratio | reached |
|---|{}---|---|
",
        reached(strata <= INSTRUCTIONS_GOAL),
        SUBJECTS.join(" | "),
        "---|".repeat(SUBJECTS.len()),
    );
    for scenario in &memory.scenarios {
        let times = SUBJECTS.map(|subject| format!("{:.0}", median(times(scenario, subject))));
        let ratio = ratio(scenario);
        let is_reached = if ratio <= 1.0 { "yes" } else { "no" };
        let _ =
            writeln!(page, "| {} | {} | {ratio:.2} | {is_reached} |", scenario.scenario, times.join(" | "));
    }
    page.push_str(
        "
A miss of Strata does what other caches in memory do not: it joins the callers of one key in a task,
registers the load with the journal's position, and serialises the value for the tier that processes
share (here the embedded one). The loads with misses show that price.

## Hit ratios

The part of 400,000 reads that memory answers, in percent. Each cache may hold 1,000 entries. Goal:
within one point of the best.

",
    );
    let _ = writeln!(
        page,
        "| trace | {} | reached |\n|---|{}---|",
        SUBJECTS.join(" | "),
        "---|".repeat(SUBJECTS.len())
    );
    for Trace { trace, hit_ratio } in &memory.traces {
        let ratio = |subject: &str| hit_ratio.get(subject).map_or(0.0, |ratio| ratio * 100.0);
        let best = SUBJECTS.map(ratio).into_iter().fold(0.0, f64::max);
        let is_reached = if ratio("strata") >= best - 1.0 { "yes" } else { "no" };
        let ratios = SUBJECTS.map(|subject| format!("{:.1}", ratio(subject)));
        let _ = writeln!(page, "| {trace} | {} | {is_reached} |", ratios.join(" | "));
    }
    page
}

fn table(page: &mut String, name: &str, value: impl Fn(&str) -> String) {
    let _ = writeln!(page, "| | {} |\n|---|{}", SUBJECTS.join(" | "), "---|".repeat(SUBJECTS.len()));
    let _ = writeln!(page, "| {name} | {} |", SUBJECTS.map(value).join(" | "));
}

/// Returns whether a goal is reached, as a sentence.
pub(super) fn reached(is_reached: bool) -> &'static str {
    if is_reached { "Reached." } else { "Not reached." }
}

/// Returns the median of the rounds' ratios of Strata to its fastest peer.
fn ratio(scenario: &Scenario) -> f64 {
    let pairs = times(scenario, "strata").iter().zip(times(scenario, PEER));
    median(&pairs.map(|(strata, peer)| strata / peer).collect::<Vec<_>>())
}

fn times<'a>(scenario: &'a Scenario, subject: &str) -> &'a [f64] {
    scenario.nanoseconds.get(subject).map_or(&[], Vec::as_slice)
}

/// Describes the machine: its processor, cores and kernel.
pub(super) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let model = processor().unwrap_or_else(|| "unknown processor".to_owned());
    let kernel = output("uname", &["-sr"]).unwrap_or_default();
    format!("{model}, {cores} cores, {kernel}")
}

/// Returns the versions of the peers, as Cargo.lock has them.
fn versions() -> String {
    let lock = std::fs::read_to_string(paths::root().join("Cargo.lock")).unwrap_or_default();
    let version_of = |package: &str| {
        let (_, found) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
        Some(format!("{package} {}", found.split('"').next()?))
    };
    let packages = ["quick_cache", "lru", "moka", "foyer-memory"];
    packages.into_iter().filter_map(version_of).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_the_median_of_the_rounds_ratios() {
        let nanoseconds = [("strata", vec![10.0, 40.0, 30.0]), (PEER, vec![20.0, 40.0, 10.0])];
        let nanoseconds = nanoseconds.map(|(name, times)| (name.to_owned(), times)).into();
        let ratio = ratio(&Scenario { scenario: String::new(), nanoseconds });
        assert!((ratio - 1.0).abs() < 1e-9, "{ratio}");
    }

    #[test]
    fn a_measurement_that_is_missing_is_no_number() {
        assert!(median(&[]).is_nan());
    }
}
