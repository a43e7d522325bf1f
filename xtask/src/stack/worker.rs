//! The edge worker in workerd.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use strata_harness::error::Result;
use strata_harness::{Lines, Placement, Process};

use super::{edge_server, wrangler};
use crate::commands::build_edge;
use crate::{http, paths};

/// workerd answers after less than a second, and `wrangler dev` after 2 to 12 s on an idle machine.
const READY_LIMIT: Duration = Duration::from_secs(90);

/// A running worker; stops when dropped.
pub(crate) struct Worker {
    process: Process,
    url: String,
    _folder: TempDir,
}

/// The settings of a worker.
pub(crate) struct Settings<'a> {
    pub(crate) port: u16,
    /// Base URL that requests are forwarded to.
    pub(crate) origin: &'a str,
    /// The key of the signatures of purge messages, which the shop has too.
    pub(crate) purge_secret: &'a str,
    /// Whether the worker prints a line per request and its other messages, which costs time under
    /// load.
    pub(crate) log_requests: bool,
    /// More variables of wrangler.toml, as "NAME:value".
    pub(crate) vars: &'a [&'a str],
    /// The program that runs the worker, and which worker.
    pub(crate) runner: Runner<'a>,
}

/// A program that runs a worker, and which worker.
#[derive(Clone, Copy)]
pub(crate) enum Runner<'a> {
    /// `strata-edge`, with the worker of this folder (`worker.js` and `build/`) and more options of
    /// its own.
    StrataEdge { worker: &'a Path, options: &'a [String] },
    /// `wrangler dev`, with the worker of this wrangler.toml.
    Wrangler(&'a Path),
}

impl<'a> Runner<'a> {
    /// The project's worker, run by `strata-edge`. [`prepare`] has built both.
    pub(crate) fn of_the_project(options: &'a [String]) -> Self {
        Self::StrataEdge { worker: Path::new("edge-worker"), options }
    }
}

impl Settings<'_> {
    /// Returns the variables of the worker, as "NAME:value".
    pub(super) fn variables(&self) -> Vec<String> {
        let own =
            [format!("ORIGIN:{}", self.origin), format!("LOG_REQUESTS:{}", u8::from(self.log_requests))];
        own.into_iter().chain(self.vars.iter().map(|var| (*var).to_owned())).collect()
    }
}

/// Builds what [`Worker::start`] runs, unless it is up to date.
///
/// # Errors
/// If something cannot be installed or does not compile.
pub(crate) async fn prepare() -> Result<()> {
    tokio::try_join!(build_edge::run(), edge_server::build())?;
    Ok(())
}

impl Worker {
    /// Starts the worker, without waiting until it answers. [`prepare`] has built it.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub(crate) async fn start(settings: &Settings<'_>, lines: Option<&Lines>) -> Result<Self> {
        let folder = paths::temporary()?;
        let command = match settings.runner {
            Runner::StrataEdge { worker, options } => edge_server::serve(settings, worker, options),
            Runner::Wrangler(config) => wrangler::dev(settings, config, folder.path()).await?,
        };
        Ok(Self {
            process: Process::spawn("edge", command, Placement::OwnGroup, lines)?,
            url: format!("http://127.0.0.1:{}", settings.port),
            _folder: folder,
        })
    }

    /// Waits up to 90 s until the worker answers.
    ///
    /// # Errors
    /// If it ends or does not answer in time.
    pub(crate) async fn wait_ready(&mut self, client: &reqwest::Client) -> Result<()> {
        let health = format!("{}/__strata/health", self.url);
        self.process.wait_ready(READY_LIMIT, async || http::answers(client, &health).await).await
    }

    /// Its base URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
