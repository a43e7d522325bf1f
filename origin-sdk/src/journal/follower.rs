//! The background task that follows the journal, and its supervision.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::pace::Pace;
use super::{Journal, RETRY};
use crate::closing::Phase;
use crate::error::StoreError;
use crate::task::TaskPermit;

/// The longest wait for a record; a quarter of the maximum lag if that is shorter. After each wait
/// the process catches up, which confirms that it is current even if there is no record.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// The longest pause between two fetches, as a fraction of the maximum lag.
const MAX_PAUSE: u32 = 8;
/// The time without a step after which the follower counts as stalled.
pub(super) const STALLED: Duration = Duration::from_secs(10);

/// The state of one follower. Its end is logged if queued invalidations remain.
struct FollowerTask {
    journal: Weak<Journal>,
    permit: TaskPermit,
}

impl Drop for FollowerTask {
    fn drop(&mut self) {
        // A successor sends the queue.
        if let Some(journal) = self.journal.upgrade()
            && self.permit.step()
        {
            journal.warn_of_unsent("the task that follows the journal has ended");
        }
    }
}

/// Starts the follower on the current runtime unless it is running. Returns whether it runs now: it
/// does not outside of a runtime, nor once the cache is closed.
pub(crate) fn ensure_follower(journal: &Arc<Journal>) -> bool {
    if journal.closing.has_reached(Phase::Closed) {
        return false;
    }
    let Ok(runtime) = Handle::try_current() else { return journal.follower.is_running() };
    if let Some(permit) = journal.follower.start() {
        if permit.is_restart() {
            tracing::warn!("the follower of the journal has ended or stalled; starting it again");
            journal.metrics.follower_restarts.add(1);
        }
        runtime.spawn(follow(FollowerTask { journal: Arc::downgrade(journal), permit }));
    }
    journal.follower.is_running()
}

/// Follows the journal and flushes the queue, until the cache that owns the journal is closed or
/// dropped, or another follower has started.
async fn follow(task: FollowerTask) {
    let (mut is_disconnected, mut cadence) = (false, Cadence::default());
    while let Some(journal) = task.journal.upgrade()
        && task.permit.step()
        && !journal.closing.has_reached(Phase::Closed)
    {
        journal.start_companions();
        let step = AssertUnwindSafe(step(&journal, &mut cadence)).catch_unwind();
        let closed = journal.closing.reached(Phase::Closed);
        let Either::Right((result, _)) = select(pin!(closed), pin!(step)).await else { return };
        match result {
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

/// The state that a step leaves to the next one.
#[derive(Default)]
struct Cadence {
    pace: Pace,
    /// Whether an append of this process has caught up since the follower began to wait.
    is_caught_up: bool,
}

async fn step(journal: &Arc<Journal>, cadence: &mut Cadence) -> Result<(), StoreError> {
    let Cadence { pace, is_caught_up } = cadence;
    journal.store_queue().await;
    let began = Instant::now();
    if !std::mem::take(is_caught_up) {
        journal.catch_up().await?;
        pace.note(began.elapsed());
    }
    let paused_until = Instant::now() + pace.pause(journal.max_lag / MAX_PAUSE);
    journal.flush_queue().await?;
    journal.store_queue().await;
    let position = journal.position();
    journal.store.wait(position, HEARTBEAT.min(journal.max_lag / 4)).await?;
    // A record after a quiet time is fetched at once. Under load, records are collected meanwhile:
    // a thousand processes would otherwise cost Redis a thousand replies for each record.
    if Instant::now() < paused_until {
        tokio::time::sleep_until(paused_until).await;
    }
    *is_caught_up = journal.position() != position;
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::{Cache, Delivery, Faults, Scope};

    #[tokio::test(start_paused = true)]
    async fn a_panic_of_a_step_does_not_end_the_follower() {
        let faults = Faults::seeded(1);
        let cache = Cache::builder("shop").faults(&faults).build().await.unwrap();
        let until = async |holds: fn(&Cache) -> bool| {
            let holds = async {
                while !holds(&cache) {
                    tokio::time::sleep(super::RETRY).await;
                }
            };
            tokio::time::timeout(super::STALLED, holds).await.unwrap();
        };
        faults.panic_once();
        until(|cache| cache.stats().follower_restarts == 1).await;
        assert!(cache.health().is_following);
        faults.cut(true);
        assert_eq!(cache.invalidate([Scope::All]).await.journal, Delivery::Queued);
        faults.cut(false);
        until(|cache| cache.health().queued == 0).await;
        assert_eq!(cache.stats().follower_restarts, 1);
    }
}
