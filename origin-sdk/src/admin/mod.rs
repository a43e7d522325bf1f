//! What people do with a running fleet: purge, look, wait. `cachectl` is made of it.
//!
//! An [`Admin`] talks to the fleet's Redis and holds nothing itself: it is no process of the fleet, follows no journal and
//! ships nothing. What it appends, the fleet's processes follow and ship.

#[cfg(feature = "shipping")]
mod edge;
mod inspect;
mod sweep;

use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};
use shared_keys::{Mode, Position, Scope};

#[cfg(feature = "shipping")]
pub(crate) use self::edge::edge_member;
#[cfg(feature = "shipping")]
pub use self::edge::{EdgeCopy, edge_copy};
pub use self::inspect::{Covering, Inspection, StoredEntry};
pub use self::sweep::{Sweep, Swept};
use crate::clock::Clock;
use crate::error::{AdminError, AdminFailure};
use crate::store::{FeedRecord, JournalStore, RedisStore, ShipStatus, ShipStore, Timeouts, Topology};

/// How long one step of following the journal waits for a record.
const WAIT: Duration = Duration::from_secs(1);
/// Between looks at how far the targets have come.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Records read at a time.
const PAGE: usize = 1000;

/// A person's hand on a fleet's Redis.
pub struct Admin {
    app: String,
    store: Arc<RedisStore>,
}

impl Admin {
    /// For the app of this name; for the only one that has a journal there if no name is given. Nothing is written.
    ///
    /// # Errors
    /// If the topology names no server or it cannot be reached, or if no name is given and there is not exactly one app.
    pub async fn connect(topology: &Topology, app: Option<&str>) -> Result<Self, AdminError> {
        let primary = topology.primary()?.ok_or(AdminFailure::NoServer)?;
        let store = |app: &str| Arc::new(RedisStore::new(&primary, app, Timeouts::default(), &Clock::system()));
        if let Some(app) = app {
            return Ok(Self { app: app.to_owned(), store: store(app) });
        }
        match &store("").apps().await?[..] {
            [app] => Ok(Self { app: app.clone(), store: store(app) }),
            [] => Err(AdminFailure::NoApp.into()),
            apps => Err(AdminFailure::SeveralApps(apps.to_vec()).into()),
        }
    }

    /// The app's name.
    #[must_use]
    pub fn app(&self) -> &str {
        &self.app
    }

    /// Appends a record: as soon as this returns, every process of the fleet and the edge are to obey it. Its position comes
    /// back.
    ///
    /// # Errors
    /// If Redis does not take it. Then nothing is queued.
    pub async fn append(&self, mode: Mode, scopes: &[Scope]) -> Result<Position, AdminError> {
        Ok(self.store.append(Position::ZERO, mode, scopes, None).await?.position)
    }

    /// What Redis holds under a key, and what the journal says of it.
    ///
    /// # Errors
    /// If Redis cannot be asked.
    pub async fn inspect(&self, key: &str) -> Result<Inspection, AdminError> {
        inspect::inspect(&self.store, key).await
    }

    /// The journal's last records, at most `max`, oldest first.
    ///
    /// # Errors
    /// If Redis cannot be asked.
    pub async fn last_records(&self, max: usize) -> Result<Vec<JournalRecord>, AdminError> {
        Ok(self.store.last_records(max).await?.into_iter().map(JournalRecord::from).collect())
    }

    /// What comes after `position`; waits up to a second for it, and can come back empty.
    ///
    /// # Errors
    /// If Redis cannot be asked.
    pub async fn records_after(&self, position: Position) -> Result<Vec<JournalRecord>, AdminError> {
        self.store.wait(position, WAIT).await?;
        Ok(self.store.records_after(position, PAGE).await?.into_iter().map(JournalRecord::from).collect())
    }

    /// How far each target of the shipper has come.
    ///
    /// # Errors
    /// If Redis cannot be asked.
    pub async fn ship_status(&self) -> Result<Vec<ShipStatus>, AdminError> {
        Ok(self.store.ship_status().await?)
    }

    /// Waits until every target has confirmed all records up to `position`. Those that have not when `patience` ends come
    /// back.
    ///
    /// # Errors
    /// If Redis cannot be asked.
    pub async fn wait_until_shipped(
        &self,
        position: Position,
        patience: Duration,
    ) -> Result<Vec<ShipStatus>, AdminError> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let mut behind = self.ship_status().await?;
            behind.retain(|target| target.confirmed < Some(position));
            if behind.is_empty() || tokio::time::Instant::now() >= deadline {
                return Ok(behind);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Takes dead entries out of Redis, once through its keyspace. A future that is dropped leaves what it has done so far.
    ///
    /// ```no_run
    /// # use std::num::NonZeroU32;
    /// # use origin_sdk::Topology;
    /// # use origin_sdk::admin::{Admin, Sweep};
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let redis = Topology::Standalone { url: "redis://127.0.0.1:6379".into() };
    /// let swept = Admin::connect(&redis, Some("shop")).await?.sweep(Sweep::paced(NonZeroU32::new(1000).unwrap())).await?;
    /// println!("{} of {} were dead", swept.dead, swept.scanned);
    /// # Ok::<_, origin_sdk::BoxError>(())
    /// # });
    /// ```
    ///
    /// # Errors
    /// If Redis cannot be reached, or stops answering.
    pub async fn sweep(&self, sweep: Sweep) -> Result<Swept, AdminError> {
        sweep::sweep(&self.store, &self.app, sweep).await
    }

    /// Takes a target that nobody ships to any more out of the status; whether there was one. If a process still ships to it,
    /// it comes back, and is told everything again.
    ///
    /// # Errors
    /// If Redis cannot be asked.
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
    /// Its place.
    #[serde(serialize_with = "as_text")]
    pub position: Position,
    /// What it does.
    #[serde(serialize_with = "mode_as_text")]
    pub mode: Mode,
    /// What it covers.
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
