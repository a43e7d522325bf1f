//! A Redis server of the test's own.

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::time::Duration;

use origin_sdk::{Cache, CacheBuilder};
use strata_harness::Placement;
use strata_harness::error::Error;

use crate::WAIT_LIMIT;

/// A running `redis-server` without persistence. Killed when dropped.
pub struct RedisServer(strata_harness::RedisServer);

impl RedisServer {
    /// Starts a server on a free port. `STRATA_REDIS_SERVER` names another program than
    /// `redis-server`.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts a server in cluster mode, alone and without slots.
    pub async fn start_cluster_node() -> Self {
        Self::start_with(&["--cluster-enabled", "yes"]).await
    }

    /// Starts a server that listens on the socket at this path, too.
    pub async fn start_with_socket(path: &str) -> Self {
        Self::start_with(&["--unixsocket", path]).await
    }

    /// Starts a server with more arguments.
    pub(crate) async fn start_with(arguments: &[&str]) -> Self {
        let program = program();
        let start = strata_harness::RedisServer::start(&program, arguments, Placement::CallersGroup, None);
        Self::expect(start.await)
    }

    /// Starts a sentinel with these lines of its configuration.
    pub(crate) async fn start_sentinel(settings: &str) -> Self {
        let (program, placement) = (program(), Placement::CallersGroup);
        Self::expect(strata_harness::RedisServer::start_sentinel(&program, settings, placement, None).await)
    }

    fn expect(server: Result<strata_harness::RedisServer, Error>) -> Self {
        Self(server.unwrap_or_else(|error| {
            panic!("{} must be installed (cargo xtask setup): {error}", program().display())
        }))
    }

    /// Returns a builder of a cache on this server, as one process of a fleet has it. Without
    /// jitter, so that lifetimes are exact.
    pub fn cache(&self) -> CacheBuilder {
        Cache::builder("test").redis(self.url()).jitter(0.0).command_timeout(Duration::from_millis(300))
    }

    /// Starts it again after a kill, on the same port and without data.
    pub async fn restart(&mut self) {
        self.0.restart().await.expect("the server starts again");
    }

    /// Runs a command and returns its reply.
    pub async fn run<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let (name, arguments) = command.split_first().expect("a command");
        let mut command = redis::cmd(name);
        arguments.iter().for_each(|argument| {
            command.arg(argument);
        });
        let client = redis::Client::open(self.url()).expect("the URL is well-formed");
        // The client's default timeouts (0.5 s) are too short for a busy machine.
        let config = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(Some(WAIT_LIMIT))
            .set_response_timeout(Some(WAIT_LIMIT));
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        let mut connection = connecting.await.expect("the server answers");
        command.query_async(&mut connection).await.expect("the command is accepted")
    }
}

/// Returns the program that `STRATA_REDIS_SERVER` names, or `redis-server`.
fn program() -> PathBuf {
    std::env::var_os("STRATA_REDIS_SERVER").map_or_else(|| "redis-server".into(), PathBuf::from)
}

/// The server's URL and port; kill, freeze and thaw.
impl Deref for RedisServer {
    type Target = strata_harness::RedisServer;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for RedisServer {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}
