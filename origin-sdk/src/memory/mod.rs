//! The memory tier of this process: a sharded LRU of decoded values, bounded by entries and bytes.
//!
//! The bounds hold for all shards together, so a single value may take the whole budget. Eviction
//! goes round the shards and takes the least recently used entry of each: with keys spread evenly
//! by their hash this is close to one LRU over all of them.

use std::any::Any;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::{DefaultHasher, LruCache};

/// The number of shards. With 16 of them two threads seldom wait for the same lock.
const SHARDS: usize = 16;
/// The assumed cost of an entry beyond its value and key: the nodes of the LRU and the hash map,
/// and the fields of [`Entry`](crate::entry::Entry).
const OVERHEAD_BYTES: usize = 256;

/// Values of any type by key. A hit locks one shard and clones one `Arc`.
pub(crate) struct Memory {
    shards: Vec<Mutex<Shard>>,
    hasher: DefaultHasher,
    max_entries: usize,
    max_bytes: usize,
    entries: AtomicUsize,
    bytes: AtomicUsize,
    /// The shard that is next to evict from, counted without end.
    next_victim: AtomicUsize,
}

type Shard = LruCache<Box<str>, Slot>;

struct Slot {
    entry: Arc<dyn Any + Send + Sync>,
    bytes: usize,
}

impl Memory {
    /// Creates an empty tier for at most `max_entries` entries of at most `max_bytes` in sum.
    pub(crate) fn new(max_entries: usize, max_bytes: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(LruCache::unbounded())).collect(),
            hasher: DefaultHasher::default(),
            max_entries,
            max_bytes,
            entries: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            next_victim: AtomicUsize::new(0),
        }
    }

    /// Returns the entry of a key if there is one of this type, and marks it as used.
    pub(crate) fn get<T: Any + Send + Sync>(&self, key: &str) -> Option<Arc<T>> {
        let entry = self.shard(self.index(key)).get(key).map(|slot| Arc::clone(&slot.entry))?;
        entry.downcast().ok()
    }

    /// Stores an entry whose decoded value takes about `bytes`, and evicts until the bounds hold
    /// again.
    ///
    /// Returns `false` if the entry alone exceeds the bounds: then the key holds nothing
    /// afterwards.
    pub(crate) fn put<T: Any + Send + Sync>(&self, key: &str, entry: Arc<T>, bytes: usize) -> bool {
        let bytes = bytes.saturating_add(key.len() + OVERHEAD_BYTES);
        let index = self.index(key);
        if bytes > self.max_bytes || self.max_entries == 0 {
            self.remove(&mut self.shard(index), key);
            return false;
        }
        let replaced = {
            let mut shard = self.shard(index);
            self.entries.fetch_add(1, Ordering::Relaxed);
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            let replaced = shard.put(key.into(), Slot { entry, bytes });
            self.release(replaced.as_ref());
            replaced
        };
        drop(replaced);
        while self.is_over_bounds() && self.evict_one(index, key) {}
        true
    }

    /// Removes a key if it still holds this entry, and not one that replaced it.
    pub(crate) fn remove_entry<T>(&self, key: &str, entry: &Arc<T>) {
        let mut shard = self.shard(self.index(key));
        let same = |slot: &Slot| std::ptr::addr_eq(Arc::as_ptr(&slot.entry), Arc::as_ptr(entry));
        if shard.peek(key).is_some_and(same) {
            self.remove(&mut shard, key);
        }
    }

    /// Removes a key, unless its entry is of this type and `spares` it. Returns the entry if it was
    /// of this type.
    pub(crate) fn remove_unless<T: Any + Send + Sync>(
        &self,
        key: &str,
        spares: impl FnOnce(&T) -> bool,
    ) -> Option<Arc<T>> {
        let removed = {
            let mut shard = self.shard(self.index(key));
            if shard.peek(key).and_then(|slot| slot.entry.downcast_ref()).is_some_and(spares) {
                return None;
            }
            let removed = shard.pop(key);
            self.release(removed.as_ref());
            removed
        };
        removed?.entry.downcast().ok()
    }

    /// Removes everything, as eviction would.
    #[cfg(test)]
    pub(crate) fn clear(&self) {
        while self.evict_one(SHARDS, "") {}
    }

    fn is_over_bounds(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.max_bytes
            || self.entries.load(Ordering::Relaxed) > self.max_entries
    }

    /// Evicts the least recently used entry of the next shard that has one, but never `key` of the
    /// shard `index`, which was just stored. Returns `false` if no other entry is left.
    fn evict_one(&self, index: usize, key: &str) -> bool {
        for _ in 0..SHARDS {
            let victim = self.next_victim.fetch_add(1, Ordering::Relaxed) % SHARDS;
            let mut shard = self.shard(victim);
            let is_new = |oldest: &str| victim == index && oldest == key;
            if shard.peek_lru().is_none_or(|(oldest, _)| is_new(oldest)) {
                continue;
            }
            let evicted = shard.pop_lru().map(|(_, slot)| slot);
            self.release(evicted.as_ref());
            // The value is dropped without the lock: that can take long for a large one.
            drop(shard);
            drop(evicted);
            return true;
        }
        false
    }

    fn remove(&self, shard: &mut Shard, key: &str) {
        self.release(shard.pop(key).as_ref());
    }

    /// Subtracts what a slot counted for. Called under the lock of its shard, as adding it was.
    fn release(&self, slot: Option<&Slot>) {
        if let Some(slot) = slot {
            self.entries.fetch_sub(1, Ordering::Relaxed);
            self.bytes.fetch_sub(slot.bytes, Ordering::Relaxed);
        }
    }

    fn index(&self, key: &str) -> usize {
        self.hasher.hash_one(key) as usize % SHARDS
    }

    fn shard(&self, index: usize) -> MutexGuard<'_, Shard> {
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns the entries and bytes that the shards really hold.
    fn held(memory: &Memory) -> (usize, usize) {
        let held = memory.shards.iter().map(|shard| {
            let shard = shard.lock().unwrap();
            (shard.len(), shard.iter().map(|(_, slot)| slot.bytes).sum::<usize>())
        });
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
                prop_assert_eq!((memory.entries.load(Ordering::Relaxed), memory.bytes.load(Ordering::Relaxed)), (entries, bytes));
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
            (memory.entries.load(Ordering::Relaxed), memory.bytes.load(Ordering::Relaxed)),
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
}
