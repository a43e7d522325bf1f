//! Single flight: concurrent callers of one key share one run.
//!
//! The leader executes the run, so that a cancelled caller does not cancel that of the others.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use hashbrown::HashMap;
use tokio::sync::oneshot;

/// The runs in progress, by key. `T` is the outcome of a run, `M` the state in which it starts.
pub(crate) struct SingleFlight<T, M> {
    runs: Mutex<Runs<T, M>>,
}

struct Runs<T, M> {
    by_key: HashMap<Arc<str>, Run<T, M>>,
    /// The number of runs started so far, which is the number of the next run.
    count: u64,
}

struct Run<T, M> {
    number: u64,
    start: M,
    outcome: SharedOutcome<T>,
}

impl<T, M: Clone> Run<T, M> {
    fn waiter(&self) -> Waiter<T, M> {
        Waiter { outcome: self.outcome.clone(), start: self.start.clone(), is_leader: false }
    }
}

/// A future that all callers of a run share. `None` if the run panicked or was dropped.
type SharedOutcome<T> = Shared<BoxFuture<'static, Option<T>>>;

/// A caller that waits for the outcome of a run.
pub(crate) struct Waiter<T, M> {
    pub(crate) outcome: SharedOutcome<T>,
    /// The state in which the run started.
    pub(crate) start: M,
    /// Whether this caller started the run.
    pub(crate) is_leader: bool,
}

/// A waiter, and the guard of the run if this caller leads it.
pub(crate) type JoinOutcome<T, M> = (Waiter<T, M>, Option<LeaderGuard<T, M>>);

/// The leader's handle on a registered run. Dropped without [`complete`](Self::complete), it gives
/// every waiter `None`.
pub(crate) struct LeaderGuard<T, M> {
    // The fields are dropped in this order: the run is unregistered before its waiters wake up, so
    // a waiter that calls again never joins the run that has just ended.
    registration: Registration<T, M>,
    complete: oneshot::Sender<T>,
}

impl<T, M> LeaderGuard<T, M> {
    /// Unregisters the run, then gives all its waiters the outcome.
    pub(crate) fn complete(self, outcome: T) {
        drop(self.registration);
        // Fails if every waiter has been dropped, which is fine.
        let _ = self.complete.send(outcome);
    }
}

impl<T: Clone + Send + Sync + 'static, M: Clone + Send + 'static> SingleFlight<T, M> {
    /// Creates a map without runs.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { runs: Mutex::new(Runs { by_key: HashMap::new(), count: 0 }) })
    }

    /// Joins the key's run if there is one.
    pub(crate) fn join(&self, key: &str) -> Option<Waiter<T, M>> {
        self.runs().by_key.get(key).map(Run::waiter)
    }

    /// Joins the key's run if there is one and `may_join` accepts its start state. Otherwise
    /// registers a run under the key, in place of a run that was not accepted, and returns a guard
    /// to the leader, which executes it.
    pub(crate) fn join_or_lead(
        self: &Arc<Self>,
        key: impl Into<Arc<str>>,
        may_join: impl FnOnce(&M) -> bool,
        start: M,
    ) -> JoinOutcome<T, M> {
        let (key, mut runs) = (key.into(), self.runs());
        if let Some(run) = runs.by_key.get(&key)
            && may_join(&run.start)
        {
            return (run.waiter(), None);
        }
        let number = runs.count;
        runs.count += 1;
        let (complete, receiver) = oneshot::channel();
        let outcome = receiver.map(Result::ok).boxed().shared();
        runs.by_key.insert(Arc::clone(&key), Run { number, start: start.clone(), outcome: outcome.clone() });
        let registration = Registration { map: Arc::clone(self), key, number };
        (Waiter { outcome, start, is_leader: true }, Some(LeaderGuard { registration, complete }))
    }
}

impl<T, M> SingleFlight<T, M> {
    fn runs(&self) -> MutexGuard<'_, Runs<T, M>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The entry of a run in the map. Removes it when dropped.
struct Registration<T, M> {
    map: Arc<SingleFlight<T, M>>,
    key: Arc<str>,
    number: u64,
}

impl<T, M> Drop for Registration<T, M> {
    fn drop(&mut self) {
        let mut runs = self.map.runs();
        // A later run may have replaced this one; its entry stays.
        if runs.by_key.get(&self.key).is_some_and(|run| run.number == self.number) {
            runs.by_key.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::{Barrier, Semaphore};

    use super::*;

    impl<T: Clone + Send + Sync + 'static> SingleFlight<T, ()> {
        /// Joins the key's run if `may_join` accepts it. Otherwise spawns `run`.
        fn join_or_start<R: Future<Output = T> + Send + 'static>(
            self: &Arc<Self>,
            key: &str,
            may_join: impl FnOnce(&()) -> bool,
            run: impl FnOnce() -> R,
        ) -> Waiter<T, ()> {
            let (waiter, guard) = self.join_or_lead(key, may_join, ());
            if let Some(guard) = guard {
                let run = run();
                tokio::spawn(async move { guard.complete(run.await) });
            }
            waiter
        }
    }

