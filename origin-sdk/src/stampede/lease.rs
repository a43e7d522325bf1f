//! One loader per key in the whole fleet: the first process takes the key's lease, the others wait until it ends.
//!
//! A lease only saves work. What is served is decided by the journal's rule alone, so it does not matter for correctness
//! when a lease is lost, evicted or taken over: at worst a value is loaded twice.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shared_keys::{Position, ScopeHash, Verdict};

use crate::error::StoreError;
use crate::journal::Journal;
use crate::store::{ClaimRequest, LeaseToken, Outcome, Store, Stored, Watch};
use crate::task::AbortOnDrop;

/// Whose turn it is to load a key.
pub(crate) enum LeaseOutcome<T> {
    /// Nobody's: another process has loaded it.
    Found(T),
    /// The caller's, under this lease.
    Acquired(Lease),
    /// The caller's, without a lease: there is none to be had.
    Unavailable,
    /// Another process's, whose lease lasts for so long if it is not renewed.
    Held(Duration),
}

/// A caller that wants to load a key, and stands in line for it.
pub(crate) struct LeaseRequest {
    store: Arc<dyn Store>,
    journal: Arc<Journal>,
    key: Box<str>,
    /// Those of the value that are known before it is loaded.
    scopes: Box<[ScopeHash]>,
    /// The journal position up to which the value will be known to be valid.
    position: Position,
    token: LeaseToken,
    ttl: Duration,
    watch: Option<Watch>,
}

impl LeaseRequest {
    /// One who will hold a lease for `ttl` at a time. To tell whom it is worth waiting for it must be up with the journal.
    pub(crate) fn new(
        store: &Arc<dyn Store>,
        journal: &Arc<Journal>,
        key: &str,
        scopes: &[ScopeHash],
        position: Position,
        ttl: Duration,
    ) -> Self {
        Self {
            store: Arc::clone(store),
            journal: Arc::clone(journal),
            key: key.into(),
            scopes: scopes.into(),
            position,
            token: LeaseToken::random(),
            ttl,
            watch: None,
        }
    }

    /// Takes the key's lease unless another process holds it. `accept` says whether what the key holds will do.
    ///
    /// The lease of a holder that began before an invalidation of the value is taken over: what that one loads is dead, and
    /// it will not be stored.
    pub(crate) async fn ask<T>(&self, accept: impl Fn(&Stored) -> Option<T>) -> Result<LeaseOutcome<T>, StoreError> {
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
                (None, Some(holder)) if self.journal.verdict(&self.scopes, holder.position) == Verdict::Valid => {
                    return Ok(LeaseOutcome::Held(holder.left));
                }
                (None, Some(doomed)) => replaces = Some(doomed.token),
            }
        }
    }

    /// Waits until the lease that was met ends: woken by its holder, and after `left`, when it would end if that one has
    /// crashed. Then it is time to ask again, unless the outcome says that it would be in vain.
    pub(crate) async fn wait(&mut self, left: Duration) -> Result<Outcome, StoreError> {
        // The first claim only shows that there is someone to wait for. The one after the watch was made is what its holder
        // rings for.
        let outcome = match self.watch.take() {
            Some(mut watch) => watch.ended(left).await,
            None => Outcome::Unknown,
        };
        self.watch = Some(self.store.watch(&self.key).await?);
        Ok(outcome)
    }

    fn lease(&self) -> Lease {
        let (store, key, token) = (Arc::clone(&self.store), self.key.clone(), self.token.clone());
        let renewal = tokio::spawn(renew(Arc::clone(&store), key.clone(), token.clone(), self.ttl));
        Lease { store, key, token, _renewal: AbortOnDrop(renewal) }
    }
}

/// A lease that this process holds. It is renewed until it ends or is dropped; dropped, it ends by itself after a while.
pub(crate) struct Lease {
    store: Arc<dyn Store>,
    key: Box<str>,
    token: LeaseToken,
    _renewal: AbortOnDrop,
}

impl Lease {
    /// Stores the value that was loaded, unless the lease has been lost meanwhile, and wakes whoever waits for it.
    pub(crate) async fn fill(self, bytes: Bytes, ttl: Duration) -> Result<(), StoreError> {
        let filled = self.store.put(&self.key, bytes, ttl, Some(&self.token)).await;
        if filled.is_err() {
            self.release(Outcome::NotShared).await;
        }
        filled.map(|_| ())
    }

    /// Gives the lease up without a value. If that fails too, it ends by itself.
    pub(crate) async fn release(self, outcome: Outcome) {
        if let Err(error) = self.store.release(&self.key, &self.token, outcome).await {
            tracing::debug!(%error, key = &*self.key, "a lease could not be released");
        }
    }
}

/// Renews a lease in time, until it is lost.
async fn renew(store: Arc<dyn Store>, key: Box<str>, token: LeaseToken, ttl: Duration) {
    loop {
        tokio::time::sleep(ttl / 3).await;
        // A failure leaves time for a second attempt.
        if matches!(store.renew(&key, &token, ttl).await, Ok(false)) {
            return;
        }
    }
}
