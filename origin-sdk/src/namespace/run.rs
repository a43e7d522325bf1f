//! Runs of loaders and writers, each as a task.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::time::Instant;
use tracing::Instrument;

use super::Inner;
use crate::closing::Phase;
use crate::error::{LoadError, LoadErrorKind, Work};
use crate::loader::{LoadContext, LoadFuture};
use crate::request_scope::RequestScope;
use crate::stampede::{self, Flight, LoadKey, Run, RunGuard};
use crate::task::{AbortOnDrop, Started, start_in_place};

/// The result of a loader, of one value or of many.
pub(super) struct LoaderOutput<T> {
    pub(super) value: T,
    /// How long the loader ran.
    pub(super) delta: Duration,
}

/// Where a load and its loader begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TaskStart {
    /// In the caller's task, until they first wait; then they continue in tasks of their own.
    InPlace,
    /// In tasks of their own: the caller has something else to do, or others to start.
    Spawned,
}

impl<V: Send + Sync + 'static> Inner<V> {
    /// Awaits a load that started at `since`, until its hard timeout or until the cache is closed.
    /// The load is pinned where it is, as it is too large to be moved for nothing.
    pub(super) async fn within_hard_timeout<T>(
        &self,
        since: Instant,
        load: Pin<&mut impl Future<Output = Result<T, LoadError>>>,
    ) -> Result<T, LoadError> {
        let timeout = self.options.hard_timeout;
        let load = tokio::time::timeout(timeout.saturating_sub(since.elapsed()), load);
        let closed = self.core.closing.reached(Phase::Cancelling);
        // The phase is polled first, so that a closed cache does not call the loader.
        let result = match select(pin!(closed), pin!(load)).await {
            Either::Left(_) => Err(LoadError::closed()),
            Either::Right((result, _)) => result.unwrap_or_else(|_| Err(LoadError::timed_out(timeout))),
        };
        if let Err(error) = &result
            && matches!(error.kind(), LoadErrorKind::TimedOut | LoadErrorKind::Closed)
        {
            self.metrics.load_errors.add(1);
        }
        result
    }

    /// Runs a loader, of one value or of many, once the concurrency limit allows it, and counts it.
    /// It loads the keys of the flights.
    pub(super) async fn run_loader<T: Send + 'static>(
        &self,
        loader: LoadFuture<T>,
        context: &LoadContext,
        flights: &[Arc<Flight>],
        start: TaskStart,
    ) -> Result<LoaderOutput<T>, LoadError> {
        let guard = RunGuard::start(&self.loaders, flights).await;
        let started_at = self.core.clock.now();
        let result = run(Work::Loader, loader, context.clone(), Some(guard.run()), start).await;
        let delta = self.core.clock.now().saturating_sub(started_at);
        self.metrics.timings.loads.add(delta);
        match result {
            Ok(value) => {
                self.metrics.loads.add(1);
                Ok(LoaderOutput { value, delta })
            }
            Err(error) => {
                self.metrics.load_errors.add(1);
                Err(error)
            }
        }
    }

    /// Runs a loader for a caller that bypasses the cache.
    pub(super) async fn run_uncached<T: Send + 'static>(
        &self,
        loader: LoadFuture<T>,
        context: &LoadContext,
        flights: &[Arc<Flight>],
    ) -> Result<T, LoadError> {
        let load = pin!(self.run_loader(loader, context, flights, TaskStart::Spawned));
        let load = self.within_hard_timeout(Instant::now(), load);
        let output = match Run::current() {
            Some(run) => {
                let waits = flights.iter().map(|flight| run.wait_for(flight)).collect::<Result<Vec<_>, _>>();
                let _waits = waits.map_err(LoadError::cycle)?;
                run.without_permit(load).await
            }
            None => load.await,
        };
        Ok(output?.value)
    }

    /// Checks that no load which waits for the caller loads the key.
    pub(super) fn forbid_cycle(&self, key: &str) -> Result<(), LoadError> {
        let key = LoadKey { cache: self.core.number(), text: key };
        let checked = Run::current().map_or(Ok(()), |run| run.check(key));
        checked.map_err(LoadError::cycle)
    }
}

/// Runs a loader or writer as a task, so that its panic becomes an error. Dropping the
/// future aborts the task. `part_of` is the run that the task's waits belong to.
///
/// It runs in the caller's span. Its reads through the cache do not count for the request that
/// started it. It only takes over whether any of them was stale.
pub(super) async fn run<T: Send + 'static>(
    work: Work,
    loader: LoadFuture<T>,
    context: LoadContext,
    part_of: Option<Arc<Run>>,
    start: TaskStart,
) -> Result<T, LoadError> {
    let task = async move {
        let scope = RequestScope::default();
        let result = scope.scope(stampede::within(part_of, loader)).await;
        if scope.take().ttl_secs < 0 {
            context.set_built_on_stale();
        }
        result
    };
    let task = match start {
        TaskStart::Spawned => tokio::spawn(task.in_current_span()),
        TaskStart::InPlace => match start_in_place(task) {
            Started::Ended(result) => return result.unwrap_or_else(|| Err(LoadError::panicked(work))),
            Started::Waiting(task) => tokio::spawn(task.in_current_span()),
        },
    };
    let mut task = AbortOnDrop(task);
    (&mut task.0).await.unwrap_or_else(|_| Err(LoadError::panicked(work)))
}
