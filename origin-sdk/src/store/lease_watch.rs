//! Who in this process waits for the end of which lease.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// How a lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With a value, which the key now holds.
    Filled,
    /// With an error: another caller may try.
    Failed,
    /// With a value that only its loader may have: waiting for another one would be in vain too.
    NotShared,
    /// Nobody knows: the time it had left is over, or the connection that would tell was lost.
    Unknown,
}

impl Outcome {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Filled => "filled",
            Self::Failed => "failed",
            Self::NotShared => "not-shared",
            Self::Unknown => "unknown",
        }
    }

    /// The outcome of this name; an unknown name tells nothing.
    pub(crate) fn from_name(name: &str) -> Self {
        [Self::Filled, Self::Failed, Self::NotShared]
            .into_iter()
            .find(|outcome| outcome.as_str() == name)
            .unwrap_or(Self::Unknown)
    }
}

/// The waiters of this process, by key. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Watches(Arc<Mutex<Waiting>>);

type Waiting = HashMap<Box<str>, watch::Sender<Outcome>>;

impl Watches {
    /// Waits for the end of the key's lease from now on.
    pub(crate) fn watch(&self, key: &str) -> Watch {
        let mut waiting = self.lock();
        let sender = waiting.entry(key.into()).or_insert_with(|| watch::channel(Outcome::Unknown).0);
        Watch { ended: sender.subscribe(), watches: self.clone(), key: key.into() }
    }

    /// Wakes whoever waits for the key's lease.
    pub(crate) fn ring(&self, key: &str, outcome: Outcome) {
        if let Some(sender) = self.lock().get(key) {
            sender.send_replace(outcome);
        }
    }

    /// Wakes everyone: what they wait for may have happened unheard.
    pub(crate) fn ring_all(&self) {
        for sender in self.lock().values() {
            sender.send_replace(Outcome::Unknown);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One waiter.
pub(crate) struct Watch {
    ended: watch::Receiver<Outcome>,
    watches: Watches,
    key: Box<str>,
}

impl Watch {
    /// How the lease ended: since the watch was made or last asked. [`Outcome::Unknown`] after `timeout`.
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
        // This one is still counted.
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
    async fn a_push_wakes_all_waiters_of_its_key_also_if_it_comes_before_they_wait() {
        let watches = Watches::default();
        let (mut a, mut b, mut other) = (watches.watch("k"), watches.watch("k"), watches.watch("l"));
        watches.ring("k", Outcome::Filled);
        assert_eq!((a.ended(LONG).await, b.ended(LONG).await), (Outcome::Filled, Outcome::Filled));
        assert_eq!(other.ended(Duration::from_secs(1)).await, Outcome::Unknown);
        watches.ring("k", Outcome::Failed);
        assert_eq!(a.ended(LONG).await, Outcome::Failed);
    }

    #[tokio::test]
    async fn nothing_is_kept_of_who_has_gone() {
        let watches = Watches::default();
        let (a, b) = (watches.watch("k"), watches.watch("k"));
        drop(a);
        assert_eq!(watches.lock().len(), 1);
        drop(b);
        assert!(watches.lock().is_empty());
    }
}
