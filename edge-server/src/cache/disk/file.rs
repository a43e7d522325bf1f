//! The form of a stored response in a file.
//!
//! ```text
//! strata-cache 1 CHECKSUM STORED EXPIRES NAMESPACE URL MESSAGE\n
//! ```
//!
//! The cache's name, the URL and the response message follow. `CHECKSUM` is the XXH3-64 of
//! everything after it, in 16 hex digits. The two times are in milliseconds since 1970, and the
//! last three numbers are lengths in bytes.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::Xxh3;

use crate::cache::memory::Key;

const MAGIC: &str = "strata-cache 1 ";
/// The digits of the checksum, and the space after them.
const CHECKSUM_LEN: usize = 17;
/// More than the length of the first line.
pub(super) const MAX_LINE_BYTES: usize = 160;

/// The name of a file: the SHA-256 of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Name([u8; 32]);

impl Name {
    pub(super) fn of(key: &Key) -> Self {
        let length = (key.namespace.len() as u64).to_be_bytes();
        let hash = Sha256::new().chain_update(length).chain_update(&key.namespace).chain_update(&*key.url);
        Self(hash.finalize().into())
    }

    /// Reads a name from a path that [`Name::path`] has returned.
    pub(super) fn from_path(folder: &Path, path: &Path) -> Option<Self> {
        let text = path.file_name()?.to_str()?.as_bytes();
        let mut name = [0; 32];
        if text.len() != 64 {
            return None;
        }
        for (byte, digits) in name.iter_mut().zip(text.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Self(name)).filter(|name| name.path(folder) == path)
    }

    /// Returns the path of the file, below two levels of 16 and 256 folders.
    pub(super) fn path(&self, folder: &Path) -> PathBuf {
        let text: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        folder.join(&text[..1]).join(&text[1..3]).join(text)
    }
}

/// The first line of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) stored_ms: u64,
    pub(super) expires_ms: u64,
    checksum: u64,
    len: usize,
    /// The lengths of the cache's name, the URL and the message.
    lens: [usize; 3],
}

impl Line {
    /// Parses the beginning of a file.
    pub(super) fn parse(beginning: &[u8]) -> Option<Self> {
        let len = beginning.iter().take(MAX_LINE_BYTES).position(|byte| *byte == b'\n')? + 1;
        let line = std::str::from_utf8(&beginning[..len - 1]).ok()?.strip_prefix(MAGIC)?;
        let mut numbers = line.split(' ');
        let checksum = u64::from_str_radix(numbers.next()?, 16).ok()?;
        let mut number = || numbers.next()?.parse::<u64>().ok();
        let (stored_ms, expires_ms) = (number()?, number()?);
        let mut len_of = || usize::try_from(number()?).ok();
        let lens = [len_of()?, len_of()?, len_of()?];
        Some(Self { stored_ms, expires_ms, checksum, len, lens })
    }

    /// The length of the file.
    pub(super) fn file_len(&self) -> Option<usize> {
        self.lens.iter().try_fold(self.len, |sum, len| sum.checked_add(*len))
    }

    /// Whether the response may be served at this time. One that was stored later than now is not:
    /// the clock was set back, so its age is unknown.
    pub(super) fn is_valid_at(&self, now_ms: u64) -> bool {
        (self.stored_ms..self.expires_ms).contains(&now_ms)
    }
}

/// Returns what is written before the message.
pub(super) fn beginning(key: &Key, stored_ms: u64, expires_ms: u64, message: &Bytes) -> Vec<u8> {
    let lens = [key.namespace.len(), key.url.len(), message.len()];
    let numbers = format!("{stored_ms} {expires_ms} {} {} {}\n", lens[0], lens[1], lens[2]);
    let mut beginning = format!("{MAGIC}{:016x} {numbers}", 0).into_bytes();
    beginning.extend_from_slice(&key.namespace);
    beginning.extend_from_slice(key.url.as_bytes());
    let checksum = checksum(&[&beginning[MAGIC.len() + CHECKSUM_LEN..], message]);
    beginning[MAGIC.len()..][..CHECKSUM_LEN].copy_from_slice(format!("{checksum:016x} ").as_bytes());
    beginning
}

/// The contents of a whole file.
#[derive(Debug, PartialEq)]
pub(super) struct Contents {
    pub(super) line: Line,
    pub(super) key: Key,
    pub(super) message: Bytes,
}

/// Parses a file. Returns `None` if it is not complete, or changed.
pub(super) fn parse(file: &Bytes) -> Option<Contents> {
    let line = Line::parse(file)?;
    if line.file_len()? != file.len() || checksum(&[&file[MAGIC.len() + CHECKSUM_LEN..]]) != line.checksum {
        return None;
    }
    let url = line.len + line.lens[0];
    let message = url + line.lens[1];
    Some(Contents {
        line,
        key: Key {
            namespace: file[line.len..url].into(),
            url: std::str::from_utf8(&file[url..message]).ok()?.into(),
        },
        message: file.slice(message..),
    })
}

fn checksum(parts: &[&[u8]]) -> u64 {
    let mut hash = Xxh3::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key { namespace: Box::from(&b"strata"[..]), url: "http://a.test/b".into() }
    }

    fn file() -> Vec<u8> {
        let message = Bytes::from_static(b"HTTP/1.1 200 OK\r\n\r\nbody");
        let mut file = beginning(&key(), 10, 20, &message);
        file.extend_from_slice(&message);
        file
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let contents = parse(&file().into()).unwrap();
        assert_eq!((contents.key, &*contents.message), (key(), &b"HTTP/1.1 200 OK\r\n\r\nbody"[..]));
        let valid = [9, 10, 19, 20].map(|now_ms| contents.line.is_valid_at(now_ms));
        assert_eq!(valid, [false, true, true, false]);
    }

    #[test]
    fn a_file_with_any_changed_byte_or_of_any_other_length_is_refused() {
        let file = file();
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut changed = file.clone();
                changed[at] ^= 1 << bit;
                // Hex digits may be in upper case.
                if !changed.eq_ignore_ascii_case(&file) || at >= MAGIC.len() + CHECKSUM_LEN {
                    assert_eq!(parse(&changed.into()), None, "byte {at}, bit {bit}");
                }
            }
            assert_eq!(parse(&file[..at].to_vec().into()), None, "{at} bytes");
        }
        assert_eq!(parse(&[&file[..], b"x"].concat().into()), None);
    }

    #[test]
    fn keys_whose_parts_join_to_the_same_text_have_names_of_their_own() {
        let name =
            |namespace: &[u8], url: &str| Name::of(&Key { namespace: namespace.into(), url: url.into() });
        assert_ne!(name(b"a", "b"), name(b"ab", ""));
        let (folder, name) = (Path::new("cache"), name(b"a", "b"));
        assert_eq!(Name::from_path(folder, &name.path(folder)), Some(name));
        assert_eq!(
            Name::from_path(folder, &folder.join("0").join(name.path(folder).file_name().unwrap())),
            None
        );
    }
}
