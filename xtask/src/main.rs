//! The commands that people type: `cargo xtask setup | up | edge | demo | picture | test | model |
//! chaos | attack | conformance | recipes | simulate | bench | fuzz | vectors | build-edge |
//! package`.

mod command;
mod commands;
mod fingerprint;
mod http;
mod paths;
mod progress;
mod stack;
mod wasm;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, value_parser};
use commands::setup::Server;
use commands::{
    attack, bench, build_edge, chaos, conformance, demo, edge, fuzz, model, package, picture, recipes, setup,
    simulate, test, up, vectors,
};
use stack::Store;
use strata_harness::error::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

/// Strata's own commands. Each installs and builds what it needs and is missing.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what is missing: the wasm target, the node tools, redis-server
    Setup,
    /// Start all layers on generated data and print a line per request, until Ctrl-C
    Up {
        /// Use this running Redis instead of starting one; its data is written to
        #[arg(long, value_name = "URL", conflicts_with = "embedded")]
        redis: Option<String>,
        /// Use the in-process store instead of Redis, with a single shop process
        #[arg(long)]
        embedded: bool,
    },
    /// Start only the worker, in front of a running origin, until Ctrl-C
    Edge {
        /// Base URL that requests are forwarded to, such as http://127.0.0.1:3000
        #[arg(long, value_name = "URL")]
        origin: String,
        /// Port to listen on [default: 8787, or another if that is taken]
        #[arg(long, value_name = "N")]
        port: Option<u16>,
        /// Set a variable of wrangler.toml, such as SERVER_TIMING:1; may be repeated
        #[arg(long = "var", value_name = "NAME:VALUE")]
        vars: Vec<String>,
        /// Run the worker of this wrangler.toml by `wrangler dev`, instead of the project's on
        /// workerd
        #[arg(long, value_name = "FILE")]
        wrangler: Option<PathBuf>,
        /// More options of strata-edge, such as -- --listen 127.0.0.1:8788 --data-centres 2
        #[arg(last = true, conflicts_with = "wrangler")]
        options: Vec<String>,
    },
    /// Take a tour through all layers that checks its claims, measure a load, and write an HTML
    /// report
    Demo {
        /// Seconds for which each pass of the load is measured
        #[arg(long, value_name = "N", default_value_t = 10, value_parser = value_parser!(u64).range(1..=600))]
        seconds: u64,
        /// Measure each pass for 4 s only
        #[arg(long, conflicts_with = "seconds")]
        quick: bool,
    },
    /// Write the picture of the last demo's report that README shows, with Chromium
    Picture,
    /// Run everything that must pass, from unit tests to end-to-end tests
    Test {
        /// Run the tests of the promises only, on this server instead of the system's redis-server
        #[arg(long, value_name = "NAME")]
        server: Option<Server>,
        /// With --server: the promises or topics to test, such as g1 [default: all]
        #[arg(value_name = "FILTER", requires = "server")]
        filters: Vec<String>,
    },
    /// Run the fuzz targets of fuzz/fuzz_targets
    Fuzz {
        /// Seconds per target
        #[arg(long, value_name = "N", default_value_t = 10, value_parser = value_parser!(u32).range(1..))]
        seconds: u32,
        /// Seed of the random inputs, to repeat a run [default: a random one]
        #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
        seed: Option<u32>,
        /// Targets to run [default: all]
        #[arg(value_name = "TARGET")]
        targets: Vec<String>,
    },
    /// Visit every state of the journal's model, within larger bounds than the tests do
    Model {
        /// Additional writes and faults; each takes many times longer than the one before
        #[arg(long, value_name = "N", default_value_t = 1)]
        depth: u8,
    },
    /// Kill, freeze and cut off the processes of a fleet and its Redis at random, and check its
    /// history
    Chaos {
        /// Minutes to run
        #[arg(long, value_name = "N", default_value_t = 5)]
        minutes: u64,
        /// Seconds to run, instead of minutes
        #[arg(long, value_name = "N", conflicts_with = "minutes")]
        seconds: Option<u64>,
        /// Seed that an earlier run printed, to repeat its faults
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
    },
    /// Attack the worker: the known attacks, and generated pairs of requests, whose victim must not
    /// notice the attacker
    Attack {
        /// Seed of the generated pairs
        #[arg(long, value_name = "N", default_value_t = 1)]
        seed: u64,
        /// Pairs through the policy alone; a million takes some minutes
        #[arg(long, value_name = "N", default_value_t = 1_000_000)]
        pairs: u64,
        /// Pairs against the running worker
        #[arg(long, value_name = "N", default_value_t = 10_000)]
        worker_pairs: u64,
    },
    /// Serve the worker that checks the golden vectors of tests/vectors, for the tests
    Vectors {
        /// Port to listen on
        #[arg(long, value_name = "N")]
        port: u16,
    },
    /// Run the public test suite for HTTP caches against the worker, and compare with
    /// tests/conformance
    Conformance {
        /// Run this copy of the suite instead of the pinned one, and compare with nothing
        #[arg(long, value_name = "DIR")]
        suite: Option<PathBuf>,
        /// Write the outcome of each case to this file
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Install the apps of tests/recipes and test them behind the worker
    Recipes {
        /// Recipes to test, such as next [default: all]
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// Simulate the edge journal for a planet of isolates: its load, and the delay of a purge
    Simulate {
        /// Options of the simulation; `--help` lists them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// Measure the origin SDK or the edge worker beside others
    Bench {
        #[command(subcommand)]
        bench: bench::Bench,
    },
    /// Build the worker's module into edge-worker/build, unless its sources are unchanged
    BuildEdge,
    /// Write the worker as a package for npm into target/package, for deployments without Rust
    Package {
        /// Check that two builds in different folders give the same bytes, which takes minutes
        #[arg(long)]
        verify: bool,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // The future of a command owns all children that it starts. Dropping it stops them.
    let result = tokio::select! {
        result = run(arguments.command) => result,
        stopped = stop_signal() => match stopped {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Setup => setup::run().await,
        Command::Up { redis, embedded } => up::run(store(redis, embedded)).await,
        Command::Edge { origin, port, vars, wrangler, options } => {
            edge::run(&origin, port, &vars, wrangler.as_deref(), &options).await
        }
        Command::Demo { seconds, quick } => {
            demo::run(Duration::from_secs(if quick { 4 } else { seconds })).await
        }
        Command::Picture => picture::run().await,
        Command::Test { server: Some(server), filters } => test::run_on(server, &filters).await,
        Command::Test { server: None, .. } => test::run().await,
        Command::Fuzz { seconds, seed, targets } => fuzz::run(seconds, seed, &targets).await,
        Command::Model { depth } => model::run(depth).await,
        Command::Chaos { minutes, seconds, seed } => {
            chaos::run(Duration::from_secs(seconds.unwrap_or(minutes * 60)), seed).await
        }
        Command::Attack { seed, pairs, worker_pairs } => {
            attack::run(&attack::Size { seed, pairs, worker_pairs }).await
        }
        Command::Vectors { port } => vectors::run(port).await,
        Command::Conformance { suite, json } => conformance::run(&conformance::Options { suite, json }).await,
        Command::Recipes { names } => recipes::run(&names).await,
        Command::Simulate { options } => simulate::run(options).await,
        Command::Bench { bench } => bench::run(&bench).await,
        Command::BuildEdge => build_edge::run().await,
        Command::Package { verify } => package::run(verify).await,
    }
}

fn store(redis: Option<String>, embedded: bool) -> Store {
    match redis {
        Some(url) => Store::Redis(url),
        None if embedded => Store::Embedded,
        None => Store::OwnRedis,
    }
}

/// Waits for Ctrl-C or another signal to stop, and returns the shell's exit code for it.
async fn stop_signal() -> Result<ExitCode> {
    let activity = || "listening for signals".to_owned();
    let mut interrupt = signal(SignalKind::interrupt()).context(activity)?;
    let mut terminate = signal(SignalKind::terminate()).context(activity)?;
    let mut hangup = signal(SignalKind::hangup()).context(activity)?;
    Ok(tokio::select! {
        _ = interrupt.recv() => ExitCode::from(130),
        _ = terminate.recv() => ExitCode::from(143),
        _ = hangup.recv() => ExitCode::from(129),
    })
}
