//! The time of hits and of writes as the cache grows, beside the fastest peer: beyond the
//! processor's caches each of them waits for memory.

use std::hint::black_box;
use std::time::Instant;

use serde::Serialize;

use crate::fleet::Error;
use crate::subjects::Subject;
use crate::{for_subject, print};

/// The operations of one measurement.
const OPERATIONS: u64 = 200_000;
/// How often a cache of each size is measured.
const ROUNDS: usize = 5;

/// The caches that are compared.
const COMPARED: [&str; 2] = ["strata_memory", "quick_cache"];

/// The measurements of one cache of one size.
#[derive(Serialize)]
struct Measured {
    subject: &'static str,
    entries: u64,
    /// Nanoseconds of a hit in each round.
    hits: Vec<f64>,
    /// Nanoseconds of a write in each round.
    writes: Vec<f64>,
}

/// Measures caches of up to this many entries, and prints the result as JSON.
pub(crate) fn run(most_entries: u64) -> Result<(), Error> {
    let sizes = (3..).map(|power| 10_u64.pow(power)).take_while(|size| *size <= most_entries);
    let measured: Vec<_> = sizes
        .flat_map(|entries| {
            COMPARED.into_iter().filter_map(move |name| for_subject!(name, measure(name, entries)))
        })
        .collect();
    print(&measured)
}

fn measure<S: Subject>(subject: &'static str, entries: u64) -> Measured {
    let (cache, mut key) = (S::with_entries((entries + entries / 8) as usize), String::with_capacity(64));
    let nth = |n: u64| n.wrapping_mul(7_919) % entries;
    let (mut hits, mut writes) = (Vec::new(), Vec::new());
    cache.run(async {
        for id in 0..entries {
            cache.put(id, &mut key).await;
        }
        for round in 0..ROUNDS as u64 {
            let ids = || (0..OPERATIONS).map(|n| nth(n + round * OPERATIONS));
            let since = Instant::now();
            for id in ids() {
                black_box(cache.get_or_load(id, &mut key).await);
            }
            hits.push(per_operation(since));
            let since = Instant::now();
            for id in ids() {
                cache.put(id, &mut key).await;
            }
            writes.push(per_operation(since));
        }
    });
    Measured { subject, entries, hits, writes }
}

/// Returns the nanoseconds of one of the operations since then.
fn per_operation(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e9 / OPERATIONS as f64
}
