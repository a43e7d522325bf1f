//! Measures reads of the origin SDK and of other caches. `cargo xtask bench` runs it, also under
//! callgrind, and writes the results to `BENCHMARKS.md`.

mod growth;
mod hit_ratio;
mod hits;
mod subjects;
mod wall_time;

use clap::{Parser, Subcommand};

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
}

fn main() {
    match Arguments::parse().command {
        Command::Hits { subject, count } => hits::run(&subject, count, false),
        Command::Misses { subject, count } => hits::run(&subject, count, true),
        Command::Growth { entries } => growth::run(entries),
        Command::HitRatio => hit_ratio::run(),
        Command::Memory { rounds } => wall_time::run(rounds),
    }
}
