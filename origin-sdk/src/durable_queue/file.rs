//! The durable queue in a file: one line for each invalidation.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use shared_keys::{Mode, Scope};
use xxhash_rust::xxh3::xxh3_64;

use super::{QueueFuture, QueueStore};
use crate::receipt::UnsentInvalidation;

/// The largest size of the file in bytes. Beyond it, one removal of everything takes the place of
/// all lines.
const MAX_BYTES: u64 = 64 << 20;

/// A [`QueueStore`] in a file on a local disk. Each process needs a file of its own, which it
/// locks.
///
/// Every change is written and synchronised with the disk before it counts as stored. A line holds
/// a checksum and one invalidation. Lines that are damaged, or were cut off by a crash, count as a
/// removal of everything, and so does a file of more than 64 MiB.
///
/// ```
/// # use origin_sdk::{Cache, QueueFile};
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("strata-queue");
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let cache = Cache::builder("shop").durable_queue(QueueFile::open(path)?).build().await?;
/// # drop(cache);
/// # Ok::<_, origin_sdk::BoxError>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct QueueFile(Arc<Mutex<File>>);

impl QueueFile {
    /// Opens the file, or creates it, and locks it until the last use of this value.
    ///
    /// # Errors
    /// If the file cannot be opened for reading and writing, or another process has locked it.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path: PathBuf = path.into();
        let named = |what: &str, error: &dyn std::fmt::Display| {
            format!("queue file {}: {what}: {error}", path.display())
        };
        let open = || -> io::Result<File> {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
            // A new file must not vanish with its folder's entry.
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
            Ok(file)
        };
        let file = open()
            .map_err(|error| io::Error::new(error.kind(), named("expected a file to write to", &error)))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(Arc::new(Mutex::new(file)))),
            Err(error) => {
                let what = "expected a file of this process alone; give each process its own";
                Err(io::Error::new(io::ErrorKind::WouldBlock, named(what, &error)))
            }
        }
    }

    /// Runs an operation on a thread that may block.
    fn run<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&mut File) -> io::Result<T> + Send + 'static,
    ) -> QueueFuture<'_, T> {
        let file = Arc::clone(&self.0);
        Box::pin(async move {
            let locked = move || operation(&mut file.lock().unwrap_or_else(PoisonError::into_inner));
            Ok(tokio::task::spawn_blocking(locked).await??)
        })
    }
}

impl QueueStore for QueueFile {
    fn load(&self) -> QueueFuture<'_, Vec<UnsentInvalidation>> {
        self.run(|file| {
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(0))?;
            file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
            let (invalidations, is_damaged) = parse(&bytes);
            if is_damaged {
                tracing::warn!("the durable queue is damaged: everything is removed");
                replace(file, &invalidations)?;
            }
            Ok(invalidations)
        })
    }

    fn append<'a>(&'a self, invalidations: &'a [UnsentInvalidation]) -> QueueFuture<'a, ()> {
        let lines = lines(invalidations);
        self.run(move |file| {
            let end = file.seek(SeekFrom::End(0))?;
            if end + lines.len() as u64 > MAX_BYTES {
                return replace(file, &[everything()]);
            }
            let written = file.write_all(&lines).and_then(|()| file.sync_data());
            // The next line must not follow a part of this one.
            written.inspect_err(|_| drop(file.set_len(end)))
        })
    }

    fn clear(&self) -> QueueFuture<'_, ()> {
        self.run(|file| replace(file, &[]))
    }
}

/// Replaces the content of the file. Overwrites its beginning before it cuts off the rest: a crash
/// in between leaves the new lines in front of a rest, which removes at least as much.
fn replace(file: &mut File, invalidations: &[UnsentInvalidation]) -> io::Result<()> {
    let lines = lines(invalidations);
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&lines)?;
    file.sync_data()?;
    file.set_len(lines.len() as u64)?;
    file.sync_data()
}

/// An invalidation as it is written: without the positions that it does not have yet.
#[derive(Serialize, Deserialize)]
struct Line {
    mode: String,
    scopes: Vec<String>,
}

fn lines(invalidations: &[UnsentInvalidation]) -> Vec<u8> {
    let mut lines = Vec::new();
    for UnsentInvalidation { mode, scopes } in invalidations {
        let line =
            Line { mode: mode.as_str().to_owned(), scopes: scopes.iter().map(Scope::to_string).collect() };
        // Strings always serialise, and JSON escapes line breaks.
        let json = serde_json::to_string(&line).unwrap_or_default();
        lines.extend(format!("{:016x} {json}\n", xxh3_64(json.as_bytes())).into_bytes());
    }
    lines
}

