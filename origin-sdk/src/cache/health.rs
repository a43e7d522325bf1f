//! The state of a process's cache, for a service's health endpoint.

use serde::Serialize;

use super::Cache;
use crate::closing::Phase;

/// The state of this process's cache, by [`Cache::health`]. Serialises as an object of its fields.
///
/// | state | ready | live | degraded |
/// |---|---|---|---|
/// | all is well | yes | yes | no |
/// | Redis is down, frozen or cut off | yes | yes | yes |
/// | invalidations are queued | yes | yes | yes |
/// | the follower has ended or stalled | no | no | yes |
/// | [`Cache::close`] has begun | no | yes | |
///
/// An outage of Redis makes no process unready: it reaches all processes of a fleet at once, and a
/// load balancer without a ready process answers nothing, while the cache still answers from memory
/// and the loader. Alert on [`is_degraded`](Self::is_degraded) instead. A service that must not
/// answer without its cache is ready while `is_ready() && !is_degraded()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CacheHealth {
    /// Whether the last command to Redis was answered. Always true without Redis.
    pub is_connected: bool,
    /// Whether the task runs that follows the journal and sends queued invalidations. If it has
    /// ended with its runtime, the next invalidation or lagging read starts it again.
    pub is_following: bool,
    /// Whether the process is within the maximum lag of the journal. If it is not, reads catch up
    /// first or go to their loaders.
    pub is_current: bool,
    /// Whether [`Cache::close`] has begun.
    pub is_closing: bool,
    /// The time since the process was last known to have applied all records, in milliseconds:
    /// normally up to about 500. `None` if it never was.
    pub journal_lag_ms: Option<u64>,
    /// The number of queued records of invalidations, which no other process knows of yet.
    pub queued: usize,
    /// The time since the queue was last empty, in milliseconds: 0 if it is empty.
    pub queue_age_ms: u64,
}

impl CacheHealth {
    /// Returns whether the process may receive requests: it follows the journal, and is not
    /// closing. For a readiness check, whose failure takes the process out of the load balancer.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.is_following && !self.is_closing
    }

    /// Returns whether the process can go on without being started again: it follows the journal,
    /// or ends anyway. For a liveness check, whose failure ends the process.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.is_following || self.is_closing
    }

    /// Returns whether the cache does less than it should: reads go to their loaders, or
    /// invalidations have not reached the fleet.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        !(self.is_connected && self.is_following && self.is_current) || self.queued > 0
    }
}

impl Cache {
    /// Returns the state of this process's cache: for a service's health endpoint. Waits for
    /// nothing, and sends nothing to Redis.
    ///
    /// ```
    /// # use origin_sdk::Cache;
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let cache = Cache::builder("shop").build().await.unwrap();
    /// let health = cache.health();
    /// assert!(health.is_ready() && health.is_live() && !health.is_degraded());
    /// # });
    /// ```
    #[must_use]
    pub fn health(&self) -> CacheHealth {
        let (core, journal) = (self.core(), &self.core().journal);
        let now = core.clock.now();
        CacheHealth {
            is_connected: core.store.is_connected(),
            is_following: journal.has_follower(),
            is_current: !journal.is_lagging(now),
            is_closing: core.closing.has_reached(Phase::Finishing),
            journal_lag_ms: journal.lag(now).map(millis),
            queued: journal.queue_len(),
            queue_age_ms: millis(journal.queue_age(now)),
        }
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
