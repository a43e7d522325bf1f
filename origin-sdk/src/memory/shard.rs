//! One shard of the memory tier: its entries by key, and the order in which they are evicted.
//!
//! The order takes its queues from S3-FIFO (J. Yang et al., "FIFO Queues are All You Need for Cache
//! Eviction", SOSP 2023) and its admission from TinyLFU (G. Einziger et al., "TinyLFU: A Highly
//! Efficient Cache Admission Policy", 2017). A new entry enters the small queue. At the end of that
//! queue it is evicted if it was not used. If it was, it moves to the main queue, in place of an
//! entry there that was used less. Keys that are read once, or in a loop over more keys than fit,
//! therefore do not replace popular ones. The uses of evicted keys are remembered for a while.

use std::any::Any;
use std::mem;
use std::sync::Arc;

use hashbrown::HashTable;

use super::queue::{Links, Queue};
use super::recent::RecentKeys;

/// The most uses of an entry that are counted.
const MAX_USES: u8 = 3;
/// The small queue holds one of this many entries.
const SMALL_PART: usize = 100;
/// The slots grow by one of this many.
const GROWTH: usize = 8;
/// How many entries of the main queue an entry of the small one is compared with.
const COMPARISONS: usize = 2;

/// An entry of any type.
pub(super) type AnyEntry = Arc<dyn Keyed + Send + Sync>;

/// An entry that has its key: a slot does not have it a second time.
pub(crate) trait Keyed: Any {
    /// Returns the key, which never changes.
    fn key(&self) -> &str;
}

/// Returns the entry as one of this type.
#[inline]
pub(super) fn downcast<T: Keyed>(entry: &AnyEntry) -> Option<&T> {
    let entry: &(dyn Any + Send + Sync) = &**entry;
    entry.downcast_ref()
}

/// A part of the entries, under one lock.
#[derive(Default)]
pub(super) struct Shard {
    /// The places of the entries in `slots`, by the hashes of their keys.
    places: HashTable<u32>,
    slots: Vec<Slot>,
    small: Queue,
    main: Queue,
    /// The keys that were evicted.
    evicted: RecentKeys,
}

/// An entry and its place in the order of eviction.
pub(super) struct Slot {
    hash: u64,
    pub(super) entry: AnyEntry,
    /// The bytes that the entry counts for.
    pub(super) bytes: usize,
    pub(super) links: Links,
    is_main: bool,
    /// How often the key was used, up to [`MAX_USES`], less one for each time that it was spared.
    uses: u8,
}

impl Shard {
    /// Returns the entry of a key if there is one of this type, and counts the use.
    ///
    /// Finds it by its whole hash, and then compares the key. Of two keys with the same 64 bits,
    /// one is a miss.
    #[inline]
    pub(super) fn use_entry<T: Keyed>(&mut self, hash: u64, key: &[u8]) -> Option<(&AnyEntry, &T)> {
        let place = *self.places.find(hash, |&place| self.slots[place as usize].hash == hash)?;
        let slot = &mut self.slots[place as usize];
        let entry: &T = downcast(&slot.entry)?;
        if entry.key().as_bytes() != key {
            return None;
        }
        slot.uses = (slot.uses + 1).min(MAX_USES);
        Some((&slot.entry, entry))
    }

    /// Returns the entry of a key.
    pub(super) fn entry(&self, hash: u64, key: &str) -> Option<&AnyEntry> {
        self.place(hash, key).map(|place| &self.slots[place as usize].entry)
    }

    /// Stores an entry. Returns the one that it replaces, and the bytes that this one counted for.
    pub(super) fn put(&mut self, hash: u64, entry: AnyEntry, bytes: usize) -> Option<(AnyEntry, usize)> {
        if let Some(place) = self.place(hash, entry.key()) {
            let slot = &mut self.slots[place as usize];
            return Some((mem::replace(&mut slot.entry, entry), mem::replace(&mut slot.bytes, bytes)));
        }
        let (place, links) = (self.slots.len() as u32, Links::default());
        // A key that returns was used once more.
        let uses = self.evicted.remove(hash).map_or(0, |uses| (uses + 1).min(MAX_USES));
        if self.slots.len() == self.slots.capacity() {
            // Doubling would leave a third of the places empty.
            self.slots.reserve_exact((self.slots.len() / GROWTH).max(GROWTH));
        }
        self.slots.push(Slot { hash, entry, bytes, links, is_main: false, uses });
        self.places.insert_unique(hash, place, |&place| self.slots[place as usize].hash);
        self.push(place);
        None
    }

    /// Removes a key.
    pub(super) fn remove(&mut self, hash: u64, key: &str) -> Option<Slot> {
        let place = self.place(hash, key)?;
        Some(self.remove_at(place))
    }

