//! `cachectl`: the administration of a running fleet. Arguments → one library call → print.
//!
//! Each subcommand is a file in `commands/` with its arguments and a `run` that takes a
//! [`Session`].

#![expect(clippy::print_stderr, reason = "a command line tool reports errors on the error stream")]

mod commands;
mod output;
mod session;
mod settings;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use self::output::{Exit, Output, printable};
use self::session::Session;
use self::settings::Settings;

/// Inspects, purges and verifies a Strata cache.
///
/// Settings come from flags, then from the environment, then from a TOML file (--config, or
/// strata.toml in the current folder) with the keys redis, app, environment, purge_secret, zone,
/// plan and api_token. Secrets come from the environment or the file only, never from flags.
#[derive(Parser)]
#[command(name = "cachectl", version, disable_help_subcommand = true, after_help = output::EXIT_CODES)]
struct Arguments {
    #[command(flatten)]
    settings: Settings,
    /// Print JSON: one object, or one object per line for a stream of records
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Invalidate cached entries in every process, in Redis and at the edge
    Purge(commands::purge::Purge),
    /// Show the entry stored under a key, and the journal records that cover it
    Inspect(commands::inspect::Inspect),
    /// Read the journal of invalidations
    #[command(subcommand)]
    Journal(commands::journal::Journal),
    /// Show the state of shipping the journal to the edge, and remove old targets
    #[command(subcommand)]
    Ship(commands::ship::Ship),
    /// Sum the figures of all processes: hit rates, loads, errors and times per namespace
    Stats(commands::stats::Stats),
    /// Check Redis, its settings and the journal, and say what to mend
    Doctor(commands::doctor::Doctor),
    /// Free the memory of invalidated entries in Redis
    Sweep(commands::sweep::Sweep),
    /// Check that a deployed worker, its secret and its zone behave as Strata requires
    Verify(commands::verify::Verify),
    /// Print the least rights in Redis that a service and this tool need
    Acl(commands::acl::Acl),
    /// Print a completion script for a shell
    Completions(commands::completions::Completions),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Arguments { settings, json, command } = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return report_usage(&error),
    };
    let mut output = Output::new(json);
    match run(settings, command, &mut output).await {
        Ok(exit) => exit.into(),
        // The reader of the output has closed the pipe, as `head` does.
        Err(error) if output::is_broken_pipe(&*error) => Exit::Done.into(),
        Err(error) => {
            eprintln!("error: {}", printable(&error));
            let mut source = error.source();
            while let Some(cause) = source {
                eprintln!("  because: {}", printable(cause));
                source = cause.source();
            }
            Exit::Failed.into()
        }
    }
}

/// Prints the help, or an error in the arguments. A URL in the wrong place is not shown, since it
/// may contain a password.
fn report_usage(error: &clap::Error) -> ExitCode {
    let urls = std::env::args().filter(|argument| argument.contains('@') || argument.contains("://"));
    let text = error.to_string();
    let hidden = urls.fold(text.clone(), |text, url| text.replace(&url, "…"));
    let shown: String = hidden.lines().map(|line| printable(line) + "\n").collect();
    if shown == text {
        // Prints in colour on a terminal. If the stream is closed, there is no place to report it.
        let _ = error.print();
    } else {
        eprint!("{shown}");
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

async fn run(settings: Settings, command: Command, output: &mut Output) -> output::Result<Exit> {
    let session = Session::new(settings.resolve()?);
    match command {
        Command::Purge(purge) => purge.run(&session, output).await,
        Command::Inspect(inspect) => inspect.run(&session, output).await,
        Command::Journal(journal) => journal.run(&session, output).await,
        Command::Ship(ship) => ship.run(&session, output).await,
        Command::Stats(stats) => stats.run(&session, output).await,
        Command::Doctor(doctor) => doctor.run(&session, output).await,
        Command::Sweep(sweep) => sweep.run(&session, output).await,
        Command::Verify(verify) => verify.run(&session, output).await,
        Command::Acl(acl) => acl.run(&session, output),
        Command::Completions(completions) => completions.run(&mut Arguments::command()),
    }
}
