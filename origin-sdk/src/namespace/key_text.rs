//! The text of a key, in a buffer on the stack: a read of memory allocates nothing.

use std::fmt::{self, Write};
use std::mem;

use shared_keys::{Key, MAX_KEY_BYTES};

/// The size of the first buffer. Most keys fit into it, and it is quickly cleared.
const SHORT: usize = 128;

/// Returns the result of `read` on the text of a key, or `None` if the key does not render.
#[inline]
pub(super) fn with_text<T>(key: &impl Key, read: impl FnOnce(&[u8]) -> T) -> Option<T> {
    let mut buffer = [0; SHORT];
    match rendered(key, &mut buffer) {
        Some(text) => Some(read(text)),
        None => with_long_text(key, read),
    }
}

#[cold]
fn with_long_text<T>(key: &impl Key, read: impl FnOnce(&[u8]) -> T) -> Option<T> {
    rendered(key, &mut [0; MAX_KEY_BYTES]).map(read)
}

/// Returns the text of a key, or `None` if it does not fit into the buffer.
#[inline]
fn rendered<'a>(key: &impl Key, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let mut unused = Unused(buffer);
    key.render(&mut unused).ok()?;
    let unused = unused.0.len();
    Some(&buffer[..buffer.len() - unused])
}

/// The part of a buffer that is not written yet. Writing more is an error.
struct Unused<'a>(&'a mut [u8]);

impl Write for Unused<'_> {
    #[inline]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let (written, unused) = mem::take(&mut self.0).split_at_mut_checked(text.len()).ok_or(fmt::Error)?;
        written.copy_from_slice(text.as_bytes());
        self.0 = unused;
        Ok(())
    }

    #[inline]
    fn write_char(&mut self, char: char) -> fmt::Result {
        if char.is_ascii() {
            let (written, unused) = mem::take(&mut self.0).split_first_mut().ok_or(fmt::Error)?;
            *written = char as u8;
            self.0 = unused;
            return Ok(());
        }
        self.write_str(char.encode_utf8(&mut [0; 4]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::keys! {
        app "shop" version 1;

        /// A key of any length.
        key Names { a: String, b: String } = "names:{a}:{b}";
    }

    #[test]
    fn the_text_is_that_of_the_key_at_any_length() {
        for len in 0..=140 {
            let key = Names { a: "é".repeat(len), b: "b".repeat(len) };
            assert_eq!(with_text(&key, <[u8]>::to_vec), Some(key.to_text().into_bytes()), "{len}");
        }
    }
}
