//! `cargo xtask bench redis` and `bench batch`: reads that Redis answers, beside the bare client.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};
use strata_harness::error::Result;

use super::{machine, measured_on_redis, median, publish, yes_or_no};
use crate::command::output;
use crate::commands::setup;

/// A kind of reads.
pub(super) struct Reads {
    /// The command of `cargo xtask bench`, and of the bench itself.
    name: &'static str,
    title: &'static str,
    description: &'static str,
    callers: &'static str,
    goal: &'static str,
    is_reached: fn(&Ratios) -> bool,
}

/// Single values.
pub(super) const REDIS: Reads = Reads {
    name: "redis",
    title: "Reads that Redis answers",
    description: "A read is `get_or_load` of a product of 1 KB of JSON that only Redis has. `bare` is `redis` with\n\
                  `GET` over its multiplexed connection, and `serde_json::from_slice`.",
    callers: "1,16,64,256",
    goal: "at least 0.97 of the bare client's reads per second, and at most 1.05 of its p99",
    is_reached: |ratios| ratios.per_second >= 0.97 && ratios.p99 <= 1.05,
};

/// 100 values at a time.
pub(super) const BATCH: Reads = Reads {
    name: "batch",
    title: "Batches that Redis answers",
    description: "A read is `get_many_cached` of 100 products of 1 KB of JSON that only Redis has. `bare` is `redis`\n\
                  with `MGET` over its multiplexed connection, and `serde_json::from_slice`.",
    callers: "1,16",
    goal: "at most 1.15 of the bare client's time (p50)",
    is_reached: |ratios| ratios.p50 <= 1.15,
};

/// The measurements with one number of callers, as the bench prints them.
#[derive(Serialize, Deserialize)]
struct Measured {
    callers: usize,
    /// A measurement for each round, by reader.
    rounds: BTreeMap<String, Vec<Round>>,
}

#[derive(Serialize, Deserialize)]
struct Round {
    per_second: f64,
    p50_us: f64,
    p99_us: f64,
    from_redis: f64,
    client_us: f64,
    server_us: f64,
}

/// The figures of Strata divided by those of a peer, each the median of the rounds' ratios.
struct Ratios {
    per_second: f64,
    p50: f64,
    p99: f64,
    /// Of the processor time of both processes.
    processor: f64,
}

/// Measures the reads on a Redis of their own, and writes the section and the JSON.
///
/// # Errors
/// If something cannot be installed, built, started or written, or a read fails.
pub(super) async fn run(reads: &Reads, rounds: u32) -> Result<()> {
    let rounds_text = rounds.to_string();
    let arguments = [reads.name, "--rounds", &rounds_text, "--callers", reads.callers];
    let all: Vec<Measured> =
        measured_on_redis("measuring Strata and the bare client in turn", &arguments).await?;
    let json = format!("bench/{}.json", reads.name);
    let redis = output(setup::redis_server().await?, &["--version"]).unwrap_or_default();
    let table = table(reads, &all);
    println!("\n{table}");
    let section_text = format!(
        "## {title}

`cargo xtask bench {name} --rounds {rounds}` has written this section, and the same results as JSON to
[{json}]({json}).

{facts}

{description}
`keeping` is the bare client in a process that keeps the last 1,000 values that it has read, as
Strata's memory does: freeing values that were read long ago takes longer than freeing the last one.
All are measured in turn, {rounds} times for each number of callers, and the ratios are the medians
of the rounds' ratios of Strata to the other. The processor time is that of a read in both
processes, the client's and Redis's: it depends less on what else the machine does.

Goal: {goal}.

{table}",
        title = reads.title,
        name = reads.name,
        facts = machine::facts(
            &["redis", "serde_json", "tokio"],
            &[redis.split(" sha").next().unwrap_or_default()]
        ),
        description = reads.description,
        goal = reads.goal,
    );
    publish(&format!("cargo xtask bench {}", reads.name), &json, &all, &section_text)
}

fn table(reads: &Reads, all: &[Measured]) -> String {
    let mut table =
        "| callers | | reads per second | p50, µs | p99, µs | processor, µs: client + Redis | reached |\n\
                     |---|---|---|---|---|---|---|\n"
            .to_owned();
    for measured in all {
        for reader in ["bare", "keeping", "strata"] {
            let of = |figure: fn(&Round) -> f64| median(&measured.figures(reader, figure));
            let _ = writeln!(
                table,
                "| {} | {reader} | {:.0} | {:.0} | {:.0} | {:.1} + {:.1} | |",
                measured.callers,
                of(|round| round.per_second),
                of(|round| round.p50_us),
                of(|round| round.p99_us),
                of(|round| round.client_us),
                of(|round| round.server_us),
            );
        }
        for peer in ["bare", "keeping"] {
            let ratios = measured.ratios(peer);
            let is_reached = if peer == "bare" { yes_or_no((reads.is_reached)(&ratios)) } else { "" };
            let Ratios { per_second, p50, p99, processor } = ratios;
            let _ = writeln!(
                table,
                "| {} | ratio to {peer} | {per_second:.2} | {p50:.2} | {p99:.2} | {processor:.2} | {is_reached} |",
                measured.callers
            );
        }
    }
    table
}

impl Measured {
    fn figures(&self, reader: &str, figure: fn(&Round) -> f64) -> Vec<f64> {
        self.rounds.get(reader).map_or(&[][..], Vec::as_slice).iter().map(figure).collect()
    }

    fn ratios(&self, peer: &str) -> Ratios {
        let ratio = |figure| {
            let pairs = self.figures("strata", figure).into_iter().zip(self.figures(peer, figure));
            median(&pairs.map(|(strata, peer)| strata / peer).collect::<Vec<_>>())
        };
        Ratios {
            per_second: ratio(|round| round.per_second),
            p50: ratio(|round| round.p50_us),
            p99: ratio(|round| round.p99_us),
            processor: ratio(|round| round.client_us + round.server_us),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(per_second: f64) -> Round {
        Round { per_second, p50_us: 1.0, p99_us: 2.0, from_redis: 1.0, client_us: 3.0, server_us: 1.0 }
    }

    #[test]
    fn a_goal_is_reached_by_the_median_of_the_rounds_ratios() {
        let rounds = |strata: [f64; 3]| {
            let bare = [100.0, 200.0, 100.0];
            let rounds = [("strata", strata), ("bare", bare), ("keeping", bare)];
            rounds.map(|(reader, rounds)| (reader.to_owned(), rounds.map(round).into())).into()
        };
        let slow = Measured { callers: 16, rounds: rounds([90.0, 190.0, 500.0]) };
        assert!((slow.ratios("bare").per_second - 0.95).abs() < 1e-9);
        let fast = Measured { callers: 1, rounds: rounds([98.0, 196.0, 1.0]) };
        let table = table(&REDIS, &[slow, fast]);
        assert!(table.contains("| 16 | ratio to bare | 0.95 | 1.00 | 1.00 | 1.00 | no |"), "{table}");
        assert!(table.contains("| 1 | ratio to bare | 0.98 | 1.00 | 1.00 | 1.00 | yes |"), "{table}");
    }
}
