//! Runs generated pairs through the policy, or against a running worker.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use strata_attack::{Outcome, run, wire};

/// Runs generated pairs of an attacker's requests and a victim's request.
#[derive(Parser)]
struct Arguments {
    /// Seed of the pairs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of pairs
    #[arg(long, default_value_t = 1_000_000)]
    pairs: u64,
    /// Host and port of a worker with this program's rules; without it the pairs run natively
    #[arg(long, requires = "origin_port")]
    edge: Option<String>,
    /// Port on which to serve the origin of that worker
    #[arg(long)]
    origin_port: Option<u16>,
    /// Print the rules that the worker needs, and end
    #[arg(long)]
    print_rules: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { seed, pairs, edge, origin_port, print_rules } = Arguments::parse();
    if print_rules {
        println!("{}", strata_attack::RULES);
        return ExitCode::SUCCESS;
    }
    let began = Instant::now();
    let (place, outcome) = match edge.zip(origin_port) {
        None => ("the policy", Ok(run(seed, pairs, None))),
        Some((host, port)) => ("the worker", over_the_wire(&host, port, seed, pairs).await),
    };
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    for difference in outcome.differences.iter().take(3) {
        println!("{difference:#?}");
    }
    println!(
        "{pairs} pairs of seed {seed} through {place} in {:.0} s: {} victims answered from the store, {} differences",
        began.elapsed().as_secs_f64(),
        outcome.hits,
        outcome.differences.len()
    );
    if outcome.differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn over_the_wire(host: &str, port: u16, seed: u64, pairs: u64) -> std::io::Result<Outcome> {
    tokio::select! {
        served = wire::serve_origin(port) => Err(served.err().unwrap_or_else(|| std::io::Error::other("the origin ended"))),
        outcome = wire::run(host, seed, pairs) => outcome,
    }
}
