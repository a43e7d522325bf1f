//! The keys that were evicted not long ago.

/// The places of the set for each entry of the shard.
const PLACES_PER_ENTRY: usize = 2;
/// The bits of an item that hold the uses.
const USES: u32 = 0b11;

/// A bounded set of keys and their uses: a table of parts of the keys' hashes, in which a key
/// replaces the older one at its place. What it forgets or confuses costs a few hits at most.
#[derive(Default)]
pub(super) struct RecentKeys(Vec<u32>);

impl RecentKeys {
    /// Adds a key that was used up to three times. The set grows with the entries of the shard.
    pub(super) fn add(&mut self, hash: u64, uses: u8, entries: usize) {
        if self.0.len() < PLACES_PER_ENTRY * entries {
            self.0 = vec![0; (PLACES_PER_ENTRY * entries).next_power_of_two()];
        }
        if let Some(place) = self.place(hash) {
            self.0[place] = tag(hash) | (u32::from(uses) & USES);
        }
    }

    /// Removes a key, and returns its uses if the set had it.
    pub(super) fn remove(&mut self, hash: u64) -> Option<u8> {
        let place = self.place(hash)?;
        let item = self.0[place];
        if item & !USES != tag(hash) {
            return None;
        }
        self.0[place] = 0;
        Some((item & USES) as u8)
    }

    fn place(&self, hash: u64) -> Option<usize> {
        // The length is a power of two, or 0.
        Some(hash as usize & self.0.len().checked_sub(1)?)
    }
}

/// Returns the part of a hash that is stored, which is not 0.
fn tag(hash: u64) -> u32 {
    ((hash >> 32) as u32 | (USES + 1)) & !USES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_once_with_its_uses() {
        let mut keys = RecentKeys::default();
        assert_eq!(keys.remove(7), None);
        for (hash, uses) in [(7, 0), (8, 3), (u64::MAX, 2)] {
            keys.add(hash, uses, 100);
        }
        assert_eq!([7, 8, u64::MAX, 9].map(|hash| keys.remove(hash)), [Some(0), Some(3), Some(2), None]);
        assert_eq!(keys.remove(8), None);
    }

    #[test]
    fn a_key_replaces_the_older_one_at_its_place() {
        let mut keys = RecentKeys::default();
        let (old, new) = (1, 1 | 9 << 40);
        keys.add(old, 1, 4);
        keys.add(new, 2, 4);
        assert_eq!((keys.remove(old), keys.remove(new)), (None, Some(2)));
    }
}