    /// Evicts an entry, but never that of the key `spared`. Returns `None` if there is no other.
    pub(super) fn evict(&mut self, spared: Option<(u64, &str)>) -> Option<Slot> {
        let spared = spared.and_then(|(hash, key)| self.place(hash, key));
        if self.slots.len() == usize::from(spared.is_some()) {
            return None;
        }
        loop {
            let is_small_due = self.main.len() == 0 || self.small.len() * SMALL_PART > self.slots.len();
            let place = self.oldest(!is_small_due, spared).or_else(|| self.oldest(is_small_due, spared))?;
            let slot = &mut self.slots[place as usize];
            let uses = slot.uses;
            if uses == 0 {
                return Some(self.evict_at(place));
            } else if slot.is_main {
                slot.uses -= 1;
                self.requeue(place);
            } else if self.main.len() < self.main_room() {
                self.promote(place);
            } else if let Some(weaker) = self.weaker_main(uses, spared) {
                self.promote(place);
                return Some(self.evict_at(weaker));
            } else {
                return Some(self.evict_at(place));
            }
        }
    }

    /// Returns how many entries the main queue may have: all but the part of the small one, and in
    /// that at least the entry that was just stored and an older one.
    fn main_room(&self) -> usize {
        self.slots.len().saturating_sub(self.slots.len() / SMALL_PART + 2)
    }

    /// Returns one of the oldest entries of the main queue that was used less than `uses`. Those
    /// that were used as much are spared once.
    fn weaker_main(&mut self, uses: u8, spared: Option<u32>) -> Option<u32> {
        for _ in 0..COMPARISONS {
            let place = self.oldest(true, spared)?;
            let slot = &mut self.slots[place as usize];
            if slot.uses < uses {
                return Some(place);
            }
            slot.uses -= 1;
            self.requeue(place);
        }
        None
    }

    /// Returns the oldest entry of a queue, but not the spared one, which it makes the newest
    /// instead.
    fn oldest(&mut self, is_main: bool, spared: Option<u32>) -> Option<u32> {
        let oldest = self.queue(is_main).oldest()?;
        if Some(oldest) != spared {
            return Some(oldest);
        }
        self.requeue(oldest);
        self.queue(is_main).oldest().filter(|place| Some(*place) != spared)
    }

    fn queue(&self, is_main: bool) -> &Queue {
        if is_main { &self.main } else { &self.small }
    }

    /// Moves an entry of the small queue to the main queue.
    fn promote(&mut self, place: u32) {
        self.unlink(place);
        self.slots[place as usize].is_main = true;
        self.push(place);
    }

    /// Makes an entry the newest of its queue.
    fn requeue(&mut self, place: u32) {
        self.unlink(place);
        self.push(place);
    }

    fn evict_at(&mut self, place: u32) -> Slot {
        let slot = &self.slots[place as usize];
        self.evicted.add(slot.hash, slot.uses, self.slots.len());
        self.remove_at(place)
    }

    /// Returns the entries and bytes that the shard holds.
    #[cfg(test)]
    pub(super) fn held(&self) -> (usize, usize) {
        assert_eq!(
            (self.places.len(), self.small.len() + self.main.len()),
            (self.slots.len(), self.slots.len())
        );
        (self.slots.len(), self.slots.iter().map(|slot| slot.bytes).sum())
    }

    fn place(&self, hash: u64, key: &str) -> Option<u32> {
        let is_same = |&place: &u32| self.slots[place as usize].entry.key() == key;
        self.places.find(hash, is_same).copied()
    }

    /// Removes the entry at a place, which the last entry of `slots` then takes.
    fn remove_at(&mut self, place: u32) -> Slot {
        self.unlink(place);
        let (hash, last) = (self.slots[place as usize].hash, self.slots.len() as u32 - 1);
        if let Ok(found) = self.places.find_entry(hash, |&other| other == place) {
            found.remove();
        }
        if place != last {
            let moved = &self.slots[last as usize];
            if let Some(its_place) = self.places.find_mut(moved.hash, |&other| other == last) {
                *its_place = place;
            }
            let queue = if moved.is_main { &mut self.main } else { &mut self.small };
            queue.relocate(&mut self.slots, last, place);
        }
        self.slots.swap_remove(place as usize)
    }

    /// Puts the entry at a place into its queue, as the newest.
    fn push(&mut self, place: u32) {
        let queue = if self.slots[place as usize].is_main { &mut self.main } else { &mut self.small };
        queue.push(&mut self.slots, place);
    }

    fn unlink(&mut self, place: u32) {
        let queue = if self.slots[place as usize].is_main { &mut self.main } else { &mut self.small };
        queue.unlink(&mut self.slots, place);
    }
}
