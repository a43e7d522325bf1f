//! The tier in this process's memory: a sharded LRU of decoded values, bounded by count and bytes.

use std::any::Any;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::{DefaultHasher, LruCache};

/// Enough that two threads seldom meet in one shard.
const SHARDS: usize = 16;
/// What an entry costs besides its value and key, about: the LRU's node, the map's slot, the entry's own fields.
const OVERHEAD_BYTES: usize = 256;

/// Values of any type behind their keys. A hit clones one `Arc` under one shard's lock.
pub(crate) struct Memory {
    shards: Vec<Mutex<Shard>>,
    hasher: DefaultHasher,
    max_entries: usize,
    max_bytes: usize,
}

struct Shard {
    entries: LruCache<Box<str>, Slot>,
    bytes: usize,
}

struct Slot {
    entry: Arc<dyn Any + Send + Sync>,
    bytes: usize,
}

impl Memory {
    /// An empty tier. The bounds are split evenly over the shards.
    pub(crate) fn new(max_entries: usize, max_bytes: usize) -> Self {
        let shard = || Mutex::new(Shard { entries: LruCache::unbounded(), bytes: 0 });
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            hasher: DefaultHasher::default(),
            max_entries: max_entries.div_ceil(SHARDS),
            max_bytes: max_bytes.div_ceil(SHARDS),
        }
    }

    /// The entry of a key, if there is one of this type.
    pub(crate) fn get<T: Any + Send + Sync>(&self, key: &str) -> Option<Arc<T>> {
        let entry = self.shard(key).entries.get(key).map(|slot| Arc::clone(&slot.entry))?;
        entry.downcast().ok()
    }

    /// Sets a key; `bytes` is the size of its encoded value. Evicts what was used least recently until it fits; what
    /// could never fit is not kept.
    pub(crate) fn put<T: Any + Send + Sync>(&self, key: &str, entry: Arc<T>, bytes: usize) {
        let bytes = bytes + key.len() + OVERHEAD_BYTES;
        let mut shard = self.shard(key);
        if bytes > self.max_bytes {
            shard.remove(key);
            return;
        }
        shard.bytes += bytes;
        if let Some(old) = shard.entries.put(key.into(), Slot { entry, bytes }) {
            shard.bytes -= old.bytes;
        }
        while shard.bytes > self.max_bytes || shard.entries.len() > self.max_entries {
            let Some((_, evicted)) = shard.entries.pop_lru() else { break };
            shard.bytes -= evicted.bytes;
        }
    }

    /// Drops a key if it still holds this entry, and not one that replaced it.
    pub(crate) fn remove_entry<T>(&self, key: &str, entry: &Arc<T>) {
        let mut shard = self.shard(key);
        let same = |slot: &Slot| std::ptr::addr_eq(Arc::as_ptr(&slot.entry), Arc::as_ptr(entry));
        if shard.entries.peek(key).is_some_and(same) {
            shard.remove(key);
        }
    }

    /// Drops everything, as if it had been evicted.
    #[cfg(test)]
    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.entries.clear();
            shard.bytes = 0;
        }
    }

    fn shard(&self, key: &str) -> MutexGuard<'_, Shard> {
        let index = self.hasher.hash_one(key) as usize % SHARDS;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn remove(&mut self, key: &str) {
        if let Some(slot) = self.entries.pop(key) {
            self.bytes -= slot.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_hold_whatever_is_put() {
        let memory = Memory::new(SHARDS * 4, SHARDS * 2048);
        for n in 0..1000 {
            memory.put(&format!("key:{n}"), Arc::new(n), n * 7 % 3000);
            for shard in &memory.shards {
                let shard = shard.lock().unwrap();
                let sum: usize = shard.entries.iter().map(|(_, slot)| slot.bytes).sum();
                assert_eq!(shard.bytes, sum);
                assert!(shard.bytes <= 2048 && shard.entries.len() <= 4);
            }
        }
    }

    #[test]
    fn a_value_too_large_replaces_nothing_but_the_old_one() {
        let memory = Memory::new(100, SHARDS * 1024);
        memory.put("a", Arc::new(1), 10);
        memory.put("a", Arc::new(2), 5000);
        assert!(memory.get::<i32>("a").is_none());
    }

    #[test]
    fn another_type_under_the_same_key_is_a_miss() {
        let memory = Memory::new(100, 1 << 20);
        memory.put("a", Arc::new(1_i32), 4);
        assert!(memory.get::<String>("a").is_none());
        assert_eq!(memory.get::<i32>("a").as_deref(), Some(&1));
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
