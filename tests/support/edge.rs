//! The built worker in workerd, started by `cargo xtask edge`.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response};
use shared_keys::purge::{PURGE_PATH, SIGNATURE_HEADER, Secret, SignedParts, sign};
use strata_harness::{Line, Placement, Process};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::{free_port, xtask};

/// Long enough to build and start the worker while other tests run.
const READY_LIMIT: Duration = Duration::from_secs(300);

/// A running worker. Stops when dropped, together with all that it started.
pub struct Edge {
    _process: Process,
    url: String,
    client: reqwest::Client,
    log: Mutex<Log>,
}

/// The lines that the worker printed.
struct Log {
    received: Vec<String>,
    incoming: UnboundedReceiver<Line>,
}

impl Edge {
    /// The text of the tests' purge secret.
    pub const SECRET: &str = "a secret of the tests alone";

    /// The text of the purge secret before a rotation, which the worker still accepts.
    pub const PREVIOUS_SECRET: &str = "the secret before the rotation";

    /// Starts a worker in front of `origin` and waits until it answers.
    pub async fn start(origin: &str) -> Self {
        Self::start_with(origin, &[]).await
    }

    /// As [`Edge::start`], with more options of `cargo xtask edge`.
    pub async fn start_with(origin: &str, options: &[&str]) -> Self {
        Self::start_on(free_port(), origin, options).await
    }

    /// As [`Edge::start_with`], on the given port, which must be free.
    pub async fn start_on(port: u16, origin: &str, options: &[&str]) -> Self {
        let mut command = xtask();
        command.args(["edge", "--origin", origin, "--port", &port.to_string()]).args(options);
        command.env("STRATA_PURGE_SECRET", Self::SECRET);
        command.env("PURGE_SECRET_PREVIOUS", Self::PREVIOUS_SECRET);
        let (lines, incoming) = unbounded_channel();
        let process = Process::spawn("cargo xtask edge", command, Placement::CallersGroup, Some(&lines));
        let mut process = process.expect("cargo xtask starts");
        let client = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
        let url = format!("http://127.0.0.1:{port}");
        let health = format!("{url}/__strata/health");
        let is_ready =
            async || client.get(&health).send().await.is_ok_and(|response| response.status().is_success());
        process.wait_ready(READY_LIMIT, is_ready).await.unwrap_or_else(|error| panic!("{error}"));
        Self { _process: process, url, client, log: Mutex::new(Log { received: Vec::new(), incoming }) }
    }

    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its host and port.
    #[must_use]
    pub fn host(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Returns the tests' purge secret.
    #[must_use]
    pub fn secret() -> Secret {
        Secret::new(Self::SECRET).expect("it is long enough")
    }

    /// Returns a request for a path.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    /// Sends a `GET`.
    pub async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.expect("the worker answers")
    }

    /// Sends a purge message signed with `secret` at `unix_secs`.
    pub async fn purge(&self, secret: &Secret, unix_secs: u64, nonce: &str, body: &str) -> Response {
        let parts =
            SignedParts { method: "POST", host: self.host(), path: PURGE_PATH, body: body.as_bytes() };
        let signature = sign(secret, parts, unix_secs, &nonce.parse().expect("a nonce"));
        self.purge_signed(&signature, body).await
    }

    /// Sends a purge message with the given signature.
    pub async fn purge_signed(&self, signature: &str, body: &str) -> Response {
        let request = self.request(Method::POST, PURGE_PATH).header(SIGNATURE_HEADER, signature);
        request.body(body.to_owned()).send().await.expect("the worker answers")
    }

    /// Counts the printed lines that contain `text`.
    #[must_use]
    pub fn logged(&self, text: &str) -> usize {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        while let Ok(line) = log.incoming.try_recv() {
            log.received.push(line.text);
        }
        log.received.iter().filter(|line| line.contains(text)).count()
    }
}
