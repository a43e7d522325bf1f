//! `cargo xtask bench memory`: the time and the instructions of reads that memory answers, beside
//! other caches.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};
use strata_harness::error::Result;

use super::instructions::per_hit;
use super::{PEERS, SUBJECTS, build, machine, measured, median, publish, reached, yes_or_no};
use crate::command::command;
use crate::commands::setup;

const COMMAND: &str = "cargo xtask bench memory";

/// The instructions that a hit in memory may take, by the project's goal.
const INSTRUCTIONS_GOAL: u64 = 450;
/// The bytes of an entry beyond its key and value, by the project's goal.
const OVERHEAD_GOAL: u64 = 120;
/// The fastest peer, to which the times are compared.
const PEER: &str = "quick_cache";

/// The results, for programs.
#[derive(Serialize, Deserialize)]
struct Memory {
    /// The instructions of a hit, by cache.
    instructions: BTreeMap<String, u64>,
    /// The bytes of an entry beyond its key and value, by the number of entries and by cache.
    overhead: BTreeMap<u64, BTreeMap<String, f64>>,
    scenarios: Vec<Scenario>,
}

/// The times of reads under one load.
#[derive(Serialize, Deserialize)]
struct Scenario {
    scenario: String,
    /// The nanoseconds of a read in each round, by cache.
    nanoseconds: BTreeMap<String, Vec<f64>>,
}

/// Measures all caches in turn, `rounds` times, and writes their section.
///
/// # Errors
/// If something cannot be installed, built or written.
pub(super) async fn run(rounds: u32) -> Result<()> {
    let valgrind = setup::valgrind().await?;
    let program = build(&[]).await?;
    let mut instructions = BTreeMap::new();
    for subject in SUBJECTS {
        instructions.insert(subject.to_owned(), per_hit(&valgrind, &program, subject).await?);
    }
    let mut times = command(&program, ["memory", "--rounds"]);
    times.arg(rounds.to_string());
    let scenarios = measured("measuring all caches in turn", "30 s", times).await?;
    let footprint = command(program.with_file_name("strata-footprint"), [""; 0]);
    let overhead = measured("measuring the memory of entries", "30 s", footprint).await?;
    let memory = Memory { instructions, overhead, scenarios };
    publish(COMMAND, "bench/memory.json", &memory, &page(&memory, rounds))
}

fn page(memory: &Memory, rounds: u32) -> String {
    let mut page = format!(
        "## Reads that memory answers

`{COMMAND} --rounds {rounds}` has written this section, and the same results as JSON to
[bench/memory.json](bench/memory.json).

{}

A read is `get_or_load` of `page:{{id}}`, with 1,000 keys that are all in memory; other caches get the
key as a text, which is formatted into a buffer for each read. Values are `Arc<String>`s of 100
bytes.

Instructions of one hit, counted by callgrind. They do not depend on the load of the machine.

",
        machine::facts(&PEERS, &[]),
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
        let is_reached = yes_or_no(ratio <= 1.0);
        let _ =
            writeln!(page, "| {} | {} | {ratio:.2} | {is_reached} |", scenario.scenario, times.join(" | "));
    }
    page.push_str(
        "
Peers: `quick_cache` and the others look the key up and insert a value that is there at once;
`quick_cache_async` loads it by `get_or_insert_async`, for which other callers of the key wait, and
is the fair peer of a miss. `strata_memory` is a namespace in memory alone, `strata` one with a
shared tier, here the embedded store. A miss of Strata also registers the load with the journal's
position and with its other loads and writes, checks for cycles of loads, and obeys a timeout and a
limit of loaders; with a shared tier it claims a lease and serialises the value too.
",
    );
    let _ = writeln!(
        page,
        "
The allocated bytes of an entry beyond the text of its key and its value. `strata` also holds
the encoded values of the embedded store, which takes the place of Redis here. Goal: at most {OVERHEAD_GOAL}.

| entries | {} |
|---|{}",
        SUBJECTS.join(" | "),
        "---|".repeat(SUBJECTS.len())
    );
    for (entries, overhead) in &memory.overhead {
        let overhead = SUBJECTS.map(|subject| overhead.get(subject).map_or(f64::NAN, |bytes| *bytes));
        let _ = writeln!(page, "| {entries} | {} |", overhead.map(|bytes| format!("{bytes:.0}")).join(" | "));
    }
    let least = memory.overhead.values().filter_map(|overhead| overhead.get("strata_memory"));
    let is_reached = least.fold(0.0, |most: f64, bytes| most.max(*bytes)) <= OVERHEAD_GOAL as f64;
    let _ = writeln!(
        page,
        "
{} The tier charges 216 bytes for an entry, and `origin-sdk/tests/memory_cost.rs` checks
that a full tier takes its budget within a tenth. Of these 216, 128 are the entry (16 the counts of
its `Arc`, 16 the pointer to its key, 16 that to its tags, 16 its position, 18 its lifetime, 16 its
age), 16 the counts of the value's `Arc`, 54 its slot, and the rest its places in the hash map and
among the evicted keys. At most 120 would need the value inside of its entry, which `Cached::value`,
an `Arc<V>`, rules out.",
        reached(is_reached)
    );
    page
}

fn table(page: &mut String, name: &str, value: impl Fn(&str) -> String) {
    let _ = writeln!(page, "| | {} |\n|---|{}", SUBJECTS.join(" | "), "---|".repeat(SUBJECTS.len()));
    let _ = writeln!(page, "| {name} | {} |", SUBJECTS.map(value).join(" | "));
}

/// Returns the median of the rounds' ratios of Strata to its fastest peer.
fn ratio(scenario: &Scenario) -> f64 {
    let pairs = times(scenario, "strata").iter().zip(times(scenario, PEER));
    median(&pairs.map(|(strata, peer)| strata / peer).collect::<Vec<_>>())
}

fn times<'a>(scenario: &'a Scenario, subject: &str) -> &'a [f64] {
    scenario.nanoseconds.get(subject).map_or(&[], Vec::as_slice)
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
