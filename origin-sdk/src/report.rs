//! The figures that each process publishes in Redis, so that `cachectl stats` can sum them.
//!
//! A report has counts, times, and the names of key types: no key, no tag and no value.

use std::collections::BTreeMap;
use std::sync::Weak;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::closing::Phase;
use crate::core::Core;
use crate::metrics::{Durations, Metrics, Stats};
use crate::random;

/// The most namespaces of a report, which bounds its size to about 100 KB.
const MAX_NAMESPACES: usize = 100;
/// A report outlasts this many intervals. Then its process counts as ended.
const KEPT_INTERVALS: u32 = 3;

/// The figures of one process since its cache was built.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ProcessReport {
    /// The process: its host, if the environment variable `HOSTNAME` names it, its number there,
    /// and a random part.
    pub process: String,
    /// The time since its cache was built, in milliseconds.
    pub uptime_ms: u64,
    /// The time since it had applied all journal records, in milliseconds; `None` if it never had.
    pub journal_lag_ms: Option<u64>,
    /// Whether it is within its maximum lag.
    pub is_current: bool,
    /// The number of queued records of invalidations.
    pub queued: u64,
    /// The entries in memory.
    pub memory_entries: u64,
    /// The bytes that these count for.
    pub memory_bytes: u64,
    /// The entries that memory has evicted.
    pub evictions: u64,
    /// The figures of each namespace, by the name of its key type: of the 100 with the most reads.
    pub namespaces: BTreeMap<String, NamespaceReport>,
}

/// The figures of one namespace. They can be added over processes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct NamespaceReport {
    /// Reads that memory answered.
    pub memory_hits: u64,
    /// Reads that Redis answered.
    pub redis_hits: u64,
    /// Reads that neither of them answered.
    pub misses: u64,
    /// Reads answered with a stale value.
    pub stale_hits: u64,
    /// Loader calls that returned a value.
    pub loads: u64,
    /// Loader calls that failed.
    pub load_errors: u64,
    /// Reads that waited for a load of another caller.
    pub coalesced: u64,
    /// Copies that were not served because the journal covers them.
    pub refused_by_journal: u64,
    /// Reads and writes of Redis that failed.
    pub store_errors: u64,
    /// How long reads took that Redis answered.
    pub redis_times: Durations,
    /// How long reads took that were missed.
    pub miss_times: Durations,
    /// How long loader calls took.
    pub load_times: Durations,
}

impl NamespaceReport {
    fn new(metrics: &Metrics) -> Self {
        let stats = metrics.snapshot();
        let Stats { memory_hits, redis_hits, misses, stale_hits, loads, load_errors, .. } = stats;
        let Stats { coalesced, refused_by_journal, store_errors, .. } = stats;
        let timings = &metrics.timings;
        Self {
            memory_hits,
            redis_hits,
            misses,
            stale_hits,
            loads,
            load_errors,
            coalesced,
            refused_by_journal,
            store_errors,
            redis_times: timings.redis_hits.counts(),
            miss_times: timings.misses.counts(),
            load_times: timings.loads.counts(),
        }
    }

    /// Returns the number of reads.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.memory_hits.saturating_add(self.redis_hits).saturating_add(self.misses)
    }

    /// Adds the figures of the namespace in another process.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, u64::saturating_add);
    }

    /// Subtracts the figures of an earlier report.
    pub fn subtract(&mut self, earlier: &Self) {
        self.combine(earlier, u64::saturating_sub);
    }

    fn combine(&mut self, other: &Self, combine: fn(u64, u64) -> u64) {
        for (own, other) in [
            (&mut self.memory_hits, other.memory_hits),
            (&mut self.redis_hits, other.redis_hits),
            (&mut self.misses, other.misses),
            (&mut self.stale_hits, other.stale_hits),
            (&mut self.loads, other.loads),
            (&mut self.load_errors, other.load_errors),
            (&mut self.coalesced, other.coalesced),
            (&mut self.refused_by_journal, other.refused_by_journal),
            (&mut self.store_errors, other.store_errors),
        ] {
            *own = combine(*own, other);
        }
        self.redis_times.combine(&other.redis_times, combine);
        self.miss_times.combine(&other.miss_times, combine);
        self.load_times.combine(&other.load_times, combine);
    }
}

/// The reports of all processes that have published one of late.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FleetReport {
    /// The reports, by the names of the processes.
    pub processes: Vec<ProcessReport>,
}

impl FleetReport {
    /// Returns the sum of each namespace over all processes, by the name of its key type.
    #[must_use]
    pub fn namespaces(&self) -> BTreeMap<String, NamespaceReport> {
        let mut sums = BTreeMap::<_, NamespaceReport>::new();
        for (name, report) in self.processes.iter().flat_map(|process| &process.namespaces) {
            sums.entry(name.clone()).or_default().add(report);
        }
        sums
    }

    /// Returns what has been counted since an earlier report of the fleet. A process that has
    /// started since counts from its start.
    #[must_use]
    pub fn since(mut self, earlier: &Self) -> Self {
        for process in &mut self.processes {
            let Some(before) = earlier.processes.iter().find(|before| before.process == process.process)
            else {
                continue;
            };
            process.evictions = process.evictions.saturating_sub(before.evictions);
            for (name, report) in &mut process.namespaces {
                if let Some(before) = before.namespaces.get(name) {
                    report.subtract(before);
                }
            }
        }
        self
    }
}

/// Publishes the report of a process at an interval, until its cache is closed or dropped.
/// `built_at` is the clock's reading when the cache was built.
pub(crate) async fn publish(core: Weak<Core>, interval: Duration, built_at: Duration) {
    let host = std::env::var("HOSTNAME").unwrap_or_default();
    let process = format!("{host}/{}-{}", std::process::id(), random::process_id());
    loop {
        tokio::time::sleep(interval).await;
        let Some(core) = core.upgrade() else { return };
        if core.closing.has_reached(Phase::Closed) {
            return;
        }
        let report = report_of(&core, &process, built_at);
        // A report has no map whose keys are not texts, so it serialises.
        let Ok(json) = serde_json::to_string(&report) else { return };
        if let Err(error) =
            core.store.publish_report(&process, &json, interval.saturating_mul(KEPT_INTERVALS)).await
        {
            tracing::debug!(%error, "the figures of the process could not be published");
        }
    }
}

fn report_of(core: &Core, process: &str, built_at: Duration) -> ProcessReport {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let now = core.clock.now();
    let mut namespaces: Vec<_> = core.namespaces.all().into_iter().collect();
    let mut reports: Vec<_> = namespaces
        .drain(..)
        .map(|(name, metrics)| (name.to_owned(), NamespaceReport::new(&metrics)))
        .collect();
    reports.sort_by_key(|(_, report)| std::cmp::Reverse(report.reads()));
    reports.truncate(MAX_NAMESPACES);
    let memory = core.memory.usage();
    ProcessReport {
        process: process.to_owned(),
        uptime_ms: millis(now.saturating_sub(built_at)),
        journal_lag_ms: core.journal.lag(now).map(millis),
        is_current: !core.journal.is_lagging(now),
        queued: core.journal.queue_len() as u64,
        memory_entries: memory.entries as u64,
        memory_bytes: memory.bytes as u64,
        evictions: memory.evicted_by_bytes + memory.evicted_by_entries,
        namespaces: reports.into_iter().collect(),
    }
}
