//! Counters of what the cache did.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

macro_rules! counters {
    ($( $(#[$doc:meta])* $name:ident, )*) => {
        /// One counter each, since the cache was built.
        #[derive(Debug, Default)]
        pub(crate) struct Metrics { $( pub(crate) $name: Counter, )* }

        /// The counters at one moment, since the cache was built.
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
}

counters! {
    /// Reads answered by this process's memory, fresh or stale.
    memory_hits,
    /// Reads answered by Redis (or the embedded store), fresh or stale.
    redis_hits,
    /// Loader calls that returned a value.
    loads,
    /// Loader calls that failed, panicked or took too long.
    load_errors,
    /// Reads that waited for a load that another caller had started.
    coalesced,
    /// BatchContext that waited for another process's load of the same key.
    lease_waits,
    /// Reads answered with a stale value because the load took longer than the soft timeout.
    soft_timeouts,
    /// Reads answered with a stale value.
    stale_hits,
    /// Background refreshes started.
    refreshes,
    /// Copies not served because the journal covers them.
    refused_by_journal,
    /// Journal records applied.
    records_applied,
    /// Invalidations that had to be queued because the journal could not be reached.
    invalidations_queued,
    /// How often the task that follows the journal was started again, because it had panicked,
    /// stalled, or ended with its runtime.
    follower_restarts,
    /// Reads that found the journal further behind than it may be, and unreachable.
    disconnected_reads,
    /// Store operations that failed or timed out.
    store_errors,
    /// Stored bytes that could not be read, and counted as a miss.
    undecodable,
    /// Values that this process's memory did not hold because they alone exceed `memory_bytes`.
    too_large_for_memory,
    /// Responses whose keys had to be folded into prefixes, so that their tags fit into one header.
    tags_folded,
    /// Responses that the edge may not keep because their tags do not fit into one header even so.
    tag_overflows,
    /// Journal records that a target of the shipper (the worker, a zone) has accepted, counted once for each target.
    records_shipped,
    /// Calls to targets that failed and are made again.
    ship_errors,
    /// Now, not a count: records that wait for the targets that this process ships to; 0 while other processes do.
    ship_queued,
    /// Now, not a count: how long ago the oldest of these was appended, in milliseconds.
    ship_lag_ms,
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

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
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

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Arc<Metrics>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
