//! Single flight: callers that want the same key at the same time share one run.
//!
//! The run is a task of its own, so a caller that goes away cancels nothing that others wait for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::oneshot;

/// The flights of one kind, by key. `T` is what a flight brings, `M` what is known of it when it starts.
pub(crate) struct SingleFlight<T, M> {
    runs: Mutex<Runs<T, M>>,
}

struct Runs<T, M> {
    by_key: HashMap<Box<str>, Run<T, M>>,
    /// How many flights there have ever been: the next one's number.
    count: u64,
}

struct Run<T, M> {
    number: u64,
    start: M,
    outcome: SharedOutcome<T>,
}

/// `None` if the run panicked.
type SharedOutcome<T> = Shared<BoxFuture<'static, Option<T>>>;

/// A caller's place in a flight.
pub(crate) struct Waiter<T> {
    pub(crate) outcome: SharedOutcome<T>,
    /// Whether this caller started it.
    pub(crate) is_leader: bool,
}

/// A seat, and for whoever leads the flight what lets it land.
pub(crate) type Place<T, M> = (Waiter<T>, Option<LeaderGuard<T, M>>);

/// A flight that is on the board. Dropped without landing, it lands without an answer.
pub(crate) struct LeaderGuard<T, M> {
    // Dropped in this order: however the run ends, and even if every caller has gone, the flight is off the board before it
    // has landed.
    registration: Registration<T, M>,
    complete: oneshot::Sender<T>,
}

impl<T, M> LeaderGuard<T, M> {
    /// Gives all callers of the flight their answer.
    pub(crate) fn complete(self, answer: T) {
        drop(self.registration);
        // Nobody may be waiting any more.
        let _ = self.complete.send(answer);
    }
}

impl<T: Clone + Send + Sync + 'static, M: Send + 'static> SingleFlight<T, M> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { runs: Mutex::new(Runs { by_key: HashMap::new(), count: 0 }) })
    }

    /// Joins the key's flight if there is one and `may_join` allows it, else starts `run` and takes that one's place.
    pub(crate) fn join_or_start<R: Future<Output = T> + Send + 'static>(
        self: &Arc<Self>,
        key: &str,
        may_join: impl FnOnce(&M) -> bool,
        start: M,
        run: impl FnOnce() -> R,
    ) -> Waiter<T> {
        let (waiter, guard) = self.join_or_lead(key, may_join, start);
        if let Some(guard) = guard {
            let run = run();
            tokio::spawn(async move { guard.complete(run.await) });
        }
        waiter
    }

    /// The same, but who leads runs the flight itself.
    pub(crate) fn join_or_lead(
        self: &Arc<Self>,
        key: &str,
        may_join: impl FnOnce(&M) -> bool,
        start: M,
    ) -> Place<T, M> {
        let mut runs = self.runs();
        if let Some(flight) = runs.by_key.get(key)
            && may_join(&flight.start)
        {
            return (Waiter { outcome: flight.outcome.clone(), is_leader: false }, None);
        }
        let number = runs.count;
        runs.count += 1;
        let (complete, receiver) = oneshot::channel();
        let outcome = receiver.map(Result::ok).boxed().shared();
        runs.by_key.insert(key.into(), Run { number, start, outcome: outcome.clone() });
        // Before the run is spawned: a runtime on its way down drops it at once, and with it `leave`, which takes the lock.
        drop(runs);
        let registration = Registration { flights: Arc::clone(self), key: key.into(), number };
        (Waiter { outcome, is_leader: true }, Some(LeaderGuard { registration, complete }))
    }
}

