//! `cargo xtask bench invalidate`: how long an invalidation takes to return, and to reach other
//! processes, and what it costs by the entries that it covers.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};
use strata_harness::error::Result;

use super::{machine, measured_on_redis, median_of, publish, reached, yes_or_no};

/// The results, for programs.
const JSON: &str = "bench/invalidate.json";
/// The goals of the project.
const SEEN_P50_GOAL_MS: f64 = 1.0;
const SEEN_P99_GOAL_MS: f64 = 3.0;
const TAG_GOAL: f64 = 1.2;

const SUBJECTS: [(&str, &str); 2] = [("strata", "Strata"), ("pub_sub", "Redis pub/sub, at most once")];

#[derive(Serialize, Deserialize)]
struct Measured {
    followers: usize,
    /// By invalidations per second, and then by subject.
    rates: BTreeMap<u64, BTreeMap<String, Vec<Latency>>>,
    tags: Vec<Tag>,
}

#[derive(Serialize, Deserialize)]
struct Latency {
    returns_p50: f64,
    returns_p99: f64,
    seen_p50: f64,
    seen_p99: f64,
    commands: f64,
    server: f64,
}

/// Invalidations of a tag, in microseconds.
#[derive(Serialize, Deserialize)]
struct Tag {
    entries: u64,
    strata_p50: f64,
    scan_and_delete: f64,
}

/// Measures the latencies and tags, and writes BENCHMARKS.md.
///
/// # Errors
/// If something cannot be installed, built, started or written.
pub(super) async fn run(rounds: u32) -> Result<()> {
    let rounds_text = rounds.to_string();
    let arguments = ["invalidate", "--tags", "--rounds", &rounds_text];
    let measured: Measured = measured_on_redis("measuring invalidations", &arguments).await?;
    publish("cargo xtask bench invalidate", JSON, &measured, &page(&measured, rounds))
}

/// Measures the latencies with this many followers, and prints them.
///
/// # Errors
/// If something cannot be installed, built or started.
pub(super) async fn run_with_followers(rounds: u32, followers: u32) -> Result<()> {
    let (rounds, followers) = (rounds.to_string(), followers.to_string());
    let arguments = ["invalidate", "--rounds", &rounds, "--followers", &followers];
    let measured: Measured = measured_on_redis("measuring followers", &arguments).await?;
    println!("{} followers\n\n{}", measured.followers, latencies(&measured));
    Ok(())
}

fn page(measured: &Measured, rounds: u32) -> String {
    let mut page = format!(
        "## Invalidations

`cargo xtask bench invalidate --rounds {rounds}` has written this section, and the same results as JSON to
[{JSON}]({JSON}).

{}

One process invalidates tags at a fixed rate, and {} others follow. Milliseconds from the call until it
returns, and until another process has applied the invalidation; the medians of {rounds} rounds, in which both
ways are measured in turn. The times of the followers are read every 0.05 to 0.15 ms. Redis's own
pub/sub is the lower bound: a subscriber that is disconnected for a moment loses the message. The
commands are those that Redis executed per invalidation, also within scripts. Goal: seen within
{SEEN_P50_GOAL_MS} ms (p50) and {SEEN_P99_GOAL_MS} ms (p99).

{}
Microseconds of one invalidation of a tag, by the number of entries that Redis holds under it, and of
the deletion of these entries by `SCAN` and `DEL`. Goal: constant within 20 percent.

| entries | Strata, p50 | `SCAN` + `DEL` |
|---|---|---|
",
        machine::facts(&["redis", "tokio"], &[]),
        measured.followers,
        latencies(measured),
    );
    for tag in &measured.tags {
        let _ = writeln!(page, "| {} | {:.0} | {:.0} |", tag.entries, tag.strata_p50, tag.scan_and_delete);
    }
    let times = || measured.tags.iter().map(|tag| tag.strata_p50);
    let ratio = times().fold(0.0, f64::max) / times().fold(f64::INFINITY, f64::min);
    let _ = writeln!(page, "\nThe slowest is {ratio:.2} times the fastest. {}", reached(ratio <= TAG_GOAL));
    page
}

/// Returns the table of latencies.
fn latencies(measured: &Measured) -> String {
    let mut table = String::from(
        "| per second | way | returns, p50 | returns, p99 | seen, p50 | seen, p99 | commands | Redis's processor | reached |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for (rate, subjects) in &measured.rates {
        for (name, title) in SUBJECTS {
            let latencies = subjects.get(name).map_or(&[][..], Vec::as_slice);
            let of = |figure: fn(&Latency) -> f64| median_of(latencies, figure);
            let (p50, p99) = (of(|latency| latency.seen_p50), of(|latency| latency.seen_p99));
            let is_reached = p50 <= SEEN_P50_GOAL_MS && p99 <= SEEN_P99_GOAL_MS;
            let is_reached = if name == "strata" { yes_or_no(is_reached) } else { "" };
            let _ = writeln!(
                table,
                "| {rate} | {title} | {:.2} | {:.2} | {p50:.2} | {p99:.2} | {:.1} | {:.1}% | {is_reached} |",
                of(|latency| latency.returns_p50),
                of(|latency| latency.returns_p99),
                of(|latency| latency.commands),
                of(|latency| latency.server * 100.0),
            );
        }
    }
    table
}
