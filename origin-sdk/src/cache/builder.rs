//! The settings of a cache, which [`CacheBuilder::build`] checks once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

#[cfg(feature = "shipping")]
use shared_keys::purge::Secret;

use tokio::sync::Semaphore;

use super::Cache;
use crate::clock::Clock;
use crate::closing::Closing;
use crate::codec::{Codec, Format};
use crate::core::{Core, LEASE_COMMANDS};
use crate::durable_queue::QueueStore;
use crate::error::BuildError;
use crate::journal::{Journal, ensure_follower};
use crate::memory::Memory;
#[cfg(feature = "metrics")]
use crate::metrics::Exported;
use crate::metrics::{Metrics, NamespaceMetrics};
use crate::outdated::OutdatedCopies;
use crate::random::Randomness;
use crate::report;
#[cfg(feature = "shipping")]
use crate::shipping::{self, Target, WorkerEndpoint, Zone, ZoneApi};
use crate::store::{
    EmbeddedStore, Faults, FaultyStore, MeasuredStore, RedisOptions, RedisStore, Store, StoreTimings,
    Timeouts, Topology,
};
#[cfg(feature = "shipping")]
use crate::web_url::UrlText;

/// The longest deadline of closing a cache, so that adding it to a time does not overflow.
const MAX_CLOSE_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// A builder of a [`Cache`], returned by [`Cache::builder`].
#[derive(Debug, Clone)]
#[must_use]
pub struct CacheBuilder {
    app: String,
    environment: Option<String>,
    topology: Topology,
    faults: Option<Faults>,
    timeouts: Timeouts,
    max_lag: Duration,
    lease_ttl: Duration,
    memory_bytes: usize,
    memory_entries: usize,
    codec: Codec,
    jitter: f64,
    #[cfg(feature = "shipping")]
    edge: Option<(UrlText, Secret)>,
    #[cfg(feature = "shipping")]
    zones: Vec<Zone>,
    bypass: bool,
    close_timeout: Duration,
    report_interval: Duration,
    durable_queue: Option<Arc<dyn QueueStore>>,
    clock: Clock,
    randomness: Randomness,
}

impl CacheBuilder {
    pub(crate) fn new(app: &str) -> Self {
        Self {
            app: app.to_owned(),
            environment: None,
            topology: Topology::Embedded,
            faults: None,
            timeouts: Timeouts::default(),
            max_lag: Duration::from_secs(2),
            lease_ttl: Duration::from_secs(5),
            memory_bytes: 64 << 20,
            memory_entries: 100_000,
            codec: Codec { verify: cfg!(debug_assertions), ..Codec::default() },
            jitter: 0.1,
            #[cfg(feature = "shipping")]
            edge: None,
            #[cfg(feature = "shipping")]
            zones: Vec::new(),
            bypass: false,
            close_timeout: Duration::from_secs(5),
            report_interval: Duration::from_secs(5),
            durable_queue: None,
            clock: Clock::system(),
            randomness: Randomness::system(),
        }
    }

    /// Shares values and the journal with the fleet through the Redis at `url`
    /// (`redis://[user:password@]host[:port][/db]`; `rediss://` for TLS, with the feature `tls`),
    /// or through the primary that sentinels name (`redis+sentinel://host1,host2,host3/mymaster`;
    /// [`Topology::Sentinel`]). Without it the cache ends with this process, which suits a service
    /// of one process, and tests. Short for [`CacheBuilder::topology`] with
    /// [`Topology::from_url`].
    pub fn redis(self, url: impl Into<String>) -> Self {
        self.topology(Topology::from_url(url))
    }

    /// Sets the servers that hold the shared tier and the journal. Default [`Topology::Embedded`]:
    /// none.
    pub fn topology(mut self, topology: Topology) -> Self {
        self.topology = topology;
        self
    }

    /// Separates this environment from others that share its Redis, such as `staging` from
    /// `production`. All names in Redis then begin with `NAME/`: keys, journal, leases, channels
    /// and the progress of shipping. Processes of the same app and environment share values and
    /// invalidations. Default: no name, which is an environment of its own. A name has one or more
    /// of `a-z 0-9 _ -`.
    ///
    /// ```
    /// # use origin_sdk::Cache;
    /// let builder = Cache::builder("shop").redis("redis://127.0.0.1:6379").environment("staging");
    /// ```
    pub fn environment(mut self, name: impl Into<String>) -> Self {
        self.environment = Some(name.into());
        self
    }

    /// Injects faults into the shared tier and the journal, for tests of a service. Default: none.
    pub fn faults(mut self, faults: &Faults) -> Self {
        self.faults = Some(faults.clone());
        self
    }

