//! A connection that reconnects after a failure, behind a circuit breaker.
//!
//! Every command has a timeout, and a failure closes the connection. The connection manager of the
//! `redis` crate neither detects nor reports a server that has stopped responding.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, Pipeline, RedisError, ScriptInvocation, Value};
use tokio::time::{Instant, timeout_at};

use super::primary::Primary;
use super::progress::Progress;
use super::server::Link;
use crate::clock::Clock;
use crate::error::StoreError;

/// The first backoff. While the breaker is open, commands fail at once. Each further failure
/// doubles the backoff, up to [`MAX_BACKOFF`].
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// The longest backoff.
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// Returns whether the server replied that it is no longer the primary, may have a successor, or is
/// not ready yet. After a failover, the address leads to the new primary, and only a new connection
/// reaches it.
fn is_wrong_server(error: &RedisError) -> bool {
    matches!(error.code(), Some("READONLY" | "NOREPLICAS" | "MASTERDOWN" | "LOADING" | "UNBLOCKED"))
}

/// Returns the moment after this time, at most thirty years from now.
fn after(time: Duration) -> Instant {
    const YEARS: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    Instant::now() + time.min(YEARS)
}

/// The timeouts of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    /// The timeout of connecting.
    pub(crate) connect: Duration,
    /// The timeout of one command on an open connection. It begins again whenever bytes arrive, or
    /// with TLS whole replies, to whichever command: the server works, and the link is slow.
    pub(crate) command: Duration,
    /// The timeout of the whole: waiting while another caller connects, connecting, and the
    /// command.
    pub(crate) overall: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let command = Duration::from_millis(500);
        Self { connect: command, command, overall: 2 * command }
    }
}

/// A lazily made connection to the primary.
pub(super) struct Connection {
    primary: Primary,
    timeouts: Timeouts,
    clock: Clock,
    state: Mutex<State>,
    /// Locked while connecting, so that concurrent callers share one connection.
    connecting: tokio::sync::Mutex<()>,
    /// How many connections have been made.
    made: AtomicU64,
}

#[derive(Default)]
struct State {
    /// The open connection and its number. The number distinguishes a failure of this connection
    /// from a late one of its predecessor.
    open: Option<(u64, Link)>,
    backoff: Duration,
    /// Whether the last command was answered.
    is_answered: bool,
    /// The clock's reading until which the breaker is open.
    breaker_open_until: Duration,
    /// The number of the primary that all this is about.
    primary: u64,
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

    /// Returns how many connections have been made.
    pub(super) fn made(&self) -> u64 {
        self.made.load(Ordering::Acquire)
    }

    /// Returns whether the last command was answered.
    pub(super) fn is_answered(&self) -> bool {
        self.state().is_answered
    }

