//! Redis as the shared tier and the store of the journal.

mod admin;
mod connection;
mod diagnosis;
mod journal;
mod lease;
mod primary;
mod progress;
mod reads;
mod replicated;
mod report;
mod scan;
mod sentinels;
mod server;
mod shipping;
mod subscription;
#[cfg(test)]
mod tests;
mod topology;
mod url;
mod values;
mod wakeups;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, Either, FutureExt, select};
use redis::Value;
use shared_keys::{Mode, Position, Scope};

use self::connection::Connection;
pub(crate) use self::connection::Timeouts;
pub(crate) use self::diagnosis::{JournalSize, SampledKey};
use self::journal::JournalScripts;
pub(crate) use self::journal::{MAX_FEED, MAX_LEDGER};
use self::lease::LeaseScripts;
pub(crate) use self::primary::Primary;
use self::reads::SharedReads;
use self::report::Reports;
use self::shipping::ShipScripts;
pub use self::topology::Topology;
use self::values::Values;
use self::wakeups::Wakeups;
use super::{
    Appended, Claim, ClaimRequest, FeedRecord, JournalStore, LeaseToken, Outcome, Progress, ReportStore,
    ShipStatus, ShipStore, ShipTurn, Shipping, Stored, Unless, Unshipped, ValueStore, Watch,
};
use crate::clock::Clock;
use crate::error::StoreError;
use crate::metrics::Metrics;
use crate::random;

/// The most records fetched at a time. The script bounds their scopes and bytes as well.
const FOLLOW_LIMIT: usize = 1000;

/// The settings of a [`RedisStore`] besides its server and app.
#[derive(Debug, Clone)]
pub(crate) struct RedisOptions {
    pub(crate) timeouts: Timeouts,
    /// How far the process may be behind the journal.
    pub(crate) max_lag: Duration,
    pub(crate) clock: Clock,
    /// The largest value that is read.
    pub(crate) max_value_bytes: usize,
    pub(crate) metrics: Arc<Metrics>,
    /// The environment that the keys belong to.
    pub(crate) environment: Option<String>,
}

/// The fleet's Redis.
pub(crate) struct RedisStore {
    primary: Primary,
    /// The age of the primary's confirmation at which following the journal asks again.
    confirm_every: Duration,
    commands: Connection,
    /// The connection of blocking reads, which would delay any command behind them.
    blocking: Connection,
    /// The prefix of all names in Redis: `ENVIRONMENT/`, or nothing. A name of an app has no `/`,
    /// so names of two environments never meet, nor those of an environment and of an app without
    /// one.
    prefix: String,
    /// Values, and the connection of large ones.
    values: Values,
    reads: SharedReads,
    /// The connection of the shipper, whose replies can be megabytes.
    shipping: Connection,
    wakeups: Wakeups,
    scripts: JournalScripts,
    leases: LeaseScripts,
    ship: ShipScripts,
    reports: Reports,
}

/// Returns the beginning of all names in Redis of an environment.
pub(crate) fn prefix_of(environment: Option<&str>) -> String {
    environment.map(|name| format!("{name}/")).unwrap_or_default()
}

impl RedisStore {
    /// Returns a store on this server. Connects on first use.
    pub(crate) fn new(primary: &Primary, app: &str, options: RedisOptions) -> Self {
        let RedisOptions { timeouts, max_lag, clock, max_value_bytes, metrics, environment } = options;
        let prefix = prefix_of(environment.as_deref());
        let app = &format!("{prefix}{app}");
        let connection_with = |timeouts| Connection::new(primary.clone(), timeouts, clock.clone());
        let connection = || connection_with(timeouts);
        let process = random::process_id();
        Self {
            primary: primary.clone(),
            confirm_every: max_lag / 4,
            prefix,
            commands: connection(),
            blocking: connection(),
            values: Values::new(
                connection_with(values::bulk_timeouts(timeouts)),
                timeouts,
                max_value_bytes,
                metrics,
            ),
            reads: SharedReads::default(),
            shipping: connection(),
            wakeups: Wakeups::new(primary.clone(), format!("{app}:wake:{process}"), timeouts),
            scripts: JournalScripts::new(app),
            leases: LeaseScripts::new(),
            ship: ShipScripts::new(app),
            reports: Reports::new(app),
        }
    }
}

impl RedisStore {
    /// Returns the name in Redis of a data key.
    fn name_of(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }
}

impl ValueStore for RedisStore {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Stored>, StoreError>> {
        self.reads.get(&self.values, &self.commands, self.name_of(key)).boxed()
    }

    fn get_many<'a>(&'a self, keys: &'a [String]) -> BoxFuture<'a, Result<Vec<Option<Stored>>, StoreError>> {
        async move {
            let names: Vec<_> = keys.iter().map(|key| self.name_of(key)).collect();
            self.values.get_many(&self.commands, &names).await
        }
        .boxed()
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        bytes: Bytes,
        ttl: Duration,
        lease: Option<&'a LeaseToken>,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        async move { self.leases.put(&self.commands, &self.values, &self.name_of(key), &bytes, ttl, lease).await }
            .boxed()
    }