/// Returns the invalidations of the file, and whether a part of it is damaged. Then they are a
/// removal of everything.
fn parse(bytes: &[u8]) -> (Vec<UnsentInvalidation>, bool) {
    let is_whole = bytes.len() as u64 <= MAX_BYTES && (bytes.is_empty() || bytes.ends_with(b"\n"));
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    match lines.map(parse_line).collect::<Option<Vec<_>>>() {
        Some(invalidations) if is_whole => (invalidations, false),
        _ => (vec![everything()], true),
    }
}

fn parse_line(line: &[u8]) -> Option<UnsentInvalidation> {
    let (hash, json) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    if u64::from_str_radix(hash, 16).ok()? != xxh3_64(json.as_bytes()) {
        return None;
    }
    let Line { mode, scopes } = serde_json::from_str(json).ok()?;
    let scopes = scopes.iter().map(|scope| scope.parse().ok()).collect::<Option<Vec<Scope>>>()?;
    Some(UnsentInvalidation::new(mode.parse().ok()?, scopes))
}

fn everything() -> UnsentInvalidation {
    UnsentInvalidation::new(Mode::Remove, vec![Scope::All])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared_keys::Tag;

    use super::*;

    fn tagged(mode: Mode, tags: &[&str]) -> UnsentInvalidation {
        UnsentInvalidation::new(mode, tags.iter().map(|tag| Scope::Tag(Tag::new(tag).unwrap())).collect())
    }

    fn some() -> Vec<UnsentInvalidation> {
        vec![tagged(Mode::Remove, &["a", "line\nbreak", "Größe"]), tagged(Mode::Expire, &["b"]), everything()]
    }

    #[tokio::test]
    async fn stored_invalidations_are_there_after_a_restart_until_they_are_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue");
        let file = QueueFile::open(&path).unwrap();
        assert_eq!(file.load().await.unwrap(), []);
        file.append(&some()[..1]).await.unwrap();
        file.append(&some()[1..]).await.unwrap();
        drop(file);
        let file = QueueFile::open(&path).unwrap();
        assert_eq!(file.load().await.unwrap(), some());
        file.clear().await.unwrap();
        assert_eq!(file.load().await.unwrap(), []);
        file.append(&some()).await.unwrap();
        assert_eq!(file.load().await.unwrap(), some());
    }

    #[test]
    fn two_processes_do_not_share_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue");
        let _file = QueueFile::open(&path).unwrap();
        let error = QueueFile::open(&path).unwrap_err().to_string();
        assert!(error.contains("give each process its own") && error.contains("queue"), "{error}");
        let error = QueueFile::open(folder.path().join("no/such")).unwrap_err().to_string();
        assert!(error.contains("expected a file to write to"), "{error}");
    }

    #[tokio::test]
    async fn a_file_that_a_crash_cut_off_removes_everything_and_is_mended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue");
        let whole = lines(&some());
        for cut in 1..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let is_at_a_line = whole[cut - 1] == b'\n';
            let (invalidations, is_damaged) = parse(&whole[..cut]);
            assert_eq!(
                (is_damaged, invalidations == [everything()]),
                (!is_at_a_line, !is_at_a_line),
                "{cut}"
            );
        }
        std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        let file = QueueFile::open(&path).unwrap();
        assert_eq!(file.load().await.unwrap(), [everything()]);
        file.append(&some()[1..2]).await.unwrap();
        assert_eq!(file.load().await.unwrap(), [everything(), some().remove(1)]);
    }

    #[test]
    fn a_crash_while_the_file_is_replaced_loses_nothing() {
        let (old, new) = (lines(&some()), lines(&[everything()]));
        for written in 0..=new.len() {
            let mixed = [&new[..written], &old[written..]].concat();
            let (invalidations, _) = parse(&mixed);
            assert!(invalidations == some() || invalidations.contains(&everything()), "{written}");
        }
    }

    #[tokio::test]
    async fn a_file_beyond_its_bound_becomes_one_removal_of_everything() {
        let folder = tempfile::tempdir().unwrap();
        let file = QueueFile::open(folder.path().join("queue")).unwrap();
        file.0.lock().unwrap().set_len(MAX_BYTES - 10).unwrap();
        file.append(&some()).await.unwrap();
        assert_eq!(file.load().await.unwrap(), [everything()]);
        file.0.lock().unwrap().set_len(MAX_BYTES + 1).unwrap();
        assert_eq!(file.load().await.unwrap(), [everything()]);
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic_and_never_lose_an_invalidation(
            at in 0usize..1000, byte: u8, foreign in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let mut bytes = lines(&some());
            let at = at % bytes.len();
            bytes[at] = byte;
            let (invalidations, is_damaged) = parse(&bytes);
            let expected = if is_damaged { vec![everything()] } else { some() };
            prop_assert_eq!(invalidations, expected);
            parse(&foreign);
        }
    }
}
