//! `strata-edge`: runs the edge worker in front of an origin, on workerd and without Cloudflare.
//!
//! It starts a cache service per data centre, which takes the place of its cache, writes workerd's
//! configuration, and runs workerd until a signal stops them.

mod cache;
mod settings;
mod shared_store;
mod workerd;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, value_parser};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::cache::CacheService;
use crate::settings::{Settings, Variables};
use crate::shared_store::SharedStore;
use crate::workerd::Workerd;

/// Run the edge worker in front of an origin, on workerd. The variable PURGE_SECRET of the
/// environment is the key that purge messages are signed with; without it no purge is accepted.
/// During a rotation, PURGE_SECRET_PREVIOUS is the former key.
#[derive(Parser)]
#[command(name = "strata-edge", version)]
struct Arguments {
    /// Base URL that requests are forwarded to, such as http://127.0.0.1:3000
    #[arg(long, value_name = "URL")]
    origin: String,
    /// Address and port to listen on; may be repeated. Each is served by an isolate of its own,
    /// with its own memory and its own copy of the journal
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8787")]
    listen: Vec<String>,
    /// Number of data centres, each with its own cache of stored responses. The isolates are
    /// assigned to them in turn
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u16).range(1..=100))]
    data_centres: u16,
    /// The wrangler.toml whose variables and compatibility date apply
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Set a variable, such as SERVER_TIMING:1, over those of the file; may be repeated
    #[arg(long = "var", value_name = "NAME:VALUE")]
    variables: Vec<String>,
    /// Folder of the built worker: worker.js and build/
    #[arg(long, value_name = "DIR")]
    worker: PathBuf,
    /// JavaScript module to run in place of worker.js, which it can import as ./worker.js
    #[arg(long, value_name = "FILE")]
    entry: Option<PathBuf>,
    /// The workerd program
    #[arg(long, value_name = "FILE", default_value = "workerd")]
    workerd: PathBuf,
    /// Folder of the journal, which must outlive a restart [default: a temporary folder]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Most MiB of memory for the stored responses of a data centre
    #[arg(long, value_name = "N", default_value_t = 256)]
    cache_mib: usize,
    /// Most MiB of memory for a store that all data centres share, bound as PERSISTENT: a page that
    /// one of them has fetched, the others read there [default: no such store]
    #[arg(long, value_name = "N")]
    shared_mib: Option<usize>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("strata-edge: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the worker until a signal arrives or workerd ends.
async fn run(arguments: Arguments) -> Result<(), String> {
    let mut variables = Variables::read(&arguments.config)?;
    variables.set("ORIGIN", arguments.origin.clone());
    for variable in &arguments.variables {
        variables.set_text(variable)?;
    }
    let folder = tempfile::tempdir().map_err(|error| format!("creating a temporary folder: {error}"))?;
    let (mut caches, mut serving) = (Vec::new(), JoinSet::new());
    for number in 0..arguments.data_centres {
        let socket = folder.path().join(format!("cache-{number}.sock"));
        let cache = CacheService::new(arguments.cache_mib.saturating_mul(1024 * 1024));
        serving.spawn(cache.serve(&socket)?);
        caches.push(socket);
    }
    let mut shared_store = None;
    if let Some(mib) = arguments.shared_mib {
        let socket = folder.path().join("shared.sock");
        serving.spawn(SharedStore::new(mib.saturating_mul(1024 * 1024)).serve(&socket)?);
        shared_store = Some(socket);
    }
    let settings = Settings {
        listen: arguments.listen,
        variables,
        worker: arguments.worker,
        entry: arguments.entry,
        data: arguments.data.unwrap_or_else(|| folder.path().join("journal")),
        caches,
        shared_store,
    };
    let mut workerd = Workerd::start(&arguments.workerd, &settings, folder.path())?;
    tokio::select! {
        ended = workerd.wait() => Err(ended),
        Some(ended) = serving.join_next() => {
            Err(format!("a store ended: {}", ended.unwrap_or_else(|error| error.to_string())))
        }
        stopped = stop_signal() => stopped,
    }
}

async fn stop_signal() -> Result<(), String> {
    let listening = |error| format!("listening for signals: {error}");
    let mut interrupt = signal(SignalKind::interrupt()).map_err(listening)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(listening)?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
