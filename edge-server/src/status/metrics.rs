//! Metrics in the text format of Prometheus (version 0.0.4).

use std::fmt::Write;

use super::Status;
use crate::cache::{CacheStatistics, DiskStatistics, Usage};

pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Returns all metrics.
pub(super) fn render(status: &Status) -> String {
    let mut text = Text::default();
    let process = &status.process;
    text.family("strata_edge_build_info", "gauge", "The version of strata-edge, as a label.");
    text.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    text.family("strata_edge_uptime_seconds", "gauge", "Seconds since strata-edge has started.");
    text.sample(&[], status.started.elapsed().as_secs());
    text.family("strata_edge_workerd_running", "gauge", "Whether workerd runs.");
    text.sample(&[], process.is_running().into());
    text.family("strata_edge_workerd_restarts_total", "counter", "Times that workerd has ended by itself.");
    text.sample(&[], process.restarts());
    let caches: Vec<(String, CacheStatistics)> = status
        .caches
        .iter()
        .enumerate()
        .map(|(number, cache)| (number.to_string(), cache.statistics()))
        .collect();
    cache_counters(&mut text, &caches);
    cache_usage(&mut text, &caches);
    disk_state(&mut text, &caches);
    text.text
}

fn cache_counters(text: &mut Text, caches: &[(String, CacheStatistics)]) {
    type Counts = fn(&CacheStatistics) -> Vec<(&'static str, u64)>;
    let families: [(&str, &str, &str, Counts); 4] = [
        ("lookups", "Lookups in the store of a data centre.", "result", |cache| {
            vec![("hit", cache.hits), ("miss", cache.misses)]
        }),
        ("puts", "Responses that the worker has put into the store.", "result", |cache| cache.puts.to_vec()),
        ("deletes", "Responses that the worker has deleted from the store.", "result", |cache| {
            vec![("removed", cache.removed), ("missing", cache.missing)]
        }),
        ("evictions", "Responses evicted to keep the store within its capacity.", "tier", |cache| {
            cache.tiers.iter().map(|(tier, usage)| (*tier, usage.evictions)).collect()
        }),
    ];
    for (name, help, label, counts) in families {
        text.family(&format!("strata_edge_cache_{name}_total"), "counter", help);
        for (data_centre, cache) in caches {
            for (value, count) in counts(cache) {
                text.sample(&[("data_centre", data_centre), (label, value)], count);
            }
        }
    }
}

fn cache_usage(text: &mut Text, caches: &[(String, CacheStatistics)]) {
    type Value = fn(&Usage) -> u64;
    let families: [(&str, &str, Value); 3] = [
        ("bytes", "Bytes in use, with the store's own.", |usage| usage.bytes),
        ("capacity_bytes", "The most bytes in use.", |usage| usage.capacity_bytes),
        ("entries", "Stored responses.", |usage| usage.entries),
    ];
    for (name, help, value) in families {
        text.family(&format!("strata_edge_cache_{name}"), "gauge", help);
        for (data_centre, cache) in caches {
            for (tier, usage) in &cache.tiers {
                text.sample(&[("data_centre", data_centre), ("tier", tier)], value(usage));
            }
        }
    }
}

fn disk_state(text: &mut Text, caches: &[(String, CacheStatistics)]) {
    type Value = fn(&DiskStatistics) -> u64;
    let families: [(&str, &str, &str, Value); 2] = [
        ("disk_scanning", "gauge", "Whether the files of earlier runs are being scanned.", |disk| {
            disk.is_scanning.into()
        }),
        ("disk_invalid_files_total", "counter", "Files removed, as they were no intact response.", |disk| {
            disk.invalid_files
        }),
    ];
    for (name, kind, help, value) in families {
        text.family(&format!("strata_edge_cache_{name}"), kind, help);
        for (data_centre, cache) in caches {
            if let Some(disk) = &cache.disk {
                text.sample(&[("data_centre", data_centre)], value(disk));
            }
        }
    }
}

#[derive(Default)]
struct Text {
    text: String,
    /// The name of the family that samples belong to.
    family: String,
}

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        name.clone_into(&mut self.family);
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Writes a sample. The values of labels need no escapes: they are numbers and names of ours.
    fn sample(&mut self, labels: &[(&str, &str)], value: u64) {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.text, "{}{labels} {value}", self.family);
    }
}
