//! Reading and storing values of any size without delaying other commands.
//!
//! A small value is sent whole over the shared connection. A large one is sent in pieces over a
//! connection of its own, each piece with the timeout of a command, so that the time for the whole
//! follows its size. No reply is large, so a slow link delays other commands by milliseconds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::try_join_all;
use redis::{Cmd, Pipeline, RedisError, Script, Value};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::connection::{Connection, Timeouts};
use crate::error::StoreError;
use crate::metrics::Metrics;
use crate::store::{MAX_WHOLE, Stored};

/// The longest value that the first reply to a read has. Of a longer one, these bytes are sent in
/// vain: its size is known only then.
const FIRST: usize = 16 << 10;
/// The size of a piece of a large value that is read. Its arrival is progress, even in parts.
const PIECE: usize = 256 << 10;
/// The size of a piece that is sent. Only Redis's reply is progress.
const SENT_PIECE: usize = 64 << 10;
/// The most keys of a pipeline. Its values are returned together, once all have arrived.
pub(super) const MAX_KEYS: usize = 16;
/// The most values that reads have in flight on the shared connection, the most commands of loads
/// there, and the most pieces on the other one. They bound the bytes that other replies wait
/// behind: 256 first replies of the longest length take 0.4 s at 100 Mbit/s, less than the overall
/// timeout.
const MAX_READS_IN_FLIGHT: usize = 256;
const MAX_IN_FLIGHT: usize = 64;
const MAX_PIECES_IN_FLIGHT: usize = 4;
/// The timeout of the transfer of one large value.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long Redis keeps the pieces of a value whose sender has ended.
const STAGED_TTL: Duration = Duration::from_secs(60);

/// Returns the timeouts of the connection of large values: a piece may take as long as a transfer
/// while its bytes arrive.
pub(super) fn bulk_timeouts(timeouts: Timeouts) -> Timeouts {
    Timeouts { overall: timeouts.overall.max(TRANSFER_TIMEOUT), ..timeouts }
}

/// A value as a script returns it: the value or its first bytes, `PTTL`, and the value's size.
pub(super) type ValueRow = (Option<Vec<u8>>, i64, usize);

/// The reply to a read of a key.
pub(super) enum ValueRead {
    Whole(Option<Stored>),
    /// The key has a value that is longer than [`FIRST`].
    Large,
}

/// The values of a server.
pub(super) struct Values {
    /// The connection of large values.
    bulk: Connection,
    reads_in_flight: Semaphore,
    in_flight: Semaphore,
    pieces: Semaphore,
    overall_timeout: Duration,
    max_bytes: usize,
    metrics: Arc<Metrics>,
    read: Script,
    read_piece: Script,
}

impl Values {
    /// Returns the values of a server, of at most `max_bytes` each.
    pub(super) fn new(bulk: Connection, timeouts: Timeouts, max_bytes: usize, metrics: Arc<Metrics>) -> Self {
        let read = concat!(
            "#!lua flags=no-writes\n",
            include_str!("lua/read_value.lua"),
            include_str!("lua/read.lua")
        );
        let read_piece = concat!("#!lua flags=no-writes\n", include_str!("lua/read_piece.lua"));
        Self {
            bulk,
            reads_in_flight: Semaphore::new(MAX_READS_IN_FLIGHT),
            in_flight: Semaphore::new(MAX_IN_FLIGHT),
            pieces: Semaphore::new(MAX_PIECES_IN_FLIGHT),
            overall_timeout: timeouts.overall,
            max_bytes,
            metrics,
            read: Script::new(read),
            read_piece: Script::new(read_piece),
        }
    }

    /// Waits until another command of a load may be sent over the shared connection. Waits longer
    /// than a read, because a batch of cold keys claims and stores all of them at once.
    pub(super) async fn turn(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        turn_of(&self.in_flight, TRANSFER_TIMEOUT).await
    }

