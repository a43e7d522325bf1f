//! Blocks an origin's answers until the test releases them.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use strata_tests::WAIT_LIMIT;

/// A gate, closed at first.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Opens the gate for current and future waiters.
    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }

    /// Blocks until the gate is open; called by the origin's script.
    pub(crate) fn pass(&self) {
        tokio::task::block_in_place(|| {
            let open = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
            drop(self.0.1.wait_timeout_while(open, WAIT_LIMIT, |open| !*open));
        });
    }
}
