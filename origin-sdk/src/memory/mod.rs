//! The memory tier of this process: decoded values in shards, bounded by entries and bytes.
//!
//! The bounds hold for all shards together, so a single value may take the whole budget. A new
//! entry takes the place of one in its shard. If more have to be evicted, eviction goes round the
//! shards: with keys spread evenly by their hash this is close to one order over all of them.

mod queue;
mod recent;
mod shard;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::DefaultHashBuilder;

pub(crate) use self::shard::Keyed;
use self::shard::{AnyEntry, Shard, downcast};
use crate::cache_line::OwnLine;

/// The number of shards. With 16 of them two threads seldom wait for the same lock.
const SHARDS: usize = 16;
/// The bytes of an entry beyond its value and the text of its key, as `tests/memory_cost.rs`
/// measures them: its slot, its place in the hash map and among the evicted keys, the fields of
/// [`Entry`](crate::entry::Entry), and the counts of two `Arc`s.
const OVERHEAD_BYTES: usize = 216;

/// Values of any type by key. A hit locks one shard.
pub(crate) struct Memory {
    shards: [OwnLine<Mutex<Shard>>; SHARDS],
    hasher: DefaultHashBuilder,
    max_entries: usize,
    max_bytes: usize,
    held: OwnLine<Held>,
}

/// The sums over all shards. Writes change them, and reads do not.
#[derive(Default)]
struct Held {
    entries: AtomicUsize,
    bytes: AtomicUsize,
    /// The shard that is next to evict from, counted without end.
    next_victim: AtomicUsize,
    /// The entries evicted so far, by the bound that was exceeded.
    evicted_by_bytes: AtomicU64,
    evicted_by_entries: AtomicU64,
}

/// The entries that memory holds, and those that it has evicted since it was created.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct MemoryUsage {
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
    pub(crate) evicted_by_bytes: u64,
    pub(crate) evicted_by_entries: u64,
}

impl Memory {
    /// Creates an empty tier for at most `max_entries` entries of at most `max_bytes` in sum.
    pub(crate) fn new(max_entries: usize, max_bytes: usize) -> Self {
        Self {
            shards: Default::default(),
            hasher: DefaultHashBuilder::default(),
            max_entries,
            max_bytes,
            held: OwnLine::default(),
        }
    }

    /// Returns what `serve` makes of the entry of a key, if there is one of this type, under the
    /// lock of its shard. Marks the entry as used.
    #[inline]
    pub(crate) fn read<T: Keyed + Send + Sync, R>(
        &self,
        key: &[u8],
        serve: impl FnOnce(&T) -> Option<R>,
    ) -> Option<R> {
        let hash = self.hash(key);
        self.shard(shard_of(hash)).use_entry(hash, key).and_then(|(_, entry)| serve(entry))
    }

    /// Returns the entry of a key if there is one of this type, and marks it as used.
    pub(crate) fn get<T: Keyed + Send + Sync>(&self, key: &str) -> Option<Arc<T>> {
        self.get_bytes(key.as_bytes())
    }

    /// Like [`get`](Self::get), with the bytes of the key's text.
    pub(crate) fn get_bytes<T: Keyed + Send + Sync>(&self, key: &[u8]) -> Option<Arc<T>> {
        let hash = self.hash(key);
        let held = Arc::clone(self.shard(shard_of(hash)).use_entry::<T>(hash, key)?.0);
        owned(held)
    }

    /// Stores an entry whose decoded value takes about `bytes`, and evicts until the bounds hold
    /// again.
    ///
    /// Returns `false` if the entry alone exceeds the bounds: then the key holds nothing
    /// afterwards.
    pub(crate) fn put<T: Keyed + Send + Sync>(&self, entry: &Arc<T>, bytes: usize) -> bool {
        let bytes = bytes.saturating_add(entry.key().len() + OVERHEAD_BYTES);
        let hash = self.hash(entry.key().as_bytes());
        if bytes > self.max_bytes || self.max_entries == 0 {
            self.remove(&mut self.shard(shard_of(hash)), hash, entry.key());
            return false;
        }
        let replaced = {
            let mut shard = self.shard(shard_of(hash));
            self.held.entries.fetch_add(1, Ordering::Relaxed);
            self.held.bytes.fetch_add(bytes, Ordering::Relaxed);
            let replaced = shard.put(hash, Arc::<T>::clone(entry), bytes);
            self.release(replaced.as_ref().map(|(_, bytes)| *bytes));
            replaced
        };
        drop(replaced);
        // The first victim is of the same shard, where the new entry competes for its place.
        let mut victim = shard_of(hash);
        while let Some(evicted) = self.exceeded_bound()
            && self.evict_one(victim, Some((hash, entry.key())))
        {
            evicted.fetch_add(1, Ordering::Relaxed);
            victim = self.held.next_victim.fetch_add(1, Ordering::Relaxed);
        }
        true
    }

