//! A `redis-server` on a free port, in a temporary folder, without persistence; also as a sentinel.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::error::{Context, Result};
use crate::group::Placement;
use crate::port;
use crate::process::{Lines, Process};

const READY_LIMIT: Duration = Duration::from_secs(20);

/// A running Redis server. Stops when dropped, and its data is lost.
pub struct RedisServer {
    process: Process,
    start: Start,
    port: u16,
}

/// The mode of the program.
enum Role {
    Server,
    Sentinel { settings: String },
}

/// How the server is started, also after a crash.
struct Start {
    program: PathBuf,
    role: Role,
    arguments: Vec<String>,
    placement: Placement,
    lines: Option<Lines>,
    folder: TempDir,
}

impl RedisServer {
    /// Starts `program` with more `arguments` (such as `["--cluster-enabled", "yes"]`) and waits up
    /// to 20 s until it answers.
    ///
    /// # Errors
    /// If the program cannot be started, ends, or does not answer in time.
    pub async fn start(
        program: &Path,
        arguments: &[&str],
        placement: Placement,
        lines: Option<&Lines>,
    ) -> Result<Self> {
        Self::run(Role::Server, program, arguments, placement, lines).await
    }

    /// Starts `program` as a sentinel with these `settings`, which are lines of its configuration
    /// (such as `sentinel monitor main 127.0.0.1 6379 2`), and waits up to 20 s until it answers.
    ///
    /// # Errors
    /// As [`RedisServer::start`].
    pub async fn start_sentinel(
        program: &Path,
        settings: &str,
        placement: Placement,
        lines: Option<&Lines>,
    ) -> Result<Self> {
        let role = Role::Sentinel { settings: settings.to_owned() };
        Self::run(role, program, &[], placement, lines).await
    }

    async fn run(
        role: Role,
        program: &Path,
        arguments: &[&str],
        placement: Placement,
        lines: Option<&Lines>,
    ) -> Result<Self> {
        let start = Start {
            program: program.to_owned(),
            role,
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            placement,
            lines: lines.cloned(),
            folder: tempfile::tempdir().context(|| "making a temporary folder".to_owned())?,
        };
        let port = port::free()?;
        Ok(Self { process: start.run(port).await?, start, port })
    }

    /// Its URL, such as `redis://127.0.0.1:40123`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The child process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Kills it as a crash would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Suspends it: it no longer answers, and connections stay open.
    pub fn freeze(&self) {
        self.process.freeze();
    }

    /// Resumes it after [`RedisServer::freeze`].
    pub fn thaw(&self) {
        self.process.thaw();
    }

    /// Starts it again on the same port after [`RedisServer::kill`], without data.
    ///
    /// # Errors
    /// As [`RedisServer::start`].
    pub async fn restart(&mut self) -> Result<()> {
        self.process = self.start.run(self.port).await?;
        Ok(())
    }
}

impl Start {
    async fn run(&self, port: u16) -> Result<Process> {
        let mut command = Command::new(&self.program);
        let name = match &self.role {
            Role::Server => {
                command.args(["--port", &port.to_string(), "--save", "", "--appendonly", "no"]);
                "redis"
            }
            Role::Sentinel { settings } => {
                // A sentinel writes what it learns into its configuration.
                let file = self.folder.path().join("sentinel.conf");
                let settings = format!("port {port}\n{settings}\n");
                std::fs::write(&file, settings).context(|| format!("writing {}", file.display()))?;
                command.arg(file).arg("--sentinel");
                "sentinel"
            }
        };
        command.args(["--bind", "127.0.0.1", "--loglevel", "warning", "--dir"]);
        command.arg(self.folder.path()).args(&self.arguments);
        let mut process = Process::spawn(name, command, self.placement, self.lines.as_ref())?;
        process.wait_ready(READY_LIMIT, async || ping(port).await.is_ok()).await?;
        Ok(process)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // There is nothing to save, and a frozen server would not react to a request to stop.
        self.kill();
    }
}

/// Sends a `PING` in Redis's inline protocol and expects a `PONG`.
async fn ping(port: u16) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"PING\r\n").await?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).await?;
    if answer == *b"+PONG\r\n" { Ok(()) } else { Err(std::io::ErrorKind::InvalidData.into()) }
}
