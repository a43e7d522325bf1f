//! Reading and storing values of any size without delaying other commands.
//!
//! A small value is sent whole over the shared connection. A large one is sent in pieces over a
//! connection of its own, each piece with the timeout of a command, so that the time for the whole
//! follows its size. No reply is large, so a slow link delays other commands by milliseconds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use redis::Script;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::connection::{Connection, Timeouts};
use crate::error::StoreError;
use crate::metrics::Metrics;
use crate::store::Stored;

/// The longest value that is sent whole: 3 ms at 100 Mbit/s.
pub(super) const INLINE: usize = 32 << 10;
/// The most bytes of values in the reply to a batch: 20 ms at 100 Mbit/s.
const MAX_REPLY: usize = 256 << 10;
/// The size of a piece of a large value that is read. Its arrival is progress, even in parts.
const PIECE: usize = 256 << 10;
/// The size of a piece that is sent. Only Redis's reply is progress.
const SENT_PIECE: usize = 64 << 10;
/// The most keys read at a time. A longer script would block other clients.
const BATCH: usize = 500;
/// The most commands with values that are in flight on the shared connection, and the most pieces
/// on the other one. They bound what other replies wait behind.
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

/// The values of a server.
pub(super) struct Values {
    /// The connection of large values.
    bulk: Connection,
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

    /// Returns the values of several keys, in the order of the keys.
    pub(super) async fn get_many(
        &self,
        commands: &Connection,
        keys: &[String],
    ) -> Result<Vec<Option<Stored>>, StoreError> {
        let mut all = Vec::with_capacity(keys.len());
        while let Some(rest) = keys.get(all.len()..).filter(|rest| !rest.is_empty()) {
            let mut call = self.read.prepare_invoke();
            rest.iter().take(BATCH).for_each(|key| {
                call.key(key);
            });
            call.arg(INLINE).arg(MAX_REPLY);
            let turn = turn_of(&self.in_flight, self.overall_timeout).await?;
            let rows: Vec<ValueRow> = commands.run_script(&call).await?;
            drop(turn);
            if rows.is_empty() {
                return Err(StoreError::Incomplete);
            }
            for (key, row) in rest.iter().zip(rows) {
                all.push(self.whole(key, row).await?);
            }
        }
        Ok(all)
    }

    /// Returns the whole value of a row, fetching a large one. Returns `None` for a value that is
    /// too large, that has no TTL and so was not written by this store, or that is replaced during
    /// its transfer.
    pub(super) async fn whole(
        &self,
        key: &str,
        (value, ttl_ms, size): ValueRow,
    ) -> Result<Option<Stored>, StoreError> {
        let ttl_left = Duration::from_millis(u64::try_from(ttl_ms).unwrap_or(0));
        let Some(value) = value.filter(|_| !ttl_left.is_zero()) else { return Ok(None) };
        if size > self.max_bytes {
            self.metrics.too_large_for_redis.add(1);
            tracing::debug!(key, size, "the value in Redis exceeds `max_value_bytes`: it is not read");
            return Ok(None);
        }
        if value.len() == size {
            return Ok(Some(Stored { bytes: value.into(), ttl_left }));
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

async fn turn_of(places: &Semaphore, timeout: Duration) -> Result<SemaphorePermit<'_>, StoreError> {
    // The semaphores are never closed, which is the only error of `acquire`.
    within(timeout, async { places.acquire().await.map_err(|_| StoreError::Incomplete) }).await
}

async fn within<T>(
    timeout: Duration,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(timeout, work).await.unwrap_or(Err(StoreError::Timeout(timeout)))
}
