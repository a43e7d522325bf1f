//! The scan that finds the files of earlier runs.

use std::fs::{DirEntry, File, FileType};
use std::io::Read;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use super::file::{Line, MAX_LINE_BYTES, Name};
use super::index::bytes_on_disk;
use super::{Disk, UNFINISHED, unix_ms};

/// A stored response that the scan has found.
struct Stored {
    name: Name,
    bytes: u64,
    modified: SystemTime,
}

/// The kind of a file.
enum Finding {
    Stored(Stored),
    Expired,
    Invalid,
}

impl Disk {
    /// Adds all stored responses to the index, and removes all other files. Only the beginning of
    /// each is read: a lookup finds changes behind it.
    pub(super) fn scan(&self) {
        let mut found = Vec::new();
        self.scan_folder(&self.folder, &mut found);
        // The order of use is not known, so the responses stored first count as used first.
        found.sort_by_key(|stored| std::cmp::Reverse(stored.modified));
        for stored in found {
            let mut index = self.index();
            // A lookup may have removed it meanwhile.
            if stored.name.path(&self.folder).exists() {
                index.insert_oldest(stored.name, stored.bytes);
            }
        }
        self.evict(&mut self.index(), self.max_bytes);
        self.is_complete.store(true, Ordering::Release);
    }

    fn scan_folder(&self, folder: &Path, found: &mut Vec<Stored>) {
        match std::fs::read_dir(folder) {
            Ok(entries) => entries.for_each(|entry| {
                if let Err(error) = entry.and_then(|entry| self.scan_entry(&entry, found)) {
                    self.note_failure("scan for", &error);
                }
            }),
            Err(error) => self.note_failure("scan for", &error),
        }
    }

    fn scan_entry(&self, entry: &DirEntry, found: &mut Vec<Stored>) -> std::io::Result<()> {
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            if entry.file_name() != UNFINISHED {
                self.scan_folder(&path, found);
            }
            return Ok(());
        }
        match self.inspect(&path, kind) {
            Finding::Stored(stored) => {
                found.push(stored);
                return Ok(());
            }
            Finding::Expired => {}
            Finding::Invalid => {
                self.invalid_files.fetch_add(1, Ordering::Relaxed);
            }
        }
        std::fs::remove_file(&path)
    }

    fn inspect(&self, path: &Path, kind: FileType) -> Finding {
        let Some(name) = Name::from_path(&self.folder, path).filter(|_| kind.is_file()) else {
            return Finding::Invalid;
        };
        let Some((line, len, modified)) = read_line(path) else { return Finding::Invalid };
        if line.file_len() != Some(len) {
            return Finding::Invalid;
        }
        if !line.is_valid_at(unix_ms(SystemTime::now())) {
            return Finding::Expired;
        }
        Finding::Stored(Stored { name, bytes: bytes_on_disk(len), modified })
    }
}

/// Returns a file's first line, its length, and the time at which it was written.
fn read_line(path: &Path) -> Option<(Line, usize, SystemTime)> {
    let file = File::open(path).ok()?;
    let metadata = file.metadata().ok()?;
    let mut beginning = Vec::with_capacity(MAX_LINE_BYTES);
    file.take(MAX_LINE_BYTES as u64).read_to_end(&mut beginning).ok()?;
    Some((Line::parse(&beginning)?, usize::try_from(metadata.len()).ok()?, metadata.modified().ok()?))
}
