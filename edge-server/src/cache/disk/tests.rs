use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;

const LIFETIME: Duration = Duration::from_secs(600);

fn key(number: usize) -> Key {
    Key { namespace: Box::default(), url: format!("http://a.test/{number}").into() }
}

fn message(body: &str) -> Bytes {
    Bytes::from(format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\n\r\n{body}"))
}

/// Opens the disk cache of a folder, and waits for its scan.
fn open(folder: &TempDir, max_bytes: u64) -> Arc<Disk> {
    let disk = Disk::open(folder.path().to_owned(), max_bytes).unwrap();
    while !disk.is_complete() {
        std::thread::yield_now();
    }
    disk
}

fn body(disk: &Disk, number: usize) -> Option<String> {
    let found = disk.get(&key(number), SystemTime::now())?;
    Some(String::from_utf8(found.response.body.to_vec()).unwrap())
}

/// Returns the files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn bytes_of(files: &[PathBuf]) -> u64 {
    files.iter().map(|file| bytes_on_disk(file.metadata().unwrap().len() as usize)).sum()
}

#[test]
fn a_stored_response_is_found_after_a_restart_with_its_age() {
    let folder = tempfile::tempdir().unwrap();
    let stored = SystemTime::now() - Duration::from_secs(100);
    let put = open(&folder, 1 << 20).put(&key(1), &message("one"), LIFETIME, stored);
    assert_eq!(put, Put::Stored);
    let disk = open(&folder, 1 << 20);
    assert_eq!(disk.usage().entries, 1);
    let found = disk.get(&key(1), stored + Duration::from_secs(100)).unwrap();
    assert_eq!((&*found.response.body, found.age.as_secs()), (&b"one"[..], 100));
    assert_eq!(found.response.headers["cache-control"], "max-age=600");
    assert_eq!(disk.get(&key(1), stored + LIFETIME), None, "its lifetime has ended");
    assert_eq!(disk.usage().bytes, 0);
    assert_eq!(files(folder.path()), Vec::<PathBuf>::new());
}

#[test]
fn a_damaged_file_is_a_miss_and_is_removed_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(&folder, 1 << 20);
    disk.put(&key(1), &message("one"), LIFETIME, SystemTime::now());
    let file = files(folder.path()).remove(0);
    let mut contents = std::fs::read(&file).unwrap();
    *contents.last_mut().unwrap() ^= 1;
    std::fs::write(&file, contents).unwrap();
    assert_eq!(body(&disk, 1), None);
    assert_eq!((disk.invalid_files(), disk.usage().bytes, file.exists()), (1, 0, false));
}

#[test]
fn the_scan_removes_and_counts_foreign_truncated_and_misplaced_files() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(&folder, 1 << 20);
    for number in 0..3 {
        disk.put(&key(number), &message("intact"), LIFETIME, SystemTime::now());
    }
    drop(disk);
    let path = |number| Name::of(&key(number)).path(folder.path());
    std::fs::OpenOptions::new().write(true).open(path(0)).unwrap().set_len(90).unwrap();
    std::fs::rename(path(1), folder.path().join("0").join(path(1).file_name().unwrap())).unwrap_or_else(
        |_| {
            std::fs::create_dir(folder.path().join("0")).unwrap();
            std::fs::rename(path(1), folder.path().join("0").join(path(1).file_name().unwrap())).unwrap();
        },
    );
    std::fs::write(folder.path().join("notes.txt"), "foreign").unwrap();
    std::os::unix::fs::symlink("/", folder.path().join("link")).unwrap();
    std::fs::write(folder.path().join(UNFINISHED).join("7"), "broken off").unwrap();
    let disk = open(&folder, 1 << 20);
    assert_eq!(disk.invalid_files(), 4);
    assert_eq!(files(folder.path()), [path(2)]);
    assert_eq!((body(&disk, 0), body(&disk, 1), body(&disk, 2)), (None, None, Some("intact".to_owned())));
    assert!(Path::new("/").exists() && disk.usage().entries == 1);
}

#[test]
fn the_scan_removes_expired_files_and_those_from_after_a_clock_that_was_set_back() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, now) = (open(&folder, 1 << 20), SystemTime::now());
    disk.put(&key(1), &message("expired"), LIFETIME, now - LIFETIME);
    disk.put(&key(2), &message("from later"), LIFETIME, now + LIFETIME);
    disk.put(&key(3), &message("valid"), LIFETIME, now);
    drop(disk);
    let disk = open(&folder, 1 << 20);
    assert_eq!((disk.usage().entries, disk.invalid_files()), (1, 0));
    assert_eq!((body(&disk, 2), body(&disk, 3)), (None, Some("valid".to_owned())));
}

