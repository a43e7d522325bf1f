//! Measures the memory that an entry takes beyond its key and value. A program of its own, since it
//! counts what its allocator does, which costs time.
#![expect(dead_code, unused_imports, reason = "the subjects have more than this program uses")]

#[path = "../subjects/mod.rs"]
mod subjects;

use std::collections::BTreeMap;

use subjects::{NAMES, Subject, VALUE_BYTES, Value};

/// Entries of each measurement. The caches have room for an eighth more, as their shards are not
/// equally full.
const ENTRIES: [u64; 2] = [100_000, 1_000_000];

fn main() {
    let measured: BTreeMap<_, _> = ENTRIES
        .into_iter()
        .map(|entries| {
            let overhead = |&name: &&'static str| Some((name, for_subject!(name, overhead(name, entries))?));
            (entries, NAMES.iter().filter_map(overhead).collect::<BTreeMap<_, _>>())
        })
        .collect();
    match serde_json::to_string(&measured) {
        Ok(json) => println!("{json}"),
        Err(error) => eprintln!("{error}"),
    }
}

/// Returns the bytes that an entry takes beyond the text of its key and its value.
fn overhead<S: Subject>(name: &str, entries: u64) -> f64 {
    let (mut cache, mut key) = (None, String::with_capacity(64));
    let held = allocation_counter::measure(|| {
        let new = S::with_entries((entries + entries / 8) as usize);
        new.run(async {
            for id in 0..entries {
                new.put(id, &mut key).await;
            }
        });
        cache = Some(new);
    });
    let prefix = if name.starts_with("strata") { "bench:v1:{page:}" } else { "page:" };
    let key_bytes = |id: u64| prefix.len() + id.to_string().len();
    let own: usize = (0..entries).map(|id| key_bytes(id) + size_of::<Value>() + VALUE_BYTES).sum();
    drop(cache);
    (held.bytes_current as f64 - own as f64) / entries as f64
}