    pub(super) async fn run<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        self.run_blocking(command, Duration::ZERO).await
    }

    /// Runs a command with timeouts that are `extra` longer than usual.
    pub(super) async fn run_blocking<T: FromRedisValue>(
        &self,
        command: &Cmd,
        extra: Duration,
    ) -> Result<T, StoreError> {
        let send = async |mut connection: MultiplexedConnection| command.query_async(&mut connection).await;
        self.run_within(extra, send).await
    }

    pub(super) async fn run_pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, StoreError> {
        let send = async |mut connection: MultiplexedConnection| pipeline.query_async(&mut connection).await;
        self.run_within(Duration::ZERO, send).await
    }

    /// Runs a pipeline for the reply of each command. A command that the server rejects has its
    /// error as its reply, unless that concerns the whole server.
    pub(super) async fn run_for_replies(&self, pipeline: &Pipeline) -> Result<Vec<Value>, StoreError> {
        let send = async |mut connection: MultiplexedConnection| {
            let replies = connection.send_packed_commands(pipeline, 0, pipeline.len()).await?;
            let errors = replies.iter().filter_map(|reply| match reply {
                Value::ServerError(error) => Some(RedisError::from(error.clone())),
                _ => None,
            });
            errors.into_iter().find(is_wrong_server).map_or(Ok(replies), Err)
        };
        self.run_within(Duration::ZERO, send).await
    }

    pub(super) async fn run_script<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, StoreError> {
        let send = async |mut connection: MultiplexedConnection| script.invoke_async(&mut connection).await;
        self.run_within(Duration::ZERO, send).await
    }

    /// Sends a request, after connecting if necessary. The command and overall timeouts are `extra`
    /// longer than usual.
    async fn run_within<T>(
        &self,
        extra: Duration,
        send: impl AsyncFnOnce(MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Result<T, StoreError> {
        let timeout = self.timeouts.command.saturating_add(extra);
        let overall = self.timeouts.overall.saturating_add(extra);
        // In this order, so that of equal timeouts that of the command counts, which closes the
        // connection.
        let (deadline, until) = (after(timeout), after(overall));
        let ((number, link), deadline) = match self.ready()? {
            Some(open) => (open, deadline),
            None => {
                let opened = timeout_at(until, self.open()).await;
                (opened.unwrap_or(Err(StoreError::Timeout(overall)))?, after(timeout))
            }
        };
        let reply = send(link.connection);
        let reply = self.settle(number, timeout, deadline, until, &link.progress, reply).await;
        reply.unwrap_or(Err(StoreError::Timeout(overall)))
    }

    async fn open(&self) -> Result<(u64, Link), StoreError> {
        if let Some(open) = self.ready()? {
            return Ok(open);
        }
        let _connecting = self.connecting.lock().await;
        // Check again: another caller may have connected, or failed to, while this one waited.
        if let Some(open) = self.ready()? {
            return Ok(open);
        }
        let timeout = self.timeouts.connect;
        match self.primary.connect(timeout).await {
            Ok(link) => Ok(self.opened(link)),
            Err(error) => Err(self.failed(None, error)),
        }
    }

    /// Returns the open connection, or `None` if the caller may connect.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the breaker is open.
    fn ready(&self) -> Result<Option<(u64, Link)>, StoreError> {
        let (mut state, primary) = (self.state(), self.primary.number());
        if state.primary != primary {
            // Neither the connection to the primary before nor its failures concern this one.
            *state = State { primary, ..State::default() };
        }
        if let Some(open) = &state.open {
            return Ok(Some(open.clone()));
        }
        let left = state.breaker_open_until.saturating_sub(self.clock.now());
        if left.is_zero() { Ok(None) } else { Err(StoreError::Unavailable(left)) }
    }

    fn opened(&self, link: Link) -> (u64, Link) {
        let mut state = self.state();
        let open = (self.made.fetch_add(1, Ordering::AcqRel) + 1, link);
        state.primary = open.1.primary;
        state.open = Some(open.clone());
        open
    }

    /// Waits for a reply, and closes the connection if it failed: if no progress at all was made
    /// within `timeout`, which ends at `deadline` first. Returns `None` at `until`, which only
    /// bounds the caller's wait.
    async fn settle<T>(
        &self,
        number: u64,
        timeout: Duration,
        mut deadline: Instant,
        until: Instant,
        progress: &Progress,
        reply: impl Future<Output = Result<T, RedisError>>,
    ) -> Option<Result<T, StoreError>> {
        tokio::pin!(reply);
        let reply = loop {
            // One timer for both timeouts.
            if let Ok(reply) = timeout_at(deadline.min(until), &mut reply).await {
                break reply;
            }
            // Also if both timeouts are equal and the other one has begun a moment earlier.
            let left = timeout.saturating_sub(progress.silent_for());
            if left.is_zero() {
                return Some(Err(self.failed(Some(number), StoreError::Timeout(timeout))));
            }
            if until < deadline {
                return None;
            }
            deadline = after(left);
        };
        Some(self.settled(number, progress, reply))
    }

    /// Notes a reply, and closes the connection if it is an error of the connection or the server.
    fn settled<T>(
        &self,
        number: u64,
        progress: &Progress,
        reply: Result<T, RedisError>,
    ) -> Result<T, StoreError> {
        match reply {
            Ok(value) => {
                progress.note();
                let mut state = self.state();
                state.backoff = Duration::ZERO;
                state.is_answered = true;
                Ok(value)
            }
            // The server rejected the command; the connection itself works.
            Err(error)
                if !error.is_io_error() && !error.is_unrecoverable_error() && !is_wrong_server(&error) =>
            {
                progress.note();
                self.state().is_answered = true;
                Err(error.into())
            }
            Err(error) => Err(self.failed(Some(number), error.into())),
        }
    }

    /// Closes the connection that failed and opens the breaker. `number` is `None` if connecting
    /// failed.
    fn failed(&self, number: Option<u64>, error: StoreError) -> StoreError {
        let mut state = self.state();
        let current = state.open.as_ref().map(|(number, _)| *number);
        if current == number {
            state.open = None;
            state.is_answered = false;
            state.backoff = (state.backoff * 2).clamp(FIRST_BACKOFF, MAX_BACKOFF);
            state.breaker_open_until = self.clock.now() + state.backoff;
        }
        error
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
