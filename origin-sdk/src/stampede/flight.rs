//! Single flight: callers that want the same key at the same time share one run.
//!
//! The run is a task of its own, so a caller that goes away cancels nothing that others wait for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};

/// The flights of one kind, by key. `T` is what a flight brings, `M` what is known of it when it starts.
pub(crate) struct Flights<T, M> {
    flying: Mutex<HashMap<Box<str>, Flight<T, M>>>,
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

impl<T: Clone + Send + Sync + 'static, M: Send + 'static> Flights<T, M> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { flying: Mutex::default() })
    }

    /// Joins the key's flight if there is one and `may_join` allows it, else starts `run` and takes that one's place.
    pub(crate) fn join_or_start<R: Future<Output = T> + Send + 'static>(
        self: &Arc<Self>,
        key: &str,
        may_join: impl FnOnce(&M) -> bool,
        manifest: M,
        run: impl FnOnce() -> R,
    ) -> Seat<T> {
        let mut flying = self.flying();
        if let Some(flight) = flying.get(key)
            && may_join(&flight.manifest)
        {
            return Seat { landed: flight.landed.clone(), leads: false };
        }
        let number = flying.get(key).map_or(0, |flight| flight.number.wrapping_add(1));
        let task = tokio::spawn(run());
        let (flights, owned_key) = (Arc::clone(self), Box::<str>::from(key));
        // A second task takes the flight off the board, so that it leaves even if every caller has gone.
        let landing = tokio::spawn(async move {
            let result = task.await.ok();
            flights.leave(&owned_key, number);
            result
        });
        let landed = landing.map(|joined| joined.ok().flatten()).boxed().shared();
        flying.insert(key.into(), Flight { number, manifest, landed: landed.clone() });
        Seat { landed, leads: true }
    }

    fn leave(&self, key: &str, number: u64) {
        let mut flying = self.flying();
        // Not if a later flight has taken its place.
        if flying.get(key).is_some_and(|flight| flight.number == number) {
            flying.remove(key);
        }
    }

    fn flying(&self) -> MutexGuard<'_, HashMap<Box<str>, Flight<T, M>>> {
        self.flying.lock().unwrap_or_else(PoisonError::into_inner)
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
}
