//! `strata-edge`: runs the edge worker in front of an origin, on workerd and without Cloudflare.
//!
//! It starts a cache service per data centre, which takes the place of its cache, writes workerd's
//! configuration, and runs workerd until a signal stops them.

mod cache;
mod listeners;
mod probe;
mod serving;
mod settings;
mod shared_store;
mod signals;
mod status;
mod supervisor;
mod workerd;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Parser, value_parser};
use tokio::task::JoinSet;

use crate::cache::{CacheFolder, CacheService};
use crate::listeners::Listeners;
use crate::settings::{Probes, Settings, Variables};
use crate::shared_store::SharedStore;
use crate::signals::StopSignals;
use crate::status::Status;
use crate::supervisor::{ProcessState, Supervisor};

/// Run the edge worker in front of an origin, on workerd. The variable PURGE_SECRET of the
/// environment is the key that purge messages are signed with; without it no purge is accepted.
/// During a rotation, PURGE_SECRET_PREVIOUS is the former key.
#[derive(Parser)]
#[command(name = "strata-edge", version, args_override_self = true)]
struct Arguments {
    /// Base URL that requests are forwarded to, such as http://127.0.0.1:3000
    #[arg(long, value_name = "URL")]
    origin: String,
    /// Address and port to listen on, or *:PORT; may be repeated. Each is served by an isolate of
    /// its own, with its own memory and its own copy of the journal
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
    /// Most MiB of memory for the stored responses of a data centre. With --cache-dir, only those
    /// with a lifetime of at most a minute are stored in memory
    #[arg(long, value_name = "N", default_value_t = 256)]
    cache_mib: usize,
    /// Most MiB of memory for a store that all data centres share, bound as PERSISTENT: a page that
    /// one of them has fetched, the others read there [default: no such store]
    #[arg(long, value_name = "N")]
    shared_mib: Option<usize>,
    /// Folder of the stored responses, which then outlive a restart [default: none; they are stored
    /// in memory]
    #[arg(long, value_name = "DIR", requires = "data")]
    cache_dir: Option<PathBuf>,
    /// Most bytes of files in the folder, per data centre
    #[arg(long, value_name = "N", default_value_t = 10 << 30, requires = "cache_dir")]
    cache_bytes: u64,
    /// Address and port for operators, such as 127.0.0.1:9787: /health, /health/live and /metrics
    /// [default: none]
    #[arg(long, value_name = "ADDRESS")]
    status: Option<String>,
    /// Seconds that requests in flight get to end after SIGTERM or SIGINT; 0 to 3600
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = value_parser!(u64).range(0..=3600))]
    stop_timeout: u64,
}

fn main() -> ExitCode {
    match workerd::become_workerd().map_or_else(run, Err) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("strata-edge: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the worker until a signal arrives.
#[tokio::main]
async fn run() -> Result<(), String> {
    let arguments = Arguments::parse();
    let started = Instant::now();
    let mut signals = StopSignals::listen()?;
    let mut variables = Variables::read(&arguments.config)?;
    variables.set("ORIGIN", arguments.origin.clone());
    for variable in &arguments.variables {
        variables.set_text(variable)?;
    }
    let folder = tempfile::tempdir().map_err(|error| format!("creating a temporary folder: {error}"))?;
    let socket = |name: String| folder.path().join(name).with_extension("sock");
    let cache_folder = arguments.cache_dir.as_deref().map(CacheFolder::open).transpose()?;
    let (mut caches, mut sockets, mut serving) = (Vec::new(), Vec::new(), JoinSet::new());
    for number in 0..arguments.data_centres {
        let socket = socket(format!("cache-{number}"));
        let disk =
            cache_folder.as_ref().map(|folder| folder.disk(number, arguments.cache_bytes)).transpose()?;
        let cache = CacheService::new(arguments.cache_mib.saturating_mul(1024 * 1024), disk);
        serving.spawn(Arc::clone(&cache).serve(&socket)?);
        caches.push(cache);
        sockets.push(socket);
    }
    let probes = Probes {
        isolates: (0..arguments.listen.len()).map(|number| socket(format!("isolate-{number}"))).collect(),
        journal: socket("journal".to_owned()),
    };
    let process = Arc::new(ProcessState::default());
    if let Some(address) = &arguments.status {
        let status = Status {
            started,
            listen: arguments.listen.clone(),
            probes: probes.clone(),
            process: Arc::clone(&process),
            caches,
        };
        serving.spawn(status.serve(address).await?);
    }
    let mut shared_store = None;
    if let Some(mib) = arguments.shared_mib {
        let socket = socket("shared".to_owned());
        serving.spawn(SharedStore::new(mib.saturating_mul(1024 * 1024)).serve(&socket)?);
        shared_store = Some(socket);
    }
    let settings = Settings {
        listen: arguments.listen,
        variables,
        worker: arguments.worker,
        entry: arguments.entry,
        data: arguments.data.unwrap_or_else(|| folder.path().join("journal")),
        caches: sockets,
        shared_store,
        probes,
    };
    let supervisor = Supervisor {
        program: arguments.workerd,
        listeners: Listeners::bind(&settings.listen)?,
        settings,
        folder: folder.path().to_owned(),
        stop_timeout: Duration::from_secs(arguments.stop_timeout),
        state: process,
    };
    tokio::select! {
        ended = supervisor.run(&mut signals) => ended,
        Some(ended) = serving.join_next() => {
            Err(format!("a server ended: {}", ended.unwrap_or_else(|error| error.to_string())))
        }
    }
}
