//! The source of truth of tests in one process: numbered rows, and loaders that a test can hold.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use origin_sdk::LoadContext;
use tokio::sync::Semaphore;

/// A table of one number per row. A row that was never written is 0. Clones share the rows.
#[derive(Clone, Default)]
pub struct Database {
    rows: Arc<Mutex<HashMap<u64, u64>>>,
    reads: Arc<AtomicUsize>,
}

impl Database {
    /// Sets a row.
    pub fn write(&self, id: u64, value: u64) {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).insert(id, value);
    }

    /// Increments a row and returns its new number.
    pub fn bump(&self, id: u64) -> u64 {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let row = rows.entry(id).or_default();
        *row += 1;
        *row
    }

    /// Returns the number of a row, and counts the read.
    #[must_use]
    pub fn read(&self, id: u64) -> u64 {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied().unwrap_or_default()
    }

    /// Returns the number of reads so far.
    #[must_use]
    pub fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    /// Returns a loader of the row.
    pub fn loader(
        &self,
        id: u64,
    ) -> impl FnOnce(LoadContext) -> std::future::Ready<Result<u64, Infallible>> + Send + Clone + 'static {
        let database = self.clone();
        move |_| std::future::ready(Ok(database.read(id)))
    }

    /// Returns a loader that reads the row at once, adds a permit to `has_read`, and then waits for
    /// a permit of `may_end`. A test can let other things happen between the read and the end of
    /// the load.
    pub fn slow_loader(
        &self,
        id: u64,
        has_read: &Arc<Semaphore>,
        may_end: &Arc<Semaphore>,
    ) -> impl FnOnce(LoadContext) -> Pin<Box<dyn Future<Output = Result<u64, Infallible>> + Send>> + Send + 'static
    {
        let (database, has_read, may_end) = (self.clone(), Arc::clone(has_read), Arc::clone(may_end));
        move |_| {
            Box::pin(async move {
                let value = database.read(id);
                has_read.add_permits(1);
                may_end.acquire().await.expect("expected the gate to stay open").forget();
                Ok(value)
            })
        }
    }
}
