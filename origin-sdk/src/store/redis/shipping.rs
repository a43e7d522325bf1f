//! How far each target of the shipper has come: a consumer group of the feed per target, and a lease on it.
//!
//! | key | what |
//! |---|---|
//! | `APP:{journal}:feed`, group `ship:TARGET` | what the target has confirmed; its one consumer is whoever holds the lease |
//! | `APP:{journal}:ship:TARGET` | the lease: the token of the process that ships now |
//! | `APP:{journal}:shipping` | a hash for people: `TARGET shipper`, `confirmed`, `confirmed_at`, `failures`, `error`, `error_at` |
//!
//! Whatever moves the group does so in a script that checks the lease first: a process that was stopped and comes back finds
//! it gone, and neither takes nor confirms anything.

use std::collections::HashMap;
use std::time::Duration;

use redis::streams::{StreamInfoGroupsReply, StreamPendingReply};
use redis::{Script, ScriptInvocation, Value};
use shared_keys::Position;

use super::connection::Connection;
use super::journal::{MAX_FEED, MAX_LEDGER, Row, journal_key, record_of_row};
use crate::error::StoreError;
use crate::store::ShipStatus;
use crate::store::{FeedRecord, SHIP_LEASE, ShipTurn, Shipping, Unshipped};

const JOURNAL: &str = include_str!("lua/journal.lua");
const SHARED: &str = include_str!("lua/shipping.lua");
/// Group names begin with it; the target's name follows.
const GROUP_PREFIX: &str = "ship:";
/// Records that are counted at most.
const MAX_COUNTED: usize = 1000;

/// The scripts that move targets, and their keys.
pub(super) struct ShipScripts {
    feed_key: String,
    ledger_key: String,
    status_key: String,
    /// What a lease's key begins with.
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

    pub(super) async fn end_turn(&self, connection: &Connection, shipping: Shipping<'_>) -> Result<(), StoreError> {
        self.turn(connection, shipping, Duration::ZERO).await.map(|_| ())
    }

    async fn turn(&self, connection: &Connection, shipping: Shipping<'_>, lasts: Duration) -> Result<u64, StoreError> {
        let mut call = self.call(&self.turn, shipping.target);
        call.arg(shipping.target).arg(shipping.token).arg(lasts.as_millis() as u64);
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
            // Redis does not know the lag where entries were deleted one by one: then they are counted.
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
        forget.cmd("HDEL").arg(&self.status_key).arg(fields.map(|name| format!("{target} {name}")).as_slice());
        let (was_there, ..): (bool, u64, u64) = connection.run_pipeline(&forget).await?;
        Ok(was_there)
    }

    /// What the group has not confirmed; of what it was not given yet, at most `most` records are counted.
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

struct Waiting {
    /// The first of all.
    first: Option<Position>,
    /// How many come after those that the group was given.
    after: u64,
}

fn group(target: &str) -> String {
    format!("{GROUP_PREFIX}{target}")
}

fn since(position: Position, now_ms: u64) -> Duration {
    Duration::from_millis(now_ms.saturating_sub(position.ms()))
}
