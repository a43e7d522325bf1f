//! Hands counters, gauges and timings to the recorder of the `metrics` facade.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use metrics::{Key, KeyName, Label, Level, Metadata, Recorder, SharedString, with_recorder};

use super::histogram::middle_secs;
use super::names::{self, Metric};
use super::{Histogram, Stats};
use crate::cache::CacheHealth;
use crate::core::Core;

const METADATA: Metadata<'static> = Metadata::new("strata", Level::INFO, None);

/// A label of a metric, besides those of the app and the namespace.
type OwnLabel = Option<(&'static str, &'static str)>;

/// A counter, or a bucket of a histogram: the metric, the namespace, the value of its own label,
/// and the number of the bucket.
type Counted = (&'static str, &'static str, &'static str, usize);

/// The totals that the recorder has been given so far.
#[derive(Debug, Default)]
pub(crate) struct Exported(Mutex<HashMap<Counted, u64>>);

impl Exported {
    /// Gives the recorder all that was counted since the last call, and the gauges as they are now.
    pub(crate) fn update(&self, core: &Core, stats: &Stats, health: &CacheHealth) {
        let mut totals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        with_recorder(|recorder| {
            let mut export =
                Export { recorder, totals: &mut totals, app: core.app.clone().into(), namespace: None };
            export.process(core, stats, health);
            for (name, metrics) in core.namespaces.all() {
                export.namespace = Some(name);
                export.namespace(&metrics.snapshot());
                export.histogram(names::READ_SECONDS, Some(("layer", "redis")), &metrics.timings.redis_hits);
                export.histogram(names::READ_SECONDS, Some(("layer", "loader")), &metrics.timings.misses);
                export.histogram(names::LOAD_SECONDS, None, &metrics.timings.loads);
            }
        });
    }
}

/// One update of the recorder.
struct Export<'a> {
    recorder: &'a dyn Recorder,
    totals: &'a mut HashMap<Counted, u64>,
    app: SharedString,
    /// The namespace whose metrics these are; `None` for those of the process.
    namespace: Option<&'static str>,
}

