//! `cargo xtask bench`: measures the origin SDK and the edge worker beside others, each in one
//! interleaved run, and writes BENCHMARKS.md.

mod edge;
mod growth;
mod hit_ratio;
mod instructions;
mod invalidate;
mod machine;
mod memory;
mod section;
mod shared_tier;
mod stampede;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::value_parser;
use serde::Serialize;
use serde::de::DeserializeOwned;
use strata_harness::error::{Context, Error, Result};
use tokio::process::Command;

use self::instructions::per_hit;
use super::setup;
use crate::command::{cargo, command, run_for_lines, run_quietly};
use crate::paths;
use crate::stack::redis;

/// The caches in the order of the page's columns.
const SUBJECTS: [&str; 7] =
    ["strata", "strata_memory", "quick_cache", "quick_cache_async", "lru", "moka", "foyer"];

/// The packages behind them.
const PEERS: [&str; 4] = ["quick_cache", "lru", "moka", "foyer-memory"];

/// The instructions of a hit in memory, and the deviation that is allowed, in percent. They depend
/// on the code and the compiler alone, not on the machine's load.
const HIT_INSTRUCTIONS: u64 = 450;
const ALLOWED_PERCENT: u64 = 3;

/// A measurement.
#[derive(clap::Subcommand)]
pub(crate) enum Bench {
    /// Measure reads that memory answers beside other caches, and write BENCHMARKS.md
    Memory {
        /// How often each cache is measured
        #[arg(long, value_name = "N", default_value_t = 21)]
        rounds: u32,
    },
    /// Measure the part of the reads that memory answers beside other caches, and write
    /// BENCHMARKS.md
    HitRatio,
    /// Measure hits and writes of caches of 1,000 to 10,000,000 entries, and write BENCHMARKS.md
    Growth {
        /// The most entries; ten million take 4 GB
        #[arg(long, value_name = "N", default_value_t = 10_000_000)]
        entries: u64,
    },
    /// Check the number of instructions of a hit in memory
    Instructions,
    /// Measure reads of single values that Redis answers beside the bare client, and write
    /// BENCHMARKS.md
    Redis {
        /// How often both are measured, for each number of callers
        #[arg(long, value_name = "N", default_value_t = 15, value_parser = value_parser!(u32).range(1..))]
        rounds: u32,
    },
    /// Measure reads of 100 values at a time that Redis answers beside the bare client, and write
    /// BENCHMARKS.md
    Batch {
        /// How often both are measured, for each number of callers
        #[arg(long, value_name = "N", default_value_t = 15, value_parser = value_parser!(u32).range(1..))]
        rounds: u32,
    },
    /// Measure stampedes of 10,000 callers in 8 processes beside patterns of articles, and write
    /// BENCHMARKS.md
    Stampede {
        /// Rounds; the medians count
        #[arg(long, value_name = "N", default_value_t = 11, value_parser = value_parser!(u32).range(1..))]
        rounds: u32,
    },
    /// Measure how long invalidations take to reach other processes, and what those of a tag cost,
    /// and write BENCHMARKS.md
    Invalidate {
        /// Rounds; the medians count
        #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u32).range(1..))]
        rounds: u32,
        /// Measure only what this many followers of the journal cost, and print it
        #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
        followers: Option<u32>,
    },
    /// Measure hits of the edge worker beside those of bare workers, Hono, nginx and Varnish, and
    /// write BENCHMARKS.md
    Edge {
        /// Seconds per peer and length, in each round
        #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u64).range(1..))]
        seconds: u64,
        /// Rounds; the medians count
        #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u32).range(1..))]
        rounds: u32,
    },
    /// Run every measurement that writes BENCHMARKS.md, one after the other
    All,
}

/// The measurements that write BENCHMARKS.md, with their defaults, in its order.
const ALL: [Bench; 8] = [
    Bench::Memory { rounds: 21 },
    Bench::HitRatio,
    Bench::Growth { entries: 10_000_000 },
    Bench::Redis { rounds: 15 },
    Bench::Batch { rounds: 15 },
    Bench::Stampede { rounds: 11 },
    Bench::Invalidate { rounds: 5, followers: None },
    Bench::Edge { seconds: 3, rounds: 3 },
];

