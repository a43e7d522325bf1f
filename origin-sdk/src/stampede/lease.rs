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

/// What comes of waiting for one's turn to load a key.
pub(crate) enum Turn<T> {
    /// Another process has loaded it.
    Found(T),
    /// The caller is to load it, under this lease.
    Lead(Lease),
    /// The caller is to load it without a lease: there is none to be had.
    Alone,
}

/// A lease that this process holds. It is renewed until it ends or is dropped; dropped, it ends by itself after a while.
pub(crate) struct Lease {
    store: Arc<dyn Store>,
    key: Box<str>,
    token: LeaseToken,
    _renewal: AbortOnDrop,
}

/// Takes the key's lease, or waits for whoever holds it: woken when it ends, and at the latest when it would end if its
/// holder had crashed. `accept` says whether what the key holds will do.
///
/// A holder that began before an invalidation of the key is not waited for: its lease is taken over, and it will not fill the
/// key any more. To tell such holders the caller must be up with the journal.
pub(crate) async fn take_turn<T>(
    store: &Arc<dyn Store>,
    journal: &Journal,
    key: &str,
    began_at: Position,
    ttl: Duration,
    accept: impl Fn(&Stored) -> Option<T>,
    on_wait: impl FnOnce(),
) -> Result<Turn<T>, StoreError> {
    let (token, scopes) = (LeaseToken::random(), ScopeHash::of_key(key));
    let (mut replaces, mut watch, mut on_wait) = (None, None::<Watch>, Some(on_wait));
    loop {
        let request = ClaimRequest { token: &token, position: began_at, ttl, replaces: replaces.as_ref() };
        let claim = store.claim(key, request).await?;
        let found = claim.stored.as_ref().and_then(&accept);
        let Some(holder) = claim.holder else {
            let lease = Lease::new(Arc::clone(store), key, token, ttl);
            return match found {
                Some(found) => {
                    lease.release(Outcome::Filled).await;
                    Ok(Turn::Found(found))
                }
                None => Ok(Turn::Lead(lease)),
            };
        };
        if let Some(found) = found {
            return Ok(Turn::Found(found));
        }
        if journal.verdict(&scopes, holder.position) != Verdict::Valid {
            replaces = Some(holder.token);
            continue;
        }
        if let Some(on_wait) = on_wait.take() {
            on_wait();
        }
        // The first claim only shows that there is someone to wait for. The one after the watch was made is what its holder
        // will ring for.
        let outcome = match watch.take() {
            Some(mut watch) => watch.ended(holder.left).await,
            None => Outcome::Unknown,
        };
        if outcome == Outcome::NotShared {
            return Ok(Turn::Alone);
        }
        watch = Some(store.watch(key).await?);
    }
}

impl Lease {
    fn new(store: Arc<dyn Store>, key: &str, token: LeaseToken, ttl: Duration) -> Self {
        let renewal = tokio::spawn(renew(Arc::clone(&store), key.into(), token.clone(), ttl));
        Self { store, key: key.into(), token, _renewal: AbortOnDrop(renewal) }
    }

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
