//! The load on the one journal object, and the time from a purge to the last isolate, for a planet of isolates.
//!
//! A discrete-event simulation: no platform to run 30,000 isolates on is at hand. What is simulated is the way of a record
//! from the shipper through the object and the data centres' shared texts to each isolate; which text follows on what an
//! isolate knows, how far back recent records reach and what a record takes in a text are the worker's own code. Assumed are
//! the network and the object's speed, which are printed.

mod planet;
mod report;

use std::time::Duration;

use clap::Parser;
use planet::{Assumed, Planet};

/// Simulates the edge journal.
#[derive(Parser)]
struct Arguments {
    /// Data centres
    #[arg(long, default_value_t = 1000)]
    colos: u32,
    /// Isolates in each
    #[arg(long, default_value_t = 30)]
    isolates: u32,
    /// `JOURNAL_MAX_LAG_SECS` of the worker
    #[arg(long, default_value_t = 5)]
    max_lag_secs: u64,
    /// Purges a second, one simulation each
    #[arg(long, value_delimiter = ',', default_value = "1,100,10000")]
    purges: Vec<u32>,
    /// Simulated seconds that are measured, after as many again to settle
    #[arg(long, default_value_t = 60)]
    secs: u64,
    /// What chance follows from
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() {
    let arguments = Arguments::parse();
    let assumed = Assumed::default();
    println!(
        "{} colos x {} isolates, JOURNAL_MAX_LAG {} s, {} s measured, seed {}",
        arguments.colos, arguments.isolates, arguments.max_lag_secs, arguments.secs, arguments.seed
    );
    println!("assumed: {assumed}\n");
    let seen = arguments.purges.iter().map(|&purges| {
        let planet = Planet {
            colos: arguments.colos,
            isolates: arguments.isolates,
            max_lag: Duration::from_secs(arguments.max_lag_secs),
            purges_per_sec: purges,
            measured: Duration::from_secs(arguments.secs),
            seed: arguments.seed,
        };
        (purges, planet.run(&assumed))
    });
    report::print(&seen.collect::<Vec<_>>());
}
