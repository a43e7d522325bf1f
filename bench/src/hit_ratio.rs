//! The part of the reads that memory answers, on traces that are known to be hard for one order of
//! eviction or another.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_distr::{Distribution, Zipf};
use serde::Serialize;

use crate::fleet::Error;
use crate::subjects::{NAMES, Subject};
use crate::{for_subject, print};

/// The entries that each cache may hold.
const ENTRIES: usize = 1_000;
const READS: u64 = 400_000;
/// The keys of a skewed trace.
const POPULATION: u64 = 100_000;

/// Returns the key of the `n`th read.
type KeyOf = fn(u64, &mut StdRng) -> u64;

/// The traces, by name.
const TRACES: [(&str, KeyOf); 7] = [
    ("zipf 0.99", |_, random| zipf(0.99, random)),
    ("zipf 0.8", |_, random| zipf(0.8, random)),
    ("loop of 1.2 times the entries", |n, _| n % (ENTRIES as u64 * 6 / 5)),
    ("loop of 3 times the entries", |n, _| n % (ENTRIES as u64 * 3)),
    // A scan of new keys, of twice the entries, after every 8,000 skewed reads.
    (
        "zipf 0.99 with scans",
        |n, random| if n % 10_000 < 8_000 { zipf(0.99, random) } else { POPULATION + n },
    ),
    ("zipf 0.99 and a loop, mixed", |n, random| {
        if n.is_multiple_of(2) { zipf(0.99, random) } else { POPULATION + n / 2 % (2 * ENTRIES as u64) }
    }),
    // The popular keys change after every 20,000 reads.
    ("zipf 0.99 with churn", |n, random| zipf(0.99, random) + n / 20_000 * 7_919),
];

/// The hit ratios on one trace.
#[derive(Serialize)]
struct Measured {
    trace: &'static str,
    /// From 0 to 1, by cache.
    hit_ratio: BTreeMap<&'static str, f64>,
}

/// Measures every trace, and prints the result as JSON.
pub(crate) fn run() -> Result<(), Error> {
    let measured: Vec<_> = TRACES
        .into_iter()
        .map(|(name, key_of)| {
            let ratio = |&subject: &&'static str| Some((subject, for_subject!(subject, hit_ratio(key_of))?));
            Measured { trace: name, hit_ratio: NAMES.iter().filter_map(ratio).collect() }
        })
        .collect();
    print(&measured)
}

fn hit_ratio<S: Subject>(key_of: KeyOf) -> f64 {
    let (cache, mut random, mut key) = (S::with_entries(ENTRIES), StdRng::seed_from_u64(1), String::new());
    cache.run(async {
        let mut hits = 0_u64;
        for n in 0..READS {
            hits += u64::from(cache.is_hit(key_of(n, &mut random), &mut key).await);
        }
        hits as f64 / READS as f64
    })
}

fn zipf(exponent: f64, random: &mut StdRng) -> u64 {
    // The parameters are valid.
    Zipf::new(POPULATION as f64, exponent).map_or(0, |zipf| zipf.sample(random) as u64)
}
