//! `strata-load`: sends a load and prints its figures, or puts a distance between two programs.

mod client;
mod link;
mod run;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use strata_load::Plan;

/// The client of the demo's load, and the distance between the users and the service.
#[derive(Parser)]
#[command(name = "strata-load")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Send the load of a plan, and print the outcome, both as JSON
    Run {
        /// The file of the plan
        #[arg(value_name = "FILE")]
        plan: PathBuf,
    },
    /// Forward connections, with a delay in each direction, until a signal
    Link {
        /// Address and port to listen on
        #[arg(long, value_name = "ADDRESS")]
        listen: String,
        /// Address and port to forward to
        #[arg(long, value_name = "ADDRESS")]
        to: String,
        /// Milliseconds of the way there and back
        #[arg(long, value_name = "N")]
        round_trip_ms: u64,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Run { plan } => read_and_run(&plan),
        Command::Link { listen, to, round_trip_ms } => {
            link::serve(&listen, &to, Duration::from_micros(round_trip_ms * 500))
                .map_err(|error| format!("listening on {listen}: {error}"))
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("strata-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn read_and_run(file: &Path) -> Result<(), String> {
    let text =
        std::fs::read_to_string(file).map_err(|error| format!("reading {}: {error}", file.display()))?;
    let plan: Plan = serde_json::from_str(&text)
        .map_err(|error| format!("{}: expected a plan: {error}", file.display()))?;
    let outcome = run::run(&plan);
    serde_json::to_writer(std::io::stdout().lock(), &outcome)
        .map_err(|error| format!("printing the outcome: {error}"))
}
