//! The files of a disk cache and their bytes, from the least to the most recently used.

use lru::LruCache;

use super::file::Name;

/// The block of usual file systems, of which each file fills a whole number.
const BLOCK_BYTES: u64 = 4096;

/// Returns the bytes that a file of this length fills.
pub(super) fn bytes_on_disk(len: usize) -> u64 {
    (len as u64).next_multiple_of(BLOCK_BYTES)
}

/// The known files.
pub(super) struct Index {
    files: LruCache<Name, u64>,
    /// The bytes of the files, and of those that are being written.
    bytes: u64,
}

impl Default for Index {
    fn default() -> Self {
        Self { files: LruCache::unbounded(), bytes: 0 }
    }
}

impl Index {
    /// Adds a file as the most recently used, in place of one of the same name.
    pub(super) fn insert(&mut self, name: Name, bytes: u64) {
        self.bytes += bytes;
        self.bytes -= self.files.put(name, bytes).unwrap_or_default();
    }

    /// Adds a file as the least recently used, unless there is one of the same name.
    pub(super) fn insert_oldest(&mut self, name: Name, bytes: u64) {
        if !self.files.contains(&name) {
            self.insert(name, bytes);
            self.files.demote(&name);
        }
    }

    /// Makes a file the most recently used.
    pub(super) fn touch(&mut self, name: &Name) {
        self.files.promote(name);
    }

    /// Removes a file, and returns whether it was known.
    pub(super) fn remove(&mut self, name: &Name) -> bool {
        let removed = self.files.pop(name);
        self.bytes -= removed.unwrap_or_default();
        removed.is_some()
    }

    /// Removes the least recently used file.
    pub(super) fn pop_oldest(&mut self) -> Option<Name> {
        let (name, bytes) = self.files.pop_lru()?;
        self.bytes -= bytes;
        Some(name)
    }

    /// Counts bytes of a file that is being written.
    pub(super) fn reserve(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// Ends [`Index::reserve`].
    pub(super) fn release(&mut self, bytes: u64) {
        self.bytes -= bytes;
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }
}
