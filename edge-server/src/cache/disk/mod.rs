//! Responses in files, bounded in bytes; the least recently used are evicted.
//!
//! A file is written apart and renamed, so that readers see whole files only. Nothing is synced:
//! after a loss of power a file may have lost its contents, which its checksum shows.
//!
//! A lookup opens the file of its key. The index, which a scan fills after the start, knows the
//! order of use and the bytes. Until it is complete, nothing is stored.

mod file;
mod folder;
mod index;
mod scan;

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use self::file::Name;
pub(crate) use self::folder::CacheFolder;
use self::index::{Index, bytes_on_disk};
use super::memory::{Found, Key};
use super::message;
use super::statistics::{Put, Usage};

/// The folder of files that are being written.
const UNFINISHED: &str = "unfinished";
/// The shortest time between two failures that are logged.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The files of a data centre.
pub(crate) struct Disk {
    folder: PathBuf,
    max_bytes: u64,
    index: Mutex<Index>,
    /// Whether the index knows all files.
    is_complete: AtomicBool,
    /// When a failure was logged last.
    logged: Mutex<Option<Instant>>,
    written: AtomicU64,
    evictions: AtomicU64,
    invalid_files: AtomicU64,
}

impl Disk {
    /// Opens the files of a folder, which is created, and begins to scan it.
    ///
    /// # Errors
    /// If the folder cannot be created, or no file in it.
    fn open(folder: PathBuf, max_bytes: u64) -> std::io::Result<Arc<Self>> {
        let unfinished = folder.join(UNFINISHED);
        match std::fs::remove_dir_all(&unfinished) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => std::fs::create_dir_all(&unfinished)?,
        }
        let test = unfinished.join("test");
        std::fs::write(&test, "").and_then(|()| std::fs::remove_file(&test))?;
        let disk = Arc::new(Self {
            folder,
            max_bytes,
            index: Mutex::default(),
            is_complete: AtomicBool::new(false),
            logged: Mutex::default(),
            written: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
            invalid_files: AtomicU64::new(0),
        });
        let scanning = Arc::clone(&disk);
        std::thread::Builder::new().name("cache-scan".to_owned()).spawn(move || scanning.scan())?;
        Ok(disk)
    }

    /// Whether responses can be stored. They cannot before all files are counted.
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete.load(Ordering::Acquire)
    }

    /// The number of files that were no stored response, or a damaged one.
    pub(super) fn invalid_files(&self) -> u64 {
        self.invalid_files.load(Ordering::Relaxed)
    }

    pub(super) fn usage(&self) -> Usage {
        let index = self.index();
        Usage {
            bytes: index.bytes(),
            capacity_bytes: self.max_bytes,
            entries: index.len() as u64,
            evictions: self.evictions.load(Ordering::Relaxed),
        }
    }

    /// Returns the response under `key` unless its lifetime has ended. Blocks.
    pub(super) fn get(&self, key: &Key, now: SystemTime) -> Option<Found> {
        let name = Name::of(key);
        let file = match std::fs::read(name.path(&self.folder)) {
            Ok(file) => Bytes::from(file),
            Err(error) => {
                if error.kind() != ErrorKind::NotFound {
                    self.note_failure("read", &error);
                }
                self.remove_file(&mut self.index(), &name);
                return None;
            }
        };
        let contents = file::parse(&file).filter(|contents| contents.key == *key);
        let Some(contents) = contents else {
            self.invalid_files.fetch_add(1, Ordering::Relaxed);
            self.remove_file(&mut self.index(), &name);
            return None;
        };
        let response = message::parse(&contents.message).filter(|_| contents.line.is_valid_at(unix_ms(now)));
        let Some(response) = response else {
            self.remove_file(&mut self.index(), &name);
            return None;
        };
        self.index().touch(&name);
        let age = Duration::from_millis(unix_ms(now) - contents.line.stored_ms);
        Some(Found { response, age })
    }

    /// Stores a response for this time, in place of an older one. If that fails, only the older one
    /// is removed. Blocks.
    pub(super) fn put(&self, key: &Key, message: &Bytes, lifetime: Duration, now: SystemTime) -> Put {
        let name = Name::of(key);
        let stored_ms = unix_ms(now);
        let expires_ms = stored_ms.saturating_add(u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX));
        let beginning = file::beginning(key, stored_ms, expires_ms, message);
        let bytes = bytes_on_disk(beginning.len() + message.len());
        if bytes > self.max_bytes {
            self.remove_file(&mut self.index(), &name);
            return Put::TooLarge;
        }
        if !self.reserve(bytes) {
            self.remove_file(&mut self.index(), &name);
            return Put::Failed;
        }
        let mut written = self.write(&beginning, message);
        if written.as_ref().is_err_and(is_full) {
            // Something else has filled the disk. This response replaces older ones.
            let mut index = self.index();
            let target = index.bytes().saturating_sub(2 * bytes);
            self.evict(&mut index, target);
            drop(index);
            written = self.write(&beginning, message);
        }
        let mut index = self.index();
        index.release(bytes);
        // The index is locked while files are renamed or removed, so it stays true.
        match written.and_then(|unfinished| rename(&unfinished, &name.path(&self.folder))) {
            Ok(()) => {
                index.insert(name, bytes);
                Put::Stored
            }
            Err(error) => {
                self.remove_file(&mut index, &name);
                drop(index);
                self.note_failure("store", &error);
                Put::Failed
            }
        }
    }

    /// Writes a file apart and returns its path. Leaves none if that fails.
    fn write(&self, beginning: &[u8], message: &[u8]) -> std::io::Result<PathBuf> {
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(UNFINISHED).join(number.to_string());
        let written = File::create_new(&path).and_then(|mut file| {
            file.write_all(beginning)?;
            file.write_all(message)
        });
        match written {
            Ok(()) => Ok(path),
            Err(error) => {
                let _ = std::fs::remove_file(&path);
                Err(error)
            }
        }
    }

    /// Removes the response under `key`, and returns whether there was one. Blocks.
    pub(super) fn remove(&self, key: &Key) -> bool {
        self.remove_file(&mut self.index(), &Name::of(key))
    }

    /// Evicts files until these bytes fit beside the others, and counts them. Returns `false` if
    /// they do not fit beside those that are being written.
    fn reserve(&self, bytes: u64) -> bool {
        let mut index = self.index();
        let target = self.max_bytes - bytes;
        self.evict(&mut index, target);
        if index.bytes() > target {
            return false;
        }
        index.reserve(bytes);
        true
    }

    fn evict(&self, index: &mut Index, max_bytes: u64) {
        while index.bytes() > max_bytes
            && let Some(name) = index.pop_oldest()
        {
            let _ = std::fs::remove_file(name.path(&self.folder));
            self.evictions.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn remove_file(&self, index: &mut Index, name: &Name) -> bool {
        let is_known = index.remove(name);
        // A complete index saves the call for the many short-lived responses in memory.
        (is_known || !self.is_complete()) && std::fs::remove_file(name.path(&self.folder)).is_ok()
    }

    /// Logs a failure, but no other one within a minute.
    fn note_failure(&self, what: &str, error: &std::io::Error) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.is_none_or(|logged| logged.elapsed() > LOG_INTERVAL) {
            *logged = Some(Instant::now());
            let folder = self.folder.display();
            eprintln!("strata-edge: the disk cache in {folder} cannot {what} a response: {error}");
        }
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Renames a file, into a folder that is created if it is missing. Removes the file if that fails.
fn rename(from: &Path, to: &Path) -> std::io::Result<()> {
    let renamed = match (std::fs::rename(from, to), to.parent()) {
        (Err(error), Some(parent)) if error.kind() == ErrorKind::NotFound => {
            std::fs::create_dir_all(parent).and_then(|()| std::fs::rename(from, to))
        }
        (renamed, _) => renamed,
    };
    renamed.inspect_err(|_| drop(std::fs::remove_file(from)))
}

fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
