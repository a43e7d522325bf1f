//! The state of shipping: for each target, a consumer group of the feed and a lease.
//!
//! | key | content |
//! |---|---|
//! | `APP:{journal}:feed`, group `ship:TARGET` | the records that the target has confirmed; the lease's holder is the only consumer |
//! | `APP:{journal}:ship:TARGET` | the lease: the token of the process that ships now |
//! | `APP:{journal}:shipping` | a hash for the status: `TARGET shipper`, `confirmed`, `confirmed_at`, `failures`, `error`, `error_at` |
//!
//! Every script that advances the group checks the lease first. A process that was suspended and
//! has lost its lease can neither take nor confirm records.

use std::collections::HashMap;
use std::time::Duration;

use redis::streams::{StreamInfoGroupsReply, StreamPendingReply};
use redis::{Script, ScriptInvocation, Value};
use shared_keys::Position;

use super::connection::Connection;
use super::journal::{JOURNAL, MAX_FEED, MAX_LEDGER, Row, journal_key, record_of_row};
use crate::error::StoreError;
use crate::store::ShipStatus;
use crate::store::{FeedRecord, SHIP_LEASE, ShipTurn, Shipping, Unshipped};

const SHARED: &str = include_str!("lua/shipping.lua");
/// The prefix of a group's name, before the target's name.
const GROUP_PREFIX: &str = "ship:";
/// The most records that are counted for the status.
const MAX_COUNTED: usize = 1000;

/// The scripts that ship to targets, and their keys.
pub(super) struct ShipScripts {
    feed_key: String,
    ledger_key: String,
    status_key: String,
    /// The prefix of a lease's key, before the target's name.
    lease_prefix: String,
    turn: Script,
    take: Script,
    confirm: Script,
    failed: Script,
}

impl ShipScripts {
    pub(super) fn new(app: &str) -> Self {
        let script = |own| Script::new(&[JOURNAL, SHARED, own].concat());
        Self {
            feed_key: journal_key(app, "feed"),
            ledger_key: journal_key(app, "ledger"),
            status_key: journal_key(app, "shipping"),
            lease_prefix: journal_key(app, GROUP_PREFIX),
            turn: script(include_str!("lua/ship_turn.lua")),
            take: script(include_str!("lua/ship_take.lua")),
            confirm: script(include_str!("lua/ship_confirm.lua")),
            failed: script(include_str!("lua/ship_failed.lua")),
        }
    }

    pub(super) async fn take_turn(
        &self,
        connection: &Connection,
        shipping: Shipping<'_>,
    ) -> Result<ShipTurn, StoreError> {
        match self.turn(connection, shipping, SHIP_LEASE).await? {
            0 => Ok(ShipTurn::Own),
            ms => Ok(ShipTurn::Another(Duration::from_millis(ms))),
        }
    }

    pub(super) async fn end_turn(
        &self,
        connection: &Connection,
        shipping: Shipping<'_>,
    ) -> Result<(), StoreError> {
        self.turn(connection, shipping, Duration::ZERO).await.map(|_| ())
    }

    /// Acquires or renews the lease for `ttl`; zero releases it. Returns the remaining milliseconds
    /// of another process's lease, or 0 if no other process holds it.
    async fn turn(
        &self,
        connection: &Connection,
        shipping: Shipping<'_>,
        ttl: Duration,
    ) -> Result<u64, StoreError> {
        let mut call = self.call(&self.turn, shipping.target);
        call.arg(shipping.target).arg(shipping.token).arg(ttl.as_millis() as u64);
        connection.run_script(&call).await
    }

    pub(super) async fn unshipped(
        &self,
        connection: &Connection,
        shipping: Shipping<'_>,
        max: usize,
    ) -> Result<Option<Unshipped>, StoreError> {
        let mut call = self.call(&self.take, shipping.target);
        call.arg(group(shipping.target)).arg(shipping.token).arg(max);
        let (held, rows, behind, now_ms): (bool, Vec<Row>, u64, u64) = connection.run_script(&call).await?;
        if !held {
            return Ok(None);
        }
        let records = rows.iter().map(|row| record_of_row(row)).collect::<Result<Vec<_>, _>>()?;
        let lag = records.first().map_or(Duration::ZERO, |first| since(first.position, now_ms));
        Ok(Some(Unshipped { records, behind, lag }))
    }

    pub(super) async fn shipped(
        &self,
        connection: &Connection,
        shipping: Shipping<'_>,
        records: &[FeedRecord],
    ) -> Result<bool, StoreError> {
        let mut call = self.call(&self.confirm, shipping.target);
        call.arg(shipping.target).arg(group(shipping.target)).arg(shipping.token);
        for record in records {
            call.arg(record.position.to_string());
        }
        connection.run_script(&call).await
    }

    pub(super) async fn not_shipped(
        &self,
        connection: &Connection,
        shipping: Shipping<'_>,
        why: &str,
    ) -> Result<u64, StoreError> {
        let mut call = self.call(&self.failed, shipping.target);
        call.arg(shipping.target).arg(group(shipping.target)).arg(why);
        connection.run_script(&call).await
    }

