//! A discrete-event simulation of the edge journal for a planet of isolates: the load of the one
//! journal object, and the time from a purge to the last isolate.
//!
//! A record goes from the shipper through the object and the data centres' shared texts to each
//! isolate. The texts, their sizes and the schedule of refreshes are the worker's own code
//! (`edge_worker::journal`). The network and the object's speed are assumptions, which are printed:
//! there is no platform at hand to run 30,000 isolates on.

mod planet;
mod report;

use std::time::Duration;

use clap::Parser;
use planet::{Assumptions, Planet};

/// Simulates the edge journal.
#[derive(Parser)]
struct Arguments {
    /// Data centres
    #[arg(long, default_value_t = 1000)]
    colos: u32,
    /// Isolates per data centre
    #[arg(long, default_value_t = 30)]
    isolates: u32,
    /// `JOURNAL_MAX_LAG_SECS` of the worker
    #[arg(long, default_value_t = 5)]
    max_lag_secs: u64,
    /// Purges per second; one simulation for each value
    #[arg(long, value_delimiter = ',', default_value = "1,100,10000")]
    purges: Vec<u32>,
    /// Seconds that are measured, after as many to settle
    #[arg(long, default_value_t = 60)]
    secs: u64,
    /// The seed of the random numbers
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() {
    let arguments = Arguments::parse();
    let assumptions = Assumptions::default();
    println!(
        "{} colos x {} isolates, JOURNAL_MAX_LAG {} s, {} s measured, seed {}",
        arguments.colos, arguments.isolates, arguments.max_lag_secs, arguments.secs, arguments.seed
    );
    println!("assumptions: {assumptions}\n");
    let measured = arguments.purges.iter().map(|&purges| {
        let planet = Planet {
            colos: arguments.colos,
            isolates: arguments.isolates,
            max_lag: Duration::from_secs(arguments.max_lag_secs),
            purges_per_sec: purges,
            duration: Duration::from_secs(arguments.secs),
            seed: arguments.seed,
        };
        (purges, planet.run(&assumptions))
    });
    report::print(&measured.collect::<Vec<_>>());
}
