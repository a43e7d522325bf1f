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
            let (is_first, mut reads) = self.add(WaitingRead { key: key.to_owned(), reply: sender });
            if is_first {
                // Other tasks that are ready add their reads meanwhile.
                let abandoned = Abandoned(self);
                tokio::task::yield_now().await;
                std::mem::forget(abandoned);
                reads = std::mem::take(&mut *self.waiting());
            }
            send(values, commands, reads).await;
            // The caller that sends for this one may have been cancelled.
            if let Ok(reply) = reply.await {
                return reply;
            }
        }
    }

    /// Adds a read. Returns whether it is the first that waits, and all of them once they fill a
    /// pipeline.
    fn add(&self, read: WaitingRead) -> (bool, Vec<WaitingRead>) {
        let mut waiting = self.waiting();
        waiting.push(read);
        let is_full = waiting.len() == MAX_KEYS;
        (waiting.len() == 1, if is_full { std::mem::take(&mut *waiting) } else { Vec::new() })
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<WaitingRead>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends reads together, and hands out their replies.
async fn send(values: &Values, commands: &Connection, reads: Vec<WaitingRead>) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_never_wait_for_a_pipeline_that_is_full() {
        let reads = SharedReads::default();
        let add = || reads.add(WaitingRead { key: String::new(), reply: oneshot::channel().0 });
        for round in 0..2 {
            assert!(matches!(add(), (true, sent) if sent.is_empty()), "{round}: the first");
            for _ in 2..MAX_KEYS {
                assert!(matches!(add(), (false, sent) if sent.is_empty()), "{round}: one in between");
            }
            assert!(matches!(add(), (false, sent) if sent.len() == MAX_KEYS), "{round}: the last");
        }
    }
}
