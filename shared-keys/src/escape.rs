//! Ids ↔ one segment of a key: injective, bounded, and safe in Redis globs, hash tags and headers.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use sha2::{Digest, Sha256};

/// An escaped id longer than this is cut and hashed, so that one hostile id cannot make a huge key.
const MAX_ID_BYTES: usize = 128;
/// How much of a cut id stays readable in front of its hash.
const CUT_ID_BYTES: usize = 64;
/// Bytes of SHA-256 kept behind a cut id: 128 bits, so that nobody can find two ids that render alike.
const CUT_HASH_BYTES: usize = 16;

/// A value that can stand as one segment of a key or tag.
///
/// Implementors write plain text; the crate escapes it, so an implementation cannot break the key's grammar.
/// `parse_id` must give back a value that writes the same text.
///
/// ```
/// use core::fmt::{self, Write};
/// use shared_keys::KeyId;
///
/// enum Sort { Rank, Price }
///
/// impl KeyId for Sort {
///     fn write_id(&self, out: &mut impl Write) -> fmt::Result {
///         out.write_str(match self { Sort::Rank => "rank", Sort::Price => "price" })
///     }
///     fn parse_id(text: &str) -> Option<Self> {
///         match text { "rank" => Some(Sort::Rank), "price" => Some(Sort::Price), _ => None }
///     }
/// }
/// ```
pub trait KeyId: Sized {
    /// Writes the id's text.
    ///
    /// # Errors
    /// Only those of `out`.
    fn write_id(&self, out: &mut impl Write) -> fmt::Result;

    /// The id whose text this is, or `None`.
    fn parse_id(text: &str) -> Option<Self>;
}

macro_rules! key_id_by_display {
    ($($id:ty),*) => {$(
        impl KeyId for $id {
            fn write_id(&self, out: &mut impl Write) -> fmt::Result {
                write!(out, "{self}")
            }
            fn parse_id(text: &str) -> Option<Self> {
                text.parse().ok()
            }
        }
    )*};
}
key_id_by_display!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, bool, char, String);

/// Writes `id` escaped into `out`.
pub(crate) fn write_escaped(id: &impl KeyId, out: &mut impl Write) -> fmt::Result {
    let mut escaper = Escaper { head: [0; MAX_ID_BYTES], len: 0, overflow: None };
    id.write_id(&mut escaper)?;
    escaper.finish(out)
}

/// The text that was escaped, or `None` if `segment` is not the escaped form of a whole (uncut) text.
pub(crate) fn unescape(segment: &str) -> Option<String> {
    if segment == "~" {
        return Some(String::new());
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'%' {
            let (hex, tail) = tail.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(core::str::from_utf8(hex).ok()?, 16).ok()?);
            rest = tail;
        } else if is_plain(byte) {
            bytes.push(byte);
            rest = tail;
        } else {
            return None;
        }
    }
    String::from_utf8(bytes).ok().filter(|text| !text.is_empty())
}

/// What stands for itself. Everything that Redis globs, hash tags, URLs and our own grammar give a meaning is left out.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'@')
}

/// Escapes what is written to it: a short id stays in `head`, a long one goes on into a hash.
struct Escaper {
    head: [u8; MAX_ID_BYTES],
    len: usize,
    overflow: Option<Sha256>,
}

impl Escaper {
    fn push(&mut self, byte: u8) {
        if let Some(hash) = &mut self.overflow {
            hash.update([byte]);
        } else if let Some(slot) = self.head.get_mut(self.len) {
            *slot = byte;
            self.len += 1;
        } else {
            let mut hash = Sha256::new();
            hash.update(self.head);
            hash.update([byte]);
            self.overflow = Some(hash);
        }
    }

    fn finish(self, out: &mut impl Write) -> fmt::Result {
        let shown = if self.overflow.is_some() { CUT_ID_BYTES } else { self.len };
        // Only ASCII is pushed, so the head is always valid text.
        out.write_str(core::str::from_utf8(&self.head[..shown]).map_err(|_| fmt::Error)?)?;
        match self.overflow {
            Some(hash) => {
                out.write_char('~')?;
                let digest = hash.finalize();
                digest.iter().take(CUT_HASH_BYTES).try_for_each(|byte| write!(out, "{byte:02x}"))
            }
            None if self.len == 0 => out.write_char('~'),
            None => Ok(()),
        }
    }
}

impl Write for Escaper {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        const HEX: &[u8; 16] = b"0123456789ABCDEF";
        for byte in text.bytes() {
            if is_plain(byte) {
                self.push(byte);
            } else {
                self.push(b'%');
                self.push(HEX[usize::from(byte >> 4)]);
                self.push(HEX[usize::from(byte & 15)]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use proptest::prelude::*;

    use super::*;

    fn escaped(text: &str) -> String {
        let mut out = String::new();
        write_escaped(&text.to_string(), &mut out).unwrap();
        out
    }

    #[test]
    fn bytes_with_a_meaning_are_escaped() {
        assert_eq!(escaped("4*"), "4%2A");
        assert_eq!(escaped("a:b{c}\n\0é"), "a%3Ab%7Bc%7D%0A%00%C3%A9");
        assert_eq!(escaped(""), "~");
        assert_eq!(escaped("~"), "%7E");
        assert_eq!(escaped("Ann.B@x-y_z"), "Ann.B@x-y_z");
    }

    #[test]
    fn a_long_id_is_bounded_and_keeps_its_difference() {
        let (long, other) = ("x".repeat(1 << 20), "x".repeat((1 << 20) - 1) + "y");
        assert_eq!(escaped(&long).len(), CUT_ID_BYTES + 1 + 2 * CUT_HASH_BYTES);
        assert_ne!(escaped(&long), escaped(&other));
        assert_eq!(unescape(&escaped(&long)), None);
    }

    proptest! {
        #[test]
        fn escaping_is_undone_and_uses_no_reserved_byte(text in any::<String>()) {
            let segment = escaped(&text);
            prop_assert!(segment.bytes().all(|b| is_plain(b) || b == b'%' || b == b'~'));
            if segment.len() <= MAX_ID_BYTES && !segment.contains('~') || segment == "~" {
                prop_assert_eq!(unescape(&segment), Some(text));
            }
        }

        #[test]
        fn different_ids_never_escape_alike(a in any::<String>(), b in any::<String>()) {
            prop_assert_eq!(a == b, escaped(&a) == escaped(&b));
        }
    }
}
