//! Redis (standalone) as the shared tier and the home of the journal.

mod connection;
mod inbox;
mod keyspace;
mod lease;
mod script;
mod topology;

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use redis::Value;
use redis::streams::StreamInfoGroupsReply;
use shared_keys::{Mode, Position, Scope};

use self::connection::Connection;
pub(crate) use self::connection::Timeouts;
use self::inbox::Inbox;
use self::lease::LeaseScripts;
use self::script::JournalScripts;
pub(crate) use self::topology::Primary;
pub use self::topology::Topology;
use super::{Appended, Claim, ClaimRequest, FeedRecord, LeaseToken, Outcome, Progress, Store, Stored, Unless, Watch};
use crate::clock::Clock;
use crate::error::StoreError;

/// Records fetched at a time.
const FOLLOW_LIMIT: usize = 1000;
/// The consumer group that ships the journal to the edge.
const SHIP_GROUP: &str = "edge";
/// A record that another process took and did not confirm for so long is taken over.
const SHIP_TAKEOVER: Duration = Duration::from_secs(10);

/// The fleet's Redis.
pub(crate) struct RedisStore {
    commands: Connection,
    /// Blocking reads hold up everything behind them, so each kind has a connection of its own.
    doorbell: Connection,
    shipping: Connection,
    inbox: Inbox,
    scripts: JournalScripts,
    leases: LeaseScripts,
    /// This process's name in the consumer group.
    consumer: String,
}

impl RedisStore {
    /// A store on this server. Connects when first used.
    pub(crate) fn new(primary: &Primary, app: &str, timeouts: Timeouts, clock: &Clock) -> Self {
        let connection = || Connection::new(primary.clone(), timeouts, clock.clone());
        let process = format!("{:016x}", rand::random::<u64>());
        Self {
            commands: connection(),
            doorbell: connection(),
            shipping: connection(),
            inbox: Inbox::new(primary.clone(), format!("{app}:wake:{process}"), timeouts),
            scripts: JournalScripts::new(app),
            leases: LeaseScripts::new(),
            consumer: process,
        }
    }

    /// Makes the consumer group. From the feed's start: shipping a record twice is harmless, missing one is not.
    async fn ensure_ship_group(&self) -> Result<(), StoreError> {
        let mut create = redis::cmd("XGROUP");
        create.arg("CREATE").arg(self.scripts.feed_key()).arg(SHIP_GROUP).arg("0").arg("MKSTREAM");
        match self.shipping.run(&create).await {
            Err(StoreError::Redis(error)) if error.code() == Some("BUSYGROUP") => Ok(()),
            result => result.map(|_: Value| ()),
        }
    }

    /// Records that this or another process took but did not confirm.
    async fn unconfirmed(&self, max: usize) -> Result<Vec<FeedRecord>, StoreError> {
        let mut own = redis::cmd("XREADGROUP");
        own.arg("GROUP").arg(SHIP_GROUP).arg(&self.consumer).arg("COUNT").arg(max);
        own.arg("STREAMS").arg(self.scripts.feed_key()).arg("0");
        let records = script::records_of_read(self.shipping.run(&own).await?)?;
        if !records.is_empty() {
            return Ok(records);
        }
        let mut claim = redis::cmd("XAUTOCLAIM");
        claim.arg(self.scripts.feed_key()).arg(SHIP_GROUP).arg(&self.consumer);
        claim.arg(SHIP_TAKEOVER.as_millis() as u64).arg("0-0").arg("COUNT").arg(max);
        let (records, some_were_trimmed) = script::records_of_claim(self.shipping.run(&claim).await?)?;
        if some_were_trimmed {
            self.append_all().await?;
        }
        Ok(records)
    }

    /// Whether records have been trimmed that the group was never given.
    async fn has_missed_records(&self) -> Result<bool, StoreError> {
        let mut info = redis::cmd("XINFO");
        info.arg("GROUPS").arg(self.scripts.feed_key());
        let groups: StreamInfoGroupsReply = self.shipping.run(&info).await?;
        let group = groups.groups.iter().find(|group| group.name == SHIP_GROUP);
        let Some(last) = group.and_then(|group| group.last_delivered_id.parse::<Position>().ok()) else {
            return Ok(false);
        };
        let mut range = redis::cmd("XRANGE");
        range.arg(self.scripts.feed_key()).arg("-").arg("+").arg("COUNT").arg(1);
        let first = script::first_position(self.shipping.run(&range).await?)?;
        Ok(last > Position::ZERO && first.is_some_and(|first| first > last))
    }

