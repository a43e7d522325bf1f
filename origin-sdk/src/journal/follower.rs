//! The background task that follows the journal, and its supervision.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::runtime::Handle;

use super::Journal;
use crate::error::StoreError;

/// The longest wait for a record; a quarter of the maximum lag if that is shorter. After each wait
/// the process catches up, which confirms that it is current even if there is no record.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// How long to collect records before fetching them together. Without it, a thousand processes
/// would cost Redis a thousand replies for each record.
const BATCH: Duration = Duration::from_millis(2);
/// The pause between attempts while the store is unavailable.
const RETRY: Duration = Duration::from_millis(100);
/// The time without a step after which a follower counts as stalled, because its runtime is no
/// longer driven. A follower that is only slow ends once its successor has started.
const STALLED: Duration = Duration::from_secs(10);

/// The follower of a journal: at most one task, started again when it has ended or stalled.
#[derive(Default)]
pub(super) struct Follower {
    /// The number of the newest task, or 0. An older task ends.
    newest: AtomicU64,
    /// The last step of the newest task; `None` if it has ended.
    last_step: Mutex<Option<Instant>>,
}

impl Follower {
    /// Returns whether a task follows the journal.
    pub(super) fn is_running(&self) -> bool {
        self.last_step().is_some_and(|at| at.elapsed() < STALLED)
    }

    /// Records a step of a task. Returns `false` if the task has a successor.
    fn step(&self, number: u64) -> bool {
        let mut last_step = self.last_step();
        let is_newest = self.newest.load(Ordering::Acquire) == number;
        if is_newest {
            *last_step = Some(Instant::now());
        }
        is_newest
    }

    fn last_step(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.last_step.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Marks the follower as ended on drop: a runtime that ends drops its tasks without running them
/// to their ends.
struct EndOnDrop {
    journal: Weak<Journal>,
    number: u64,
}

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        if let Some(journal) = self.journal.upgrade() {
            let mut last_step = journal.follower.last_step();
            if journal.follower.newest.load(Ordering::Acquire) == self.number {
                *last_step = None;
            }
        }
    }
}

/// Starts the follower on the current runtime unless it is running. Returns whether it runs now:
/// it does not outside of a runtime.
pub(crate) fn ensure_follower(journal: &Arc<Journal>) -> bool {
    let follower = &journal.follower;
    if follower.is_running() {
        return true;
    }
    let Ok(runtime) = Handle::try_current() else { return false };
    let number = {
        let mut last_step = follower.last_step();
        if last_step.is_some_and(|at| at.elapsed() < STALLED) {
            return true;
        }
        *last_step = Some(Instant::now());
        follower.newest.fetch_add(1, Ordering::AcqRel) + 1
    };
    if number > 1 {
        tracing::warn!("the follower of the journal has ended or stalled; starting it again");
        journal.metrics.follower_restarts.add(1);
    }
    let end = EndOnDrop { journal: Arc::downgrade(journal), number };
    runtime.spawn(follow(end));
    follower.is_running()
}

/// Follows the journal and flushes the queue, until the cache that owns the journal is dropped or
/// another follower has started.
async fn follow(task: EndOnDrop) {
    let mut is_disconnected = false;
    while let Some(journal) = task.journal.upgrade().filter(|journal| journal.follower.step(task.number)) {
        match AssertUnwindSafe(step(&journal)).catch_unwind().await {
            Ok(Ok(())) if is_disconnected => {
                tracing::info!("following the journal again");
                is_disconnected = false;
                continue;
            }
            Ok(Ok(())) => continue,
            Ok(Err(error)) if !is_disconnected => {
                tracing::warn!(%error, "following the journal failed; retrying until the store is reachable");
                is_disconnected = true;
            }
            Ok(Err(_)) => {}
            Err(_) => {
                tracing::error!("following the journal panicked; retrying");
                journal.metrics.follower_restarts.add(1);
            }
        }
        drop(journal);
        tokio::time::sleep(RETRY).await;
    }
}

async fn step(journal: &Arc<Journal>) -> Result<(), StoreError> {
    journal.catch_up().await?;
    journal.flush_queue().await?;
    journal.store.wait(journal.position(), HEARTBEAT.min(journal.max_lag / 4)).await?;
    tokio::time::sleep(BATCH).await;
    Ok(())
}
