//! The commands that people type: `cargo xtask setup | up | edge | demo | test | model | chaos | conformance | simulate | fuzz | build-edge`.

mod build;
mod cache_status;
mod command;
mod conformance;
mod demo;
mod edge;
mod error;
mod fingerprint;
mod fuzz;
mod group;
mod http;
mod paths;
mod port;
mod process;
mod progress;
mod proofs;
mod redis;
mod request_log;
mod setup;
mod shop;
mod stack;
mod test;
mod up;
mod vectors;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, value_parser};
use tokio::signal::unix::{SignalKind, signal};

use error::{Doing, Result};
use stack::Store;

/// Strata's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what is missing: the wasm target, node tools, worker-build, wasm-bindgen, redis-server
    Setup,
    /// Start all layers on generated data and print a line per request; Ctrl-C stops them
    Up {
        /// Use this running Redis instead of one of our own (it is written to)
        #[arg(long, value_name = "URL", conflicts_with = "embedded")]
        redis: Option<String>,
        /// Use no Redis at all: one shop process with an in-process store
        #[arg(long)]
        embedded: bool,
    },
    /// Start only the worker, in front of an origin that you have
    Edge {
        /// Base URL that requests are forwarded to, such as http://127.0.0.1:3000
        #[arg(long, value_name = "URL")]
        origin: String,
        /// Port to listen on; 8787 or another free one if left out
        #[arg(long, value_name = "N")]
        port: Option<u16>,
        /// A variable of wrangler.toml to set, such as SERVER_TIMING:1; may be repeated
        #[arg(long = "var", value_name = "NAME:VALUE")]
        vars: Vec<String>,
        /// Another wrangler.toml in place of the project's
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Take a tour through all layers that checks what it claims, then measure them; writes an HTML report
    Demo {
        /// Requests of each load
        #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = value_parser!(u32).range(1..))]
        requests: u32,
        /// A small load: 2,000 requests, and at most 10 s without a cache instead of 60
        #[arg(long, conflicts_with = "requests")]
        quick: bool,
    },
    /// Run everything that must pass, unit tests to end-to-end tests
    Test,
    /// Run the fuzz targets of fuzz/fuzz_targets, each for a while
    Fuzz {
        /// Seconds for each target
        #[arg(long, value_name = "N", default_value_t = 10, value_parser = value_parser!(u32).range(1..))]
        seconds: u32,
        /// What chance follows from; other inputs each time if left out
        #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
        seed: Option<u32>,
        /// Targets to run; all if left out
        #[arg(value_name = "TARGET")]
        targets: Vec<String>,
    },
    /// Visit every state of the model of the journal, within larger bounds than the tests do
    Model {
        /// One more write or fault per step; each step takes many times longer
        #[arg(long, value_name = "N", default_value_t = 1)]
        depth: u8,
    },
    /// Kill, freeze and cut off the processes of a fleet and its Redis at random, and check its history
    Chaos {
        /// How long
        #[arg(long, value_name = "N", default_value_t = 5)]
        minutes: u64,
        /// How long, for runs of less than a minute
        #[arg(long, value_name = "N", conflicts_with = "minutes")]
        seconds: Option<u64>,
        /// Replay what a run has printed
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
    },
    /// Start the worker that checks the golden vectors of tests/vectors; the tests do
    Vectors {
        /// Port to listen on
        #[arg(long, value_name = "N")]
        port: u16,
    },
    /// Run the public test suite for HTTP caches against the worker; holds the counts in tests/conformance/floor.json
    Conformance {
        /// Run this copy of the suite instead of the pinned one, and hold nothing
        #[arg(long, value_name = "DIR")]
        suite: Option<PathBuf>,
        /// Write the outcome of each case to this file
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Simulate the edge journal for a planet of isolates: its load, and how long a purge takes to reach the last of them
    Simulate {
        /// Options of the simulation; `--help` lists them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// Build the worker's wasm into edge-worker/build, unless nothing has changed
    BuildEdge,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Whatever a command has started belongs to its future: dropping that stops it all, whichever way it ends.
    let ended = tokio::select! {
        ended = run(arguments.command) => ended,
        stopped = asked_to_stop() => match stopped {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Setup => setup::all().await,
        Command::Up { redis, embedded } => up::run(store(redis, embedded)).await,
        Command::Edge { origin, port, vars, config } => edge::run(&origin, port, &vars, config.as_deref()).await,
        Command::Demo { requests, quick } => demo::run(&size(requests, quick)).await,
        Command::Test => test::run().await,
        Command::Fuzz { seconds, seed, targets } => fuzz::run(seconds, seed, &targets).await,
        Command::Model { depth } => proofs::model(depth).await,
        Command::Chaos { minutes, seconds, seed } => {
            proofs::chaos(Duration::from_secs(seconds.unwrap_or(minutes * 60)), seed).await
        }
        Command::Vectors { port } => vectors::run(port).await,
        Command::Simulate { options } => {
            let mut simulate = command::cargo(["run", "--quiet", "--release", "--package", "strata-simulation", "--"]);
            simulate.args(options);
            command::run_shown("the simulation", simulate).await
        }
        Command::Conformance { suite, json } => conformance::run(&conformance::Options { suite, json }).await,
        Command::BuildEdge => build::edge().await,
    }
}

fn store(redis: Option<String>, embedded: bool) -> Store {
    match redis {
        Some(url) => Store::Redis(url),
        None if embedded => Store::Embedded,
        None => Store::OwnRedis,
    }
}

fn size(requests: u32, quick: bool) -> demo::Size {
    if quick {
        return demo::Size { requests: 2_000, uncached_limit: Duration::from_secs(10) };
    }
    demo::Size { requests: requests as usize, uncached_limit: Duration::from_secs(60) }
}

/// Comes back when someone presses Ctrl-C or asks the process to end, with the shell's exit code for that.
async fn asked_to_stop() -> Result<ExitCode> {
    let listening = || "listening for signals".to_owned();
    let mut interrupt = signal(SignalKind::interrupt()).doing(listening)?;
    let mut terminate = signal(SignalKind::terminate()).doing(listening)?;
    let mut hangup = signal(SignalKind::hangup()).doing(listening)?;
    Ok(tokio::select! {
        _ = interrupt.recv() => ExitCode::from(130),
        _ = terminate.recv() => ExitCode::from(143),
        _ = hangup.recv() => ExitCode::from(129),
    })
}
