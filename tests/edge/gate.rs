//! Holds an origin's answers back until the test lets them go.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use strata_tests::PATIENCE;

/// Closed at first.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Lets through who waits and who comes.
    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }

    /// Waits until it is open; called by the origin's script.
    pub(crate) fn pass(&self) {
        tokio::task::block_in_place(|| {
            let open = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
            drop(self.0.1.wait_timeout_while(open, PATIENCE, |open| !*open));
        });
    }
}
