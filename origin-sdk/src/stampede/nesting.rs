//! Loads whose loaders wait for other loads.
//!
//! A *flight* is the load of one key in this process. A *run* executes one loader, for one flight
//! or for those of a batch. Runs wait for flights, which gives a graph. Two rules follow from it:
//!
//! - A run that waits holds no permit of `loader_concurrency`, so that the load that it waits for
//!   can have it.
//! - A wait that would close a cycle is refused at once.

use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::hash_map::Entry;
use hashbrown::{HashMap, HashSet};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

tokio::task_local! {
    /// The run whose loader this task executes.
    static RUN: Arc<Run>;
}

/// Held while a wait is checked and entered, so that of the waits that close a cycle the last one
/// sees all others.
static ENTERING: Mutex<()> = Mutex::new(());

static RUNS: AtomicU64 = AtomicU64::new(0);

/// A key, and the cache that it belongs to. Two namespaces of one cache that share a key load the
/// same value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoadKey<'a> {
    /// A number that no other cache of this process has.
    pub(crate) cache: usize,
    pub(crate) text: &'a str,
}

/// The keys of the loads that wait for one another. The first key is also the last.
#[derive(Debug, Clone)]
pub(crate) struct Cycle(Vec<Box<str>>);

impl Cycle {
    pub(crate) fn keys(&self) -> &[Box<str>] {
        &self.0
    }
}

/// The load of one key.
pub(crate) struct Flight {
    cache: usize,
    key: Arc<str>,
    state: Mutex<FlightState>,
}

enum FlightState {
    /// No loader runs yet. These runs wait for one.
    Pending(Waiters),
    /// This run's loader loads the key. The run has the waiters.
    Running(Arc<Run>),
}

/// The runs that wait, by their numbers.
type Waiters = HashMap<u64, WaitingRun>;

struct WaitingRun {
    run: Arc<Run>,
    /// The first key that it waits for.
    key: Arc<str>,
    /// How many flights it waits for.
    waits: usize,
}

/// An execution of a loader.
pub(crate) struct Run {
    number: u64,
    cache: usize,
    keys: HashSet<Arc<str>>,
    waiters: Mutex<Waiters>,
    limit: Arc<Semaphore>,
    permit: Mutex<RunPermit>,
}

/// The permit of a run, and the reasons not to hold it.
struct RunPermit {
    held: Option<OwnedSemaphorePermit>,
    /// How many waits for other loads are in progress.
    waits: usize,
    has_ended: bool,
}

/// The run of a loader. Dropped when the loader has ended or is aborted.
pub(crate) struct RunGuard(Arc<Run>);

/// A wait of a run for a flight. The edge is removed when this is dropped.
pub(crate) struct Wait {
    run: Arc<Run>,
    flight: Arc<Flight>,
}

impl Flight {
    /// Creates a flight of this key of the [cache](LoadKey::cache).
    pub(crate) fn new(cache: usize, key: impl Into<Arc<str>>) -> Arc<Self> {
        let state = Mutex::new(FlightState::Pending(Waiters::new()));
        Arc::new(Self { cache, key: key.into(), state })
    }

    fn key(&self) -> LoadKey<'_> {
        LoadKey { cache: self.cache, text: &self.key }
    }

    /// Changes the waiters, wherever they are.
    fn with_waiters(&self, change: impl FnOnce(&mut Waiters)) {
        match &mut *lock(&self.state) {
            FlightState::Pending(waiters) => change(waiters),
            FlightState::Running(run) => change(&mut lock(&run.waiters)),
        }
    }
}

impl RunGuard {
    /// Starts a run of a loader for these flights, of one cache, once `limit` has a permit.
    pub(crate) async fn start(limit: &Arc<Semaphore>, flights: &[Arc<Flight>]) -> Self {
        // The semaphore is never closed.
        let held = Arc::clone(limit).acquire_owned().await.ok();
        let run = Arc::new(Run {
            number: RUNS.fetch_add(1, Ordering::Relaxed),
            cache: flights.first().map_or(0, |flight| flight.cache),
            keys: flights.iter().map(|flight| Arc::clone(&flight.key)).collect(),
            waiters: Mutex::default(),
            limit: Arc::clone(limit),
            permit: Mutex::new(RunPermit { held, waits: 0, has_ended: false }),
        });
        for flight in flights {
            let mut state = lock(&flight.state);
            if let FlightState::Pending(waiters) =
                mem::replace(&mut *state, FlightState::Running(Arc::clone(&run)))
            {
                waiters.into_values().for_each(|waiting| add(&mut lock(&run.waiters), waiting));
            }
        }
        Self(run)
    }

    /// Returns the run, for [`within`].
    pub(crate) fn run(&self) -> Arc<Run> {
        Arc::clone(&self.0)
    }
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        let mut permit = lock(&self.0.permit);
        permit.has_ended = true;
        permit.held = None;
    }
}

