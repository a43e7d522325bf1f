//! The built worker in workerd, started by the command that users have: `cargo xtask edge`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response};
use shared_keys::purge::{PURGE_PATH, SIGNATURE_HEADER, Secret, SignedParts, sign};

use crate::{free_port, xtask};

/// Building and starting the worker, on a machine that is busy with other tests.
const START: Duration = Duration::from_secs(300);

/// A running worker. Stopped, with all that it started, when dropped.
pub struct Edge {
    child: Child,
    url: String,
    client: reqwest::Client,
    /// What it has said.
    log: Arc<Mutex<Vec<String>>>,
}

impl Edge {
    /// The text of the secret that the worker under test has.
    pub const SECRET: &str = "a secret of the tests alone";

    /// A worker that answers, in front of `origin`.
    pub async fn start(origin: &str) -> Self {
        Self::start_with(origin, &[]).await
    }

    /// The same with more options of `cargo xtask edge`.
    pub async fn start_with(origin: &str, options: &[&str]) -> Self {
        Self::start_on(free_port(), origin, options).await
    }

    /// The same on a port of the caller's choice, which must be free.
    pub async fn start_on(port: u16, origin: &str, options: &[&str]) -> Self {
        let mut command = xtask();
        command.args(["edge", "--origin", origin, "--port", &port.to_string()]).args(options);
        let child = command.env("STRATA_PURGE_SECRET", Self::SECRET).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("cargo xtask runs");
        let (stdout, log) = (child.stdout.take().expect("it is piped"), Arc::<Mutex<Vec<String>>>::default());
        let lines = Arc::clone(&log);
        // Ends with the process.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        let edge = Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
            client: reqwest::Client::builder().no_proxy().build().expect("an HTTP client"),
            log,
        };
        edge.wait_ready().await;
        edge
    }

    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The secret that signs purges.
    #[must_use]
    pub fn secret() -> Secret {
        Secret::new(Self::SECRET).expect("it is not empty")
    }

    /// A request for a path.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    /// The answer to a `GET`.
    pub async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.expect("the worker answers")
    }

    /// The answer to a purge message signed with `secret` at `unix_secs`.
    pub async fn purge(&self, secret: &Secret, unix_secs: u64, nonce: &str, body: &str) -> Response {
        let parts = SignedParts { method: "POST", path: PURGE_PATH, body: body.as_bytes() };
        let signature = sign(secret, parts, unix_secs, &nonce.parse().expect("a nonce"));
        self.purge_signed(&signature, body).await
    }

    /// The answer to a purge message with this signature.
    pub async fn purge_signed(&self, signature: &str, body: &str) -> Response {
        let request = self.request(Method::POST, PURGE_PATH).header(SIGNATURE_HEADER, signature);
        request.body(body.to_owned()).send().await.expect("the worker answers")
    }

    /// How many lines it has printed that hold `text`.
    #[must_use]
    pub fn logged(&self, text: &str) -> usize {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().filter(|line| line.contains(text)).count()
    }

    async fn wait_ready(&self) {
        let deadline = std::time::Instant::now() + START;
        loop {
            let health = self.request(Method::GET, "/__strata/health").send().await;
            if health.is_ok_and(|response| response.status().is_success()) {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "the worker did not start within {START:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        // On SIGTERM it stops workerd and what else it started.
        let _ = Command::new("kill").args(["-s", "TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}