    /// What the edge should have been told is not known any more, so it is told to drop everything; as a record of its
    /// own, which is not lost if this process is.
    async fn append_all(&self) -> Result<(), StoreError> {
        self.scripts.append(&self.shipping, Position::ZERO, Mode::Remove, &[Scope::All], None).await.map(|_| ())
    }
}

impl Store for RedisStore {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Stored>, StoreError>> {
        async move {
            // In one transaction: a value must not get the time to live of the one that replaces it.
            let mut both = redis::pipe();
            both.atomic().get(key).cmd("PTTL").arg(key);
            let (bytes, ttl_ms): (Option<Vec<u8>>, i64) = self.commands.run_pipeline(&both).await?;
            Ok(stored(bytes, ttl_ms))
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
        async move { self.leases.put(&self.commands, key, &bytes, ttl, lease).await }.boxed()
    }

    fn claim<'a>(&'a self, key: &'a str, request: ClaimRequest<'a>) -> BoxFuture<'a, Result<Claim, StoreError>> {
        async move { self.leases.claim(&self.commands, key, &request, self.inbox.channel()).await }.boxed()
    }

    fn renew<'a>(
        &'a self,
        key: &'a str,
        token: &'a LeaseToken,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        async move { self.leases.renew(&self.commands, key, token, ttl).await }.boxed()
    }

    fn release<'a>(
        &'a self,
        key: &'a str,
        token: &'a LeaseToken,
        outcome: Outcome,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        async move { self.leases.release(&self.commands, key, token, outcome).await }.boxed()
    }

    fn watch<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Watch, StoreError>> {
        self.inbox.watch(key).boxed()
    }

    fn append<'a>(
        &'a self,
        seen: Position,
        mode: Mode,
        scopes: &'a [Scope],
        unless: Option<Unless<'a>>,
    ) -> BoxFuture<'a, Result<Appended, StoreError>> {
        async move { self.scripts.append(&self.commands, seen, mode, scopes, unless).await }.boxed()
    }

    fn follow(&self, cursor: Position) -> BoxFuture<'_, Result<Progress, StoreError>> {
        async move { self.scripts.follow(&self.commands, cursor, FOLLOW_LIMIT).await }.boxed()
    }

    fn wait(&self, cursor: Position, timeout: Duration) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            let mut read = redis::cmd("XREAD");
            read.arg("COUNT").arg(1).arg("BLOCK").arg(timeout.as_millis() as u64);
            read.arg("STREAMS").arg(self.scripts.feed_key()).arg(cursor.to_string());
            self.doorbell.run_blocking(&read, timeout).await.map(|_: Value| ())
        }
        .boxed()
    }

    fn unshipped(&self, max: usize, timeout: Duration) -> BoxFuture<'_, Result<Vec<FeedRecord>, StoreError>> {
        async move {
            self.ensure_ship_group().await?;
            let unconfirmed = self.unconfirmed(max).await?;
            if !unconfirmed.is_empty() {
                return Ok(unconfirmed);
            }
            if self.has_missed_records().await? {
                self.append_all().await?;
            }
            let mut read = redis::cmd("XREADGROUP");
            read.arg("GROUP").arg(SHIP_GROUP).arg(&self.consumer).arg("COUNT").arg(max);
            read.arg("BLOCK").arg(timeout.as_millis() as u64);
            read.arg("STREAMS").arg(self.scripts.feed_key()).arg(">");
            script::records_of_read(self.shipping.run_blocking(&read, timeout).await?)
        }
        .boxed()
    }

    fn shipped<'a>(&'a self, records: &'a [FeedRecord]) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            let mut ack = redis::cmd("XACK");
            ack.arg(self.scripts.feed_key()).arg(SHIP_GROUP);
            for record in records {
                ack.arg(record.position.to_string());
            }
            self.shipping.run(&ack).await.map(|_: Value| ())
        }
        .boxed()
    }
}

/// What a key holds, by the replies of `GET` and `PTTL`. A key without expiry is not ours: it has no time left.
fn stored(value: Option<Vec<u8>>, ttl_ms: i64) -> Option<Stored> {
    let ttl_left = Duration::from_millis(u64::try_from(ttl_ms).unwrap_or(0));
    value.filter(|_| !ttl_left.is_zero()).map(|bytes| Stored { bytes: bytes.into(), ttl_left })
}

/// A time to live as Redis takes it: at least one millisecond, and not more than it can count.
fn to_millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).clamp(1, i64::MAX as u64 / 2)
}
