//! Settings → a cache. They are checked once, in [`CacheBuilder::build`].

use std::sync::Arc;
use std::time::Duration;

use shared_keys::purge::Secret;

use crate::cache::{Cache, Core};
use crate::clock::Clock;
use crate::error::BuildError;
use crate::journal::{Journal, follow_forever};
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::purge::{Shipper, WorkerEndpoint};
use crate::store::{EmbeddedStore, RedisStore, Store};

/// How a [`Cache`] is set up. Made by [`Cache::builder`].
#[derive(Debug, Clone)]
#[must_use]
pub struct CacheBuilder {
    app: String,
    redis: Option<String>,
    command_timeout: Duration,
    max_lag: Duration,
    memory_bytes: usize,
    memory_entries: usize,
    jitter: f64,
    edge: Option<(String, Secret)>,
    bypass: bool,
    clock: Clock,
}

impl CacheBuilder {
    pub(crate) fn new(app: &str) -> Self {
        Self {
            app: app.to_owned(),
            redis: None,
            command_timeout: Duration::from_millis(500),
            max_lag: Duration::from_secs(2),
            memory_bytes: 64 << 20,
            memory_entries: 100_000,
            jitter: 0.1,
            edge: None,
            bypass: false,
            clock: Clock::system(),
        }
    }

    /// Shares values and the journal with the fleet through the Redis at `url` (`redis://[user:password@]host[:port][/db]`).
    /// Without it the cache lives and ends with this process: right for a service of one process, and for tests.
    pub fn redis(mut self, url: impl Into<String>) -> Self {
        self.redis = Some(url.into());
        self
    }

    /// How long a Redis command, or connecting, may take before the read goes on without it. Default 500 ms.
    pub fn command_timeout(mut self, timeout: Duration) -> Self {
        self.command_timeout = timeout;
        self
    }

    /// How far this process may be behind the journal before it catches up first and, if it cannot, goes to the loader.
    /// Default 2 s. Invalidations normally arrive within milliseconds.
    pub fn max_lag(mut self, max_lag: Duration) -> Self {
        self.max_lag = max_lag;
        self
    }

    /// The most bytes that values in memory may take, by their encoded size. Default 64 MiB. Without Redis the embedded
    /// store keeps encoded copies up to the same bounds once more.
    pub fn memory_bytes(mut self, bytes: usize) -> Self {
        self.memory_bytes = bytes;
        self
    }

    /// The most values in memory. Default 100,000.
    pub fn memory_entries(mut self, entries: usize) -> Self {
        self.memory_entries = entries;
        self
    }

    /// The largest part of `fresh` that is taken off at random, so that what was loaded together does not expire
    /// together. 0 to 1, default 0.1.
    pub fn jitter(mut self, part: f64) -> Self {
        self.jitter = part.clamp(0.0, 1.0);
        self
    }

    /// Ships the journal to the edge worker at `url`, signed with the secret that the worker has as `PURGE_SECRET`.
    pub fn edge(mut self, url: impl Into<String>, secret: Secret) -> Self {
        self.edge = Some((url.into(), secret));
        self
    }

    /// Lets every read go to its loader, and keeps nothing: a switch to measure without the cache, or to take it out.
    /// Invalidations still reach the journal. Default `false`.
    pub fn bypass(mut self, bypass: bool) -> Self {
        self.bypass = bypass;
        self
    }

    /// The clock that ages, the journal's lag and the pauses after a failure of Redis are told by. Default
    /// [`Clock::system`]. Times to live in Redis are Redis's.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The cache. Starts the tasks that follow and ship the journal, and waits for the first answer of Redis, though not
    /// longer than its timeout: a Redis that is down does not keep a service from starting.
    ///
    /// # Errors
    /// If a setting is malformed; the error names it.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub async fn build(self) -> Result<Cache, BuildError> {
        if self.memory_entries == 0 {
            return Err(BuildError::Zero { setting: "memory_entries" });
        }
        let store: Arc<dyn Store> = match &self.redis {
            Some(url) => Arc::new(
                RedisStore::new(url, &self.app, self.command_timeout, &self.clock)
                    .map_err(|source| BuildError::RedisUrl { url: without_credentials(url), source })?,
            ),
            None => Arc::new(EmbeddedStore::new(self.memory_entries, self.memory_bytes, self.clock.clone())),
        };
        let endpoint = self.edge.map(|(url, secret)| WorkerEndpoint::new(&url, secret)).transpose()?;

        let metrics = Arc::new(Metrics::default());
        let journal =
            Arc::new(Journal::new(Arc::clone(&store), self.clock.clone(), Arc::clone(&metrics), self.max_lag));
        if let Err(error) = journal.catch_up().await {
            tracing::warn!(%error, "starting without the journal: reads go to their loaders until it is reached");
        }
        tokio::spawn(follow_forever(Arc::downgrade(&journal)));
        let has_edge = endpoint.is_some();
        if let Some(endpoint) = endpoint {
            let shipper = Shipper::new(Arc::clone(&store), endpoint, Arc::clone(&metrics));
            tokio::spawn(shipper.run(Arc::downgrade(&journal)));
        }
        Ok(Cache::new(Core {
            memory: Memory::new(self.memory_entries, self.memory_bytes),
            store,
            journal,
            metrics,
            clock: self.clock,
            jitter: self.jitter,
            bypass: self.bypass,
            has_edge,
        }))
    }
}

/// The URL as it may stand in an error.
fn without_credentials(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => url.to_owned(),
    }
}