    /// Returns the values of several keys, in the order of the keys. Sends the commands of up to
    /// [`MAX_READS_IN_FLIGHT`] keys before the first reply.
    pub(super) async fn get_many(
        &self,
        commands: &Connection,
        keys: &[impl AsRef<str>],
    ) -> Result<Vec<Option<Stored>>, StoreError> {
        // All first replies, before any large value is fetched: the reads that wait for their turn
        // would otherwise wait for these transfers.
        let parts = keys.chunks(MAX_KEYS).map(|keys| self.read_together(commands, keys));
        let reads = try_join_all(parts).await?.into_iter().flatten();
        let mut all = Vec::with_capacity(keys.len());
        for (key, read) in keys.iter().zip(reads) {
            all.push(self.complete(commands, key.as_ref(), read).await?);
        }
        Ok(all)
    }

    /// Reads at most [`MAX_KEYS`] keys with one pipeline, in the order of the keys.
    pub(super) async fn read_together(
        &self,
        commands: &Connection,
        keys: &[impl AsRef<str>],
    ) -> Result<Vec<ValueRead>, StoreError> {
        let turn = turns_of(&self.reads_in_flight, keys.len(), self.overall_timeout).await?;
        let replies = commands.run_for_replies(&reads_of(keys)).await?;
        drop(turn);
        let (mut replies, mut reads) = (replies.into_iter(), Vec::with_capacity(keys.len()));
        while let (Some(ttl), Some(value)) = (replies.next(), replies.next()) {
            reads.push(match (ttl, value) {
                (Value::Int(1..), Value::BulkString(value)) if value.len() > FIRST => ValueRead::Large,
                (Value::Int(ttl_ms), Value::BulkString(value)) => ValueRead::Whole(stored(value, ttl_ms)),
                // A key of another type counts as missing.
                (_, Value::ServerError(error)) if error.code() == "WRONGTYPE" => ValueRead::Whole(None),
                (Value::ServerError(error), _) | (_, Value::ServerError(error)) => {
                    return Err(RedisError::from(error).into());
                }
                _ => return Err(StoreError::Incomplete),
            });
        }
        if reads.len() == keys.len() { Ok(reads) } else { Err(StoreError::Incomplete) }
    }

    /// Returns the value that was read, after fetching a large one.
    pub(super) async fn complete(
        &self,
        commands: &Connection,
        key: &str,
        read: ValueRead,
    ) -> Result<Option<Stored>, StoreError> {
        match read {
            ValueRead::Whole(stored) => Ok(stored),
            ValueRead::Large => {
                let turn = turn_of(&self.reads_in_flight, self.overall_timeout).await?;
                let row = commands.run_script(self.read.key(key).arg(MAX_WHOLE)).await?;
                drop(turn);
                self.whole(key, row).await
            }
        }
    }

    /// Returns the whole value of a row, fetching a large one. Returns `None` for a value that is
    /// too large, that has no TTL and so was not written by this store, or that is replaced during
    /// its transfer.
    pub(super) async fn whole(
        &self,
        key: &str,
        (value, ttl_ms, size): ValueRow,
    ) -> Result<Option<Stored>, StoreError> {
        let Some(Stored { bytes: value, ttl_left }) = value.and_then(|value| stored(value, ttl_ms)) else {
            return Ok(None);
        };
        if size > self.max_bytes {
            self.metrics.too_large_for_redis.add(1);
            tracing::debug!(key, size, "the value in Redis exceeds `max_value_bytes`: it is not read");
            return Ok(None);
        }
        if value.len() == size {
            return Ok(Some(Stored { bytes: value, ttl_left }));
        }
        let began = Instant::now();
        let fetched = within(TRANSFER_TIMEOUT, self.fetch(key, &value, size)).await?;
        let ttl_left = ttl_left.saturating_sub(began.elapsed());
        Ok(fetched.filter(|_| !ttl_left.is_zero()).map(|bytes| Stored { bytes, ttl_left }))
    }

