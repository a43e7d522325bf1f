//! The bounds and the order of eviction.

use proptest::prelude::*;

use super::*;

/// A value under its key.
struct Item<T> {
    key: Box<str>,
    value: T,
}

impl<T: 'static> Keyed for Item<T> {
    fn key(&self) -> &str {
        &self.key
    }
}

fn item<T>(key: &str, value: T) -> Arc<Item<T>> {
    Arc::new(Item { key: key.into(), value })
}

/// Returns the entries and bytes that the shards really hold.
fn held(memory: &Memory) -> (usize, usize) {
    let held = memory.shards.iter().map(|shard| shard.lock().unwrap().held());
    held.fold((0, 0), |(entries, bytes), (more, larger)| (entries + more, bytes + larger))
}

proptest! {
    #[test]
    fn the_bounds_hold_and_the_sums_are_right_after_every_put(
        max_entries in 1_usize..40,
        max_bytes in 1_usize..20_000,
        puts in prop::collection::vec((0_u8..60, 0_usize..8_000), 1..200),
    ) {
        let memory = Memory::new(max_entries, max_bytes);
        for (n, bytes) in puts {
            let key = format!("key:{n}");
            let is_held = memory.put(&item(&key, n), bytes);
            prop_assert_eq!(is_held, bytes + key.len() + OVERHEAD_BYTES <= max_bytes);
            prop_assert_eq!(memory.get::<Item<u8>>(&key).is_some(), is_held);
            let (entries, bytes) = held(&memory);
            prop_assert_eq!((memory.held.entries.load(Ordering::Relaxed), memory.held.bytes.load(Ordering::Relaxed)), (entries, bytes));
            prop_assert!(entries <= max_entries && bytes <= max_bytes);
        }
    }
}

#[test]
fn a_value_of_almost_the_whole_budget_is_held() {
    let memory = Memory::new(100, 64 << 20);
    for n in 0..50 {
        memory.put(&item(&format!("small:{n}"), n), 10_000);
    }
    assert!(memory.put(&item("large", "x"), (64 << 20) - 1024));
    assert!(memory.get::<Item<&str>>("large").is_some());
}

#[test]
fn one_entry_is_the_bound_if_one_is_allowed() {
    let memory = Memory::new(1, 1 << 20);
    for n in 0..100 {
        memory.put(&item(&format!("key:{n}"), n), 10);
        assert_eq!(held(&memory).0, 1);
    }
    assert!(memory.get::<Item<i32>>("key:99").is_some());
}

#[test]
fn what_was_used_last_outlives_what_was_not() {
    let memory = Memory::new(1_000, 1 << 30);
    for n in 0..1_000 {
        memory.put(&item(&format!("old:{n}"), n), 10);
    }
    let used: Vec<_> = (0..100).map(|n| format!("old:{n}")).collect();
    for n in 0..500 {
        for key in &used {
            memory.get::<Item<i32>>(key);
        }
        memory.put(&item(&format!("new:{n}"), n), 10);
    }
    assert!(used.iter().all(|key| memory.get::<Item<i32>>(key).is_some()));
}

#[test]
fn concurrent_puts_leave_the_bounds_intact() {
    let memory = Memory::new(64, 100_000);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let memory = &memory;
            scope.spawn(move || {
                for n in 0..5_000_usize {
                    memory.put(&item(&format!("key:{}", (n * 7 + thread) % 200), n), n % 9_000);
                }
            });
        }
    });
    let (entries, bytes) = held(&memory);
    assert!(entries <= 64 && bytes <= 100_000, "{entries} entries of {bytes} bytes");
    assert_eq!(
        (memory.held.entries.load(Ordering::Relaxed), memory.held.bytes.load(Ordering::Relaxed)),
        (entries, bytes)
    );
}

#[test]
fn a_value_beyond_the_budget_is_refused_and_ends_the_old_one() {
    let memory = Memory::new(100, 16 << 10);
    memory.put(&item("a", 1), 10);
    assert!(!memory.put(&item("a", 2), 16 << 10));
    assert!(memory.get::<Item<i32>>("a").is_none());
    assert_eq!(held(&memory), (0, 0));
}

#[test]
fn another_type_under_the_same_key_is_a_miss() {
    let memory = Memory::new(100, 1 << 20);
    memory.put(&item("a", 1_i32), 4);
    assert!(memory.get::<Item<String>>("a").is_none());
    assert_eq!(memory.get::<Item<i32>>("a").map(|item| item.value), Some(1));
}

#[test]
fn a_removal_spares_an_entry_by_its_content_and_never_one_of_another_type() {
    let memory = Memory::new(100, 1 << 20);
    memory.put(&item("a", 1), 4);
    assert!(memory.remove_unless("a", |item: &Item<i32>| item.value == 1).is_none());
    assert_eq!(memory.remove_unless("a", |item: &Item<i32>| item.value == 2).map(|item| item.value), Some(1));
    memory.put(&item("a", "text"), 4);
    assert!(memory.remove_unless("a", |_: &Item<i32>| true).is_none());
    assert_eq!(held(&memory), (0, 0));
}

#[test]
fn removing_an_entry_spares_the_one_that_replaced_it() {
    let memory = Memory::new(100, 1 << 20);
    let (old, new) = (item("a", 1), item("a", 2));
    memory.put(&new, 4);
    memory.remove_entry("a", &old);
    assert!(memory.get::<Item<i32>>("a").is_some());
    memory.remove_entry("a", &new);
    assert!(memory.get::<Item<i32>>("a").is_none());
}

#[test]
fn keys_that_are_read_once_do_not_evict_popular_ones() {
    let memory = Memory::new(1_000, 1 << 30);
    let popular: Vec<_> = (0..500).map(|n| format!("popular:{n}")).collect();
    for key in &popular {
        memory.put(&item(key, 1), 10);
        memory.get::<Item<i32>>(key);
    }
    for n in 0..5_000 {
        memory.put(&item(&format!("once:{n}"), n), 10);
    }
    let held = popular.iter().filter(|key| memory.get::<Item<i32>>(key).is_some()).count();
    assert!(held >= 490, "{held} of 500");
}

/// The order of least recent use would evict each key just before it is read again.
#[test]
fn a_loop_over_more_keys_than_fit_has_hits() {
    let memory = Memory::new(1_000, 1 << 30);
    let mut hits = 0;
    for n in 0..60_000 {
        let key = format!("key:{}", n % 1_500);
        if memory.get::<Item<i32>>(&key).is_some() {
            hits += 1;
        } else {
            memory.put(&item(&key, n), 10);
        }
    }
    assert!(hits > 60_000 / 3, "{hits} hits");
}

#[test]
fn removals_in_any_order_leave_the_other_entries() {
    let memory = Memory::new(1_000, 1 << 30);
    let entries: Vec<_> = (0..300_usize).map(|n| format!("key:{n}")).map(|key| item(&key, ())).collect();
    for entry in &entries {
        memory.put(entry, 10);
    }
    for entry in entries.iter().step_by(3).rev() {
        memory.remove_entry(&entry.key, entry);
    }
    assert_eq!(held(&memory).0, 200);
    for (n, entry) in entries.iter().enumerate() {
        assert_eq!(memory.get::<Item<()>>(&entry.key).is_some(), n % 3 != 0, "{}", entry.key);
    }
}
