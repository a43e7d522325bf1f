//! The cache's counters and timings.

#[cfg(feature = "metrics")]
mod export;
mod histogram;
#[cfg(feature = "metrics")]
mod names;
#[cfg(all(test, feature = "metrics"))]
mod tests;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

#[cfg(feature = "metrics")]
pub(crate) use self::export::Exported;
pub use self::histogram::Durations;
pub(crate) use self::histogram::Histogram;
use crate::cache_line::OwnLine;
use crate::cached::StaleReason;

macro_rules! counters {
    ($( $(#[$doc:meta])* $name:ident $(: $counter:ident)?, )*) => {
        /// The counters since the cache was built.
        #[derive(Debug, Default)]
        pub(crate) struct Metrics {
            $( pub(crate) $name: counters!(@type $($counter)?), )*
            pub(crate) timings: Timings,
        }

        /// A snapshot of the counters since the cache was built.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
        #[non_exhaustive]
        pub struct Stats { $( $(#[$doc])* pub $name: u64, )* }

        impl Metrics {
            pub(crate) fn snapshot(&self) -> Stats {
                Stats { $( $name: self.$name.get(), )* }
            }
        }

        impl Stats {
            pub(crate) fn plus(self, other: Self) -> Self {
                Self { $( $name: self.$name + other.$name, )* }
            }
        }
    };
    (@type) => { Counter };
    (@type $counter:ident) => { $counter };
}

counters! {
    /// Reads answered by this process's memory, fresh or stale.
    memory_hits: StripedCounter,
    /// Reads answered by Redis (or the embedded store), fresh or stale.
    redis_hits,
    /// Reads whose value was absent, as a negative entry of
    /// [`negative_lifetime`](crate::NamespaceBuilder::negative_lifetime).
    negative_hits,
    /// Reads that neither memory nor Redis answered, but a load, a stale value in place of a load,
    /// an error, or nothing.
    misses,
    /// Loader calls that returned a value.
    loads,
    /// Loader calls that failed, panicked or took too long.
    load_errors,
    /// Reads without a load because the last loads of the key failed: answered with a stale value
    /// or the last error.
    backed_off,
    /// Reads that waited for a load that another caller had started.
    coalesced,
    /// Loads that waited for another process's load of the same key.
    lease_waits,
    /// Reads answered with a stale value because the load took longer than the soft timeout.
    soft_timeouts,
    /// Reads answered with a stale value, for any reason.
    stale_hits,
    /// Stale values within `stale_while_revalidate`.
    stale_revalidating,
    /// Stale values in place of a load that failed.
    stale_load_failed,
    /// Stale values while the journal could not be reached.
    stale_disconnected,
    /// Values loaded so soon after an invalidation that their source may have lagged.
    stale_source_lag,
    /// Background refreshes started.
    refreshes,
    /// Copies not served because the journal covers them.
    refused_by_journal,
    /// Journal records applied.
    records_applied,
    /// Invalidations that were queued because the journal could not be reached.
    invalidations_queued,
    /// Failures of the durable queue. While it fails, queued invalidations end with the process.
    durable_queue_errors,
    /// Restarts of the task that follows the journal, after it panicked, stalled, or ended with its
    /// runtime.
    follower_restarts,
    /// Reads while the process lagged behind the journal by more than `max_lag` and could not reach
    /// it.
    disconnected_reads,
    /// Store operations that failed or timed out.
    store_errors,
    /// Stored entries that could not be decoded, and counted as a miss.
    undecodable,
    /// Values that were not stored because they do not serialise, or would be read back as other
    /// values. An error in the log names the type and the part of the value.
    not_serializable,
    /// Stored entries not served because this process has loaded or written the key since, and the
    /// store could not take the newer value.
    outdated_copies,
    /// Values that this process's memory did not hold because they alone exceed `memory_bytes`.
    too_large_for_memory,
    /// Values that Redis did not store, or whose stored form was not read, because they exceed
    /// `max_value_bytes`.
    too_large_for_redis,
    /// Responses whose keys were folded into prefixes, so that their tags fit into one header.
    tags_folded,
    /// Responses that the edge may not store, because their tags exceed one header even when
    /// folded.
    tag_overflows,
    /// Responses that are private because their requests carried credentials. Many of them on
    /// routes that are the same for all users call for `CacheLayer::ignore_cookies` or
    /// `ignore_credentials`.
    credential_responses,
    /// Journal records that a target of the shipper (the worker or a zone) has accepted, counted
    /// for each target.
    records_shipped,
    /// Calls to targets that failed and are retried.
    ship_errors,
    /// Entries that memory evicted because all together exceeded `memory_bytes`.
    evicted_by_bytes,
    /// Entries that memory evicted because there were more than `memory_entries`.
    evicted_by_entries,
    /// A gauge: the entries in memory.
    memory_entries,
    /// A gauge: the bytes that these count for.
    memory_bytes,
    /// A gauge: records that wait for the targets to which this process ships; 0 while other
    /// processes do.
    ship_queued,
    /// A gauge: the time since the oldest of these was appended, in milliseconds.
    ship_lag_ms,
}

impl Metrics {
    /// Counts a read that was answered with a stale value.
    pub(crate) fn count_stale(&self, reason: StaleReason) {
        self.stale_hits.add(1);
        match reason {
            StaleReason::Revalidating => self.stale_revalidating.add(1),
            StaleReason::LoadFailed => self.stale_load_failed.add(1),
            StaleReason::Disconnected => self.stale_disconnected.add(1),
            StaleReason::SourceLag => self.stale_source_lag.add(1),
            // Counted as `soft_timeouts`, where the timeout is.
            StaleReason::SoftTimeout => {}
        }
    }
}

/// How long reads and loads of a namespace took. Reads that memory answers are not timed: reading
/// the clock twice would take longer than they do.
#[derive(Debug, Default)]
pub(crate) struct Timings {
    /// Reads that Redis answered.
    pub(crate) redis_hits: Histogram,
    /// Reads that were missed, with the wait for their load.
    pub(crate) misses: Histogram,
    /// Calls of loaders, also those that failed.
    pub(crate) loads: Histogram,
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    #[cfg(feature = "shipping")]
    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A counter that many threads add to all the time: each adds to a cache line that few others use.
#[derive(Debug, Default)]
pub(crate) struct StripedCounter([OwnLine<Counter>; STRIPES]);

const STRIPES: usize = 8;

thread_local! {
    /// The stripe of this thread, from 1; 0 before its first use.
    static STRIPE: Cell<usize> = const { Cell::new(0) };
}

/// Assigns a stripe to this thread: each new thread takes the next one.
#[cold]
fn assign_stripe() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    let stripe = THREADS.fetch_add(1, Ordering::Relaxed) % STRIPES + 1;
    STRIPE.set(stripe);
    stripe
}

impl StripedCounter {
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        let stripe = match STRIPE.get() {
            0 => assign_stripe(),
            stripe => stripe,
        };
        self.0[(stripe - 1) % STRIPES].add(n);
    }

    fn get(&self) -> u64 {
        self.0.iter().map(|stripe| stripe.get()).sum()
    }
}

/// The counters of each namespace, by its name.
#[derive(Debug, Default)]
pub(crate) struct NamespaceMetrics(Mutex<BTreeMap<&'static str, Arc<Metrics>>>);

impl NamespaceMetrics {
    pub(crate) fn metrics_of(&self, name: &'static str) -> Arc<Metrics> {
        Arc::clone(self.lock().entry(name).or_default())
    }

    pub(crate) fn snapshot(&self) -> BTreeMap<&'static str, Stats> {
        self.lock().iter().map(|(name, metrics)| (*name, metrics.snapshot())).collect()
    }

    /// Returns the namespaces' counters themselves.
    pub(crate) fn all(&self) -> Vec<(&'static str, Arc<Metrics>)> {
        self.lock().iter().map(|(name, metrics)| (*name, Arc::clone(metrics))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Arc<Metrics>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
