//! Measures reads of the origin SDK and of other caches. `cargo xtask bench` runs it, also under
//! callgrind, and writes the results to `BENCHMARKS.md`.

mod fleet;
mod growth;
mod hit_ratio;
mod hits;
mod invalidate;
mod server;
mod shared_tier;
mod stampede;
mod subjects;
mod wall_time;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use serde::Serialize;

use crate::fleet::Error;

/// Measures the origin SDK beside other caches.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Read keys that memory holds, for a profiler that counts instructions
    Hits {
        /// The cache: strata, or one of the peers
        subject: String,
        /// How many reads
        count: u64,
    },
    /// Read keys that memory does not hold, each once, for the same profiler
    Misses {
        /// The cache: strata, or one of the peers
        subject: String,
        /// How many reads
        count: u64,
    },
    /// Measure which part of the reads of several traces memory answers, and print JSON
    HitRatio,
    /// Measure the time of hits and writes of caches of 1,000 to this many entries, and print JSON
    Growth {
        /// The most entries
        #[arg(default_value_t = 10_000_000)]
        entries: u64,
    },
    /// Measure the time of reads, interleaved over all caches, and print JSON
    Memory {
        /// How often each cache is measured; the result is the median
        #[arg(long, default_value_t = 21)]
        rounds: usize,
    },
    /// Measure reads of single values that Redis answers, beside the bare client, and print JSON
    Redis(shared_tier::Options),
    /// Measure reads of 100 values at a time that Redis answers, beside the bare client, and print
    /// JSON
    Batch(shared_tier::Options),
    /// Measure stampedes of a fleet of processes, and print JSON
    Stampede {
        #[command(flatten)]
        redis: Redis,
        /// How often each pattern is measured
        #[arg(long, default_value_t = 11)]
        rounds: u64,
    },
    /// Measure how long invalidations take to reach other processes, and print JSON
    Invalidate {
        #[command(flatten)]
        redis: Redis,
        /// How often each way is measured
        #[arg(long, default_value_t = 5)]
        rounds: u32,
        /// How many caches follow the journal, each over connections of its own
        #[arg(long, default_value_t = 3)]
        followers: usize,
        /// Measure invalidations of tags with up to a million entries, too
        #[arg(long)]
        tags: bool,
    },
    /// Be a process of the measured fleet
    #[command(hide = true)]
    Member {
        #[command(flatten)]
        redis: Redis,
    },
}

/// The server of a measurement. Keys of the app `bench` are written to it.
#[derive(Args)]
struct Redis {
    /// The URL of a Redis server of the measurement's own
    #[arg(long)]
    redis: String,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Hits { subject, count } => {
            hits::run(&subject, count, false);
            Ok(())
        }
        Command::Misses { subject, count } => {
            hits::run(&subject, count, true);
            Ok(())
        }
        Command::Growth { entries } => growth::run(entries),
        Command::HitRatio => hit_ratio::run(),
        Command::Memory { rounds } => wall_time::run(rounds),
        Command::Redis(options) => shared_tier::run(&options, 1),
        Command::Batch(options) => shared_tier::run(&options, 100),
        Command::Stampede { redis, rounds } => stampede::run(&redis.redis, rounds),
        Command::Invalidate { redis, rounds, followers, tags } => {
            invalidate::run(&redis.redis, rounds, followers, tags)
        }
        Command::Member { redis } => fleet::run_member(&redis.redis),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints results as JSON, for `cargo xtask bench`.
fn print(results: &impl Serialize) -> Result<(), Error> {
    println!("{}", serde_json::to_string(results)?);
    Ok(())
}
