//! A primary with two replicas, and three sentinels that watch them.

use std::time::Duration;

use origin_sdk::{Cache, CacheBuilder};

use crate::fake_sentinel::url_of;
use crate::{RedisServer, eventually};

/// The time after which a sentinel takes a silent server for down.
const DOWN_AFTER_MS: u32 = 1_000;

/// Servers and sentinels of a service `main`. Killed when dropped.
pub struct Sentinels {
    /// The servers. The first is the primary at first.
    pub servers: Vec<RedisServer>,
    /// The sentinels.
    pub sentinels: Vec<RedisServer>,
}

impl Sentinels {
    /// Starts everything, and waits until a failover would succeed.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// As [`Sentinels::start`], with more arguments for the servers.
    pub async fn start_with(arguments: &[&str]) -> Self {
        let primary = RedisServer::start_with(arguments).await;
        let port = primary.port().to_string();
        let mut servers = vec![primary];
        for _ in 0..2 {
            let replica = [&["--replicaof", "127.0.0.1", &port], arguments].concat();
            servers.push(RedisServer::start_with(&replica).await);
        }
        let settings = format!(
            "sentinel monitor main 127.0.0.1 {port} 2\n\
             sentinel down-after-milliseconds main {DOWN_AFTER_MS}\n\
             sentinel failover-timeout main 3000"
        );
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            sentinels.push(RedisServer::start_sentinel(&settings).await);
        }
        let all = Self { servers, sentinels };
        for sentinel in &all.sentinels {
            eventually("the sentinel knows the others and the replicas", async || {
                let known = sentinel.run::<Vec<String>>(&["SENTINEL", "MASTER", "main"]).await;
                let number =
                    |name| known.iter().position(|field| field == name).map(|at| known[at + 1].as_str());
                number("num-slaves") == Some("2") && number("num-other-sentinels") == Some("2")
            })
            .await;
        }
        eventually("the replicas follow", async || all.replicas_of(0).await == 2).await;
        all
    }

    /// Returns the URL of the service.
    #[must_use]
    pub fn url(&self) -> String {
        url_of(self.sentinels.iter().map(|sentinel| sentinel.port()))
    }

    /// Returns a builder of a cache on this service, as [`RedisServer::cache`].
    pub fn cache(&self) -> CacheBuilder {
        Cache::builder("test").redis(self.url()).jitter(0.0).command_timeout(Duration::from_millis(300))
    }

    /// Makes a sentinel replace the primary, which works, by a replica. Returns before that has
    /// happened.
    pub async fn begin_failover(&self) {
        self.sentinels[0].run::<String>(&["SENTINEL", "FAILOVER", "main"]).await;
    }

    /// Waits until all sentinels name another primary than this server. Returns the number of the
    /// server that they name.
    pub async fn replaced(&self, server: usize) -> usize {
        let before = self.servers[server].port();
        for sentinel in &self.sentinels {
            eventually("the sentinel names another primary", async || named_by(sentinel).await != before)
                .await;
        }
        let port = named_by(&self.sentinels[0]).await;
        self.servers.iter().position(|server| server.port() == port).expect("the port of a server")
    }

    async fn replicas_of(&self, server: usize) -> usize {
        let info: String = self.servers[server].run(&["INFO", "replication"]).await;
        info.matches("state=online").count()
    }
}

/// Returns the port of the primary that a sentinel names.
async fn named_by(sentinel: &RedisServer) -> u16 {
    let question = ["SENTINEL", "get-master-addr-by-name", "main"];
    sentinel.run::<(String, u16)>(&question).await.1
}
