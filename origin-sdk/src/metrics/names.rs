//! The metrics that are exported. `docs/guides/metrics.md` describes each.

use metrics::Unit;

/// A metric: its name, its unit, and what it means.
#[derive(Debug, Clone, Copy)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) unit: Unit,
    pub(super) help: &'static str,
}

const fn count(name: &'static str, help: &'static str) -> Metric {
    Metric { name, unit: Unit::Count, help }
}

const fn seconds(name: &'static str, help: &'static str) -> Metric {
    Metric { name, unit: Unit::Seconds, help }
}

// Per namespace.
pub(super) const HITS: Metric = count("strata_cache_hits_total", "Reads that a layer answered");
pub(super) const MISSES: Metric = count("strata_cache_misses_total", "Reads that a layer did not answer");
pub(super) const NEGATIVE_HITS: Metric =
    count("strata_cache_negative_hits_total", "Reads answered by a cached absence");
pub(super) const STALE: Metric = count("strata_cache_stale_total", "Reads answered with a stale value");
pub(super) const LOADS: Metric = count("strata_cache_loads_total", "Loader calls");
pub(super) const COALESCED: Metric =
    count("strata_cache_coalesced_total", "Reads that waited for a load of another caller");
pub(super) const LEASE_WAITS: Metric =
    count("strata_cache_lease_waits_total", "Loads that waited for another process's load");
pub(super) const BACKED_OFF: Metric =
    count("strata_cache_backed_off_total", "Reads without a load because the key's last loads failed");
pub(super) const REFRESHES: Metric =
    count("strata_cache_refreshes_total", "Refreshes started in the background");
pub(super) const REFUSED: Metric =
    count("strata_cache_refused_copies_total", "Stored copies that were not served");
pub(super) const NOT_STORED: Metric =
    count("strata_cache_not_stored_total", "Values that a layer did not store");
pub(super) const STORE_ERRORS: Metric =
    count("strata_cache_store_errors_total", "Reads and writes of Redis that failed");
pub(super) const READ_SECONDS: Metric =
    seconds("strata_cache_read_seconds", "Duration of reads that memory did not answer");
pub(super) const LOAD_SECONDS: Metric = seconds("strata_cache_load_seconds", "Duration of loader calls");

// Per process.
pub(super) const ENTRIES: Metric = count("strata_cache_entries", "Entries in memory");
pub(super) const BYTES: Metric = Metric {
    name: "strata_cache_bytes",
    unit: Unit::Bytes,
    help: "Bytes that the entries in memory count for",
};
pub(super) const EVICTIONS: Metric =
    count("strata_cache_evictions_total", "Entries evicted from memory, by the bound that was exceeded");
pub(super) const OPERATION_SECONDS: Metric =
    seconds("strata_cache_operation_seconds", "Duration of operations of Redis");
pub(super) const OPERATION_ERRORS: Metric =
    count("strata_cache_operation_errors_total", "Operations of Redis that failed");
pub(super) const CONNECTED: Metric =
    count("strata_cache_connected", "1 if Redis answered the last command, else 0");
pub(super) const FOLLOWING: Metric =
    count("strata_cache_following", "1 if the task runs that follows the journal, else 0");
pub(super) const CURRENT: Metric =
    count("strata_cache_current", "1 if the process is within its maximum lag, else 0");
pub(super) const JOURNAL_LAG: Metric =
    seconds("strata_cache_journal_lag_seconds", "Time since the process had applied all records");
pub(super) const DISCONNECTED_READS: Metric = count(
    "strata_cache_disconnected_reads_total",
    "Reads beyond the maximum lag while the journal could not be reached",
);
pub(super) const RECORDS_APPLIED: Metric =
    count("strata_cache_records_applied_total", "Journal records applied");
pub(super) const APPEND_ERRORS: Metric =
    count("strata_cache_append_errors_total", "Appends to the journal that failed");
pub(super) const FOLLOWER_RESTARTS: Metric =
    count("strata_cache_follower_restarts_total", "Restarts of the task that follows the journal");
pub(super) const QUEUE: Metric =
    count("strata_cache_queue_records", "Records of invalidations that are queued");
pub(super) const QUEUE_AGE: Metric =
    seconds("strata_cache_queue_age_seconds", "Time since the queue was last empty");
pub(super) const INVALIDATIONS_QUEUED: Metric =
    count("strata_cache_invalidations_queued_total", "Invalidations that were queued");
pub(super) const DURABLE_QUEUE_ERRORS: Metric =
    count("strata_cache_durable_queue_errors_total", "Failures of the durable queue");
pub(super) const TOO_LARGE_READS: Metric =
    count("strata_cache_too_large_reads_total", "Values in Redis that were too large to be read");
pub(super) const LIMITED_RESPONSES: Metric =
    count("strata_cache_limited_responses_total", "Responses of which less was cached than asked for");
pub(super) const SHIP_QUEUE: Metric =
    count("strata_cache_ship_queue_records", "Journal records that wait for the edge");
pub(super) const SHIP_LAG: Metric =
    seconds("strata_cache_ship_lag_seconds", "Age of the oldest record that waits for the edge");
pub(super) const RECORDS_SHIPPED: Metric =
    count("strata_cache_records_shipped_total", "Journal records that the edge accepted");
pub(super) const SHIP_ERRORS: Metric =
    count("strata_cache_ship_errors_total", "Calls to the edge that failed");
