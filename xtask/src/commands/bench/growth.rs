//! `cargo xtask bench growth`: the time of an operation as the cache grows.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use strata_harness::error::Result;

use super::{PEERS, build, machine, measured, median, publish};
use crate::command::command;

const COMMAND: &str = "cargo xtask bench growth";

/// The measurements of one cache of one size.
#[derive(Serialize, Deserialize)]
struct Measured {
    subject: String,
    entries: u64,
    /// Nanoseconds of a hit in each round.
    hits: Vec<f64>,
    /// Nanoseconds of a write in each round.
    writes: Vec<f64>,
}

/// Measures caches of up to this many entries, and writes their section.
///
/// # Errors
/// If something cannot be built or written.
pub(super) async fn run(entries: u64) -> Result<()> {
    let program = build(&[]).await?;
    let mut growth = command(program, ["growth"]);
    growth.arg(entries.to_string());
    let measured: Vec<Measured> = measured("measuring caches of growing sizes", "2 min", growth).await?;
    publish(COMMAND, "bench/growth.json", &measured, &page(&measured))
}

fn page(measured: &[Measured]) -> String {
    let mut page = format!(
        "## Growth

`{COMMAND}` has written this section, and the same results as JSON to
[bench/growth.json](bench/growth.json).

{}

Nanoseconds of a hit and of a write of an existing key, in one thread, the medians of 5 rounds. The
keys are visited in an order that the processor cannot predict, so beyond its caches each operation
waits for memory, in any cache. Values are in memory alone.

| cache | entries | hit | write |
|---|---|---|---|
",
        machine::facts(&PEERS, &[]),
    );
    for Measured { subject, entries, hits, writes } in measured {
        let (hit, write) = (median(hits), median(writes));
        let _ = writeln!(page, "| {subject} | {entries} | {hit:.0} | {write:.0} |");
    }
    page
}
