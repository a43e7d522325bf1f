//! The time of reads. All caches are measured in turn, many times: a machine that becomes slower
//! for a while becomes so for each of them.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use serde::Serialize;

use crate::fleet::Error;
use crate::hits::{KEYS, filled, nth};
use crate::subjects::{NAMES, Subject};
use crate::{for_subject, print};

/// The reads of each thread in one measurement.
const READS: u64 = 200_000;
/// The reads of each thread in one measurement with misses, whose loads are slow.
const READS_WITH_MISSES: u64 = 20_000;

/// A load to measure.
#[derive(Clone, Copy)]
struct Scenario {
    name: &'static str,
    readers: usize,
    /// Every how many reads the key is a new one; 0 for never.
    miss_every: u64,
    has_writer: bool,
}

const SCENARIOS: [Scenario; 5] = [
    Scenario { name: "hits, 1 thread", readers: 1, miss_every: 0, has_writer: false },
    Scenario { name: "hits, 2 threads", readers: 2, miss_every: 0, has_writer: false },
    Scenario { name: "5% misses, 1 thread", readers: 1, miss_every: 20, has_writer: false },
    Scenario { name: "5% misses, 2 threads", readers: 2, miss_every: 20, has_writer: false },
    Scenario { name: "hits, 1 thread and 1 writer", readers: 1, miss_every: 0, has_writer: true },
];

/// The measurements of one scenario: nanoseconds per read, by subject.
#[derive(Serialize)]
struct Measured {
    scenario: &'static str,
    nanoseconds: BTreeMap<&'static str, Vec<f64>>,
}

/// Measures every scenario, and prints the result as JSON.
pub(crate) fn run(rounds: usize) -> Result<(), Error> {
    let measured: Vec<_> = SCENARIOS.into_iter().map(|scenario| measure_all(scenario, rounds)).collect();
    print(&measured)
}

fn measure_all(scenario: Scenario, rounds: usize) -> Measured {
    let mut nanoseconds: BTreeMap<_, Vec<f64>> = BTreeMap::new();
    for _ in 0..rounds {
        for &name in NAMES {
            nanoseconds.entry(name).or_default().extend(for_subject!(name, measure(scenario)));
        }
    }
    Measured { scenario: scenario.name, nanoseconds }
}

/// Returns the nanoseconds that a read takes.
fn measure<S: Subject>(scenario: Scenario) -> f64 {
    let cache = filled::<S>();
    let reads = if scenario.miss_every == 0 { READS } else { READS_WITH_MISSES };
    let (barrier, is_over) = (Barrier::new(scenario.readers), AtomicBool::new(false));
    let (new_ids, cache) = (AtomicU64::new(KEYS), &cache);
    let seconds: f64 = std::thread::scope(|scope| {
        if scenario.has_writer {
            scope.spawn(|| cache.run(write_until(cache, &is_over)));
        }
        let readers: Vec<_> = (0..scenario.readers as u64)
            .map(|reader| {
                let (barrier, new_ids) = (&barrier, &new_ids);
                scope.spawn(move || {
                    cache.run(async {
                        let mut key = String::with_capacity(64);
                        // Warms this thread's caches up.
                        for n in 0..KEYS {
                            cache.get_or_load(nth(n), &mut key).await;
                        }
                        barrier.wait();
                        let since = Instant::now();
                        for n in 0..reads {
                            let is_miss = scenario.miss_every > 0 && n % scenario.miss_every == 0;
                            let id = if is_miss {
                                new_ids.fetch_add(1, Ordering::Relaxed)
                            } else {
                                nth(n + reader * KEYS / 2)
                            };
                            black_box(cache.get_or_load(id, &mut key).await);
                        }
                        since.elapsed().as_secs_f64()
                    })
                })
            })
            .collect();
        let seconds = readers.into_iter().filter_map(|reader| reader.join().ok()).sum();
        is_over.store(true, Ordering::Relaxed);
        seconds
    });
    seconds * 1e9 / (reads * scenario.readers as u64) as f64
}

async fn write_until<S: Subject>(cache: &S, is_over: &AtomicBool) {
    let mut key = String::with_capacity(64);
    for n in 0.. {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        cache.put(nth(n), &mut key).await;
    }
}
