//! Reads of keys that memory holds, or of new ones, in one thread and in a fixed order.

use std::hint::black_box;

use crate::for_subject;
use crate::subjects::{NAMES, Subject};

/// The number of keys, all of which the cache holds.
pub(crate) const KEYS: u64 = 1_000;

/// Reads `count` times from the subject of this name: keys that it holds, or new ones.
pub(crate) fn run(subject: &str, count: u64, are_new: bool) {
    if for_subject!(subject, read(count, are_new)).is_none() {
        eprintln!("expected one of {}, got {subject:?}", NAMES.join(", "));
        std::process::exit(2);
    }
}

fn read<S: Subject>(count: u64, are_new: bool) {
    let (cache, mut key) = (filled::<S>(), String::with_capacity(64));
    cache.run(async {
        for n in 0..count {
            let id = if are_new { KEYS + n } else { nth(n) };
            black_box(cache.get_or_load(id, &mut key).await);
        }
    });
}

/// Returns a cache that holds all keys.
pub(crate) fn filled<S: Subject>() -> S {
    // Twice the keys, so that a cache with shards holds all of them.
    let (cache, mut key) = (S::with_entries(2 * KEYS as usize), String::new());
    cache.run(async {
        for id in 0..KEYS {
            cache.get_or_load(id, &mut key).await;
        }
    });
    cache
}

/// Returns the `n`th key of a fixed order that visits all keys and seems random.
pub(crate) fn nth(n: u64) -> u64 {
    n.wrapping_mul(7_919) % KEYS
}