    /// Sets the timeout of a connection attempt to Redis. Default 500 ms; more than zero.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.connect = timeout;
        self
    }

    /// Sets the timeout of a Redis command. After it the connection is closed, and the read goes on
    /// without Redis. It begins again whenever bytes arrive over the connection (with TLS: a whole
    /// reply), so a slow link does not close it. Large values are read in pieces of 256 KiB and
    /// sent in pieces of 64 KiB, each with this timeout. Default 500 ms; more than zero.
    pub fn command_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.command = timeout;
        self
    }

    /// Sets the timeout of a whole Redis operation: waiting for a connection that another caller
    /// opens, opening one, and the command. Default 1 s; at least the command timeout.
    pub fn overall_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.overall = timeout;
        self
    }

    /// Sets how far this process may lag behind the journal. Beyond that a read catches up first,
    /// and if the journal cannot be reached, follows [`OnDisconnect`](crate::OnDisconnect). Default 2 s; more than zero.
    /// Invalidations normally arrive within milliseconds.
    pub fn max_lag(mut self, max_lag: Duration) -> Self {
        self.max_lag = max_lag;
        self
    }

    /// Sets the lifetime of a lease on a key: how long other processes wait for one that crashed
    /// while it loaded the key. A running process renews its lease for as long as the loader takes.
    /// Default 5 s; more than zero.
    pub fn lease_ttl(mut self, ttl: Duration) -> Self {
        self.lease_ttl = ttl;
        self
    }

    /// Sets the most bytes that the values in this process's memory may take in sum, by their
    /// encoded size before compression. Default 64 MiB; more than zero.
    ///
    /// One value may take the whole budget. A value that alone exceeds it is not held in memory,
    /// and [`Stats::too_large_for_memory`](crate::Stats::too_large_for_memory) counts it. Without Redis, the embedded store holds
    /// encoded copies up to the same bounds once more.
    pub fn memory_bytes(mut self, bytes: usize) -> Self {
        self.memory_bytes = bytes;
        self
    }

    /// Sets the most values in memory. Default 100,000; more than zero.
    pub fn memory_entries(mut self, entries: usize) -> Self {
        self.memory_entries = entries;
        self
    }

    /// Sets the most bytes of one value in the shared tier, by its encoded size before compression.
    /// Default 64 MiB; more than zero.
    ///
    /// A larger value is held in memory only. A larger one that another process has stored is not
    /// read, and counts as missing, so that it cannot fill this process's memory.
    /// [`Stats::too_large_for_redis`](crate::Stats::too_large_for_redis) counts both. All processes of an app should have the same
    /// limit.
    pub fn max_value_bytes(mut self, bytes: usize) -> Self {
        self.codec.max_value_bytes = bytes;
        self
    }

    /// Sets the encoding of values in the shared tier. Default [`Format::Json`].
    pub fn format(mut self, format: Format) -> Self {
        self.codec.format = format;
        self
    }

    /// Sets whether each value that is stored is read back at once and compared with the original,
    /// as far as serde shows it. One that differs is not stored, logged once per type, and counted
    /// in [`Stats::not_serializable`](crate::Stats::not_serializable). Memory then holds the copy
    /// that was read back. So a field that serde skips is missing from the first hit on, and not
    /// only in other processes. Default: true in debug builds, false in others, since it decodes
    /// every value that is loaded.
    ///
    /// Values that the format may change, such as numbers that are not finite in JSON, are read
    /// back and compared in any case.
    pub fn verify_values(mut self, verify: bool) -> Self {
        self.codec.verify = verify;
        self
    }

    /// Compresses values in the shared tier that are longer than `bytes`, with zstd. Default: none.
    #[cfg(feature = "zstd")]
    pub fn compress_over(mut self, bytes: usize) -> Self {
        self.codec.compress_over = Some(bytes);
        self
    }

    /// Sets the largest fraction of `fresh` that is subtracted at random, so that values which were
    /// loaded together do not expire together. From 0.0 to 1.0, default 0.1.
    pub fn jitter(mut self, fraction: f64) -> Self {
        self.jitter = fraction;
        self
    }

    /// Ships the journal to the edge worker at `url`, signed with the secret that the worker has as
    /// `PURGE_SECRET`. The signature holds for the host of `url` alone, so it must be the one that
    /// the worker sees. Default: no edge.
    #[cfg(feature = "shipping")]
    pub fn edge(mut self, url: impl Into<String>, secret: Secret) -> Self {
        self.edge = Some((UrlText(url.into()), secret));
        self
    }

    /// Also ships the journal to a Cloudflare zone's purge API, which removes the responses that
    /// the zone's caches hold at once. Call it for each zone. The worker is needed all the same:
    /// see [`Zone`].
    #[cfg(feature = "shipping")]
    pub fn zone(mut self, zone: Zone) -> Self {
        self.zones.push(zone);
        self
    }

    /// Sends every read to its loader and stores nothing, to measure a service without the cache or
    /// to turn the cache off. Invalidations still reach the journal. Default `false`.
    pub fn bypass(mut self, bypass: bool) -> Self {
        self.bypass = bypass;
        self
    }

    /// Keeps a durable copy of the queue of invalidations, such as in a [`QueueFile`](crate::QueueFile). Default: the
    /// queue is in memory only.
    ///
    /// An invalidation whose receipt says [`Delivery::Queued`](crate::Delivery::Queued) is then sent even if the process
    /// crashes: the next one that is built with the same store queues it again. Not covered are an
    /// invalidation that the process had not finished when it crashed, and one whose copy failed
    /// ([`Stats::durable_queue_errors`](crate::Stats::durable_queue_errors)).
    pub fn durable_queue(mut self, store: impl QueueStore) -> Self {
        self.durable_queue = Some(Arc::new(store));
        self
    }

    /// Sets the deadline of [`Cache::close`] and [`Cache::flush`]. Default 5 s; at most a day. It
    /// must be shorter than the time that the process gets to stop, such as the grace period of a
    /// container.
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.close_timeout = timeout.min(MAX_CLOSE_TIMEOUT);
        self
    }

    /// Sets how often the process publishes its figures in Redis, for `cachectl stats`: counts and
    /// times per namespace, and no key or value. A report takes one command and expires after three
    /// intervals. Default 5 s; zero turns it off. Needs Redis.
    pub fn report_interval(mut self, interval: Duration) -> Self {
        self.report_interval = interval;
        self
    }

    /// Sets the clock of ages, of the journal's lag and of the backoff after a failure of Redis.
    /// Default [`Clock::system`]. Times to live in Redis follow Redis's own clock.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the source of randomness for jitter and early refreshes. Default
    /// [`Randomness::system`].
    pub fn randomness(mut self, randomness: Randomness) -> Self {
        self.randomness = randomness;
        self
    }

    /// Builds the cache. Starts the tasks that follow and ship the journal, and waits for the first
    /// reply of Redis, at most for its timeout: a Redis that is down does not prevent a service
    /// from starting.
    ///
    /// # Errors
    /// If a setting is malformed; the error names it.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub async fn build(self) -> Result<Cache, BuildError> {
        self.check()?;
        #[cfg(feature = "shipping")]
        let targets = self.targets()?;
        let (metrics, store_timings) = (Arc::new(Metrics::default()), Arc::new(StoreTimings::default()));
        let primary = self.topology.primary(self.timeouts, &self.clock)?;
        let publishes_reports = primary.is_some() && !self.report_interval.is_zero();
        let mut store: Arc<dyn Store> = match primary {
            Some(primary) => {
                let options = RedisOptions {
                    timeouts: self.timeouts,
                    max_lag: self.max_lag,
                    clock: self.clock.clone(),
                    max_value_bytes: self.codec.max_value_bytes,
                    metrics: Arc::clone(&metrics),
                    environment: self.environment,
                };
                let store = RedisStore::new(&primary, &self.app, options);
                Arc::new(MeasuredStore::new(store, Arc::clone(&store_timings), self.clock.clone()))
            }
            None => Arc::new(EmbeddedStore::new(self.memory_entries, self.memory_bytes, self.clock.clone())),
        };
        if let Some(faults) = self.faults {
            store = Arc::new(FaultyStore::new(store, faults));
        }
        let closing = Arc::new(Closing::default());
        let journal = Journal::new(
            Arc::clone(&store),
            self.clock.clone(),
            Arc::clone(&metrics),
            Arc::clone(&closing),
            self.max_lag,
        );
        let journal = Arc::new(journal.with_durable_queue(self.durable_queue));
        journal.replay_durable_queue().await.map_err(BuildError::DurableQueue)?;
        if let Err(error) = journal.catch_up().await {
            tracing::warn!(%error, "starting without the journal: reads go to their loaders until it is reached");
        }
        #[cfg(feature = "shipping")]
        let has_edge = {
            let shippers = shipping::shippers(targets, &store, &metrics, &closing);
            let has_edge = !shippers.is_empty();
            journal.set_companions(move |journal| {
                shippers.iter().for_each(|shipper| shipper.ensure_running(journal));
            });
            has_edge
        };
        #[cfg(not(feature = "shipping"))]
        let has_edge = false;
        ensure_follower(&journal);
        let built_at = self.clock.now();
        let cache = Cache::new(Core {
            app: self.app,
            memory: Memory::new(self.memory_entries, self.memory_bytes),
            store,
            in_flight: Arc::default(),
            outdated_copies: OutdatedCopies::default(),
            journal,
            closing,
            close_timeout: self.close_timeout,
            metrics,
            namespaces: NamespaceMetrics::default(),
            #[cfg(feature = "metrics")]
            store_timings,
            #[cfg(feature = "metrics")]
            exported: Exported::default(),
            clock: self.clock,
            codec: self.codec,
            refused_types: Mutex::default(),
            lease_ttl: self.lease_ttl,
            lease_commands: Arc::new(Semaphore::new(LEASE_COMMANDS)),
            randomness: self.randomness,
            jitter: self.jitter,
            bypass: self.bypass,
            has_edge,
        });
        if publishes_reports {
            let core = Arc::downgrade(cache.core());
            tokio::spawn(report::publish(core, self.report_interval, built_at));
        }
        Ok(cache)
    }

    /// Returns the targets of the shipper.
    #[cfg(feature = "shipping")]
    fn targets(&self) -> Result<Vec<Box<dyn Target>>, BuildError> {
        let mut targets: Vec<Box<dyn Target>> = Vec::new();
        if let Some((url, secret)) = &self.edge {
            targets.push(Box::new(WorkerEndpoint::new(&url.0, secret.clone())?));
        }
        for zone in &self.zones {
            targets.push(Box::new(ZoneApi::new(zone)?));
        }
        Ok(targets)
    }

    /// Checks the settings that no constructor has checked.
    fn check(&self) -> Result<(), BuildError> {
        check_names(self.environment.as_deref(), Some(&self.app))?;
        let Timeouts { connect, command, overall } = self.timeouts;
        for (setting, is_zero) in [
            ("memory_entries", self.memory_entries == 0),
            ("memory_bytes", self.memory_bytes == 0),
            ("max_value_bytes", self.codec.max_value_bytes == 0),
            ("connect_timeout", connect.is_zero()),
            ("command_timeout", command.is_zero()),
            ("max_lag", self.max_lag.is_zero()),
            ("lease_ttl", self.lease_ttl.is_zero()),
        ] {
            if is_zero {
                return Err(BuildError::Zero { setting });
            }
        }
        if overall < command {
            return Err(BuildError::OverallTimeout { overall, command });
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err(BuildError::Fraction { setting: "jitter", got: self.jitter });
        }
        Ok(())
    }
}