    pub(super) async fn status(&self, connection: &Connection) -> Result<Vec<ShipStatus>, StoreError> {
        let mut exists = redis::cmd("EXISTS");
        if !connection.run::<bool>(exists.arg(&self.feed_key)).await? {
            return Ok(Vec::new());
        }
        let mut groups = redis::cmd("XINFO");
        let groups: StreamInfoGroupsReply = connection.run(groups.arg("GROUPS").arg(&self.feed_key)).await?;
        let mut noted = redis::cmd("HGETALL");
        let noted: HashMap<String, String> = connection.run(noted.arg(&self.status_key)).await?;
        let (secs, micros): (u64, u64) = connection.run(&redis::cmd("TIME")).await?;
        let now_ms = secs * 1000 + micros / 1000;

        let mut all = Vec::new();
        for group in groups.groups {
            let Some(target) = group.name.strip_prefix(GROUP_PREFIX) else { continue };
            let mut lease = redis::cmd("GET");
            let shipper: Option<String> = connection.run(lease.arg(self.lease_key(target))).await?;
            // Redis reports no lag if entries were deleted individually. Count the records then.
            let most = if group.lag.is_some() { 1 } else { MAX_COUNTED };
            let waiting = self.waiting(connection, &group.name, &group.last_delivered_id, most).await?;
            let note = |name: &str| noted.get(&format!("{target} {name}"));
            let ago_ms = |name: &str| Some(now_ms.saturating_sub(note(name)?.parse().ok()?));
            all.push(ShipStatus {
                target: target.to_owned(),
                shipper,
                queued: group.pending as u64 + group.lag.map_or(waiting.after, |lag| lag as u64),
                lag_ms: waiting.first.map_or(0, |first| since(first, now_ms).as_millis() as u64),
                confirmed: note("confirmed").and_then(|text| text.parse().ok()),
                confirmed_ms_ago: ago_ms("confirmed_at"),
                failures: note("failures").and_then(|text| text.parse().ok()).unwrap_or(0),
                last_error: note("error").cloned(),
                last_error_ms_ago: ago_ms("error_at"),
            });
        }
        all.sort_by(|a, b| a.target.cmp(&b.target));
        Ok(all)
    }

    pub(super) async fn forget(&self, connection: &Connection, target: &str) -> Result<bool, StoreError> {
        let mut forget = redis::pipe();
        forget.atomic().cmd("XGROUP").arg("DESTROY").arg(&self.feed_key).arg(group(target));
        forget.cmd("DEL").arg(self.lease_key(target));
        let fields = ["shipper", "confirmed", "confirmed_at", "failures", "error", "error_at"];
        forget
            .cmd("HDEL")
            .arg(&self.status_key)
            .arg(fields.map(|name| format!("{target} {name}")).as_slice());
        let (existed, ..): (bool, u64, u64) = connection.run_pipeline(&forget).await?;
        Ok(existed)
    }

    /// Returns the group's unconfirmed records. Counts at most `most` of those not delivered yet.
    async fn waiting(
        &self,
        connection: &Connection,
        group: &str,
        delivered: &str,
        most: usize,
    ) -> Result<Waiting, StoreError> {
        let mut pending = redis::cmd("XPENDING");
        let pending: StreamPendingReply = connection.run(pending.arg(&self.feed_key).arg(group)).await?;
        let first_pending = match pending {
            StreamPendingReply::Data(data) => data.start_id.parse().ok(),
            _ => None,
        };
        let mut range = redis::cmd("XRANGE");
        range.arg(&self.feed_key).arg(format!("({delivered}")).arg("+").arg("COUNT").arg(most);
        let after: Vec<(String, Value)> = connection.run(&range).await?;
        let first = first_pending.or_else(|| after.first()?.0.parse().ok());
        Ok(Waiting { first, after: after.len() as u64 })
    }

    fn call<'a>(&'a self, script: &'a Script, target: &str) -> ScriptInvocation<'a> {
        let mut call = script.prepare_invoke();
        call.key(&self.feed_key).key(&self.ledger_key).key(self.lease_key(target)).key(&self.status_key);
        call.arg(MAX_FEED).arg(MAX_LEDGER);
        call
    }

    fn lease_key(&self, target: &str) -> String {
        format!("{}{target}", self.lease_prefix)
    }
}

/// The records that a group has not confirmed.
struct Waiting {
    /// The position of the first unconfirmed record.
    first: Option<Position>,
    /// How many records were not delivered to the group yet.
    after: u64,
}

fn group(target: &str) -> String {
    format!("{GROUP_PREFIX}{target}")
}

/// Returns the time from a position's timestamp to `now_ms`.
fn since(position: Position, now_ms: u64) -> Duration {
    Duration::from_millis(now_ms.saturating_sub(position.ms()))
}