/// Runs a measurement, or all of them.
///
/// # Errors
/// If something cannot be installed, built or written. `instructions` also if a hit takes more
/// instructions than it may.
pub(crate) async fn run(bench: &Bench) -> Result<()> {
    let benches = if let Bench::All = bench { &ALL } else { std::slice::from_ref(bench) };
    for bench in benches {
        run_one(bench).await?;
    }
    Ok(())
}

async fn run_one(bench: &Bench) -> Result<()> {
    match bench {
        Bench::Memory { rounds } => memory::run(*rounds).await,
        Bench::HitRatio => hit_ratio::run().await,
        Bench::Growth { entries } => growth::run(*entries).await,
        Bench::Redis { rounds } => shared_tier::run(&shared_tier::REDIS, *rounds).await,
        Bench::Batch { rounds } => shared_tier::run(&shared_tier::BATCH, *rounds).await,
        Bench::Instructions => check_instructions().await,
        Bench::Stampede { rounds } => stampede::run(*rounds).await,
        Bench::Invalidate { rounds, followers: None } => invalidate::run(*rounds).await,
        Bench::Invalidate { rounds, followers: Some(followers) } => {
            invalidate::run_with_followers(*rounds, *followers).await
        }
        Bench::Edge { seconds, rounds } => {
            edge::run(&edge::Options { duration: Duration::from_secs(*seconds), rounds: *rounds }).await
        }
        // Has no measurement of its own.
        Bench::All => Ok(()),
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Returns the median of one figure of all items.
fn median_of<T>(items: &[T], figure: impl Fn(&T) -> f64) -> f64 {
    median(&items.iter().map(figure).collect::<Vec<_>>())
}

/// Runs a measurement, and parses the JSON that it prints.
async fn measured<T: DeserializeOwned>(step: &str, usual: &'static str, program: Command) -> Result<T> {
    let printed = run_for_lines(step, Some(usual), program).await?;
    serde_json::from_str(printed.first().map_or("", String::as_str)).context(|| step.to_owned())
}

/// Runs a measurement on a Redis server of its own, and parses the JSON that it prints.
async fn measured_on_redis<T: DeserializeOwned>(step: &str, arguments: &[&str]) -> Result<T> {
    let program = build(&["--no-default-features"]).await?;
    let redis = redis::start(None).await?;
    let mut program = command(&program, []);
    program.args(arguments).args(["--redis", &redis.url()]);
    measured(step, "2 min", program).await
}

/// Returns whether a goal is reached, for a table.
fn yes_or_no(is_reached: bool) -> &'static str {
    if is_reached { "yes" } else { "no" }
}

/// Returns whether a goal is reached, as a sentence.
fn reached(is_reached: bool) -> &'static str {
    if is_reached { "Reached." } else { "Not reached." }
}

async fn check_instructions() -> Result<()> {
    let valgrind = setup::valgrind().await?;
    let program = build(&["--no-default-features"]).await?;
    let found = per_hit(&valgrind, &program, "strata").await?;
    let most = HIT_INSTRUCTIONS + HIT_INSTRUCTIONS * ALLOWED_PERCENT / 100;
    println!("a hit in memory takes {found} instructions, and may take {most}");
    if found <= most {
        return Ok(());
    }
    let expected = format!("expected at most {most} instructions for a hit in memory, got {found}");
    Err(Error::new(expected).mend(
        "find what the hit does in addition (`valgrind --tool=callgrind target/release/strata-bench hits strata \
         100000`, then `callgrind_annotate`); if it is worth its price, raise HIT_INSTRUCTIONS in xtask",
    ))
}

/// Builds the bench and returns its path.
async fn build(options: &[&str]) -> Result<PathBuf> {
    let mut build = cargo(["build", "--release", "--package", "strata-bench"]);
    build.args(options);
    run_quietly("building the bench", Some("3 min the first time"), build).await?;
    Ok(paths::target().join("release/strata-bench"))
}

/// Writes the section of a command, and its results as JSON.
fn publish(command: &str, json_file: &str, results: &impl Serialize, section: &str) -> Result<()> {
    let json = serde_json::to_string(results).context(|| "writing JSON".to_owned())?;
    let path: &Path = &paths::root().join(json_file);
    std::fs::write(path, json).context(|| format!("writing {}", path.display()))?;
    println!("wrote {} and {json_file}", section::write(command, section)?.display());
    Ok(())
}
