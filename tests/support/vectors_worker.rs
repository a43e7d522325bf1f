//! The worker that checks the golden vectors in workerd, started by `cargo xtask vectors`.

use std::time::Duration;

use serde_json::Value;
use strata_harness::{Placement, Process};

use crate::{free_port, xtask};

/// Long enough to build and start the worker while other tests run.
const READY_LIMIT: Duration = Duration::from_secs(300);

/// A running worker. Stops when dropped, together with workerd.
pub struct VectorsWorker {
    _process: Process,
    url: String,
    client: reqwest::Client,
}

impl VectorsWorker {
    /// Starts the worker and waits until it answers.
    pub async fn start() -> Self {
        let port = free_port();
        let mut command = xtask();
        command.args(["vectors", "--port", &port.to_string()]);
        let process = Process::spawn("cargo xtask vectors", command, Placement::CallersGroup, None);
        let mut process = process.expect("cargo xtask starts");
        let client = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
        let url = format!("http://127.0.0.1:{port}");
        let ready = process.wait_ready(READY_LIMIT, async || client.get(&url).send().await.is_ok()).await;
        ready.unwrap_or_else(|error| panic!("{error}"));
        Self { _process: process, url, client }
    }

    /// Returns its report on a file of vectors, as JSON.
    pub async fn check(&self, file: String) -> Value {
        let answer = self.client.post(&self.url).body(file).send().await.expect("the worker answers");
        answer.json().await.expect("a report")
    }
}
