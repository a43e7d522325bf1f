//! A running `strata-edge`.

use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::Response;
use serde_json::Value;
use shared_keys::purge::{PURGE_PATH, SIGNATURE_HEADER, SignedParts, sign};
use strata_harness::{Line, Placement, Process};
use strata_tests::{Edge, eventually, free_port, xtask};
use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

pub(crate) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A running `strata-edge` and its workerd. Stops when dropped.
pub(crate) struct Server {
    process: Process,
    lines: UnboundedReceiver<Line>,
    client: reqwest::Client,
    pub(crate) port: u16,
    status_port: u16,
}

impl Server {
    /// Starts it before an origin, and waits until it is ready.
    pub(crate) async fn start(origin: &str, options: &[&str]) -> Self {
        Self::start_on(free_port(), origin, options).await
    }

    /// As [`Server::start`], on the given port.
    pub(crate) async fn start_on(port: u16, origin: &str, options: &[&str]) -> Self {
        let mut server = Self::spawn(origin, port, options).await;
        server.wait_ready().await;
        server
    }

    /// As [`Server::start_on`], without waiting.
    pub(crate) async fn spawn(origin: &str, port: u16, options: &[&str]) -> Self {
        Self::spawn_by(Command::new(env!("CARGO_BIN_EXE_strata-edge")), origin, port, options).await
    }

    /// As [`Server::spawn`], by a command that takes the options of strata-edge.
    pub(crate) async fn spawn_by(mut command: Command, origin: &str, port: u16, options: &[&str]) -> Self {
        let status_port = free_port();
        command
            .args(["--origin", origin, "--listen", &format!("127.0.0.1:{port}")])
            .args(["--status", &format!("127.0.0.1:{status_port}")])
            .args(["--config", "wrangler.toml", "--worker", "edge-worker"])
            .args(["--workerd", "node_modules/workerd/bin/workerd"])
            .args(options)
            .current_dir(ROOT);
        build_worker().await;
        Self::spawn_command(command, port, status_port)
    }

    /// Starts strata-edge by a command that sets these ports, with the tests' secret.
    pub(crate) fn spawn_command(mut command: Command, port: u16, status_port: u16) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_strata-edge"));
        let system = std::env::var_os("PATH").unwrap_or_default();
        let folders = program.parent().map(Path::to_owned).into_iter().chain(std::env::split_paths(&system));
        command.env("PATH", std::env::join_paths(folders).expect("a PATH")).env("PURGE_SECRET", Edge::SECRET);
        let (send, lines) = unbounded_channel();
        let process = Process::spawn("strata-edge", command, Placement::CallersGroup, Some(&send));
        let client = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
        Self { process: process.expect("strata-edge starts"), lines, client, port, status_port }
    }

    pub(crate) async fn wait_ready(&mut self) {
        let health = format!("http://127.0.0.1:{}/health", self.status_port);
        let client = self.client.clone();
        let is_ready =
            async || client.get(&health).send().await.is_ok_and(|answer| answer.status().is_success());
        let ready = self.process.wait_ready(Duration::from_secs(60), is_ready).await;
        ready.unwrap_or_else(|error| panic!("{error}"));
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Sends a `GET` to the worker, on a connection of its own.
    pub(crate) async fn try_get(&self, path: &str) -> reqwest::Result<Response> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        client.get(self.url(path)).send().await
    }

    /// Sends a `GET` to the worker.
    pub(crate) async fn get(&self, path: &str) -> Response {
        self.try_get(path).await.expect("the worker answers")
    }

    /// Returns whether the worker has a stored response.
    pub(crate) async fn is_hit(&self, path: &str) -> bool {
        let response = self.get(path).await;
        let status = response.headers().get("cache-status").and_then(|status| status.to_str().ok());
        status.is_some_and(|status| status.contains("strata-edge; hit"))
    }

    /// Returns the status and the members of the health.
    pub(crate) async fn health(&self) -> (u16, Value) {
        let response = self.status("/health").await;
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&response.bytes().await.expect("a body")).expect("JSON"))
    }

    /// Sends a `GET` to the address for operators.
    pub(crate) async fn status(&self, path: &str) -> Response {
        let url = format!("http://127.0.0.1:{}{path}", self.status_port);
        self.client.get(url).send().await.expect("the address for operators answers")
    }

    /// Returns the value of a metric, by its name and labels.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let text = self.status("/metrics").await.text().await.expect("a body");
        let sample = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        sample.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().expect("a number")
    }

    /// Sends a purge message with this record.
    pub(crate) async fn purge(&self, record: &str) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let body = format!(r#"{{"v":1,"records":[{record}]}}"#);
        let nonce = format!("nonce-{:032}", now.as_nanos()).parse().expect("a nonce");
        let host = format!("127.0.0.1:{}", self.port);
        let parts = SignedParts { method: "POST", host: &host, path: PURGE_PATH, body: body.as_bytes() };
        let signature = sign(&Edge::secret(), parts, now.as_secs(), &nonce);
        let request = self.client.post(self.url(PURGE_PATH)).header(SIGNATURE_HEADER, signature).body(body);
        assert_eq!(request.send().await.expect("the worker answers").status(), 200);
    }

    /// Stops strata-edge in order.
    pub(crate) async fn stop(mut self) {
        self.signal("-TERM");
        assert_eq!(self.end().await.code(), Some(0));
    }

    /// Kills strata-edge as a crash would, and waits until its address is free.
    pub(crate) async fn kill(mut self) {
        self.signal("-KILL");
        self.end().await;
        let is_free = async || std::net::TcpListener::bind(("127.0.0.1", self.port)).is_ok();
        eventually("its address is free", is_free).await;
    }

    /// Sends a signal to strata-edge.
    pub(crate) fn signal(&mut self, signal: &str) {
        let id = self.process.id().expect("it runs");
        send(signal, &id.to_string());
    }

    /// Sends a signal to workerd.
    pub(crate) fn signal_workerd(&mut self, signal: &str) {
        let parent = self.process.id().expect("it runs").to_string();
        let children = std::process::Command::new("pgrep").args(["-P", &parent]).output();
        let children = String::from_utf8(children.expect("pgrep").stdout).expect("a number");
        send(signal, children.trim());
    }

    /// Waits until strata-edge has ended.
    pub(crate) async fn end(&mut self) -> ExitStatus {
        eventually("strata-edge ends", async || self.process.exit_status().is_some()).await;
        self.process.exit_status().expect("it has ended")
    }

    /// Waits until a line that contains `text` is printed, and returns all that were printed since
    /// the last call.
    pub(crate) async fn printed_with(&mut self, text: &str) -> String {
        let mut printed = String::new();
        let has_text = async || {
            while let Ok(line) = self.lines.try_recv() {
                printed.push_str(&line.text);
                printed.push('\n');
            }
            printed.contains(text)
        };
        eventually(text, has_text).await;
        printed
    }
}

fn send(signal: &str, id: &str) {
    let status = std::process::Command::new("kill").args([signal, id]).status().expect("kill");
    assert!(status.success(), "kill {signal} {id}");
}

/// Builds the worker, unless it is built.
async fn build_worker() {
    static WORKER: OnceCell<()> = OnceCell::const_new();
    WORKER
        .get_or_init(async || {
            let status = xtask().arg("build-edge").status().await.expect("cargo xtask starts");
            assert!(status.success(), "the worker compiles");
        })
        .await;
}

/// Writes a module to run in place of the worker's own, into a folder.
pub(crate) fn entry(folder: &Path, script: &str) -> String {
    let file = folder.join("entry.mjs");
    std::fs::write(&file, script).expect("a writable folder");
    file.display().to_string()
}