impl Export<'_> {
    fn namespace(&mut self, stats: &Stats) {
        for (layer, hits, misses) in [
            ("memory", stats.memory_hits, stats.redis_hits + stats.misses),
            ("redis", stats.redis_hits, stats.misses),
        ] {
            self.counter(names::HITS, Some(("layer", layer)), hits);
            self.counter(names::MISSES, Some(("layer", layer)), misses);
        }
        for (metric, label, values) in [
            (
                names::STALE,
                "reason",
                &[
                    ("stale-while-revalidate", stats.stale_revalidating),
                    ("stale-if-error", stats.stale_load_failed),
                    ("soft-timeout", stats.soft_timeouts),
                    ("disconnected", stats.stale_disconnected),
                    ("source-lag", stats.stale_source_lag),
                ][..],
            ),
            (names::LOADS, "outcome", &[("value", stats.loads), ("error", stats.load_errors)]),
            (
                names::REFUSED,
                "reason",
                &[
                    ("journal", stats.refused_by_journal),
                    ("outdated", stats.outdated_copies),
                    ("undecodable", stats.undecodable),
                ],
            ),
            (
                names::NOT_STORED,
                "reason",
                &[
                    ("not-serializable", stats.not_serializable),
                    ("too-large-for-memory", stats.too_large_for_memory),
                    ("too-large-for-redis", stats.too_large_for_redis),
                ],
            ),
        ] {
            values.iter().for_each(|&(value, count)| self.counter(metric, Some((label, value)), count));
        }
        for (metric, count) in [
            (names::NEGATIVE_HITS, stats.negative_hits),
            (names::COALESCED, stats.coalesced),
            (names::LEASE_WAITS, stats.lease_waits),
            (names::BACKED_OFF, stats.backed_off),
            (names::REFRESHES, stats.refreshes),
            (names::STORE_ERRORS, stats.store_errors),
        ] {
            self.counter(metric, None, count);
        }
    }

    fn process(&mut self, core: &Core, stats: &Stats, health: &CacheHealth) {
        let own = core.metrics.snapshot();
        for (metric, count) in [
            (names::DISCONNECTED_READS, own.disconnected_reads),
            (names::RECORDS_APPLIED, own.records_applied),
            (names::APPEND_ERRORS, own.store_errors),
            (names::FOLLOWER_RESTARTS, own.follower_restarts),
            (names::INVALIDATIONS_QUEUED, own.invalidations_queued),
            (names::DURABLE_QUEUE_ERRORS, own.durable_queue_errors),
            (names::TOO_LARGE_READS, own.too_large_for_redis),
            (names::RECORDS_SHIPPED, own.records_shipped),
            (names::SHIP_ERRORS, own.ship_errors),
        ] {
            self.counter(metric, None, count);
        }
        for (metric, label, value, count) in [
            (names::EVICTIONS, "cause", "bytes", stats.evicted_by_bytes),
            (names::EVICTIONS, "cause", "entries", stats.evicted_by_entries),
            (names::LIMITED_RESPONSES, "reason", "tags-folded", own.tags_folded),
            (names::LIMITED_RESPONSES, "reason", "tag-overflow", own.tag_overflows),
            (names::LIMITED_RESPONSES, "reason", "credentials", own.credential_responses),
        ] {
            self.counter(metric, Some((label, value)), count);
        }
        for (operation, durations, errors) in core.store_timings.iter() {
            let label = Some(("operation", operation.as_str()));
            self.histogram(names::OPERATION_SECONDS, label, durations);
            self.counter(names::OPERATION_ERRORS, label, errors);
        }
        let is = |state: bool| f64::from(u8::from(state));
        let seconds = |millis: u64| millis as f64 / 1e3;
        for (metric, value) in [
            (names::ENTRIES, stats.memory_entries as f64),
            (names::BYTES, stats.memory_bytes as f64),
            (names::CONNECTED, is(health.is_connected)),
            (names::FOLLOWING, is(health.is_following)),
            (names::CURRENT, is(health.is_current)),
            (names::JOURNAL_LAG, health.journal_lag_ms.map_or(f64::INFINITY, seconds)),
            (names::QUEUE, health.queued as f64),
            (names::QUEUE_AGE, seconds(health.queue_age_ms)),
            (names::SHIP_QUEUE, own.ship_queued as f64),
            (names::SHIP_LAG, seconds(own.ship_lag_ms)),
        ] {
            self.gauge(metric, value);
        }
    }

    fn counter(&mut self, metric: Metric, label: OwnLabel, total: u64) {
        let Metric { name, unit, help } = metric;
        self.recorder.describe_counter(KeyName::from(name), Some(unit), help.into());
        let counter = self.recorder.register_counter(&self.key(name, label), &METADATA);
        counter.increment(self.added(name, label, 0, total));
    }

    fn gauge(&self, Metric { name, unit, help }: Metric, value: f64) {
        self.recorder.describe_gauge(KeyName::from(name), Some(unit), help.into());
        self.recorder.register_gauge(&self.key(name, None), &METADATA).set(value);
    }

    fn histogram(&mut self, metric: Metric, label: OwnLabel, durations: &Histogram) {
        let Metric { name, unit, help } = metric;
        self.recorder.describe_histogram(KeyName::from(name), Some(unit), help.into());
        let histogram = self.recorder.register_histogram(&self.key(name, label), &METADATA);
        for (bucket, total) in durations.counts().iter() {
            let added = self.added(name, label, bucket, total);
            histogram.record_many(middle_secs(bucket), usize::try_from(added).unwrap_or(usize::MAX));
        }
    }

    /// Returns by how much a total has grown since the last update.
    fn added(&mut self, name: &'static str, label: OwnLabel, bucket: usize, total: u64) -> u64 {
        let value = label.map_or("", |(_, value)| value);
        let counted = (name, self.namespace.unwrap_or(""), value, bucket);
        total.saturating_sub(self.totals.insert(counted, total).unwrap_or(0))
    }

    fn key(&self, name: &'static str, label: OwnLabel) -> Key {
        let mut labels = vec![Label::new("app", self.app.clone())];
        labels.extend(self.namespace.map(|namespace| Label::from_static_parts("namespace", namespace)));
        labels.extend(label.map(|(label, value)| Label::from_static_parts(label, value)));
        Key::from_parts(name, labels)
    }
}
