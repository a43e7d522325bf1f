//! One load per key at a time in the whole fleet: the first process acquires the key's lease, the
//! others wait until it ends.
//!
//! A lease only saves work. The journal alone decides whether a value may be served, so a lease
//! that is lost, evicted or taken over never breaks correctness: at worst a value is loaded twice.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shared_keys::{Position, ScopeHash, Verdict};
use tokio::sync::Semaphore;

use crate::error::StoreError;
use crate::journal::Journal;
use crate::store::{ClaimRequest, LeaseToken, MAX_WHOLE, Outcome, Store, Stored, Watch};
use crate::task::AbortOnDrop;

/// The result of an attempt to acquire a key's lease.
pub(crate) enum LeaseOutcome<T> {
    /// Another process has already stored the value.
    Found(T),
    /// This process holds the lease and loads the value.
    Acquired(Lease),
    /// Load without a lease: the store is unavailable.
    Unavailable,
    /// Do not load: the loads of two other processes have failed, one after the other.
    Failed,
    /// Another process holds the lease, which expires after this time unless it is renewed.
    Held(Duration),
}

/// A request for a key's lease, repeated until the lease is acquired or the value is found.
pub(crate) struct LeaseRequest {
    store: Arc<dyn Store>,
    journal: Arc<Journal>,
    key: Arc<str>,
    /// The scopes of the value that are known before it is loaded.
    scopes: Box<[ScopeHash]>,
    /// The position that the load started at, and so that of its value.
    position: Position,
    token: LeaseToken,
    ttl: Duration,
    renewals: Arc<Semaphore>,
    /// Made before the last claim, so that it reports any later end of the lease.
    watch: Option<Watch>,
}

impl LeaseRequest {
    /// Creates a request for a lease of `ttl`, by a load that started at `position`. The lease is
    /// renewed while it is held, each time with a permit of `renewals`.
    ///
    /// `journal` must be caught up: its position decides whether the current holder's value would
    /// be valid, and so whether to wait for it.
    pub(crate) fn new(
        store: &Arc<dyn Store>,
        journal: &Arc<Journal>,
        key: &Arc<str>,
        scopes: &[ScopeHash],
        position: Position,
        ttl: Duration,
        renewals: &Arc<Semaphore>,
    ) -> Self {
        Self {
            store: Arc::clone(store),
            journal: Arc::clone(journal),
            key: Arc::clone(key),
            scopes: scopes.into(),
            position,
            token: LeaseToken::random(),
            ttl,
            renewals: Arc::clone(renewals),
            watch: store.watch_at_once(key),
        }
    }

    /// Acquires the key's lease unless another process holds it or has stored a value that `accept`
    /// accepts.
    ///
    /// Takes over the lease of a holder that began before an invalidation of the value: the value
    /// that this holder loads is already invalid, and the store will refuse it.
    pub(crate) async fn acquire<T>(
        &self,
        accept: impl Fn(&Stored) -> Option<T>,
    ) -> Result<LeaseOutcome<T>, StoreError> {
        let mut replaces = None;
        loop {
            let Self { ref token, position, ttl, .. } = *self;
            let request = ClaimRequest { token, position, ttl, replaces: replaces.as_ref() };
            let claim = self.store.claim(&self.key, request).await?;
            let found = claim.stored.as_ref().and_then(&accept);
            match (found, claim.holder) {
                (Some(found), Some(_)) => return Ok(LeaseOutcome::Found(found)),
                (Some(found), None) => {
                    self.lease().release(Outcome::Filled).await;
                    return Ok(LeaseOutcome::Found(found));
                }
                (None, None) => return Ok(LeaseOutcome::Acquired(self.lease())),
                (None, Some(holder))
                    if self.journal.verdict(&self.scopes, holder.position) == Verdict::Valid =>
                {
                    return Ok(LeaseOutcome::Held(holder.left));
                }
                (None, Some(outdated)) => replaces = Some(outdated.token),
            }
        }
    }

