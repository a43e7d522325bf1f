//! Single flight: callers that want the same key at the same time share one run.
//!
//! The run is a task of its own, so a caller that goes away cancels nothing that others wait for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::oneshot;

/// The flights of one kind, by key. `T` is what a flight brings, `M` what is known of it when it starts.
pub(crate) struct Flights<T, M> {
    board: Mutex<Board<T, M>>,
}

struct Board<T, M> {
    flying: HashMap<Box<str>, Flight<T, M>>,
    /// How many flights there have ever been: the next one's number.
    count: u64,
}

struct Flight<T, M> {
    number: u64,
    manifest: M,
    landed: Landing<T>,
}

/// `None` if the run panicked.
type Landing<T> = Shared<BoxFuture<'static, Option<T>>>;

/// A caller's place in a flight.
pub(crate) struct Seat<T> {
    pub(crate) landed: Landing<T>,
    /// Whether this caller started it.
    pub(crate) leads: bool,
}

/// A seat, and for whoever leads the flight what lets it land.
pub(crate) type Place<T, M> = (Seat<T>, Option<Takeoff<T, M>>);

/// A flight that is on the board. Dropped without landing, it lands without an answer.
pub(crate) struct Takeoff<T, M> {
    // Dropped in this order: however the run ends, and even if every caller has gone, the flight is off the board before it
    // has landed.
    leave: Leave<T, M>,
    land: oneshot::Sender<T>,
}

impl<T, M> Takeoff<T, M> {
    /// Gives all callers of the flight their answer.
    pub(crate) fn land(self, answer: T) {
        drop(self.leave);
        // Nobody may be waiting any more.
        let _ = self.land.send(answer);
    }
}

impl<T: Clone + Send + Sync + 'static, M: Send + 'static> Flights<T, M> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { board: Mutex::new(Board { flying: HashMap::new(), count: 0 }) })
    }

    /// Joins the key's flight if there is one and `may_join` allows it, else starts `run` and takes that one's place.
    pub(crate) fn join_or_start<R: Future<Output = T> + Send + 'static>(
        self: &Arc<Self>,
        key: &str,
        may_join: impl FnOnce(&M) -> bool,
        manifest: M,
        run: impl FnOnce() -> R,
    ) -> Seat<T> {
        let (seat, takeoff) = self.join_or_lead(key, may_join, manifest);
        if let Some(takeoff) = takeoff {
            let run = run();
            tokio::spawn(async move { takeoff.land(run.await) });
        }
        seat
    }

    /// The same, but who leads runs the flight itself.
    pub(crate) fn join_or_lead(
        self: &Arc<Self>,
        key: &str,
        may_join: impl FnOnce(&M) -> bool,
        manifest: M,
    ) -> Place<T, M> {
        let mut board = self.board();
        if let Some(flight) = board.flying.get(key)
            && may_join(&flight.manifest)
        {
            return (Seat { landed: flight.landed.clone(), leads: false }, None);
        }
        let number = board.count;
        board.count += 1;
        let (land, landing) = oneshot::channel();
        let landed = landing.map(Result::ok).boxed().shared();
        board.flying.insert(key.into(), Flight { number, manifest, landed: landed.clone() });
        // Before the run is spawned: a runtime on its way down drops it at once, and with it `leave`, which takes the lock.
        drop(board);
        let leave = Leave { flights: Arc::clone(self), key: key.into(), number };
        (Seat { landed, leads: true }, Some(Takeoff { leave, land }))
    }
}

impl<T, M> Flights<T, M> {
    fn board(&self) -> MutexGuard<'_, Board<T, M>> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a flight off the board when dropped.
struct Leave<T, M> {
    flights: Arc<Flights<T, M>>,
    key: Box<str>,
    number: u64,
}

impl<T, M> Drop for Leave<T, M> {
    fn drop(&mut self) {
        let mut board = self.flights.board();
        // Not if a later flight has taken its place.
        if board.flying.get(&self.key).is_some_and(|flight| flight.number == self.number) {
            board.flying.remove(&self.key);
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
        let flights = Flights::<usize, ()>::new();
        let (runs, barrier) = (Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(2)));
        let run = || {
            let (runs, barrier) = (Arc::clone(&runs), Arc::clone(&barrier));
            async move {
                barrier.wait().await;
                runs.fetch_add(1, Ordering::SeqCst) + 1
            }
        };
        let seats: Vec<_> = (0..100).map(|_| flights.join_or_start("k", |()| true, (), run)).collect();
        assert_eq!(seats.iter().filter(|seat| seat.leads).count(), 1);
        barrier.wait().await;
        for seat in seats {
            assert_eq!(seat.landed.await, Some(1));
        }
        assert_eq!(runs.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_leader_that_goes_away_hurts_nobody() {
        let flights = Flights::<u8, ()>::new();
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
        assert_eq!(waiter.landed.await, Some(7));
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_for_the_waiters_and_the_next_caller_starts_anew() {
        let flights = Flights::<u8, ()>::new();
        #[expect(clippy::panic, reason = "the loader's panic is what is tested")]
        let seat = flights.join_or_start("k", |()| true, (), || async { panic!("loader") });
        assert_eq!(seat.landed.await, None);
        let seat = flights.join_or_start("k", |()| true, (), || async { 9 });
        assert!(seat.leads);
        assert_eq!(seat.landed.await, Some(9));
    }

    #[tokio::test]
    async fn a_refused_flight_is_replaced_and_its_end_does_not_remove_its_successor() {
        let flights = Flights::<u8, ()>::new();
        let (first_gate, second_gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let after = |gate: &Arc<Semaphore>, value: u8| {
            let gate = Arc::clone(gate);
            move || async move { gate.acquire().await.map(|_| value).unwrap_or_default() }
        };
        let first = flights.join_or_start("k", |()| true, (), after(&first_gate, 1));
        let second = flights.join_or_start("k", |()| false, (), after(&second_gate, 2));
        assert!(second.leads);
        first_gate.add_permits(1);
        assert_eq!(first.landed.await, Some(1));
        let third = flights.join_or_start("k", |()| true, (), || async { 3 });
        assert!(!third.leads);
        second_gate.add_permits(1);
        assert_eq!(third.landed.await, Some(2));
    }

    /// The first flight was replaced, its successor has landed, and a third is on its way when the first one lands.
    #[tokio::test]
    async fn a_late_landing_does_not_remove_a_flight_of_later() {
        let flights = Flights::<u8, ()>::new();
        let (first_gate, third_gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let after = |gate: &Arc<Semaphore>, value: u8| {
            let gate = Arc::clone(gate);
            move || async move { gate.acquire().await.map(|_| value).unwrap_or_default() }
        };
        let first = flights.join_or_start("k", |()| true, (), after(&first_gate, 1));
        assert_eq!(flights.join_or_start("k", |()| false, (), || async { 2 }).landed.await, Some(2));
        let third = flights.join_or_start("k", |()| true, (), after(&third_gate, 3));
        first_gate.add_permits(1);
        assert_eq!(first.landed.await, Some(1));
        assert!(!flights.join_or_start("k", |()| true, (), || async { 4 }).leads);
        third_gate.add_permits(1);
        assert_eq!(third.landed.await, Some(3));
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
            let seat = Flights::<u8, ()>::new().join_or_start("k", |()| true, (), || async { 1 });
            tell.send(seat.landed.now_or_never())
        });
        assert_eq!(told.recv_timeout(std::time::Duration::from_secs(10)), Ok(Some(None)));
    }
}