/// Checks the names of an environment and an app, which begin each name in Redis.
pub(crate) fn check_names(environment: Option<&str>, app: Option<&str>) -> Result<(), BuildError> {
    let malformed =
        |name: Option<&str>| name.filter(|name| !shared_keys::is_app_name(name)).map(str::to_owned);
    if let Some(environment) = malformed(environment) {
        return Err(BuildError::Environment { environment });
    }
    malformed(app).map_or(Ok(()), |app| Err(BuildError::App { app }))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refused(builder: CacheBuilder) -> String {
        builder.build().await.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[tokio::test]
    async fn an_error_names_the_setting_and_what_was_expected() {
        let builder = || CacheBuilder::new("shop");
        let second = Duration::from_secs(1);
        for (builder, message) in [
            (CacheBuilder::new("My Shop"), r#"app: expected one or more of a-z 0-9 _ -, got "My Shop""#),
            (builder().environment("a/b"), r#"environment: expected one or more of a-z 0-9 _ -, got "a/b""#),
            (CacheBuilder::new(""), r#"app: expected one or more of a-z 0-9 _ -, got """#),
            (builder().memory_entries(0), "memory_entries: expected more than zero"),
            (builder().memory_bytes(0), "memory_bytes: expected more than zero"),
            (builder().connect_timeout(Duration::ZERO), "connect_timeout: expected more than zero"),
            (builder().command_timeout(Duration::ZERO), "command_timeout: expected more than zero"),
            (builder().max_lag(Duration::ZERO), "max_lag: expected more than zero"),
            (builder().lease_ttl(Duration::ZERO), "lease_ttl: expected more than zero"),
            (
                builder().command_timeout(second).overall_timeout(second / 2),
                "overall_timeout: expected at least the command timeout of 1s, got 500ms",
            ),
            (builder().jitter(1.5), "jitter: expected a fraction from 0.0 to 1.0, got 1.5"),
            (builder().jitter(f64::NAN), "jitter: expected a fraction from 0.0 to 1.0, got NaN"),
            (builder().redis("cache.internal"), "redis: expected a URL such as redis://127.0.0.1:6379"),
            #[cfg(all(feature = "shipping", not(feature = "tls")))]
            (
                builder().edge("https://x", Secret::new("a secret of the tests").unwrap()),
                "edge: https:// needs the feature `tls`",
            ),
            #[cfg(feature = "shipping")]
            (
                builder().edge("ftp://x", Secret::new("a secret of the tests").unwrap()),
                "edge: expected the worker's base URL",
            ),
        ] {
            let error = refused(builder).await;
            assert!(error.starts_with(message), "{error}");
        }
    }
}
