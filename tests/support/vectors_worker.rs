//! The worker that checks the golden vectors, in workerd: `cargo xtask vectors`.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{free_port, xtask};

/// Building and starting the worker, on a machine that is busy with other tests.
const START: Duration = Duration::from_secs(300);

/// A running worker. Stopped, with workerd, when dropped.
pub struct VectorsWorker {
    child: Child,
    url: String,
    client: reqwest::Client,
}

impl VectorsWorker {
    /// A worker that answers.
    pub async fn start() -> Self {
        let port = free_port();
        let child = xtask().args(["vectors", "--port", &port.to_string()]).stdout(Stdio::null()).spawn();
        let mut worker = Self {
            child: child.expect("cargo xtask runs"),
            url: format!("http://127.0.0.1:{port}"),
            client: reqwest::Client::builder().no_proxy().build().expect("an HTTP client"),
        };
        worker.wait_ready().await;
        worker
    }

    /// Its report on a file of vectors, as JSON.
    pub async fn check(&self, file: String) -> Value {
        let answer = self.client.post(&self.url).body(file).send().await.expect("the worker answers");
        answer.json().await.expect("a report")
    }

    async fn wait_ready(&mut self) {
        let deadline = Instant::now() + START;
        while self.client.get(&self.url).send().await.is_err() {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the vectors' worker ended before it answered ({status})");
            }
            assert!(Instant::now() < deadline, "the vectors' worker did not start within {START:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for VectorsWorker {
    fn drop(&mut self) {
        // On SIGTERM it stops workerd.
        let _ = Command::new("kill").args(["-s", "TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}
