//! Escapes an id into one segment of a key, and back: injective, bounded, and safe in Redis globs,
//! hash tags and header fields.
//!
//! ```text
//! segment = 1*128( plain / escape )                an id of up to 128 bytes
//!         / "~"                                    the empty id
//!         / 64( plain / "%" / hex ) "~" 32hex      a longer one: its head, and SHA-256 of its
//!                                                  whole escaped form
//! plain   = "A"-"Z" / "a"-"z" / "0"-"9" / "-" / "_" / "." / "@"
//! escape  = "%" 2HEX
//! ```
//!
//! Only the last two forms contain a `~`, and the last is never as short as the empty id's, so no
//! form can be mistaken for another.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use sha2::{Digest as _, Sha256};

use crate::KeyId;

/// The longest escaped id, in bytes. A longer one is cut and hashed, so that a hostile id cannot
/// make a huge key.
pub(crate) const MAX_ID_BYTES: usize = 128;
/// The bytes of a cut id that stay readable in front of its hash.
const CUT_ID_BYTES: usize = 64;
/// The bytes of SHA-256 behind a cut id: 128 bits, so that finding two ids with one rendering is
/// infeasible.
const CUT_HASH_BYTES: usize = 16;

/// Writes the escaped form of `id` to `out`.
#[inline]
pub(crate) fn write_escaped(id: &impl KeyId, out: &mut impl Write) -> fmt::Result {
    let mut head = Part { out, from: 0, to: CUT_ID_BYTES, len: 0 };
    id.write_id(&mut head)?;
    match head.len {
        0 => out.write_char('~'),
        1..=CUT_ID_BYTES => Ok(()),
        len => write_tail(id, len, out),
    }
}

/// Writes what follows the head of an id whose escaped form has `len` bytes. Most ids are no longer
/// than the head, so a longer one is escaped again instead of being held in a buffer.
#[cold]
fn write_tail(id: &impl KeyId, len: usize, out: &mut impl Write) -> fmt::Result {
    if len <= MAX_ID_BYTES {
        return id.write_id(&mut Part { out, from: CUT_ID_BYTES, to: MAX_ID_BYTES, len: 0 });
    }
    let mut whole = Digest(Sha256::new());
    id.write_id(&mut whole)?;
    out.write_char('~')?;
    whole.0.finalize().iter().take(CUT_HASH_BYTES).try_for_each(|byte| write!(out, "{byte:02x}"))
}

/// Returns the text whose escaped form is `segment`.
///
/// # Errors
/// Returns what was expected and at which byte of the segment. A cut id cannot be unescaped.
pub(crate) fn unescape(segment: &str) -> Result<String, (&'static str, usize)> {
    if segment == "~" {
        return Ok(String::new());
    }
    if segment.is_empty() {
        return Err(("an id, or `~` for the empty one", 0));
    }
    if let Some(at) = segment.find('~') {
        return Err(("an id that was not cut: a cut id ends in `~` and a hash, and cannot be read back", at));
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let at = segment.len() - rest.len();
        if byte == b'%' {
            let escape = tail.split_at_checked(2).and_then(|(hex, tail)| Some((hex_byte(hex)?, tail)));
            let (byte, tail) = escape.ok_or(("`%` and two hexadecimal digits in capitals", at))?;
            bytes.push(byte);
            rest = tail;
        } else if is_plain(byte) {
            bytes.push(byte);
            rest = tail;
        } else {
            return Err(("one of A-Z a-z 0-9 - _ . @ or an escape (`%` and two hexadecimal digits)", at));
        }
    }
    String::from_utf8(bytes).map_err(|_| ("an id of escaped UTF-8", 0))
}

fn hex_byte(hex: &[u8]) -> Option<u8> {
    let digit = |byte: u8| HEX.iter().position(|&digit| digit == byte);
    let [high, low] = hex else { return None };
    u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Returns whether a byte is written as it is. Excluded is every byte with a meaning in Redis
/// globs, hash tags, URLs or the grammar of keys.
fn is_plain(byte: u8) -> bool {
    PLAIN[usize::from(byte)]
}

/// A table, since every byte of every rendered id is looked up.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < plain.len() {
        let text = byte as u8;
        plain[byte] = text.is_ascii_alphanumeric() || matches!(text, b'-' | b'_' | b'.' | b'@');
        byte += 1;
    }
    plain
};

