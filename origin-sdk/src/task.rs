//! Background tasks: started in place, aborted with their owners, or started again when they have
//! ended.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

/// A task that was polled once.
pub(crate) enum Started<F: Future> {
    /// It has ended, or panicked.
    Ended(Option<F::Output>),
    /// It waits. Poll it again at once: its first poll left no waker.
    Waiting(Pin<Box<F>>),
}

/// Polls a task once, in the caller's thread. A task that ends at once needs no thread to wake up,
/// which takes longer than the task.
///
/// # Panics
/// Outside of a Tokio runtime, as a spawned task would.
pub(crate) fn start_in_place<F: Future>(task: F) -> Started<F> {
    drop(tokio::runtime::Handle::current());
    let mut task = Box::pin(task);
    let poll = || task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    match catch_unwind(AssertUnwindSafe(poll)) {
        Ok(Poll::Ready(output)) => Started::Ended(Some(output)),
        Ok(Poll::Pending) => Started::Waiting(task),
        Err(_) => Started::Ended(None),
    }
}

/// Aborts its task when dropped.
pub(crate) struct AbortOnDrop<T = ()>(pub(crate) JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Supervises a task that runs once in a process: another one starts when it has ended with its
/// runtime, or has stalled because its runtime is no longer driven.
pub(crate) struct Supervisor {
    state: Mutex<Supervised>,
    /// The time without a step after which the task counts as stalled. One that was only slow ends
    /// once its successor has started.
    stalled_after: Duration,
}

#[derive(Default)]
struct Supervised {
    /// The number of the newest task, or 0.
    newest: u64,
    /// The last step of the newest task; `None` if it has ended.
    last_step: Option<Instant>,
}

impl Supervisor {
    pub(crate) fn new(stalled_after: Duration) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), stalled_after })
    }

    /// Returns whether the newest task runs.
    pub(crate) fn is_running(&self) -> bool {
        self.is_alive(&self.state())
    }

    /// Returns a permit for a new task, unless one runs.
    pub(crate) fn start(self: &Arc<Self>) -> Option<TaskPermit> {
        let mut state = self.state();
        if self.is_alive(&state) {
            return None;
        }
        state.newest += 1;
        state.last_step = Some(Instant::now());
        Some(TaskPermit { supervisor: Arc::clone(self), number: state.newest })
    }

    fn is_alive(&self, state: &Supervised) -> bool {
        state.last_step.is_some_and(|at| at.elapsed() < self.stalled_after)
    }

    fn state(&self) -> MutexGuard<'_, Supervised> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A supervised task's permit to run. Dropped, it marks the task as ended: a runtime that ends
/// drops its tasks without running them to their ends.
pub(crate) struct TaskPermit {
    supervisor: Arc<Supervisor>,
    number: u64,
}

impl TaskPermit {
    /// Returns whether another task ran before this one.
    pub(crate) fn is_restart(&self) -> bool {
        self.number > 1
    }

    /// Records a step of the task. Returns `false` if the task has a successor and must end.
    pub(crate) fn step(&self) -> bool {
        let mut state = self.supervisor.state();
        let is_newest = state.newest == self.number;
        if is_newest {
            state.last_step = Some(Instant::now());
        }
        is_newest
    }
}

impl Drop for TaskPermit {
    fn drop(&mut self) {
        let mut state = self.supervisor.state();
        if state.newest == self.number {
            state.last_step = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_started_again_when_it_has_ended_or_stalled_and_its_predecessor_ends() {
        let supervisor = Supervisor::new(Duration::MAX);
        let first = supervisor.start().unwrap();
        assert!(!first.is_restart() && first.step() && supervisor.is_running());
        assert!(supervisor.start().is_none());
        drop(first);
        assert!(!supervisor.is_running());
        assert!(supervisor.start().unwrap().is_restart());

        let supervisor = Supervisor::new(Duration::ZERO);
        let stalled = supervisor.start().unwrap();
        let successor = supervisor.start().unwrap();
        assert!(!stalled.step() && successor.step());
        // The end of the predecessor is not one of the successor.
        drop(stalled);
        assert!(supervisor.state().last_step.is_some());
    }
}