#[test]
fn the_files_stay_within_the_bound_and_the_least_recently_used_are_evicted() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(&folder, 40_960);
    for number in 0..9 {
        disk.put(&key(number), &message("small"), LIFETIME, SystemTime::now());
        assert!(body(&disk, 0).is_some(), "it is used each time");
    }
    assert_eq!((disk.usage().entries, disk.usage().bytes), (9, 9 * 4096));
    disk.put(&key(9), &message(&"x".repeat(9_000)), LIFETIME, SystemTime::now());
    let left: Vec<usize> = (0..10).filter(|number| body(&disk, *number).is_some()).collect();
    assert_eq!(left, [0, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!((disk.usage().bytes, disk.usage().evictions), (40_960, 2));
    assert_eq!(bytes_of(&files(folder.path())), 40_960);
    let put = disk.put(&key(0), &message(&"x".repeat(50_000)), LIFETIME, SystemTime::now());
    assert_eq!((put, body(&disk, 0)), (Put::TooLarge, None), "the older one is removed");
}

#[test]
fn responses_that_are_being_written_count_against_the_bound() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(&folder, 40_960);
    assert!(disk.reserve(30_000));
    let put = disk.put(&key(1), &message(&"x".repeat(20_000)), LIFETIME, SystemTime::now());
    assert_eq!(put, Put::Failed);
    assert_eq!(disk.put(&key(1), &message("small"), LIFETIME, SystemTime::now()), Put::Stored);
}

#[test]
fn a_lower_bound_evicts_the_files_that_were_stored_first() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(&folder, 1 << 20);
    for number in 0..10 {
        disk.put(&key(number), &message("small"), LIFETIME, SystemTime::now());
        let file = std::fs::File::options().write(true).open(Name::of(&key(number)).path(folder.path()));
        file.unwrap().set_modified(UNIX_EPOCH + Duration::from_secs(number as u64)).unwrap();
    }
    drop(disk);
    let disk = open(&folder, 3 * 4096);
    let left: Vec<usize> = (0..10).filter(|number| body(&disk, *number).is_some()).collect();
    assert_eq!(left, [7, 8, 9]);
    assert_eq!(files(folder.path()).len(), 3);
}

#[test]
fn a_response_that_cannot_be_written_leaves_no_older_one() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(&folder, 1 << 20);
    disk.put(&key(1), &message("older"), LIFETIME, SystemTime::now());
    std::fs::remove_dir(folder.path().join(UNFINISHED)).unwrap();
    assert_eq!(disk.put(&key(1), &message("newer"), LIFETIME, SystemTime::now()), Put::Failed);
    assert_eq!((body(&disk, 1), disk.usage().bytes), (None, 0));
    std::fs::create_dir(folder.path().join(UNFINISHED)).unwrap();
    assert_eq!(disk.put(&key(1), &message("newer"), LIFETIME, SystemTime::now()), Put::Stored);
    assert_eq!(body(&disk, 1), Some("newer".to_owned()));
}

#[test]
fn the_index_stays_true_while_threads_store_find_and_remove_the_same_keys() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(&folder, 20 * 4096);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let disk = &disk;
            scope.spawn(move || {
                for step in 0..300 {
                    let number = (step * 7 + thread * 3) % 30;
                    match (step + thread) % 3 {
                        0 => drop(disk.remove(&key(number))),
                        1 => drop(disk.get(&key(number), SystemTime::now())),
                        _ => {
                            let put = disk.put(&key(number), &message("body"), LIFETIME, SystemTime::now());
                            assert_eq!(put, Put::Stored);
                        }
                    }
                }
            });
        }
    });
    let files = files(folder.path());
    let usage = disk.usage();
    assert_eq!((usage.bytes, usage.entries), (bytes_of(&files), files.len() as u64));
    assert!(usage.bytes <= 20 * 4096);
    let names: HashSet<_> = (0..30).map(|number| Name::of(&key(number)).path(folder.path())).collect();
    assert!(files.iter().all(|file| names.contains(file)));
}

#[test]
fn a_folder_is_used_by_one_process_and_an_unusable_one_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    let first = CacheFolder::open(&path).unwrap();
    let mode = path.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "other users cannot read stored responses");
    let error = CacheFolder::open(&path).err().unwrap();
    assert!(error.contains("another strata-edge uses this folder"), "{error}");
    drop(first);
    assert!(CacheFolder::open(&path).is_ok());
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    for unusable in [&file, Path::new("/proc/strata")] {
        let error = CacheFolder::open(unusable).err().unwrap();
        assert!(error.contains(&unusable.display().to_string()) && error.contains("create files"), "{error}");
    }
}
