//! The source of truth in tests: numbered versions, and gates at which a read can be held.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use origin_sdk::{BoxError, LoadContext};
use tokio::sync::Semaphore;

/// Rows of a number each. A row that was never written is 0. Clones share the rows.
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

    /// Sets a row to one more than it was, and gives its new number.
    pub fn bump(&self, id: u64) -> u64 {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let row = rows.entry(id).or_default();
        *row += 1;
        *row
    }

    /// A row's number. Counted.
    #[must_use]
    pub fn read(&self, id: u64) -> u64 {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied().unwrap_or_default()
    }

    /// How many reads there have been.
    #[must_use]
    pub fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    /// A loader of the row.
    pub fn loader<K>(
        &self,
        id: u64,
    ) -> impl FnOnce(K, LoadContext) -> std::future::Ready<Result<u64, BoxError>> + Send + Clone + use<K> {
        let database = self.clone();
        move |_, _| std::future::ready(Ok(database.read(id)))
    }

    /// A loader that reads the row at once, tells so by a permit of `has_read`, and then waits for one of `may_end`: a load
    /// that is slow after its read, as a race needs it.
    pub fn slow_loader<K>(
        &self,
        id: u64,
        has_read: &Arc<Semaphore>,
        may_end: &Arc<Semaphore>,
    ) -> impl FnOnce(K, LoadContext) -> Pin<Box<dyn Future<Output = Result<u64, BoxError>> + Send>> + Send + use<K>
    {
        let (database, has_read, may_end) = (self.clone(), Arc::clone(has_read), Arc::clone(may_end));
        move |_, _| {
            Box::pin(async move {
                let value = database.read(id);
                has_read.add_permits(1);
                may_end.acquire().await.expect("the gate stays").forget();
                Ok(value)
            })
        }
    }
}