    /// Returns the value that the holder has stored if `accept` accepts it. Claims nothing.
    pub(crate) async fn find<T>(
        &self,
        accept: impl Fn(&Stored) -> Option<T>,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.store.get(&self.key).await?.as_ref().and_then(accept))
    }

    /// Waits until the current holder's lease ends: until the holder wakes this process, or until
    /// `left` has passed, which is when the lease of a crashed holder expires.
    ///
    /// Returns how the lease ended, by which the caller decides whether to request it again. If the
    /// process had no subscription before, the first call returns [`Outcome::Unknown`] at once: it
    /// only starts the watch.
    pub(crate) async fn wait(&mut self, left: Duration) -> Result<Outcome, StoreError> {
        // A holder only wakes watches that exist when its lease ends. If the last claim was made
        // before there was a watch, the lease may have ended since: claim again before the first
        // wait.
        let outcome = match self.watch.take() {
            Some(mut watch) => watch.ended(left).await,
            None => Outcome::Unknown,
        };
        self.watch = Some(self.store.watch(&self.key).await?);
        Ok(outcome)
    }

    fn lease(&self) -> Lease {
        let (store, key, token) = (Arc::clone(&self.store), Arc::clone(&self.key), self.token.clone());
        Lease { store, key, token, ttl: self.ttl, renewals: Arc::clone(&self.renewals), renewal: None }
    }
}

/// A lease that this process holds, until it is filled, released or dropped. A dropped lease
/// expires within its `ttl`.
pub(crate) struct Lease {
    store: Arc<dyn Store>,
    key: Arc<str>,
    token: LeaseToken,
    ttl: Duration,
    renewals: Arc<Semaphore>,
    renewal: Option<AbortOnDrop>,
}

impl Lease {
    /// Renews the lease while it is held. A load that ends at once does not need it.
    pub(crate) fn start_renewal(&mut self) {
        let (store, key, token) = (Arc::clone(&self.store), Arc::clone(&self.key), self.token.clone());
        let renewal = renew(store, key, token, self.ttl, Arc::clone(&self.renewals));
        self.renewal = Some(AbortOnDrop(tokio::spawn(renewal)));
    }

    /// Stores the loaded value and wakes the waiters. Returns `false`, and does nothing, if the
    /// lease has been lost meanwhile.
    pub(crate) async fn fill(&mut self, bytes: Bytes, ttl: Duration) -> Result<bool, StoreError> {
        // Pieces may take longer than the lease lasts.
        if self.renewal.is_none() && bytes.len() > MAX_WHOLE {
            self.start_renewal();
        }
        self.store.put(&self.key, bytes, ttl, Some(&self.token)).await
    }

    /// Removes the stored value and tells the waiters to load. Returns `false`, and does nothing,
    /// if the lease has been lost meanwhile.
    pub(crate) async fn empty(self) -> Result<bool, StoreError> {
        self.store.remove(&self.key, Some(&self.token), Outcome::NotShared).await
    }

    /// Releases the lease without a value. If the store cannot be reached, the lease expires.
    pub(crate) async fn release(self, outcome: Outcome) {
        if let Err(error) = self.store.release(&self.key, &self.token, outcome).await {
            tracing::debug!(%error, key = &*self.key, "cannot release a lease; it expires by itself");
        }
    }
}

/// Renews a lease every third of its `ttl`, until it is lost.
async fn renew(
    store: Arc<dyn Store>,
    key: Arc<str>,
    token: LeaseToken,
    ttl: Duration,
    renewals: Arc<Semaphore>,
) {
    loop {
        tokio::time::sleep(ttl / 3).await;
        // The semaphore is never closed.
        let _permit = renewals.acquire().await;
        // On an error the lease has two thirds of its `ttl` left: enough for a second attempt.
        if matches!(store.renew(&key, &token, ttl).await, Ok(false)) {
            return;
        }
    }
}
