//! The folder of the disk caches.

use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Disk;

/// The subfolder of this version of the files. Files of other versions are left alone.
const VERSION: &str = "v1";

/// A folder that only this process uses, with a subfolder per data centre.
pub(crate) struct CacheFolder {
    path: PathBuf,
    _lock: File,
}

impl CacheFolder {
    /// Creates the folder if it is missing, and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        // Stored responses are no business of other users.
        let create = DirBuilder::new().recursive(true).mode(0o700).create(path.join(VERSION));
        let lock = create.and_then(|()| File::create(path.join("lock")));
        let lock = lock.map_err(|error| unusable(path, &error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                Err(format!("--cache-dir {}: another strata-edge uses this folder", path.display()))
            }
            Err(TryLockError::Error(error)) => Err(unusable(path, &error)),
        }
    }

    /// Opens the files of a data centre, for at most this many bytes.
    pub(crate) fn disk(&self, data_centre: u16, max_bytes: u64) -> Result<Arc<Disk>, String> {
        let folder = self.path.join(VERSION).join(data_centre.to_string());
        Disk::open(folder, max_bytes).map_err(|error| unusable(&self.path, &error))
    }
}

fn unusable(path: &Path, error: &std::io::Error) -> String {
    format!("--cache-dir {}: {error}; expected a folder in which this user can create files", path.display())
}
