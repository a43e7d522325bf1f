//! Lookups in the shared tier: concurrent callers of one key share one.
//!
//! A lookup runs in the task of its first caller, since a task of its own would cost more than the
//! lookup. If that caller is cancelled, one of the others starts again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;
use tokio::sync::oneshot;

/// The lookups in progress, by key, each with the callers that wait for its outcome.
pub(crate) struct Lookups<T>(Mutex<HashMap<Box<str>, Waiters<T>>>);

type Waiters<T> = Vec<oneshot::Sender<T>>;

impl<T> Default for Lookups<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// A lookup in progress. Removed when dropped; without an outcome, its waiters start again.
struct Running<'a, T> {
    lookups: &'a Lookups<T>,
    key: &'a str,
}

impl<T> Running<'_, T> {
    fn end(&self) -> Waiters<T> {
        self.lookups.lock().remove(self.key).unwrap_or_default()
    }
}

impl<T> Drop for Running<'_, T> {
    fn drop(&mut self) {
        // The waiters are woken without the lock.
        drop(self.end());
    }
}

impl<T: Clone> Lookups<T> {
    /// Joins the key's lookup in progress, or else runs `look_up`. Returns its outcome.
    pub(crate) async fn join_or_run(&self, key: &str, look_up: impl Future<Output = T>) -> T {
        loop {
            let Some(outcome) = self.join_or_start(key) else {
                let running = Running { lookups: self, key };
                let outcome = look_up.await;
                for waiter in running.end() {
                    // A waiter that has been cancelled needs no outcome.
                    let _ = waiter.send(outcome.clone());
                }
                // Another caller may have started the next lookup by now.
                std::mem::forget(running);
                return outcome;
            };
            if let Ok(outcome) = outcome.await {
                return outcome;
            }
        }
    }

    /// Joins the lookup in progress, or else registers one and returns `None`.
    fn join_or_start(&self, key: &str) -> Option<oneshot::Receiver<T>> {
        let mut lookups = self.lock();
        if let Some(waiters) = lookups.get_mut(key) {
            let (sender, outcome) = oneshot::channel();
            waiters.push(sender);
            return Some(outcome);
        }
        lookups.insert(key.into(), Waiters::new());
        None
    }
}

impl<T> Lookups<T> {
    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Waiters<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn callers_of_one_key_share_one_lookup_and_later_ones_start_the_next() {
        let (lookups, runs) = (Lookups::default(), AtomicUsize::new(0));
        let look_up = async || {
            tokio::task::yield_now().await;
            runs.fetch_add(1, Ordering::SeqCst) + 1
        };
        let outcomes = join_all((0..100).map(|_| lookups.join_or_run("k", look_up()))).await;
        assert_eq!(outcomes, vec![1; 100]);
        assert_eq!(lookups.join_or_run("k", look_up()).await, 2);
        assert!(lookups.lock().is_empty(), "a key without a lookup takes no memory");
    }

    #[tokio::test]
    async fn a_caller_that_is_cancelled_leaves_the_lookup_to_another_one() {
        let (lookups, runs) = (Arc::new(Lookups::default()), Arc::new(AtomicUsize::new(0)));
        let gate = Arc::new(Semaphore::new(0));
        let call = || {
            let (lookups, runs, gate) = (Arc::clone(&lookups), Arc::clone(&runs), Arc::clone(&gate));
            tokio::spawn(async move {
                let look_up = async || {
                    let run = runs.fetch_add(1, Ordering::SeqCst) + 1;
                    drop(gate.acquire().await);
                    run
                };
                lookups.join_or_run("k", look_up()).await
            })
        };
        let (first, second) = (call(), call());
        while runs.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        gate.add_permits(1);
        assert_eq!(second.await.unwrap(), 2);
        assert!(lookups.lock().is_empty());
    }
}