    /// Removes a key if it still holds this entry, and not one that replaced it.
    pub(crate) fn remove_entry<T>(&self, key: &str, entry: &Arc<T>) {
        let hash = self.hash(key.as_bytes());
        let mut shard = self.shard(shard_of(hash));
        let is_same = |held: &AnyEntry| std::ptr::addr_eq(Arc::as_ptr(held), Arc::as_ptr(entry));
        if shard.entry(hash, key).is_some_and(is_same) {
            self.remove(&mut shard, hash, key);
        }
    }

    /// Removes a key, unless its entry is of this type and `spares` it. Returns the entry if it was
    /// of this type.
    pub(crate) fn remove_unless<T: Keyed + Send + Sync>(
        &self,
        key: &str,
        spares: impl FnOnce(&T) -> bool,
    ) -> Option<Arc<T>> {
        let hash = self.hash(key.as_bytes());
        let removed = {
            let mut shard = self.shard(shard_of(hash));
            if shard.entry(hash, key).and_then(downcast).is_some_and(spares) {
                return None;
            }
            let removed = shard.remove(hash, key);
            self.release(removed.as_ref().map(|slot| slot.bytes));
            removed
        };
        owned(removed?.entry)
    }

    /// Removes everything, as eviction would.
    #[cfg(test)]
    pub(crate) fn clear(&self) {
        while self.evict_one(0, None) {}
    }

    /// Returns what memory holds and has evicted.
    pub(crate) fn usage(&self) -> MemoryUsage {
        let Held { entries, bytes, evicted_by_bytes, evicted_by_entries, .. } = &*self.held;
        MemoryUsage {
            entries: entries.load(Ordering::Relaxed),
            bytes: bytes.load(Ordering::Relaxed),
            evicted_by_bytes: evicted_by_bytes.load(Ordering::Relaxed),
            evicted_by_entries: evicted_by_entries.load(Ordering::Relaxed),
        }
    }

    /// Returns the counter of evictions of a bound that is exceeded.
    fn exceeded_bound(&self) -> Option<&AtomicU64> {
        let held = &*self.held;
        if held.bytes.load(Ordering::Relaxed) > self.max_bytes {
            Some(&held.evicted_by_bytes)
        } else if held.entries.load(Ordering::Relaxed) > self.max_entries {
            Some(&held.evicted_by_entries)
        } else {
            None
        }
    }

    /// Evicts an entry of the first shard from `first` on that has one, but never that of the key
    /// `stored`, which was just stored. Returns `false` if no other entry is left.
    fn evict_one(&self, first: usize, stored: Option<(u64, &str)>) -> bool {
        for victim in (0..SHARDS).map(|n| first.wrapping_add(n) % SHARDS) {
            let spared = stored.filter(|(hash, _)| shard_of(*hash) == victim);
            let mut shard = self.shard(victim);
            let Some(evicted) = shard.evict(spared) else { continue };
            self.release(Some(evicted.bytes));
            // The value is dropped without the lock: that can take long for a large one.
            drop(shard);
            drop(evicted);
            return true;
        }
        false
    }

    fn remove(&self, shard: &mut Shard, hash: u64, key: &str) {
        self.release(shard.remove(hash, key).map(|slot| slot.bytes));
    }

    /// Subtracts an entry that counted for these bytes. Called under the lock of its shard, as
    /// adding it was.
    fn release(&self, bytes: Option<usize>) {
        if let Some(bytes) = bytes {
            self.held.entries.fetch_sub(1, Ordering::Relaxed);
            self.held.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    #[inline]
    fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key);
        hasher.finish()
    }

    #[inline]
    fn shard(&self, index: usize) -> MutexGuard<'_, Shard> {
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the entry if it is of this type.
fn owned<T: Keyed + Send + Sync>(entry: AnyEntry) -> Option<Arc<T>> {
    let entry: Arc<dyn Any + Send + Sync> = entry;
    entry.downcast().ok()
}

/// Returns the shard of a hash, by bits that its hash map does not use.
fn shard_of(hash: u64) -> usize {
    (hash >> 32) as usize % SHARDS
}
