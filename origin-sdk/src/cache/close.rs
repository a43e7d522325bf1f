//! The orderly end of a cache.

use std::fmt;

use tokio::time::{Instant, timeout_at};

use super::Cache;
use crate::closing::Phase;
use crate::receipt::UnsentInvalidation;

/// The work that [`Cache::close`] could not finish before its deadline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "the report names the invalidations that were lost"]
pub struct CloseReport {
    /// Invalidations that could not be sent. Without a
    /// [durable queue](crate::CacheBuilder::durable_queue) they are lost with the process, and other
    /// processes may serve the old values for as long as these live.
    pub unsent: Vec<UnsentInvalidation>,
    /// Loads, writes and invalidations that still ran. A write may have changed the database
    /// without its invalidation being sent.
    pub unfinished: usize,
    /// Journal records that a target to which this process shipped has not accepted. They stay in
    /// Redis, from where another process or the next start ships them.
    pub unshipped: u64,
}

impl CloseReport {
    /// Returns whether no invalidation is lost. Records that wait in Redis for a target are not.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.unsent.is_empty() && self.unfinished == 0
    }
}

impl fmt::Display for CloseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scopes: usize = self.unsent.iter().map(|unsent| unsent.scopes.len()).sum();
        write!(
            f,
            "{scopes} invalidated scopes not sent, {} loads and writes not finished, {} records not shipped yet",
            self.unfinished, self.unshipped
        )
    }
}

impl Cache {
    /// Sends the queued invalidations, within
    /// [`CacheBuilder::close_timeout`](crate::CacheBuilder::close_timeout). Returns those that could not be sent, which stay
    /// queued.
    ///
    /// Invalidations are only queued while Redis cannot be reached, and are then sent in the
    /// background. Call this where they must not wait, such as before a process is suspended.
    pub async fn flush(&self) -> Vec<UnsentInvalidation> {
        let core = self.core();
        core.journal.flush_until(Instant::now() + core.close_timeout).await;
        core.journal.store_queue().await;
        core.journal.unsent()
    }

    /// Ends the cache in order, within [`CacheBuilder::close_timeout`](crate::CacheBuilder::close_timeout), and returns what could not
    /// be finished:
    ///
    /// 1. Loads, writes and invalidations that run may finish, for at most half of the time.
    /// 2. Loads that still run are cancelled. Their callers get a value that may be served stale,
    ///    or [`LoadErrorKind::Closed`](crate::LoadErrorKind::Closed). Their leases are released, so that other processes that wait
    ///    for them load at once.
    /// 3. Queued invalidations are sent.
    /// 4. The targets to which this process ships receive what is left, and another process takes
    ///    over.
    ///
    /// Call it at the end of a process, after the server has finished its requests and before the
    /// runtime ends. Afterwards no load starts. Stored values are still served, and an invalidation
    /// is still sent if Redis can be reached at that moment; if not, its receipt says
    /// [`Delivery::Stranded`](crate::Delivery::Stranded).
    ///
    /// ```
    /// # use origin_sdk::Cache;
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let cache = Cache::builder("shop").build().await.unwrap();
    /// // axum::serve(…).with_graceful_shutdown(…).await
    /// let report = cache.close().await;
    /// if !report.is_complete() {
    ///     eprintln!("cache: {report}");
    /// }
    /// # });
    /// ```
    pub async fn close(&self) -> CloseReport {
        let core = self.core();
        let (closing, journal) = (&core.closing, &core.journal);
        let (began, whole) = (Instant::now(), core.close_timeout);
        let by = |eighths: u32| began + whole / 8 * eighths;

        closing.enter(Phase::Finishing);
        // Each timeout is an ordinary end of its wait: the report says what is left.
        let _ = timeout_at(by(4), closing.work.none()).await;
        closing.enter(Phase::Cancelling);
        let _ = timeout_at(by(5), closing.work.none()).await;
        journal.flush_until(by(6)).await;
        // After a timeout the copy holds more than is queued, which does no harm.
        let _ = timeout_at(by(7), journal.store_queue()).await;
        closing.enter(Phase::Draining);
        let _ = timeout_at(by(7), closing.shippers.none()).await;
        closing.enter(Phase::Closed);
        let _ = timeout_at(by(8), closing.shippers.none()).await;

        CloseReport {
            unsent: journal.unsent(),
            unfinished: closing.work.count(),
            unshipped: core.metrics.snapshot().ship_queued,
        }
    }
}