    fn remove<'a>(
        &'a self,
        key: &'a str,
        lease: Option<&'a LeaseToken>,
        outcome: Outcome,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        async move { self.leases.remove(&self.commands, &self.name_of(key), lease, outcome).await }.boxed()
    }

    fn raise_version<'a>(&'a self, key: &'a str, version: u64) -> BoxFuture<'a, Result<bool, StoreError>> {
        async move { self.leases.raise_version(&self.commands, &self.name_of(key), version).await }.boxed()
    }

    fn claim<'a>(
        &'a self,
        key: &'a str,
        request: ClaimRequest<'a>,
    ) -> BoxFuture<'a, Result<Claim, StoreError>> {
        async move {
            self.leases
                .claim(&self.commands, &self.values, &self.name_of(key), &request, self.wakeups.channel())
                .await
        }
        .boxed()
    }

    fn renew<'a>(
        &'a self,
        key: &'a str,
        token: &'a LeaseToken,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        async move { self.leases.renew(&self.commands, &self.name_of(key), token, ttl).await }.boxed()
    }

    fn release<'a>(
        &'a self,
        key: &'a str,
        token: &'a LeaseToken,
        outcome: Outcome,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        async move { self.leases.release(&self.commands, &self.name_of(key), token, outcome).await }.boxed()
    }

    fn watch<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Watch, StoreError>> {
        async move { self.wakeups.watch(&self.name_of(key)).await }.boxed()
    }

    fn watch_at_once(&self, key: &str) -> Option<Watch> {
        self.wakeups.watch_if_open(&self.name_of(key))
    }
}

impl JournalStore for RedisStore {
    fn append<'a>(
        &'a self,
        seen: Position,
        mode: Mode,
        scopes: &'a [Scope],
        unless: Option<Unless<'a>>,
    ) -> BoxFuture<'a, Result<Appended, StoreError>> {
        async move {
            let mut number = self.primary.confirm(Duration::MAX).await?.number;
            loop {
                let appended = self.scripts.append(&self.commands, seen, mode, scopes, unless).await?;
                // A replaced primary takes records for seconds, and loses them. Repeating one is
                // harmless.
                let confirmed = self.primary.confirm(Duration::ZERO).await?;
                if confirmed.number == number {
                    return Ok(appended);
                }
                number = confirmed.number;
            }
        }
        .boxed()
    }

    fn connections(&self) -> u64 {
        self.commands.made()
    }

    fn is_connected(&self) -> bool {
        self.commands.is_answered()
    }

    fn follow<'a>(
        &'a self,
        cursor: Position,
        appended: &'a [Position],
    ) -> BoxFuture<'a, Result<Progress, StoreError>> {
        async move {
            let as_of = self.primary.confirm(self.confirm_every).await?.at;
            let progress = self.scripts.follow(&self.commands, cursor, appended, FOLLOW_LIMIT).await?;
            Ok(Progress { as_of, ..progress })
        }
        .boxed()
    }

    fn wait(&self, cursor: Position, timeout: Duration) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            let mut read = redis::cmd("XREAD");
            read.arg("COUNT").arg(1).arg("BLOCK").arg(timeout.as_millis() as u64);
            read.arg("STREAMS").arg(self.scripts.feed_key()).arg(cursor.to_string());
            // A record that arrives at a new primary does not wake a read from the old one.
            let replaced = pin!(self.primary.replaced(self.primary.number()));
            match select(pin!(self.blocking.run_blocking(&read, timeout)), replaced).await {
                Either::Left((reply, _)) => reply.map(|_: Value| ()),
                Either::Right(_) => Ok(()),
            }
        }
        .boxed()
    }
}

impl ShipStore for RedisStore {
    fn take_ship_turn<'a>(&'a self, shipping: Shipping<'a>) -> BoxFuture<'a, Result<ShipTurn, StoreError>> {
        self.ship.take_turn(&self.shipping, shipping).boxed()
    }

    fn end_ship_turn<'a>(&'a self, shipping: Shipping<'a>) -> BoxFuture<'a, Result<(), StoreError>> {
        self.ship.end_turn(&self.shipping, shipping).boxed()
    }

    fn unshipped<'a>(
        &'a self,
        shipping: Shipping<'a>,
        max: usize,
    ) -> BoxFuture<'a, Result<Option<Unshipped>, StoreError>> {
        self.ship.unshipped(&self.shipping, shipping, max).boxed()
    }

    fn shipped<'a>(
        &'a self,
        shipping: Shipping<'a>,
        records: &'a [FeedRecord],
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.ship.shipped(&self.shipping, shipping, records).boxed()
    }

    fn not_shipped<'a>(
        &'a self,
        shipping: Shipping<'a>,
        why: &'a str,
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        self.ship.not_shipped(&self.shipping, shipping, why).boxed()
    }

    fn ship_status(&self) -> BoxFuture<'_, Result<Vec<ShipStatus>, StoreError>> {
        self.ship.status(&self.shipping).boxed()
    }
}

impl ReportStore for RedisStore {
    fn publish_report<'a>(
        &'a self,
        process: &'a str,
        report: &'a str,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.reports.publish(&self.commands, process, report, ttl).boxed()
    }
}

/// Returns a TTL in the milliseconds of Redis: at least 1, at most `i64::MAX / 2`, so that Redis's
/// sum with the current time does not overflow.
fn to_millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).clamp(1, i64::MAX as u64 / 2)
}
