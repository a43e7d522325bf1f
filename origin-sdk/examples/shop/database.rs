//! An async interface to SQLite: a small connection pool, with each query on a blocking thread.

mod catalogue;
mod customers;
mod flags;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Params, Row};
use tokio::sync::Semaphore;

pub(crate) use catalogue::{CategoryPage, ProductChange, ProductPage, Sort};
pub(crate) use customers::{OrderPage, Profile, ProfileChange};
pub(crate) use flags::Flag;

/// The number of connections. More would only compete for the processors; further callers wait.
const CONNECTIONS: usize = 8;

/// The shop's database. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Database(Arc<Pool>);

struct Pool {
    path: PathBuf,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
    queries: AtomicU64,
}

impl Database {
    /// Creates a pool for the file that [`crate::data::prepare`] wrote. Connections are opened on
    /// first use.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(Arc::new(Pool {
            path,
            permits: Arc::new(Semaphore::new(CONNECTIONS)),
            idle: Mutex::default(),
            queries: AtomicU64::new(0),
        }))
    }

    /// Returns the number of statements that have run.
    pub(crate) fn queries(&self) -> u64 {
        self.0.queries.load(Ordering::Relaxed)
    }

    /// Runs `work` with a connection. If the caller is cancelled, the work still completes and the
    /// connection returns to the pool.
    async fn run<T, F>(&self, work: F) -> rusqlite::Result<T>
    where
        F: FnOnce(&Session<'_>) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let permit =
            Arc::clone(&self.0.permits).acquire_owned().await.expect("the semaphore is never closed");
        let pool = Arc::clone(&self.0);
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let connection = pool.connection()?;
            let result = work(&Session { connection: &connection, queries: &pool.queries });
            pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            result
        });
        task.await.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
    }
}

impl Pool {
    fn connection(&self) -> rusqlite::Result<Connection> {
        if let Some(connection) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(connection);
        }
        let connection = Connection::open(&self.path)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        // Safe with a write-ahead log: a power cut can lose the last transactions but not corrupt
        // the file.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        // Maps the whole file: copying its pages takes as long as the queries themselves.
        connection.pragma_update(None, "mmap_size", 256 << 20)?;
        Ok(connection)
    }
}

/// A connection that is lent for one piece of work. Counts the statements.
struct Session<'pool> {
    connection: &'pool Connection,
    queries: &'pool AtomicU64,
}

impl Session<'_> {
    fn rows<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        self.queries.fetch_add(1, Ordering::Relaxed);
        self.connection.prepare_cached(sql)?.query_map(params, read)?.collect()
    }

    /// Returns the first row, or `None` without one.
    fn row<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Option<T>> {
        self.queries.fetch_add(1, Ordering::Relaxed);
        self.connection.prepare_cached(sql)?.query_row(params, read).optional()
    }

    fn execute(&self, sql: &str, params: impl Params) -> rusqlite::Result<usize> {
        self.queries.fetch_add(1, Ordering::Relaxed);
        self.connection.prepare_cached(sql)?.execute(params)
    }
}

#[cfg(test)]
mod tests;