impl<T, M> SingleFlight<T, M> {
    fn runs(&self) -> MutexGuard<'_, Runs<T, M>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a flight off the board when dropped.
struct Registration<T, M> {
    flights: Arc<SingleFlight<T, M>>,
    key: Box<str>,
    number: u64,
}

impl<T, M> Drop for Registration<T, M> {
    fn drop(&mut self) {
        let mut runs = self.flights.runs();
        // Not if a later flight has taken its place.
        if runs.by_key.get(&self.key).is_some_and(|flight| flight.number == self.number) {
            runs.by_key.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::{Barrier, Semaphore};

    use super::*;

    #[tokio::test]
    async fn callers_of_one_key_share_one_run() {
        let flights = SingleFlight::<usize, ()>::new();
        let (runs, barrier) = (Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(2)));
        let run = || {
            let (runs, barrier) = (Arc::clone(&runs), Arc::clone(&barrier));
            async move {
                barrier.wait().await;
                runs.fetch_add(1, Ordering::SeqCst) + 1
            }
        };
        let waiters: Vec<_> = (0..100).map(|_| flights.join_or_start("k", |()| true, (), run)).collect();
        assert_eq!(waiters.iter().filter(|waiter| waiter.is_leader).count(), 1);
        barrier.wait().await;
        for waiter in waiters {
            assert_eq!(waiter.outcome.await, Some(1));
        }
        assert_eq!(runs.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_leader_that_goes_away_hurts_nobody() {
        let flights = SingleFlight::<u8, ()>::new();
        let gate = Arc::new(Semaphore::new(0));
        let waits = Arc::clone(&gate);
        let leader = flights.join_or_start(
            "k",
            |()| true,
            (),
            || async move { waits.acquire().await.map(|_| 7).unwrap_or_default() },
        );
        let waiter = flights.join_or_start("k", |()| true, (), || async { 8 });
        drop(leader);
        gate.add_permits(1);
        assert_eq!(waiter.outcome.await, Some(7));
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_for_the_waiters_and_the_next_caller_starts_anew() {
        let flights = SingleFlight::<u8, ()>::new();
        #[expect(clippy::panic, reason = "the loader's panic is what is tested")]
        let waiter = flights.join_or_start("k", |()| true, (), || async { panic!("loader") });
        assert_eq!(waiter.outcome.await, None);
        let waiter = flights.join_or_start("k", |()| true, (), || async { 9 });
        assert!(waiter.is_leader);
        assert_eq!(waiter.outcome.await, Some(9));
    }

    #[tokio::test]
    async fn a_refused_flight_is_replaced_and_its_end_does_not_remove_its_successor() {
        let flights = SingleFlight::<u8, ()>::new();
        let (first_gate, second_gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let after = |gate: &Arc<Semaphore>, value: u8| {
            let gate = Arc::clone(gate);
            move || async move { gate.acquire().await.map(|_| value).unwrap_or_default() }
        };
        let first = flights.join_or_start("k", |()| true, (), after(&first_gate, 1));
        let second = flights.join_or_start("k", |()| false, (), after(&second_gate, 2));
        assert!(second.is_leader);
        first_gate.add_permits(1);
        assert_eq!(first.outcome.await, Some(1));
        let third = flights.join_or_start("k", |()| true, (), || async { 3 });
        assert!(!third.is_leader);
        second_gate.add_permits(1);
        assert_eq!(third.outcome.await, Some(2));
    }

    /// The first flight was replaced, its successor has landed, and a third is on its way when the first one lands.
    #[tokio::test]
    async fn a_late_landing_does_not_remove_a_flight_of_later() {
        let flights = SingleFlight::<u8, ()>::new();
        let (first_gate, third_gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let after = |gate: &Arc<Semaphore>, value: u8| {
            let gate = Arc::clone(gate);
            move || async move { gate.acquire().await.map(|_| value).unwrap_or_default() }
        };
        let first = flights.join_or_start("k", |()| true, (), after(&first_gate, 1));
        assert_eq!(flights.join_or_start("k", |()| false, (), || async { 2 }).outcome.await, Some(2));
        let third = flights.join_or_start("k", |()| true, (), after(&third_gate, 3));
        first_gate.add_permits(1);
        assert_eq!(first.outcome.await, Some(1));
        assert!(!flights.join_or_start("k", |()| true, (), || async { 4 }).is_leader);
        third_gate.add_permits(1);
        assert_eq!(third.outcome.await, Some(3));
    }

    #[test]
    fn a_run_that_a_runtime_refuses_on_its_way_down_lands_without_an_answer() {
        let (tell, told) = std::sync::mpsc::channel();
        // In a thread of its own, since what went wrong once was that it hung.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let handle = runtime.handle().clone();
            drop(runtime);
            let _inside = handle.enter();
            let waiter = SingleFlight::<u8, ()>::new().join_or_start("k", |()| true, (), || async { 1 });
            tell.send(waiter.outcome.now_or_never())
        });
        assert_eq!(told.recv_timeout(std::time::Duration::from_secs(10)), Ok(Some(None)));
    }
}
