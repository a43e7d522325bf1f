//! A Redis of the test's own.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use origin_sdk::{Cache, CacheBuilder};
use tempfile::TempDir;

use crate::{PATIENCE, eventually, free_port};

/// A running `redis-server`, without persistence. Killed when dropped.
pub struct RedisServer {
    child: Child,
    port: u16,
    folder: TempDir,
    options: &'static [&'static str],
}

impl RedisServer {
    /// A server that answers, on a free port. `STRATA_REDIS_SERVER` names another program than `redis-server`.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same, in cluster mode, though alone and without slots.
    pub async fn start_cluster_node() -> Self {
        Self::start_with(&["--cluster-enabled", "yes"]).await
    }

    async fn start_with(options: &'static [&'static str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = free_port();
        let server = Self { child: spawn(port, &folder, options), port, folder, options };
        server.wait_ready().await;
        server
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A builder of a cache on it, as one process of the fleet has it. Without jitter, so that lifetimes are exact.
    pub fn cache(&self) -> CacheBuilder {
        Cache::builder("test").redis(self.url()).jitter(0.0).command_timeout(Duration::from_millis(300))
    }

    /// Kills it as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().expect("the server runs");
        self.child.wait().expect("a killed child ends");
    }

    /// Starts it again after [`RedisServer::kill`], empty.
    pub async fn restart(&mut self) {
        self.child = spawn(self.port, &self.folder, self.options);
        self.wait_ready().await;
    }

    /// Stops it from answering, without closing a connection.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets it go on after [`RedisServer::freeze`].
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// Runs a command and gives its answer.
    pub async fn run<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let (name, arguments) = command.split_first().expect("a command");
        let mut command = redis::cmd(name);
        arguments.iter().for_each(|argument| {
            command.arg(argument);
        });
        let client = redis::Client::open(self.url()).expect("the URL is well-formed");
        // Longer than the client's own half a second, which a busy machine may take.
        let patient = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let connecting = client.get_multiplexed_async_connection_with_config(&patient);
        let mut connection = connecting.await.expect("the server answers");
        command.query_async(&mut connection).await.expect("the command is accepted")
    }

    async fn wait_ready(&self) {
        let client = redis::Client::open(self.url()).expect("the URL is well-formed");
        eventually("Redis answers", async || {
            let Ok(mut connection) = client.get_multiplexed_async_connection().await else { return false };
            redis::cmd("PING").query_async::<String>(&mut connection).await.is_ok()
        })
        .await;
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args(["-s", signal, &self.child.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "the server takes the signal");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // It may have been killed by the test already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(port: u16, folder: &TempDir, options: &[&str]) -> Child {
    let program = std::env::var("STRATA_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
    Command::new(&program)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(options)
        .arg("--dir")
        .arg(folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} must be installed (cargo xtask setup): {error}"))
}
