//! The content of a request, as a part of the key of its response.

use core::fmt;

use sha2::{Digest, Sha256};

/// A hash of a request's content and of the fields about it, for methods whose response depends on
/// the content (QUERY, RFC 10008 section 2.7).
///
/// SHA-256, because clients choose the content: with a weaker hash one could find two contents with
/// the same hash, and the response to one would answer the other. Texts are length-prefixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// Returns the hash of `content` and of the fields about it: names in lower case and values, in
    /// an order that the caller fixes.
    ///
    /// ```
    /// use shared_keys::ContentHash;
    /// let of = |media_type: &[u8]| ContentHash::new([("content-type", media_type)], b"{}");
    /// assert_ne!(of(b"application/json"), of(b"text/plain"));
    /// assert_eq!(of(b"text/plain").to_string().len(), 64);
    /// ```
    #[must_use]
    pub fn new<'a>(fields: impl IntoIterator<Item = (&'a str, &'a [u8])>, content: &[u8]) -> Self {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        part(content);
        for (name, value) in fields {
            part(name.as_bytes());
            part(value);
        }
        Self(hash.finalize().into())
    }
}

/// The hash in hexadecimal, 64 digits.
impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_other_split_of_the_same_octets_has_the_same_hash() {
        let hashes = [
            ContentHash::new([], b"ab"),
            ContentHash::new([("a", &b"b"[..])], b""),
            ContentHash::new([("ab", &b""[..])], b""),
            ContentHash::new([("", &b"ab"[..])], b""),
            ContentHash::new([("a", &b""[..]), ("b", &b""[..])], b""),
            ContentHash::new([], b""),
            ContentHash::new([("a", &b"b"[..])], b"\0"),
        ];
        for (index, hash) in hashes.iter().enumerate() {
            assert!(!hashes[..index].contains(hash), "{index}");
        }
    }
}