    #[tokio::test]
    async fn callers_of_one_key_share_one_run() {
        let map = SingleFlight::<usize, ()>::new();
        let (runs, barrier) = (Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(2)));
        let run = || {
            let (runs, barrier) = (Arc::clone(&runs), Arc::clone(&barrier));
            async move {
                barrier.wait().await;
                runs.fetch_add(1, Ordering::SeqCst) + 1
            }
        };
        let waiters: Vec<_> = (0..100).map(|_| map.join_or_start("k", |()| true, run)).collect();
        assert_eq!(waiters.iter().filter(|waiter| waiter.is_leader).count(), 1);
        barrier.wait().await;
        for waiter in waiters {
            assert_eq!(waiter.outcome.await, Some(1));
        }
        assert_eq!(runs.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_cancelled_leader_does_not_cancel_the_run() {
        let map = SingleFlight::<u8, ()>::new();
        let gate = Arc::new(Semaphore::new(0));
        let waits = Arc::clone(&gate);
        let leader = map.join_or_start(
            "k",
            |()| true,
            || async move { waits.acquire().await.map(|_| 7).unwrap_or_default() },
        );
        let waiter = map.join_or_start("k", |()| true, || async { 8 });
        drop(leader);
        gate.add_permits(1);
        assert_eq!(waiter.outcome.await, Some(7));
    }

    #[tokio::test]
    async fn a_panic_ends_the_run_without_an_outcome_and_the_next_caller_starts_a_new_run() {
        let map = SingleFlight::<u8, ()>::new();
        #[expect(clippy::panic, reason = "the loader's panic is what is tested")]
        let waiter = map.join_or_start("k", |()| true, || async { panic!("loader") });
        assert_eq!(waiter.outcome.await, None);
        let waiter = map.join_or_start("k", |()| true, || async { 9 });
        assert!(waiter.is_leader);
        assert_eq!(waiter.outcome.await, Some(9));
    }

    #[tokio::test]
    async fn a_run_that_may_not_be_joined_is_replaced_and_its_end_does_not_remove_its_successor() {
        let map = SingleFlight::<u8, ()>::new();
        let (first_gate, second_gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let after = |gate: &Arc<Semaphore>, value: u8| {
            let gate = Arc::clone(gate);
            move || async move { gate.acquire().await.map(|_| value).unwrap_or_default() }
        };
        let first = map.join_or_start("k", |()| true, after(&first_gate, 1));
        let second = map.join_or_start("k", |()| false, after(&second_gate, 2));
        assert!(second.is_leader);
        first_gate.add_permits(1);
        assert_eq!(first.outcome.await, Some(1));
        let third = map.join_or_start("k", |()| true, || async { 3 });
        assert!(!third.is_leader);
        second_gate.add_permits(1);
        assert_eq!(third.outcome.await, Some(2));
    }

    /// The first run was replaced, the second has completed, and a third is in progress when the
    /// first one completes.
    #[tokio::test]
    async fn the_late_end_of_a_replaced_run_does_not_remove_a_later_run() {
        let map = SingleFlight::<u8, ()>::new();
        let (first_gate, third_gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let after = |gate: &Arc<Semaphore>, value: u8| {
            let gate = Arc::clone(gate);
            move || async move { gate.acquire().await.map(|_| value).unwrap_or_default() }
        };
        let first = map.join_or_start("k", |()| true, after(&first_gate, 1));
        assert_eq!(map.join_or_start("k", |()| false, || async { 2 }).outcome.await, Some(2));
        let third = map.join_or_start("k", |()| true, after(&third_gate, 3));
        first_gate.add_permits(1);
        assert_eq!(first.outcome.await, Some(1));
        assert!(!map.join_or_start("k", |()| true, || async { 4 }).is_leader);
        third_gate.add_permits(1);
        assert_eq!(third.outcome.await, Some(3));
    }

    #[test]
    fn a_run_that_a_runtime_drops_while_it_shuts_down_ends_without_an_outcome() {
        let (sender, receiver) = std::sync::mpsc::channel();
        // On a thread of its own, because the regression that this guards against was a deadlock.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let handle = runtime.handle().clone();
            drop(runtime);
            let _inside = handle.enter();
            let waiter = SingleFlight::<u8, ()>::new().join_or_start("k", |()| true, || async { 1 });
            sender.send(waiter.outcome.now_or_never())
        });
        assert_eq!(receiver.recv_timeout(std::time::Duration::from_secs(10)), Ok(Some(None)));
    }
}
