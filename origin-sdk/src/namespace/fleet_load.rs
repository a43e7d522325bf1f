//! Loads in the fleet: the lease on a key, which one process holds while the others wait.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};

use super::Inner;
use super::load::LoadRequest;
use super::read::{Lookup, StoreRead};
use crate::cached::Layer;
use crate::closing::Phase;
use crate::entry::Entry;
use crate::error::StoreError;
use crate::stampede::{LeaseOutcome, LeaseRequest};
use crate::store::{Outcome, Stored};

impl<V: Send + Sync + 'static> Inner<V> {
    /// Acquires the key's lease, or waits until another process has stored the value. A failing
    /// store costs the lease, not the load.
    pub(super) async fn acquire_lease(&self, request: &LoadRequest<V>) -> LeaseOutcome<Arc<Entry<V>>> {
        if self.shared_form.is_none() {
            return self.held_or_unavailable(request);
        }
        let mut lease_request = self.lease_request(request);
        match self.try_acquire(&lease_request, request).await {
            LeaseOutcome::Held(left) => self.wait_for_lease(&mut lease_request, request, left).await,
            outcome => outcome,
        }
    }

    pub(super) fn lease_request(&self, request: &LoadRequest<V>) -> LeaseRequest {
        let core = &self.core;
        let position = request.start.position;
        let (key, scopes) = (&request.key, &request.scopes);
        LeaseRequest::new(
            &core.store,
            &core.journal,
            key,
            scopes,
            position,
            core.lease_ttl,
            &core.lease_commands,
        )
    }

    /// Returns the value in memory, if another load has put it there since the caller looked.
    /// Otherwise there is no lease: values in memory alone cannot be had from other processes.
    pub(super) fn held_or_unavailable(&self, request: &LoadRequest<V>) -> LeaseOutcome<Arc<Entry<V>>> {
        let held = self.core.memory.get(&request.key);
        match self.judge_in_memory(held, self.core.clock.now(), || request.rand) {
            Lookup::Hit(found) if found.refresh.is_none() => LeaseOutcome::Found(found.entry),
            _ => LeaseOutcome::Unavailable,
        }
    }

    /// Acquires the key's lease unless another process holds it.
    pub(super) async fn try_acquire(
        &self,
        lease_request: &LeaseRequest,
        request: &LoadRequest<V>,
    ) -> LeaseOutcome<Arc<Entry<V>>> {
        // Without the journal this process cannot tell which loads are worth waiting for.
        if self.core.journal.is_lagging(request.start.at) {
            return LeaseOutcome::Unavailable;
        }
        let read = self.begin_read(&request.key, self.core.clock.now());
        let accept = |stored: &Stored| self.fresh_entry(request, stored, &read);
        let outcome = lease_request.acquire(accept).await;
        outcome.unwrap_or_else(|error| self.without_lease(&request.key, &error))
    }

    /// Reads the value that another process has just stored. This is cheaper than a claim, which
    /// would acquire and release the lease.
    async fn find_filled(
        &self,
        lease_request: &LeaseRequest,
        request: &LoadRequest<V>,
    ) -> Option<Arc<Entry<V>>> {
        let read = self.begin_read(&request.key, self.core.clock.now());
        // After an error, the claim that follows decides.
        lease_request.find(|stored| self.fresh_entry(request, stored, &read)).await.ok().flatten()
    }

    /// Waits until the lease is available or the value is stored, for half of the hard timeout at
    /// most, and until the cache is closed: a process that hangs must not prevent this one from
    /// loading or closing.
    pub(super) async fn wait_for_lease(
        &self,
        lease_request: &mut LeaseRequest,
        request: &LoadRequest<V>,
        left: Duration,
    ) -> LeaseOutcome<Arc<Entry<V>>> {
        self.metrics.lease_waits.add(1);
        let outcome = self.retry_until_settled(lease_request, request, left);
        let limit = self.options.hard_timeout / 2;
        let closed = self.core.closing.reached(Phase::Cancelling);
        match select(pin!(closed), pin!(tokio::time::timeout(limit, outcome))).await {
            Either::Right((Ok(outcome), _)) => outcome,
            _ => LeaseOutcome::Unavailable,
        }
    }

    async fn retry_until_settled(
        &self,
        lease_request: &mut LeaseRequest,
        request: &LoadRequest<V>,
        mut left: Duration,
    ) -> LeaseOutcome<Arc<Entry<V>>> {
        let mut has_failed = false;
        loop {
            let is_filled = match lease_request.wait(left).await {
                Ok(Outcome::NotShared) => return LeaseOutcome::Unavailable,
                // If each waiter loaded after a failure, the last one would fail after as many
                // loads as there are processes.
                Ok(Outcome::Failed) if has_failed => return LeaseOutcome::Failed,
                Ok(outcome) => {
                    has_failed |= outcome == Outcome::Failed;
                    outcome == Outcome::Filled
                }
                Err(error) => return self.without_lease(&request.key, &error),
            };
            // The semaphore is never closed.
            let permit = self.core.lease_commands.acquire().await;
            if is_filled && let Some(entry) = self.find_filled(lease_request, request).await {
                return LeaseOutcome::Found(entry);
            }
            let outcome = self.try_acquire(lease_request, request).await;
            drop(permit);
            match outcome {
                LeaseOutcome::Held(longer) => left = longer,
                outcome => return outcome,
            }
        }
    }

    fn without_lease<T>(&self, key: &str, error: &StoreError) -> LeaseOutcome<T> {
        tracing::debug!(%error, key, "the lease could not be acquired: loading without it");
        self.metrics.store_errors.add(1);
        LeaseOutcome::Unavailable
    }

    /// Returns the entry that another process has stored, and puts it into memory. `None` if it is
    /// stale, or due for the same refresh that the load is for.
    fn fresh_entry(
        &self,
        request: &LoadRequest<V>,
        stored: &Stored,
        read: &StoreRead<'_>,
    ) -> Option<Arc<Entry<V>>> {
        let (entry, bytes) = self.decoded(&request.key, stored, read).ok()?;
        match self.judge(Some(entry), Layer::Redis, self.core.clock.now(), || request.rand) {
            Lookup::Hit(found) if found.refresh.is_none() => {
                self.place_copy(&request.key, &found.entry, bytes, &read.in_flight).then_some(found.entry)
            }
            _ => None,
        }
    }
}