/// Calls `push` with each byte of the escaped form of `text`.
fn escape(text: &str, mut push: impl FnMut(u8) -> fmt::Result) -> fmt::Result {
    text.bytes().try_for_each(|byte| {
        if is_plain(byte) {
            return push(byte);
        }
        push(b'%')?;
        push(HEX[usize::from(byte >> 4)])?;
        push(HEX[usize::from(byte & 15)])
    })
}

/// Escapes the text that is written to it, and writes the bytes `from..to` of the result to `out`.
struct Part<'a, W> {
    out: &'a mut W,
    from: usize,
    to: usize,
    /// The bytes of the escaped form so far, also those outside of the part.
    len: usize,
}

impl<W: Write> Part<'_, W> {
    /// Returns whether the next `bytes` bytes are within the part.
    fn has_room(&self, bytes: usize) -> bool {
        self.len >= self.from && bytes <= self.to.saturating_sub(self.len)
    }
}

impl<W: Write> Write for Part<'_, W> {
    #[inline]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.has_room(text.len()) && text.bytes().all(is_plain) {
            self.len += text.len();
            return self.out.write_str(text);
        }
        escape(text, |byte| {
            let is_within = self.has_room(1);
            self.len += 1;
            if is_within { self.out.write_char(char::from(byte)) } else { Ok(()) }
        })
    }

    #[inline]
    fn write_char(&mut self, char: char) -> fmt::Result {
        if char.is_ascii() && is_plain(char as u8) && self.has_room(1) {
            self.len += 1;
            return self.out.write_char(char);
        }
        self.write_str(char.encode_utf8(&mut [0; 4]))
    }
}

/// Hashes the escaped form of the text that is written to it.
struct Digest(Sha256);

impl Write for Digest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(text, |byte| {
            self.0.update([byte]);
            Ok(())
        })
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
        assert_eq!(escaped("*?[]\\"), "%2A%3F%5B%5D%5C");
        assert_eq!(escaped(""), "~");
        assert_eq!(escaped("~"), "%7E");
        assert_eq!(escaped("Ann.B@x-y_z"), "Ann.B@x-y_z");
    }

    #[test]
    fn a_long_id_is_bounded_and_differs_from_other_long_ids() {
        let (long, other) = ("x".repeat(1 << 20), "x".repeat((1 << 20) - 1) + "y");
        assert_eq!(escaped(&long).len(), CUT_ID_BYTES + 1 + 2 * CUT_HASH_BYTES);
        assert_ne!(escaped(&long), escaped(&other));
        let (whole, cut) = ("x".repeat(MAX_ID_BYTES), "x".repeat(MAX_ID_BYTES + 1));
        assert_eq!(unescape(&escaped(&whole)), Ok(whole));
        assert_eq!(unescape(&escaped(&cut)).unwrap_err().1, CUT_ID_BYTES);
    }

    #[test]
    fn no_other_id_renders_like_a_cut_one() {
        let cut = escaped(&"x".repeat(200));
        assert_eq!(escaped(&cut), cut.replace('~', "%7E"));
    }

    #[test]
    fn an_error_says_what_was_expected_and_at_which_byte() {
        for (segment, expected, at) in [
            ("", "or `~` for the empty one", 0),
            ("ab~c", "a cut id ends in `~`", 2),
            ("a%2", "two hexadecimal digits in capitals", 1),
            ("%+1", "two hexadecimal digits in capitals", 0),
            ("ab%2a", "two hexadecimal digits in capitals", 2),
            ("a*", "one of A-Z", 1),
            ("%FF", "UTF-8", 0),
        ] {
            let error = unescape(segment).unwrap_err();
            assert!(error.0.contains(expected) && error.1 == at, "{segment}: {error:?}");
        }
    }

    proptest! {
        #[test]
        fn escaping_is_undone_and_uses_no_reserved_byte(text in any::<String>()) {
            let segment = escaped(&text);
            prop_assert!(segment.bytes().all(|b| is_plain(b) || b == b'%' || b == b'~'));
            if segment == "~" || !segment.contains('~') {
                prop_assert!(segment.len() <= MAX_ID_BYTES);
                prop_assert_eq!(unescape(&segment), Ok(text));
            }
        }

        #[test]
        fn different_ids_never_escape_alike(a in any::<String>(), b in any::<String>()) {
            prop_assert_eq!(a == b, escaped(&a) == escaped(&b));
        }
    }
}
