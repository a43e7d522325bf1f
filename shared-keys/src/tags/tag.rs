//! A tag, and its token in the `Cache-Tag` header.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use core::fmt;

use crate::{MAX_KEY_BYTES, ParseError, ScopeHash};

/// Cloudflare's limit for one tag, in bytes, which no template can exceed.
pub(super) const MAX_TAG_BYTES: usize = MAX_KEY_BYTES;
/// The longest tag that is written as text, in bytes. A longer one is written as its hash, to leave
/// room in the header.
const MAX_PLAIN_BYTES: usize = 64;

/// A label of data, besides its key: `category:7`. It has 1 to 1,024 bytes.
///
/// ```
/// # extern crate shared_keys as origin_sdk;
/// use origin_sdk::Tag;
/// assert_eq!(Tag::new("category:7").unwrap().to_token(), "category:7");
/// assert!(Tag::new("Größe 42").unwrap().to_token().starts_with('~'));
/// assert!(Tag::new("").is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(Box<str>);

impl Tag {
    /// Creates a tag.
    ///
    /// # Errors
    /// Fails if the text is empty or longer than 1,024 bytes.
    pub fn new(text: &str) -> Result<Self, ParseError> {
        if text.is_empty() || text.len() > MAX_TAG_BYTES {
            return Err(ParseError::new("a tag of 1 to 1,024 bytes", text.len().min(MAX_TAG_BYTES), text));
        }
        Ok(Self(text.into()))
    }

    /// Creates a tag from the output of a checked template, which is neither empty nor too long.
    #[doc(hidden)]
    #[must_use]
    pub fn from_template(text: String) -> Self {
        Self(text.into())
    }

    /// Returns the tag's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the tag's token in `Cache-Tag`.
    #[must_use]
    pub fn to_token(&self) -> String {
        if self.is_plain() { self.0.to_string() } else { ScopeHash::tag(&self.0).to_token() }
    }

    /// Returns whether the tag is its own token.
    pub(super) fn is_plain(&self) -> bool {
        let plain = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b':' | b'/' | b'@');
        self.0.len() <= MAX_PLAIN_BYTES && self.0.bytes().all(plain)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_tag_is_refused_with_what_was_expected_and_where() {
        let long = "x".repeat(MAX_TAG_BYTES + 1);
        for (text, at) in [("", 0), (long.as_str(), MAX_TAG_BYTES)] {
            let error = Tag::new(text).unwrap_err();
            assert_eq!((error.expected(), error.at()), ("a tag of 1 to 1,024 bytes", at));
        }
        assert!(Tag::new(&long[1..]).is_ok());
    }

    proptest! {
        #[test]
        fn a_token_fits_cloudflare(text in any::<String>()) {
            if let Ok(tag) = Tag::new(&text) {
                let token = tag.to_token();
                prop_assert!(token.len() <= MAX_TAG_BYTES);
                prop_assert!(token.bytes().all(|b| b.is_ascii_graphic() && b != b',' && !b.is_ascii_uppercase()));
            }
        }
    }
}
