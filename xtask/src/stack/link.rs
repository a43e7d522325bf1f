//! The distance between the service and those who call it: `strata-load` as a proxy that delays.

use std::time::Duration;

use strata_harness::error::Result;
use strata_harness::{Placement, Process, port};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::command::{cargo, run_quietly};
use crate::paths;

const READY_LIMIT: Duration = Duration::from_secs(10);

/// A running link. Stops when dropped.
pub(crate) struct Link {
    port: u16,
    to: u16,
    _process: Process,
}

/// Builds `strata-load`, which is the link and also the client of the demo's load.
///
/// # Errors
/// If it does not compile.
pub(crate) async fn build() -> Result<()> {
    let build = cargo(["build", "--profile", "demo", "--package", "strata-load"]);
    run_quietly("building the load's client", Some("15 s the first time"), build).await
}

/// Returns the program that [`build`] makes.
pub(crate) fn program() -> Command {
    Command::new(paths::target().join("demo/strata-load"))
}

impl Link {
    /// Starts a link to a port of this machine.
    ///
    /// # Errors
    /// If no port is free, or the program does not start.
    pub(crate) async fn start(to: u16, round_trip: Duration) -> Result<Self> {
        Self::start_on(port::free()?, to, round_trip).await
    }

    /// Starts the link again, on the same port, with another delay. Open connections are closed.
    ///
    /// # Errors
    /// If the program does not start.
    pub(crate) async fn restart(self, round_trip: Duration) -> Result<Self> {
        let Self { port, to, _process: process } = self;
        drop(process);
        Self::start_on(port, to, round_trip).await
    }

    async fn start_on(port: u16, to: u16, round_trip: Duration) -> Result<Self> {
        let address = |port| format!("127.0.0.1:{port}");
        let mut command = program();
        command.args(["link", "--listen", &address(port), "--to", &address(to)]);
        command.args(["--round-trip-ms", &round_trip.as_millis().to_string()]);
        let mut process = Process::spawn("the link", command, Placement::OwnGroup, None)?;
        let is_ready = async || TcpStream::connect(address(port)).await.is_ok();
        process.wait_ready(READY_LIMIT, is_ready).await?;
        Ok(Self { port, to, _process: process })
    }

    /// The base URL of the service, from the other end of the link.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}