    /// Fetches a large value that begins with `head`. Returns `None` if it is replaced meanwhile.
    async fn fetch(&self, key: &str, head: &[u8], size: usize) -> Result<Option<Bytes>, StoreError> {
        let mut bytes = Vec::with_capacity(size);
        while bytes.len() < size {
            let mut call = self.read_piece.key(key);
            call.arg(head).arg(bytes.len()).arg(PIECE.min(size - bytes.len()));
            let _turn = turn_of(&self.pieces, TRANSFER_TIMEOUT).await?;
            match self.bulk.run_script::<Option<Vec<u8>>>(&call).await? {
                Some(piece) if !piece.is_empty() => bytes.extend(piece),
                _ => return Ok(None),
            }
        }
        Ok(Some(bytes.into()))
    }

    /// Sends a large value in pieces to the key `staged`, from which a script then moves it.
    pub(super) async fn stage(&self, staged: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let sent = within(TRANSFER_TIMEOUT, self.append_pieces(staged, bytes)).await;
        if sent.is_err() {
            self.unstage(staged).await;
        }
        sent
    }

    /// Frees the memory of a staged value. If this fails, its TTL does.
    pub(super) async fn unstage(&self, staged: &str) {
        let _ = self.bulk.run::<redis::Value>(redis::cmd("UNLINK").arg(staged)).await;
    }

    async fn append_pieces(&self, staged: &str, bytes: &[u8]) -> Result<(), StoreError> {
        for piece in bytes.chunks(SENT_PIECE) {
            let mut append = redis::pipe();
            append
                .atomic()
                .append(staged, piece)
                .ignore()
                .pexpire(staged, STAGED_TTL.as_millis() as i64)
                .ignore();
            let _turn = turn_of(&self.pieces, TRANSFER_TIMEOUT).await?;
            self.bulk.run_pipeline::<()>(&append).await?;
        }
        Ok(())
    }
}

/// Returns the commands that read keys, two for each.
///
/// The time to live is read first. If the value is replaced or expires in between, it counts as
/// older than it is, or as missing, and never as younger.
fn reads_of(keys: &[impl AsRef<str>]) -> Pipeline {
    let mut reads = Pipeline::with_capacity(2 * keys.len());
    for key in keys.iter().map(AsRef::as_ref) {
        let mut ttl = Cmd::with_capacity(2, 4 + key.len());
        ttl.arg("PTTL").arg(key);
        let mut value = Cmd::with_capacity(4, 16 + key.len());
        // One byte more shows that the value is longer.
        value.arg("GETRANGE").arg(key).arg(0).arg(FIRST);
        reads.add_command(ttl).add_command(value);
    }
    reads
}

/// Returns a value with its TTL. `None` if it is empty, as that of a missing key, or has no TTL and
/// so was not written by this store.
fn stored(value: Vec<u8>, ttl_ms: i64) -> Option<Stored> {
    let ttl_left = Duration::from_millis(u64::try_from(ttl_ms).ok()?);
    (!value.is_empty() && !ttl_left.is_zero()).then(|| Stored { bytes: value.into(), ttl_left })
}

async fn turn_of(places: &Semaphore, timeout: Duration) -> Result<SemaphorePermit<'_>, StoreError> {
    turns_of(places, 1, timeout).await
}

async fn turns_of(
    places: &Semaphore,
    count: usize,
    timeout: Duration,
) -> Result<SemaphorePermit<'_>, StoreError> {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    if let Ok(turns) = places.try_acquire_many(count) {
        return Ok(turns);
    }
    // The semaphores are never closed, which is the only error of `acquire_many`.
    within(timeout, async { places.acquire_many(count).await.map_err(|_| StoreError::Incomplete) }).await
}

async fn within<T>(
    timeout: Duration,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(timeout, work).await.unwrap_or(Err(StoreError::Timeout(timeout)))
}
