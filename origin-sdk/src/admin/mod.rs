//! The administration of a running fleet: invalidate, inspect, diagnose, sweep, and wait for
//! shipping. The command line tool `cachectl` is built on it.
//!
//! An [`Admin`] uses the fleet's Redis only. It caches nothing, does not keep following the journal
//! and does not ship it: the fleet's processes follow and ship the records that it appends.

mod acl;
mod doctor;
#[cfg(feature = "shipping")]
mod edge;
mod inspect;
mod sweep;

use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};
use shared_keys::{Mode, Position, Scope};

pub use self::acl::{AclRules, acl_rules, acl_rules_in};
pub use self::doctor::{Diagnosis, Health};
#[cfg(feature = "shipping")]
pub(crate) use self::edge::edge_member;
#[cfg(feature = "shipping")]
pub use self::edge::{EdgeCopy, edge_copy};
pub use self::inspect::{CoveringRecord, Inspection, StoredEntry};
pub use self::sweep::{Sweep, SweepCounts};
use crate::cache::check_names;
use crate::clock::Clock;
use crate::codec;
use crate::error::{AdminError, AdminFailure};
pub use crate::metrics::Durations;
pub use crate::report::{FleetReport, NamespaceReport, ProcessReport};
use crate::store::{
    FeedRecord, JournalStore, RedisOptions, RedisStore, ShipStatus, ShipStore, Timeouts, Topology,
};

/// The longest wait of [`Admin::records_after`] for a record.
const WAIT: Duration = Duration::from_secs(1);
/// How often [`Admin::wait_until_shipped`] reads the targets' progress.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The lag of a process that follows the journal, which an [`Admin`] does not.
const MAX_LAG: Duration = Duration::from_secs(2);
/// The most records read at a time.
const PAGE: usize = 1000;

/// Access to a fleet's Redis for administration.
pub struct Admin {
    app: String,
    store: Arc<RedisStore>,
}

impl Admin {
    /// Creates the access to one app. Without a name, takes the only app that has a journal in this
    /// Redis. Writes nothing.
    ///
    /// # Errors
    /// If the topology is embedded or invalid. Without a name also if Redis cannot be reached, or
    /// if the number of apps there is not one.
    pub async fn connect(topology: &Topology, app: Option<&str>) -> Result<Self, AdminError> {
        Self::connect_in(topology, None, app).await
    }

    /// As [`Admin::connect`], to an app of an environment
    /// ([`CacheBuilder::environment`](crate::CacheBuilder::environment)). `None` is the one without a
    /// name.
    ///
    /// # Errors
    /// As [`Admin::connect`], and if the name of the environment or the app is malformed.
    pub async fn connect_in(
        topology: &Topology,
        environment: Option<&str>,
        app: Option<&str>,
    ) -> Result<Self, AdminError> {
        check_names(environment, app)?;
        let (timeouts, clock) = (Timeouts::default(), Clock::system());
        let primary = topology.primary(timeouts, &clock)?.ok_or(AdminFailure::NoServer)?;
        let options = RedisOptions {
            timeouts,
            max_lag: MAX_LAG,
            clock,
            max_value_bytes: codec::MAX_VALUE_BYTES,
            metrics: Arc::default(),
            environment: environment.map(str::to_owned),
        };
        let store = |app: &str| Arc::new(RedisStore::new(&primary, app, options.clone()));
        if let Some(app) = app {
            return Ok(Self { app: app.to_owned(), store: store(app) });
        }
        match &store("").apps().await?[..] {
            [app] => Ok(Self { app: app.clone(), store: store(app) }),
            [] => Err(AdminFailure::NoApp.into()),
            apps => Err(AdminFailure::SeveralApps(apps.to_vec()).into()),
        }
    }

    /// Returns the app's name.
    #[must_use]
    pub fn app(&self) -> &str {
        &self.app
    }

    /// Appends an invalidation and returns its position. One of many scopes becomes several
    /// records, and this is the position of the last one. The fleet's processes and the edge apply
    /// it within their lags, as if a process of the fleet had appended it.
    ///
    /// With [`Topology::Sentinel`], also waits until each replica that the sentinels could promote
    /// has the records, for which replicas take up to a second.
    ///
    /// # Errors
    /// If Redis cannot be reached or refuses a record. Nothing is queued for a retry, and records
    /// before the failed one remain appended. Also if a replica does not have a record within 10 s.
    pub async fn append(&self, mode: Mode, scopes: &[Scope]) -> Result<Position, AdminError> {
        Ok(self.store.append_replicated(mode, scopes).await?)
    }

    /// Returns the entry that Redis holds under a key, and the journal's verdict on it.
    ///
    /// # Errors
    /// If Redis cannot be read.
    pub async fn inspect(&self, key: &str) -> Result<Inspection, AdminError> {
        inspect::inspect(&self.store, key).await
    }

    /// Returns the journal's last records, at most `max`, oldest first.
    ///
    /// # Errors
    /// If Redis cannot be read.
    pub async fn last_records(&self, max: usize) -> Result<Vec<JournalRecord>, AdminError> {
        Ok(self.store.last_records(max).await?.into_iter().map(JournalRecord::from).collect())
    }

