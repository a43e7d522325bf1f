//! Reads of single keys that share pipelines.
//!
//! A read alone is sent at once. While others are in flight, the callers of one moment send theirs
//! together: one of them sends for all, in its own task.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::connection::Connection;
use super::values::{MAX_KEYS, ValueRead, Values};
use crate::error::StoreError;
use crate::store::Stored;

/// The reads of a server.
#[derive(Default)]
pub(super) struct SharedReads {
    /// The reads that are not sent yet.
    waiting: Mutex<Vec<WaitingRead>>,
    in_flight: AtomicUsize,
}

type Reply = Result<ValueRead, StoreError>;

struct WaitingRead {
    key: String,
    reply: oneshot::Sender<Reply>,
}

/// A read that is in flight, until dropped.
struct ReadInFlight<'a>(&'a AtomicUsize);

impl Drop for ReadInFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Gives up the reads that are not sent yet, when dropped: their callers begin again.
struct Abandoned<'a>(&'a SharedReads);

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        let abandoned = std::mem::take(&mut *self.0.waiting());
        drop(abandoned);
    }
}

impl SharedReads {
    /// Returns the value of a key.
    pub(super) async fn get(
        &self,
        values: &Values,
        commands: &Connection,
        key: String,
    ) -> Result<Option<Stored>, StoreError> {
        let is_alone = self.in_flight.fetch_add(1, Ordering::Relaxed) == 0;
        let in_flight = ReadInFlight(&self.in_flight);
        let key = [key];
        let read = if is_alone {
            let read = values.read_together(commands, &key).await?.pop();
            read.ok_or(StoreError::Incomplete)?
        } else {
            self.read_with_others(values, commands, &key[0]).await?
        };
        drop(in_flight);
        values.complete(commands, &key[0], read).await
    }

    async fn read_with_others(&self, values: &Values, commands: &Connection, key: &str) -> Reply {
        loop {
            let (sender, reply) = oneshot::channel();
            let count = self.add(WaitingRead { key: key.to_owned(), reply: sender });
            if count == 1 {
                // Other tasks that are ready add their reads meanwhile.
                let abandoned = Abandoned(self);
                tokio::task::yield_now().await;
                std::mem::forget(abandoned);
            }
            if count == 1 || count == MAX_KEYS {
                self.send(values, commands).await;
            }
            // The caller that sends for this one may have been cancelled.
            if let Ok(reply) = reply.await {
                return reply;
            }
        }
    }

    /// Adds a read, and returns how many are waiting.
    fn add(&self, read: WaitingRead) -> usize {
        let mut waiting = self.waiting();
        waiting.push(read);
        waiting.len()
    }

    /// Sends the reads that are waiting, and hands out their replies.
    async fn send(&self, values: &Values, commands: &Connection) {
        let reads = std::mem::take(&mut *self.waiting());
        if reads.is_empty() {
            return;
        }
        let (keys, callers): (Vec<_>, Vec<_>) = reads.into_iter().map(|read| (read.key, read.reply)).unzip();
        match values.read_together(commands, &keys).await {
            Ok(all) => {
                for (caller, read) in callers.into_iter().zip(all) {
                    // A caller that has been cancelled needs no reply.
                    let _ = caller.send(Ok(read));
                }
            }
            Err(error) => {
                for caller in callers {
                    let _ = caller.send(Err(error.clone()));
                }
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<WaitingRead>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
