//! The rows of the report: the figures of a namespace and of a process, with their rates.

use std::time::Duration;

use origin_sdk::admin::{Durations, FleetReport, NamespaceReport, ProcessReport};
use serde::Serialize;

use crate::output::{human_ms, printable};

/// A namespace's figures, summed over all processes.
#[derive(Debug, Clone, Serialize)]
pub(super) struct NamespaceRow {
    pub(super) namespace: String,
    pub(super) reads: u64,
    memory_hits: u64,
    redis_hits: u64,
    misses: u64,
    /// The part of all reads that memory answered.
    pub(super) memory_hit_rate: Option<f64>,
    /// The part of the reads that reached Redis and that it answered.
    redis_hit_rate: Option<f64>,
    /// The part of all reads that memory or Redis answered.
    pub(super) hit_rate: Option<f64>,
    stale_hits: u64,
    pub(super) loads: u64,
    pub(super) load_errors: u64,
    coalesced: u64,
    refused_by_journal: u64,
    store_errors: u64,
    redis_p50_ms: Option<f64>,
    redis_p99_ms: Option<f64>,
    miss_p99_ms: Option<f64>,
    load_p50_ms: Option<f64>,
    pub(super) load_p99_ms: Option<f64>,
}

impl NamespaceRow {
    pub(super) const HEADS: [&'static str; 11] = [
        "namespace",
        "reads",
        "hits",
        "memory",
        "redis",
        "stale",
        "loads",
        "errors",
        "load p50",
        "load p99",
        "redis p99",
    ];

    /// Returns the rows of all namespaces, those with the most reads first.
    pub(super) fn all(fleet: &FleetReport) -> Vec<Self> {
        let mut rows: Vec<_> =
            fleet.namespaces().into_iter().map(|(name, report)| Self::new(name, &report)).collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.reads));
        rows
    }

    fn new(namespace: String, report: &NamespaceReport) -> Self {
        let (reads, missed_memory) = (report.reads(), report.redis_hits.saturating_add(report.misses));
        Self {
            namespace,
            reads,
            memory_hits: report.memory_hits,
            redis_hits: report.redis_hits,
            misses: report.misses,
            memory_hit_rate: rate(report.memory_hits, reads),
            redis_hit_rate: rate(report.redis_hits, missed_memory),
            hit_rate: rate(reads - report.misses.min(reads), reads),
            stale_hits: report.stale_hits,
            loads: report.loads,
            load_errors: report.load_errors,
            coalesced: report.coalesced,
            refused_by_journal: report.refused_by_journal,
            store_errors: report.store_errors,
            redis_p50_ms: millis(&report.redis_times, 0.5),
            redis_p99_ms: millis(&report.redis_times, 0.99),
            miss_p99_ms: millis(&report.miss_times, 0.99),
            load_p50_ms: millis(&report.load_times, 0.5),
            load_p99_ms: millis(&report.load_times, 0.99),
        }
    }

    pub(super) fn cells(&self) -> [String; 11] {
        [
            printable(&self.namespace),
            self.reads.to_string(),
            percent(self.hit_rate),
            percent(self.memory_hit_rate),
            percent(self.redis_hit_rate),
            self.stale_hits.to_string(),
            self.loads.to_string(),
            self.load_errors.to_string(),
            time(self.load_p50_ms),
            time(self.load_p99_ms),
            time(self.redis_p99_ms),
        ]
    }
}

/// A process's state.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ProcessRow {
    process: String,
    uptime_ms: u64,
    pub(super) is_current: bool,
    journal_lag_ms: Option<u64>,
    pub(super) queued: u64,
    memory_entries: u64,
    memory_bytes: u64,
    evictions: u64,
}

impl ProcessRow {
    pub(super) const HEADS: [&'static str; 7] =
        ["process", "uptime", "journal lag", "queued", "entries", "memory", "evictions"];

    pub(super) fn all(fleet: &FleetReport) -> Vec<Self> {
        fleet.processes.iter().map(Self::new).collect()
    }

    fn new(report: &ProcessReport) -> Self {
        Self {
            process: report.process.clone(),
            uptime_ms: report.uptime_ms,
            is_current: report.is_current,
            journal_lag_ms: report.journal_lag_ms,
            queued: report.queued,
            memory_entries: report.memory_entries,
            memory_bytes: report.memory_bytes,
            evictions: report.evictions,
        }
    }

    pub(super) fn cells(&self) -> [String; 7] {
        [
            printable(&self.process),
            human_ms(self.uptime_ms),
            self.journal_lag_ms.map_or_else(|| "unknown".to_owned(), human_ms),
            self.queued.to_string(),
            self.memory_entries.to_string(),
            format!("{:.1} MiB", self.memory_bytes as f64 / f64::from(1 << 20)),
            self.evictions.to_string(),
        ]
    }
}

fn rate(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn millis(times: &Durations, part: f64) -> Option<f64> {
    times.quantile(part).map(|time: Duration| time.as_secs_f64() * 1e3)
}

/// Formats a rate; `-` without a read.
pub(super) fn percent(rate: Option<f64>) -> String {
    rate.map_or_else(|| "-".to_owned(), |rate| format!("{:.1}%", rate * 100.0))
}

/// Formats a time in milliseconds; `-` without one.
pub(super) fn time(ms: Option<f64>) -> String {
    ms.map_or_else(
        || "-".to_owned(),
        |ms| if ms < 10.0 { format!("{ms:.2} ms") } else { format!("{ms:.0} ms") },
    )
}
