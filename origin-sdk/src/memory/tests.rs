//! The bounds and the order of eviction.

use proptest::prelude::*;

use super::*;

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
            let is_held = memory.put(&key, Arc::new(n), bytes);
            prop_assert_eq!(is_held, bytes + key.len() + OVERHEAD_BYTES <= max_bytes);
            prop_assert_eq!(memory.get::<u8>(&key).is_some(), is_held);
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
        memory.put(&format!("small:{n}"), Arc::new(n), 10_000);
    }
    assert!(memory.put("large", Arc::new("x"), (64 << 20) - 1024));
    assert!(memory.get::<&str>("large").is_some());
}

#[test]
fn one_entry_is_the_bound_if_one_is_allowed() {
    let memory = Memory::new(1, 1 << 20);
    for n in 0..100 {
        memory.put(&format!("key:{n}"), Arc::new(n), 10);
        assert_eq!(held(&memory).0, 1);
    }
    assert!(memory.get::<i32>("key:99").is_some());
}

#[test]
fn what_was_used_last_outlives_what_was_not() {
    let memory = Memory::new(1_000, 1 << 30);
    for n in 0..1_000 {
        memory.put(&format!("old:{n}"), Arc::new(n), 10);
    }
    let used: Vec<_> = (0..100).map(|n| format!("old:{n}")).collect();
    for n in 0..500 {
        for key in &used {
            memory.get::<i32>(key);
        }
        memory.put(&format!("new:{n}"), Arc::new(n), 10);
    }
    assert!(used.iter().all(|key| memory.get::<i32>(key).is_some()));
}

#[test]
fn concurrent_puts_leave_the_bounds_intact() {
    let memory = Memory::new(64, 100_000);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let memory = &memory;
            scope.spawn(move || {
                for n in 0..5_000_usize {
                    memory.put(&format!("key:{}", (n * 7 + thread) % 200), Arc::new(n), n % 9_000);
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
    memory.put("a", Arc::new(1), 10);
    assert!(!memory.put("a", Arc::new(2), 16 << 10));
    assert!(memory.get::<i32>("a").is_none());
    assert_eq!(held(&memory), (0, 0));
}

#[test]
fn another_type_under_the_same_key_is_a_miss() {
    let memory = Memory::new(100, 1 << 20);
    memory.put("a", Arc::new(1_i32), 4);
    assert!(memory.get::<String>("a").is_none());
    assert_eq!(memory.get::<i32>("a").as_deref(), Some(&1));
}

#[test]
fn a_removal_spares_an_entry_by_its_content_and_never_one_of_another_type() {
    let memory = Memory::new(100, 1 << 20);
    memory.put("a", Arc::new(1), 4);
    assert!(memory.remove_unless("a", |&value: &i32| value == 1).is_none());
    assert_eq!(memory.remove_unless("a", |&value: &i32| value == 2).as_deref(), Some(&1));
    memory.put("a", Arc::new("text"), 4);
    assert!(memory.remove_unless("a", |_: &i32| true).is_none());
    assert_eq!(held(&memory), (0, 0));
}

#[test]
fn removing_an_entry_spares_the_one_that_replaced_it() {
    let memory = Memory::new(100, 1 << 20);
    let (old, new) = (Arc::new(1), Arc::new(2));
    memory.put("a", Arc::clone(&new), 4);
    memory.remove_entry("a", &old);
    assert!(memory.get::<i32>("a").is_some());
    memory.remove_entry("a", &new);
    assert!(memory.get::<i32>("a").is_none());
}

#[test]
fn keys_that_are_read_once_do_not_evict_popular_ones() {
    let memory = Memory::new(1_000, 1 << 30);
    let popular: Vec<_> = (0..500).map(|n| format!("popular:{n}")).collect();
    for key in &popular {
        memory.put(key, Arc::new(1), 10);
        memory.get::<i32>(key);
    }
    for n in 0..5_000 {
        memory.put(&format!("once:{n}"), Arc::new(n), 10);
    }
    let held = popular.iter().filter(|key| memory.get::<i32>(key).is_some()).count();
    assert!(held >= 490, "{held} of 500");
}

/// The order of least recent use would evict each key just before it is read again.
#[test]
fn a_loop_over_more_keys_than_fit_has_hits() {
    let memory = Memory::new(1_000, 1 << 30);
    let mut hits = 0;
    for n in 0..60_000 {
        let key = format!("key:{}", n % 1_500);
        if memory.get::<i32>(&key).is_some() {
            hits += 1;
        } else {
            memory.put(&key, Arc::new(n), 10);
        }
    }
    assert!(hits > 60_000 / 3, "{hits} hits");
}

#[test]
fn removals_in_any_order_leave_the_other_entries() {
    let memory = Memory::new(1_000, 1 << 30);
    let entries: Vec<_> = (0..300_usize).map(|n| (format!("key:{n}"), Arc::new(n))).collect();
    for (key, entry) in &entries {
        memory.put(key, Arc::clone(entry), 10);
    }
    for (key, entry) in entries.iter().step_by(3).rev() {
        memory.remove_entry(key, entry);
    }
    assert_eq!(held(&memory).0, 200);
    for (n, (key, _)) in entries.iter().enumerate() {
        assert_eq!(memory.get::<usize>(key).is_some(), n % 3 != 0, "{key}");
    }
}
