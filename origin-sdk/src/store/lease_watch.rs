//! This process's waiters for the end of a lease.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// How a lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The value was stored.
    Filled,
    /// The load failed; another caller may try.
    Failed,
    /// The load returned a value that must not be shared. Waiting for another load is pointless
    /// too.
    NotShared,
    /// The load was cancelled because its process ends; another caller may try at once.
    Abandoned,
    /// Unknown: the wait timed out, or the connection that reports the end was lost.
    Unknown,
}

impl Outcome {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Filled => "filled",
            Self::Failed => "failed",
            Self::NotShared => "not-shared",
            Self::Abandoned => "abandoned",
            Self::Unknown => "unknown",
        }
    }

    /// Returns the outcome of this name, [`Outcome::Unknown`] for any other name.
    pub(crate) fn from_name(name: &str) -> Self {
        [Self::Filled, Self::Failed, Self::NotShared, Self::Abandoned]
            .into_iter()
            .find(|outcome| outcome.as_str() == name)
            .unwrap_or(Self::Unknown)
    }
}

/// The waiters of this process, by key. Clones share the same waiters.
#[derive(Clone, Default)]
pub(crate) struct Watches(Arc<Mutex<Waiting>>);

type Waiting = HashMap<Box<str>, watch::Sender<Outcome>>;

impl Watches {
    /// Returns a waiter for the end of the key's lease. It also reports an end that comes before
    /// the first wait.
    pub(crate) fn watch(&self, key: &str) -> Watch {
        let mut waiting = self.lock();
        let sender = waiting.entry(key.into()).or_insert_with(|| watch::channel(Outcome::Unknown).0);
        Watch { ended: sender.subscribe(), watches: self.clone(), key: key.into() }
    }

    /// Wakes all waiters of the key.
    pub(crate) fn notify(&self, key: &str, outcome: Outcome) {
        if let Some(sender) = self.lock().get(key) {
            sender.send_replace(outcome);
        }
    }

    /// Wakes the waiters of all keys with [`Outcome::Unknown`], after notifications may have been
    /// lost.
    pub(crate) fn notify_all(&self) {
        for sender in self.lock().values() {
            sender.send_replace(Outcome::Unknown);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A waiter for the end of one key's lease.
pub(crate) struct Watch {
    ended: watch::Receiver<Outcome>,
    watches: Watches,
    key: Box<str>,
}

impl Watch {
    /// Waits for the lease to end and returns how. Reports an end since the watch was made or since
    /// the last call; [`Outcome::Unknown`] after `timeout`.
    pub(crate) async fn ended(&mut self, timeout: Duration) -> Outcome {
        match tokio::time::timeout(timeout, self.ended.changed()).await {
            Ok(Ok(())) => *self.ended.borrow_and_update(),
            Ok(Err(_)) | Err(_) => Outcome::Unknown,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut waiting = self.watches.lock();
        // This watch's own receiver is still counted.
        if waiting.get(&self.key).is_some_and(|sender| sender.receiver_count() <= 1) {
            waiting.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn a_notification_wakes_all_waiters_of_its_key_even_if_it_comes_before_they_wait() {
        let watches = Watches::default();
        let (mut a, mut b, mut other) = (watches.watch("k"), watches.watch("k"), watches.watch("l"));
        watches.notify("k", Outcome::Filled);
        assert_eq!((a.ended(LONG).await, b.ended(LONG).await), (Outcome::Filled, Outcome::Filled));
        assert_eq!(other.ended(Duration::from_secs(1)).await, Outcome::Unknown);
        watches.notify("k", Outcome::Failed);
        assert_eq!(a.ended(LONG).await, Outcome::Failed);
    }

    #[tokio::test]
    async fn a_key_without_waiters_is_removed() {
        let watches = Watches::default();
        let (a, b) = (watches.watch("k"), watches.watch("k"));
        drop(a);
        assert_eq!(watches.lock().len(), 1);
        drop(b);
        assert!(watches.lock().is_empty());
    }
}
