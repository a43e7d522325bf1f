//! `cargo xtask bench stampede`: all callers of a fleet read one key at once that nothing holds.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};
use strata_harness::error::Result;

use super::{machine, measured_on_redis, median_of, publish, yes_or_no};

/// The results, for programs.
const JSON: &str = "bench/stampede.json";
/// The goals of the project.
const P99_GOAL_MS: f64 = 105.0;
const COMMANDS_GOAL: f64 = 150.0;

const PATTERNS: [(&str, &str); 3] =
    [("strata", "Strata"), ("set_nx", "`SET NX` lock, poll every 50 ms"), ("xfetch", "XFetch alone")];

#[derive(Serialize, Deserialize)]
struct Stampede {
    loads: usize,
    p50_ms: f64,
    p99_ms: f64,
    commands: u64,
}

/// The stampedes of each pattern, by the arrival of the callers.
type Measured = BTreeMap<String, BTreeMap<String, Vec<Stampede>>>;

/// Measures all patterns, and writes BENCHMARKS.md.
///
/// # Errors
/// If something cannot be installed, built, started or written.
pub(super) async fn run(rounds: u32) -> Result<()> {
    let rounds_text = rounds.to_string();
    let measured: Measured =
        measured_on_redis("measuring stampedes", &["stampede", "--rounds", &rounds_text]).await?;
    publish("cargo xtask bench stampede", JSON, &measured, &page(&measured, rounds))
}

fn page(measured: &Measured, rounds: u32) -> String {
    let mut page = format!(
        "## Stampedes

`cargo xtask bench stampede --rounds {rounds}` has written this section, and the same results as JSON to
[{JSON}]({JSON}).

{}

10,000 callers in 8 processes read one key that nothing holds. A load takes 100 ms. The medians of
{rounds} rounds, in which all patterns are measured in turn; the loads are the most of a round. Each caller's
time begins with its call. The commands are those that Redis executed in the meantime, also within
scripts, and those of Strata's heartbeats. Goal, for callers that arrive at once: 1 load, p99 at most
{P99_GOAL_MS} ms, at most {COMMANDS_GOAL} commands.

| callers arrive | pattern | loads | p50, ms | p99, ms | commands | reached |
|---|---|---|---|---|---|---|
",
        machine::facts(&["redis", "tokio"], &[]),
    );
    for (arrival, patterns) in measured {
        for (name, title) in PATTERNS {
            let stampedes = patterns.get(name).map_or(&[][..], Vec::as_slice);
            let of = |figure: fn(&Stampede) -> f64| median_of(stampedes, figure);
            let loads = stampedes.iter().map(|stampede| stampede.loads).max().unwrap_or_default();
            let (p99, commands) = (of(|stampede| stampede.p99_ms), of(|stampede| stampede.commands as f64));
            let is_reached = loads == 1 && p99 <= P99_GOAL_MS && commands <= COMMANDS_GOAL;
            let is_reached = if name == "strata" { yes_or_no(is_reached) } else { "" };
            let p50 = of(|stampede| stampede.p50_ms);
            let _ = writeln!(
                page,
                "| {arrival} | {title} | {loads} | {p50:.1} | {p99:.1} | {commands:.0} | {is_reached} |"
            );
        }
    }
    page
}
