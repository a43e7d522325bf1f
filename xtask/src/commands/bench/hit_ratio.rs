//! `cargo xtask bench hit-ratio`: the part of the reads that memory answers, beside other caches.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};
use strata_harness::error::Result;

use super::{PEERS, SUBJECTS, build, machine, measured, publish, yes_or_no};
use crate::command::command;

const COMMAND: &str = "cargo xtask bench hit-ratio";

/// The hit ratios on one trace.
#[derive(Serialize, Deserialize)]
struct Trace {
    trace: String,
    /// From 0 to 1, by cache.
    hit_ratio: BTreeMap<String, f64>,
}

/// Measures the hit ratios on all traces, and writes their section.
///
/// # Errors
/// If something cannot be built or written.
pub(super) async fn run() -> Result<()> {
    let program = build(&[]).await?;
    let traces: Vec<Trace> =
        measured("measuring hit ratios", "1 min", command(program, ["hit-ratio"])).await?;
    publish(COMMAND, "bench/hit-ratio.json", &traces, &page(&traces))
}

fn page(traces: &[Trace]) -> String {
    let mut page = format!(
        "## Hit ratios

`{COMMAND}` has written this section, and the same results as JSON to
[bench/hit-ratio.json](bench/hit-ratio.json).

{}

The part of 400,000 reads that memory answers, in percent. Each cache may hold 1,000 entries. Goal:
within one point of the best.

| trace | {} | reached |
|---|{}---|
",
        machine::facts(&PEERS, &[]),
        SUBJECTS.join(" | "),
        "---|".repeat(SUBJECTS.len())
    );
    for Trace { trace, hit_ratio } in traces {
        let ratio = |subject: &str| hit_ratio.get(subject).map_or(0.0, |ratio| ratio * 100.0);
        let best = SUBJECTS.map(ratio).into_iter().fold(0.0, f64::max);
        let is_reached = yes_or_no(ratio("strata") >= best - 1.0);
        let ratios = SUBJECTS.map(|subject| format!("{:.1}", ratio(subject)));
        let _ = writeln!(page, "| {trace} | {} | {is_reached} |", ratios.join(" | "));
    }
    page
}
