//! The state that a process's namespaces share.

use std::sync::Arc;
use std::time::Duration;

use shared_keys::{Mode, Scope};
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::codec::Codec;
use crate::journal::{Journal, ensure_follower};
use crate::memory::Memory;
use crate::metrics::{Metrics, NamespaceMetrics};
use crate::random::Randomness;
use crate::receipt::Receipt;
use crate::store::Store;

/// The permits of [`Core::lease_commands`].
pub(crate) const LEASE_COMMANDS: usize = 128;

/// The shared state.
pub(crate) struct Core {
    pub(crate) memory: Memory,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) journal: Arc<Journal>,
    /// The counters that belong to no namespace.
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) namespaces: NamespaceMetrics,
    pub(crate) clock: Clock,
    pub(crate) codec: Codec,
    pub(crate) lease_ttl: Duration,
    /// A permit for each lease command that is not the first of its load: renewals, and requests of
    /// waiters. A batch has one of these per key, and all of them at the same time would exceed the
    /// timeout of a command.
    pub(crate) lease_commands: Arc<Semaphore>,
    pub(crate) randomness: Randomness,
    pub(crate) jitter: f64,
    pub(crate) bypass: bool,
    pub(crate) has_edge: bool,
}

impl Core {
    /// Appends an invalidation, or queues it. Runs in a task of its own: if the caller disconnects
    /// after its database has committed, the invalidation is sent all the same.
    pub(crate) async fn invalidate(&self, mode: Mode, scopes: Vec<Scope>) -> Receipt {
        if scopes.is_empty() {
            return Receipt::new(Some(self.journal.position()), self.has_edge);
        }
        if !ensure_follower(&self.journal) {
            tracing::error!("an invalidation outside of a Tokio runtime is queued and not sent");
            self.journal.enqueue(mode, &scopes);
            return Receipt::new(None, self.has_edge).without_sender();
        }
        let scopes: Arc<[Scope]> = scopes.into();
        let (journal, covered) = (Arc::clone(&self.journal), Arc::clone(&scopes));
        let task = tokio::spawn(async move { journal.invalidate(mode, &covered).await });
        let position = task.await.unwrap_or_else(|_| {
            self.journal.enqueue(mode, &scopes);
            None
        });
        Receipt::new(position, self.has_edge)
    }
}
