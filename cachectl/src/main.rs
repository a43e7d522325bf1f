//! `cachectl`: what people do with a running fleet. Arguments → one library call → print.
//!
//! A subcommand is a file in `commands/`: its arguments, and what it does with a [`Session`].

#![expect(clippy::print_stderr, reason = "a command line tool says on the error stream what went wrong")]

mod commands;
mod output;
mod session;
mod settings;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use self::output::{Exit, Output};
use self::session::Session;
use self::settings::Settings;

/// Looks into, purges and checks a Strata cache.
///
/// Settings come from flags, then from the environment, then from a TOML file (--config, or strata.toml in this folder) with
/// the keys redis, app, purge_secret, zone, plan and api_token. Secrets are taken from the environment or the file only.
#[derive(Parser)]
#[command(name = "cachectl", version, disable_help_subcommand = true, after_help = output::EXIT_CODES)]
struct Arguments {
    #[command(flatten)]
    settings: Settings,
    /// Print JSON: one object, or one on each line of a list that goes on
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make what is cached unservable, in every process, in Redis and at the edge
    Purge(commands::purge::Purge),
    /// Show what is stored under a key, and which records cover it
    Inspect(commands::inspect::Inspect),
    /// Read the journal of invalidations
    #[command(subcommand)]
    Journal(commands::journal::Journal),
    /// Show and tidy how the journal is shipped to the edge
    #[command(subcommand)]
    Ship(commands::ship::Ship),
    /// Give back the memory of entries in Redis that the journal has made dead
    Sweep(commands::sweep::Sweep),
    /// Check that a deployed worker, its secret and its zone do what Strata assumes of them
    Verify(commands::verify::Verify),
    /// Print a completion script for a shell
    Completions(commands::completions::Completions),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Arguments { settings, json, command } = Arguments::parse();
    let mut output = Output::new(json);
    match run(settings, command, &mut output).await {
        Ok(exit) => exit.into(),
        // Whoever reads has enough.
        Err(error) if output::is_broken_pipe(&*error) => Exit::Done.into(),
        Err(error) => {
            eprintln!("error: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprintln!("  because: {cause}");
                source = cause.source();
            }
            Exit::Failed.into()
        }
    }
}

async fn run(settings: Settings, command: Command, output: &mut Output) -> output::Result<Exit> {
    let session = Session::new(settings.resolve()?);
    match command {
        Command::Purge(purge) => purge.run(&session, output).await,
        Command::Inspect(inspect) => inspect.run(&session, output).await,
        Command::Journal(journal) => journal.run(&session, output).await,
        Command::Ship(ship) => ship.run(&session, output).await,
        Command::Sweep(sweep) => sweep.run(&session, output).await,
        Command::Verify(verify) => verify.run(&session, output).await,
        Command::Completions(completions) => completions.run(&mut Arguments::command()),
    }
}