/// Executes a loader as part of `run`: its waits are those of the run.
pub(crate) async fn within<F: Future>(run: Option<Arc<Run>>, loader: F) -> F::Output {
    match run {
        Some(run) => RUN.scope(run, loader).await,
        None => loader.await,
    }
}

impl Run {
    /// Returns the run whose loader this task executes, if it executes one.
    pub(crate) fn current() -> Option<Arc<Self>> {
        RUN.try_with(Arc::clone).ok()
    }

    /// Checks that this run may wait for a load of the key.
    ///
    /// # Errors
    /// If the load of this key waits for this run, or would.
    pub(crate) fn check(self: &Arc<Self>, key: LoadKey<'_>) -> Result<(), Cycle> {
        // From each run the way to this one: the run that it waits for, and by which key.
        let mut ways: HashMap<u64, Option<(u64, Arc<str>)>> = HashMap::from([(self.number, None)]);
        let mut reached = VecDeque::from([Arc::clone(self)]);
        while let Some(run) = reached.pop_front() {
            if run.cache == key.cache && run.keys.contains(key.text) {
                return Err(cycle(key.text, run.number, &mut ways));
            }
            for waiting in lock(&run.waiters).values() {
                if let Entry::Vacant(way) = ways.entry(waiting.run.number) {
                    way.insert(Some((run.number, Arc::clone(&waiting.key))));
                    reached.push_back(Arc::clone(&waiting.run));
                }
            }
        }
        Ok(())
    }

    /// Enters a wait for the flight.
    ///
    /// # Errors
    /// If the wait would close a cycle.
    pub(crate) fn wait_for(self: &Arc<Self>, flight: &Arc<Flight>) -> Result<Wait, Cycle> {
        let _entering = lock(&ENTERING);
        self.check(flight.key())?;
        let waiting = WaitingRun { run: Arc::clone(self), key: Arc::clone(&flight.key), waits: 1 };
        flight.with_waiters(|waiters| add(waiters, waiting));
        Ok(Wait { run: Arc::clone(self), flight: Arc::clone(flight) })
    }

    /// Awaits `load` without this run's permit, and acquires a permit again afterwards.
    ///
    /// A loader may wait for several loads at the same time. It has its permit again when it waits
    /// for none of them any more: until then, it may not be able to continue.
    pub(crate) async fn without_permit<T>(self: &Arc<Self>, load: impl Future<Output = T>) -> T {
        let pause = PermitPause::begin(self);
        let result = load.await;
        pause.end().await;
        result
    }
}

/// The pause of a run's permit. A wait that the loader drops ends it too; then the run continues
/// without a permit if none is left.
struct PermitPause<'a>(Option<&'a Arc<Run>>);

impl<'a> PermitPause<'a> {
    fn begin(run: &'a Arc<Run>) -> Self {
        let mut permit = lock(&run.permit);
        permit.waits += 1;
        permit.held = None;
        Self(Some(run))
    }

    async fn end(mut self) {
        let Some(run) = self.0.take() else { return };
        if !run.end_wait() {
            return;
        }
        if let Ok(acquired) = Arc::clone(&run.limit).acquire_owned().await {
            run.hold(acquired);
        }
    }
}

impl Drop for PermitPause<'_> {
    fn drop(&mut self) {
        if let Some(run) = self.0.take()
            && run.end_wait()
            && let Ok(acquired) = Arc::clone(&run.limit).try_acquire_owned()
        {
            run.hold(acquired);
        }
    }
}

impl Run {
    /// Ends a wait, and returns whether the run needs a permit now.
    fn end_wait(&self) -> bool {
        let mut permit = lock(&self.permit);
        permit.waits -= 1;
        permit.waits == 0 && !permit.has_ended
    }

    /// Stores the permit, unless the run waits again, has ended, or has another one.
    fn hold(&self, acquired: OwnedSemaphorePermit) {
        let mut permit = lock(&self.permit);
        if permit.waits == 0 && !permit.has_ended && permit.held.is_none() {
            permit.held = Some(acquired);
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.flight.with_waiters(|waiters| {
            if let Some(waiting) = waiters.get_mut(&self.run.number) {
                waiting.waits -= 1;
                if waiting.waits == 0 {
                    waiters.remove(&self.run.number);
                }
            }
        });
    }
}

fn add(waiters: &mut Waiters, waiting: WaitingRun) {
    match waiters.get_mut(&waiting.run.number) {
        Some(known) => known.waits += waiting.waits,
        None => drop(waiters.insert(waiting.run.number, waiting)),
    }
}

/// Returns the keys from `key`, which the run `from` loads, to the run that wants it.
fn cycle(key: &str, from: u64, ways: &mut HashMap<u64, Option<(u64, Arc<str>)>>) -> Cycle {
    let mut keys: Vec<Box<str>> = vec![key.into()];
    let mut at = from;
    while let Some(Some((next, waits_for))) = ways.remove(&at) {
        keys.push(waits_for.as_ref().into());
        at = next;
    }
    keys.push(key.into());
    Cycle(keys)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