    /// Returns the first records after `position`, oldest first: at most 1,000, and fewer if they
    /// have many scopes. Waits for a record up to one second, then returns an empty list.
    ///
    /// # Errors
    /// If Redis cannot be read.
    pub async fn records_after(&self, position: Position) -> Result<Vec<JournalRecord>, AdminError> {
        self.store.wait(position, WAIT).await?;
        Ok(self.store.records_after(position, PAGE).await?.into_iter().map(JournalRecord::from).collect())
    }

    /// Returns the progress of each target that the journal is shipped to.
    ///
    /// # Errors
    /// If Redis cannot be read.
    pub async fn ship_status(&self) -> Result<Vec<ShipStatus>, AdminError> {
        Ok(self.store.ship_status().await?)
    }

    /// Waits until every target has confirmed all records up to `position`. Returns the targets
    /// that have not at the `timeout`: none on success.
    ///
    /// # Errors
    /// If Redis cannot be read.
    pub async fn wait_until_shipped(
        &self,
        position: Position,
        timeout: Duration,
    ) -> Result<Vec<ShipStatus>, AdminError> {
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            let mut behind = self.ship_status().await?;
            behind.retain(|target| target.confirmed < Some(position));
            if behind.is_empty() || tokio::time::Instant::now() >= deadline {
                return Ok(behind);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Returns the figures that the app's processes have published of late. Each process publishes
    /// its own at the interval of
    /// [`CacheBuilder::report_interval`](crate::CacheBuilder::report_interval).
    ///
    /// # Errors
    /// If Redis cannot be read.
    pub async fn fleet_report(&self) -> Result<FleetReport, AdminError> {
        let reports = self.store.reports().await?;
        // A report of a later version that is no longer read is left out.
        let processes = reports.iter().filter_map(|report| serde_json::from_str(report).ok()).collect();
        Ok(FleetReport { processes })
    }

    /// Deletes invalidated entries from Redis, in one pass through its keyspace. If the future is
    /// dropped, the deletions so far remain.
    ///
    /// ```no_run
    /// # use std::num::NonZeroU32;
    /// # use origin_sdk::Topology;
    /// # use origin_sdk::admin::{Admin, Sweep};
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let redis = Topology::Standalone { url: "redis://127.0.0.1:6379".into() };
    /// let admin = Admin::connect(&redis, Some("shop")).await?;
    /// let counts = admin.sweep(Sweep::paced(NonZeroU32::new(1000).unwrap())).await?;
    /// println!("{} of {} entries were dead", counts.dead, counts.scanned);
    /// # Ok::<_, origin_sdk::BoxError>(())
    /// # });
    /// ```
    ///
    /// # Errors
    /// If the app has no journal in this Redis, or if Redis cannot be reached, also during the
    /// sweep.
    pub async fn sweep(&self, sweep: Sweep) -> Result<SweepCounts, AdminError> {
        sweep::sweep(&self.store, &self.app, sweep).await
    }

    /// Checks the server and the app's journal for what makes a cache slow, wrong or unavailable.
    /// Reads at most a few thousand keys. Writes nothing, except that it repairs a damaged journal,
    /// as every process does.
    ///
    /// ```no_run
    /// # use origin_sdk::Topology;
    /// # use origin_sdk::admin::{Admin, Health};
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let redis = Topology::Standalone { url: "redis://127.0.0.1:6379".into() };
    /// let diagnoses = Admin::connect(&redis, Some("shop")).await?.diagnose().await?;
    /// for fault in diagnoses.iter().filter(|diagnosis| diagnosis.health == Health::Fail) {
    ///     println!("{}: {}; {}", fault.check, fault.reason, fault.remedy);
    /// }
    /// # Ok::<_, origin_sdk::BoxError>(())
    /// # });
    /// ```
    ///
    /// # Errors
    /// If Redis cannot be reached, or if the user lacks a right that `cachectl acl` prints.
    pub async fn diagnose(&self) -> Result<Vec<Diagnosis>, AdminError> {
        doctor::diagnose(&self.store, &self.app).await
    }

    /// Deletes the progress of a target that is no longer in use. Returns whether it existed.
    ///
    /// If a process still ships to the target, it appears again and is sent the whole journal
    /// again.
    ///
    /// # Errors
    /// If Redis cannot be reached.
    pub async fn forget_target(&self, target: &str) -> Result<bool, AdminError> {
        Ok(self.store.forget_target(target).await?)
    }
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").field("app", &self.app).finish_non_exhaustive()
    }
}

/// One record of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct JournalRecord {
    /// The record's position in the journal.
    #[serde(serialize_with = "as_text")]
    pub position: Position,
    /// Whether the record removes or expires entries.
    #[serde(serialize_with = "mode_as_text")]
    pub mode: Mode,
    /// The scopes that the record covers.
    #[serde(serialize_with = "all_as_text")]
    pub scopes: Vec<Scope>,
}

impl From<FeedRecord> for JournalRecord {
    fn from(FeedRecord { position, mode, scopes }: FeedRecord) -> Self {
        Self { position, mode, scopes }
    }
}

fn as_text<S: Serializer>(value: &impl ToString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string())
}

fn all_as_text<S: Serializer>(values: &[impl ToString], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(ToString::to_string))
}

fn mode_as_text<S: Serializer>(mode: &Mode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(mode.as_str())
}
