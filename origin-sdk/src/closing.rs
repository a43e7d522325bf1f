//! The orderly end of a cache: what runs finishes first, then the background tasks stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, watch};

/// How far a cache has been closed. Later phases compare as greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Everything works.
    Open,
    /// Everything works, and the work that runs may finish.
    Finishing,
    /// Loads that still run are cancelled, and no new one starts.
    Cancelling,
    /// No invalidation of this process is added any more: a shipper stops once nothing is left to
    /// ship.
    Draining,
    /// The background tasks stop at once.
    Closed,
}

/// The phase of a cache, and the work that closing it waits for.
pub(crate) struct Closing {
    phase: watch::Sender<Phase>,
    /// Loads, writes and invalidations that run.
    pub(crate) work: Arc<Running>,
    /// The shippers that run.
    pub(crate) shippers: Arc<Running>,
}

impl Default for Closing {
    fn default() -> Self {
        Self { phase: watch::channel(Phase::Open).0, work: Arc::default(), shippers: Arc::default() }
    }
}

impl Closing {
    /// Enters a phase, unless a later one has been entered.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.send_modify(|current| *current = phase.max(*current));
    }

    pub(crate) fn has_reached(&self, phase: Phase) -> bool {
        *self.phase.borrow() >= phase
    }

    /// Waits until the phase or a later one is entered.
    pub(crate) async fn reached(&self, phase: Phase) {
        // Fails if the sender is dropped, which this reference prevents.
        let _ = self.phase.subscribe().wait_for(|current| *current >= phase).await;
    }
}

/// The number of tasks of one kind that run.
#[derive(Default)]
pub(crate) struct Running {
    count: AtomicUsize,
    /// Notified when the last task has ended.
    ended: Notify,
}

impl Running {
    /// Counts a task until the guard is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> RunningGuard {
        self.count.fetch_add(1, Ordering::AcqRel);
        RunningGuard(Arc::clone(self))
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Waits until no task runs.
    pub(crate) async fn none(&self) {
        loop {
            // Created before the count is read, so that no notification is missed in between.
            let ended = self.ended.notified();
            if self.count() == 0 {
                return;
            }
            ended.await;
        }
    }
}

/// A task that runs.
pub(crate) struct RunningGuard(Arc<Running>);

impl Drop for RunningGuard {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.ended.notify_waiters();
        }
    }
}
