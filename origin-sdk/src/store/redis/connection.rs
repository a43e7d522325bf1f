//! One connection that is made anew after a failure, and a circuit breaker in front of it.
//!
//! `redis`'s own connection manager neither notices nor reports a server that is frozen; here every command has a
//! deadline, and whatever fails it gives the connection up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, Pipeline, RedisError, ScriptInvocation};

use super::topology::Primary;
use crate::clock::Clock;
use crate::error::StoreError;

/// After a failure commands fail at once for so long, doubling up to the maximum while it goes on.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// What a server answers that was the primary and is not any more, or is not ready to be: after a failover the address
/// leads to another one, and a connection that is kept never gets there.
fn is_wrong_server(error: &RedisError) -> bool {
    matches!(error.code(), Some("READONLY" | "MASTERDOWN" | "LOADING"))
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    /// Making a connection.
    pub(crate) connect: Duration,
    /// The answer to one command, once there is a connection.
    pub(crate) command: Duration,
    /// All of it: waiting for a connection that another caller makes, making one, and the command.
    pub(crate) overall: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let command = Duration::from_millis(500);
        Self { connect: command, command, overall: 2 * command }
    }
}

/// The way to a server.
pub(super) struct Connection {
    primary: Primary,
    timeouts: Timeouts,
    clock: Clock,
    state: Mutex<State>,
    /// Held while connecting, so that many callers make one connection.
    connecting: tokio::sync::Mutex<()>,
    /// How many connections have been made.
    made: AtomicU64,
}

#[derive(Default)]
struct State {
    /// The connection and its number, by which a late failure is told from one of the current connection.
    open: Option<(u64, MultiplexedConnection)>,
    pause: Duration,
    closed_until: Duration,
}

impl Connection {
    pub(super) fn new(primary: Primary, timeouts: Timeouts, clock: Clock) -> Self {
        Self {
            primary,
            timeouts,
            clock,
            state: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            made: AtomicU64::new(0),
        }
    }

    /// How many connections have been made.
    pub(super) fn made(&self) -> u64 {
        self.made.load(Ordering::Acquire)
    }

    pub(super) async fn run<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        self.run_blocking(command, Duration::ZERO).await
    }

    /// Runs a command that may take `extra` longer than others.
    pub(super) async fn run_blocking<T: FromRedisValue>(
        &self,
        command: &Cmd,
        extra: Duration,
    ) -> Result<T, StoreError> {
        let ask = async |mut connection: MultiplexedConnection| command.query_async(&mut connection).await;
        self.run_within(extra, ask).await
    }

    pub(super) async fn run_pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, StoreError> {
        let ask = async |mut connection: MultiplexedConnection| pipeline.query_async(&mut connection).await;
        self.run_within(Duration::ZERO, ask).await
    }

    pub(super) async fn run_script<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, StoreError> {
        let ask = async |mut connection: MultiplexedConnection| script.invoke_async(&mut connection).await;
        self.run_within(Duration::ZERO, ask).await
    }

    /// Asks on the connection, which is made if there is none; both deadlines are `extra` longer than usual.
    async fn run_within<T>(
        &self,
        extra: Duration,
        ask: impl AsyncFnOnce(MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Result<T, StoreError> {
        let whole = async {
            let (number, connection) = self.open().await?;
            self.settle(number, self.timeouts.command + extra, ask(connection)).await
        };
        let overall = self.timeouts.overall + extra;
        // Each part has a deadline of its own that judges the connection. This one only lets the caller go.
        tokio::time::timeout(overall, whole).await.unwrap_or(Err(StoreError::Timeout(overall)))
    }

    async fn open(&self) -> Result<(u64, MultiplexedConnection), StoreError> {
        if let Some(open) = self.ready()? {
            return Ok(open);
        }
        let _connecting = self.connecting.lock().await;
        // Another caller may have connected, or failed to, while this one waited.
        if let Some(open) = self.ready()? {
            return Ok(open);
        }
        let timeout = self.timeouts.connect;
        match tokio::time::timeout(timeout, self.primary.connect(timeout)).await {
            Ok(Ok(connection)) => Ok(self.opened(connection)),
            Ok(Err(error)) => Err(self.failed(None, error.into())),
            Err(_) => Err(self.failed(None, StoreError::Timeout(timeout))),
        }
    }

    /// The open connection, `None` if one may be made, or the error while the breaker is open.
    fn ready(&self) -> Result<Option<(u64, MultiplexedConnection)>, StoreError> {
        let state = self.state();
        if let Some(open) = &state.open {
            return Ok(Some(open.clone()));
        }
        let left = state.closed_until.saturating_sub(self.clock.now());
        if left.is_zero() { Ok(None) } else { Err(StoreError::Unavailable(left)) }
    }

    fn opened(&self, connection: MultiplexedConnection) -> (u64, MultiplexedConnection) {
        let mut state = self.state();
        let open = (self.made.fetch_add(1, Ordering::AcqRel) + 1, connection);
        state.open = Some(open.clone());
        open
    }

    async fn settle<T>(
        &self,
        number: u64,
        timeout: Duration,
        reply: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(timeout, reply).await {
            Ok(Ok(value)) => {
                self.state().pause = Duration::ZERO;
                Ok(value)
            }
            // The server answered: the connection is good, the command was not.
            Ok(Err(error)) if !error.is_io_error() && !error.is_unrecoverable_error() && !is_wrong_server(&error) => {
                Err(error.into())
            }
            Ok(Err(error)) => Err(self.failed(Some(number), error.into())),
            Err(_) => Err(self.failed(Some(number), StoreError::Timeout(timeout))),
        }
    }

    /// Gives up the connection that failed (none if it could not even be made) and opens the breaker.
    fn failed(&self, number: Option<u64>, error: StoreError) -> StoreError {
        let mut state = self.state();
        let current = state.open.as_ref().map(|(number, _)| *number);
        if current == number {
            state.open = None;
            state.pause = (state.pause * 2).clamp(FIRST_PAUSE, MAX_PAUSE);
            state.closed_until = self.clock.now() + state.pause;
        }
        error
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
