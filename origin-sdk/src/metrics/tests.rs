//! The exported metrics: each is described in the guide, and each event is exported once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};

use crate::{Cache, Lifetime, Namespace};

crate::keys! {
    app "shop" version 1;

    /// A number.
    key Number { id: u64 } = "number:{id}";
}

/// The guide, whose tables have a row for each metric: `| name | kind | labels | meaning |`.
const GUIDE: &str = include_str!("../../../docs/guides/metrics.md");

/// A metric's name, its kind, and the names of its labels.
type Shape = (String, &'static str, String);

/// The values of the labels of a series, without the app, and its value.
type Series = (String, BTreeMap<String, String>);

fn exported(snapshotter: &Snapshotter) -> (BTreeSet<Shape>, BTreeMap<Series, DebugValue>) {
    let (mut shapes, mut series) = (BTreeSet::new(), BTreeMap::new());
    for (key, _, help, value) in snapshotter.snapshot().into_vec() {
        assert!(help.is_some(), "{key:?} is described");
        let key = key.key();
        let labels: Vec<_> = key.labels().map(|label| (label.key(), label.value())).collect();
        assert_eq!(labels[0], ("app", "shop"));
        let labels = &labels[1..];
        let kind = match value {
            DebugValue::Counter(_) => "counter",
            DebugValue::Gauge(_) => "gauge",
            DebugValue::Histogram(_) => "histogram",
        };
        let names: Vec<_> = labels.iter().map(|(name, _)| format!("`{name}`")).collect();
        shapes.insert((key.name().to_owned(), kind, names.join(", ")));
        let labels = labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        series.insert((key.name().to_owned(), labels), value);
    }
    (shapes, series)
}

fn documented() -> BTreeSet<Shape> {
    let rows = GUIDE.lines().filter_map(|line| line.strip_prefix("| `strata_"));
    rows.map(|row| {
        let cells: Vec<_> = row.split(" | ").collect();
        let kind = ["counter", "gauge", "histogram"].into_iter().find(|kind| cells[1] == *kind).unwrap();
        (format!("strata_{}", cells[0].trim_end_matches('`')), kind, cells[2].to_owned())
    })
    .collect()
}

async fn load(numbers: &Namespace<Number, u64>, id: u64) {
    numbers.get_or_load(&Number { id }, async |_, _| Ok(1)).await.unwrap();
}

async fn cache() -> (Cache, Namespace<Number, u64>) {
    let cache = Cache::builder("shop").build().await.unwrap();
    let numbers = cache.namespace(Lifetime::fresh(Duration::from_secs(60))).build();
    (cache, numbers)
}

#[tokio::test]
async fn the_guide_lists_the_metrics_that_are_exported_with_their_kinds_and_labels() {
    let (cache, numbers) = cache().await;
    load(&numbers, 1).await;
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || cache.record_metrics());
    assert_eq!(exported(&snapshotter).0, documented());
}

#[tokio::test]
async fn every_event_is_exported_once_however_often_and_gauges_as_they_are() {
    let (cache, numbers) = cache().await;
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let record = || {
        metrics::with_local_recorder(&recorder, || cache.record_metrics());
        exported(&snapshotter).1
    };
    let of = |name: &str, labels: &[(&str, &str)]| {
        let namespace = [("namespace", "Number")];
        let labels = namespace.iter().chain(labels).map(|&(name, value)| (name.into(), value.into()));
        (format!("strata_cache_{name}"), labels.collect())
    };
    let hits = of("hits_total", &[("layer", "memory")]);
    let misses = of("misses_total", &[("layer", "redis")]);
    let (loads, durations) = (of("loads_total", &[("outcome", "value")]), of("load_seconds", &[]));

    load(&numbers, 1).await;
    load(&numbers, 1).await;
    let first = record();
    assert_eq!(first[&hits], DebugValue::Counter(1));
    assert_eq!(first[&misses], DebugValue::Counter(1));
    assert_eq!(first[&loads], DebugValue::Counter(1));
    assert!(matches!(&first[&durations], DebugValue::Histogram(values) if values.len() == 1));
    assert_eq!(first[&("strata_cache_entries".into(), BTreeMap::new())], DebugValue::Gauge(1.0.into()));

    // A snapshot of the tests' recorder empties it, so that a second one has the difference.
    let second = record();
    assert_eq!(second[&hits], DebugValue::Counter(0));
    assert!(matches!(&second[&durations], DebugValue::Histogram(values) if values.is_empty()));
    load(&numbers, 1).await;
    load(&numbers, 2).await;
    let third = record();
    assert_eq!((&third[&hits], &third[&loads]), (&DebugValue::Counter(1), &DebugValue::Counter(1)));
    assert_eq!(third[&("strata_cache_entries".into(), BTreeMap::new())], DebugValue::Gauge(2.0.into()));
}
