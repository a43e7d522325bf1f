//! The durable copy of the queue, kept in step with it.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::timeout;

use super::{Journal, Queued};
use crate::durable_queue::QueueStore;
use crate::error::BoxError;

/// The timeout of a change of the store: an invalidation waits for its copy.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The copy in the service's own store.
pub(super) struct Durable {
    store: Arc<dyn QueueStore>,
    /// Locked while the store is called.
    stored: tokio::sync::Mutex<Stored>,
}

#[derive(Default)]
struct Stored {
    /// The number of the first queued record that is not stored.
    next: u64,
    is_empty: bool,
}

impl Durable {
    pub(super) fn new(store: Arc<dyn QueueStore>) -> Self {
        Self { store, stored: tokio::sync::Mutex::default() }
    }
}

impl Journal {
    /// Queues the invalidations that an earlier run of the process has stored and not sent.
    ///
    /// # Errors
    /// If they cannot be read: what they cover is unknown.
    pub(crate) async fn replay_durable_queue(&self) -> Result<(), BoxError> {
        let Some(durable) = &self.durable else { return Ok(()) };
        let mut stored = durable.stored.lock().await;
        let unsent = durable.store.load().await?;
        if !unsent.is_empty() {
            tracing::info!(
                records = unsent.len(),
                "sending the invalidations that an earlier run has queued"
            );
        }
        unsent.iter().for_each(|unsent| self.enqueue(unsent.mode, &unsent.scopes));
        *stored = Stored { next: self.queue().next_number(), is_empty: unsent.is_empty() };
        Ok(())
    }

    /// Stores the queued records that are not stored yet. Once the queue is empty, removes all.
    ///
    /// A failure is logged and counted; the next call tries again.
    pub(crate) async fn store_queue(&self) {
        let Some(durable) = &self.durable else { return };
        let mut stored = durable.stored.lock().await;
        let (new, now) = {
            let queue = self.queue();
            let new: Vec<_> =
                queue.iter().filter(|queued| queued.number >= stored.next).map(Queued::to_unsent).collect();
            (new, Stored { next: queue.next_number(), is_empty: queue.is_empty() })
        };
        let change = match (now.is_empty, new.is_empty()) {
            (true, _) if stored.is_empty => ready(Ok(())).boxed(),
            (true, _) => durable.store.clear(),
            (false, true) => return,
            (false, false) => durable.store.append(&new),
        };
        match timeout(TIMEOUT, change).await.unwrap_or_else(|elapsed| Err(elapsed.into())) {
            Ok(()) => *stored = now,
            Err(error) => {
                self.metrics.durable_queue_errors.add(1);
                tracing::error!(%error, "the durable queue failed: queued invalidations end with the process");
            }
        }
    }
}
