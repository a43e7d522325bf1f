//! The state that a process's namespaces share.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shared_keys::{Mode, Position, Scope};
use tokio::sync::Semaphore;
use tracing::Instrument;

use crate::clock::Clock;
use crate::closing::Closing;
use crate::codec::Codec;
use crate::in_flight::InFlight;
use crate::journal::{Journal, ensure_follower};
use crate::memory::Memory;
#[cfg(feature = "metrics")]
use crate::metrics::Exported;
use crate::metrics::{Metrics, NamespaceMetrics};
use crate::outdated::OutdatedCopies;
use crate::random::Randomness;
use crate::receipt::Receipt;
use crate::spans;
use crate::store::Store;
#[cfg(feature = "metrics")]
use crate::store::StoreTimings;

/// The permits of [`Core::lease_commands`].
pub(crate) const LEASE_COMMANDS: usize = 128;

/// The shared state.
pub(crate) struct Core {
    /// The app's name, which its keys begin with.
    pub(crate) app: String,
    pub(crate) memory: Memory,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) in_flight: Arc<InFlight>,
    pub(crate) outdated_copies: OutdatedCopies,
    pub(crate) journal: Arc<Journal>,
    pub(crate) closing: Arc<Closing>,
    pub(crate) close_timeout: Duration,
    /// The counters that belong to no namespace.
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) namespaces: NamespaceMetrics,
    #[cfg(feature = "metrics")]
    pub(crate) store_timings: Arc<StoreTimings>,
    #[cfg(feature = "metrics")]
    pub(crate) exported: Exported,
    pub(crate) clock: Clock,
    pub(crate) codec: Codec,
    /// The names of the types of which a value was not stored.
    pub(crate) refused_types: Mutex<HashSet<&'static str>>,
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
    /// Returns a number that no other cache of this process has.
    pub(crate) fn number(self: &Arc<Self>) -> usize {
        Arc::as_ptr(self).addr()
    }

    /// Appends an invalidation, or queues it. Runs in a task of its own: if the caller disconnects
    /// after its database has committed, the invalidation is sent all the same.
    pub(crate) async fn invalidate(&self, mode: Mode, scopes: Vec<Scope>) -> Receipt {
        self.report_foreign(&scopes);
        if scopes.is_empty() {
            return self.receipt(Some(self.journal.position()));
        }
        if tokio::runtime::Handle::try_current().is_err() {
            tracing::error!("an invalidation outside of a Tokio runtime is queued and not sent");
            self.journal.enqueue(mode, &scopes);
            return self.receipt(None);
        }
        ensure_follower(&self.journal);
        let scopes: Arc<[Scope]> = scopes.into();
        let (journal, covered) = (Arc::clone(&self.journal), Arc::clone(&scopes));
        let running = self.closing.work.begin();
        let span = spans::remove(scopes.len());
        let task = tokio::spawn(
            async move {
                let _running = running;
                let position = journal.invalidate(mode, &covered).await;
                if position.is_none() {
                    journal.store_queue().await;
                }
                position
            }
            .instrument(span),
        );
        let position = task.await.unwrap_or_else(|_| {
            self.journal.enqueue(mode, &scopes);
            None
        });
        self.receipt(position)
    }
    /// Returns the receipt of a record at this position, or of one that is queued.
    pub(crate) fn receipt(&self, position: Option<Position>) -> Receipt {
        let receipt = Receipt::new(position, self.has_edge);
        if position.is_some() || self.journal.has_follower() { receipt } else { receipt.without_sender() }
    }

    /// Reports an invalidation of keys of another app, whose caches do not follow this journal.
    fn report_foreign(&self, scopes: &[Scope]) {
        let is_foreign = |scope: &&Scope| match scope {
            Scope::Key(key) => app_of(key) != self.app,
            Scope::Prefix(prefix) => app_of(prefix.as_str()) != self.app,
            _ => false,
        };
        if let Some(scope) = scopes.iter().find(is_foreign) {
            tracing::error!(%scope, app = self.app, "expected a key of this cache's app: another app does not see this");
        }
    }
}

/// Returns the name of the app that a key begins with.
pub(crate) fn app_of(key: &str) -> &str {
    key.split(':').next().unwrap_or_default()
}
