//! Callers that wait for a load, their own or that of another caller.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Inner;
use super::load::LoadWaiter;
use crate::cached::{Cached, Freshness, Layer, StaleReason};
use crate::entry::Entry;
use crate::error::{LoadError, Work};
use crate::stampede::Run;

/// A caller that waits for loads.
pub(super) struct Caller {
    pub(super) called_at: Duration,
    /// When it gets a stale value, if there is one.
    soft_deadline: Option<Instant>,
    is_batch: bool,
    /// Whether it has joined a load before, and not taken its outcome.
    pub(super) is_again: bool,
}

/// The outcome of a load for one of its callers.
pub(super) enum Awaited<V> {
    Cached(Cached<V>),
    /// The loader of a batch has no value for the key.
    Absent,
    /// Nothing: the caller has joined a load whose outcome is not for it. It has to join another
    /// one, or to start one.
    Again,
}

impl<V: Send + Sync + 'static> Inner<V> {
    pub(super) fn caller(&self, is_batch: bool) -> Caller {
        let soft_deadline = self.options.soft_timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Caller { called_at: self.core.clock.now(), soft_deadline, is_batch, is_again: false }
    }

    /// Awaits the load that `waiter` belongs to. After the soft timeout the caller gets the
    /// fallback if that may be served.
    pub(super) async fn await_load(
        &self,
        waiter: &LoadWaiter<V>,
        caller: &Caller,
        fallback: Option<&Arc<Entry<V>>>,
    ) -> Result<Awaited<V>, LoadError> {
        let load = async {
            match Run::current() {
                Some(run) => run.without_permit(self.await_outcome(waiter, caller, fallback)).await,
                None => self.await_outcome(waiter, caller, fallback).await,
            }
        };
        let (Some(deadline), Some(stale)) = (caller.soft_deadline, fallback) else { return load.await };
        tokio::pin!(load);
        match tokio::time::timeout_at(deadline, &mut load).await {
            Err(_) if self.may_serve_on_error(stale) => {
                self.metrics.soft_timeouts.add(1);
                let freshness = Freshness::Stale(StaleReason::SoftTimeout);
                Ok(Awaited::Cached(self.serve(stale, Layer::Memory, freshness, self.core.clock.now())))
            }
            Err(_) => load.await,
            Ok(result) => result,
        }
    }

    async fn await_outcome(
        &self,
        waiter: &LoadWaiter<V>,
        caller: &Caller,
        fallback: Option<&Arc<Entry<V>>>,
    ) -> Result<Awaited<V>, LoadError> {
        if !waiter.is_leader {
            self.metrics.coalesced.add(1);
        }
        let wait = Run::current().map(|run| run.wait_for(&waiter.start.flight)).transpose();
        let _wait = wait.map_err(LoadError::cycle)?;
        let outcome = waiter.outcome.clone().await.unwrap_or_else(|| Err(LoadError::panicked(Work::Loader)));
        match outcome {
            // A load that this caller joined may have started before an invalidation that precedes
            // the call: of a tag that only the loader knew, or one that had not reached this
            // process yet. The leader takes its value in any case: its call began earlier.
            Ok(Some(loaded))
                if waiter.is_leader
                    || loaded.started_at > caller.called_at
                    || loaded.is_valid(&self.core) =>
            {
                let now = self.core.clock.now();
                Ok(Awaited::Cached(self.serve(&loaded.entry, loaded.layer, loaded.freshness, now)))
            }
            Ok(None) if waiter.is_leader || caller.is_batch => Ok(Awaited::Absent),
            Ok(_) => Ok(Awaited::Again),
            // The failure of a batch may be due to another key, and a batch has keys that the
            // failed load knows nothing of. One attempt more is enough to tell.
            Err(_) if !waiter.is_leader && !caller.is_again && (caller.is_batch || waiter.start.is_batch) => {
                Ok(Awaited::Again)
            }
            // A refresh that this caller joined has no fallback: the value was still served when it
            // began.
            Err(error) => self.serve_on_error(fallback).map(Awaited::Cached).ok_or(error),
        }
    }
}
