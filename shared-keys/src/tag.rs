//! Tags ↔ the `Cache-Tag` header: the origin writes it, the edge reads it, Cloudflare's zone purge matches it.
//!
//! The header is a list of *tokens* between commas. A simple tag is its own token. Whatever Cloudflare would not carry
//! unchanged (capitals, since it matches without case; spaces; commas; non-ASCII; long text), and every scope that is not
//! a tag, goes as `~` and its [`ScopeHash`].

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use core::fmt;

use crate::{ParseError, Scope, ScopeHash};

/// Cloudflare's limit for one tag.
const MAX_TAG_BYTES: usize = 1024;
/// A longer tag goes by its hash, to leave room in the header.
const MAX_PLAIN_BYTES: usize = 64;

/// What a datum belongs to, besides its key: `category:7`. At most 1,024 bytes.
///
/// ```
/// use shared_keys::Tag;
/// assert_eq!(Tag::new("category:7").unwrap().to_token(), "category:7");
/// assert!(Tag::new("Größe 42").unwrap().to_token().starts_with('~'));
/// assert!(Tag::new("").is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(Box<str>);

impl Tag {
    /// The tag of this text.
    ///
    /// # Errors
    /// If it is empty or longer than 1,024 bytes.
    pub fn new(text: &str) -> Result<Self, ParseError> {
        if text.is_empty() || text.len() > MAX_TAG_BYTES {
            return Err(ParseError::new("a tag of 1 to 1,024 bytes", text.len(), text));
        }
        Ok(Self(text.into()))
    }

    /// A tag that a checked template rendered. One that many long ids made too long is replaced by its own hash.
    #[doc(hidden)]
    #[must_use]
    pub fn from_template(text: String) -> Self {
        if text.len() > MAX_TAG_BYTES {
            return Self(Scope::hash_tag(&text).to_token().into());
        }
        Self(text.into())
    }

    /// The tag's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tag as it stands in `Cache-Tag`.
    #[must_use]
    pub fn to_token(&self) -> String {
        if is_plain(&self.0) { self.0.to_string() } else { Scope::hash_tag(&self.0).to_token() }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_plain(text: &str) -> bool {
    let plain = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b':' | b'/' | b'@');
    text.len() <= MAX_PLAIN_BYTES && text.bytes().all(plain)
}

/// The tokens of one response: sorted, each once.
///
/// ```
/// use shared_keys::{Tag, TagSet};
/// let mut tags = TagSet::default();
/// tags.insert(Tag::new("product:2").unwrap().to_token());
/// tags.insert(Tag::new("category:7").unwrap().to_token());
/// assert_eq!(tags.to_header(TagSet::MAX_HEADER_BYTES).unwrap(), "category:7,product:2");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagSet(BTreeSet<String>);

impl TagSet {
    /// Cloudflare's limit for the whole `Cache-Tag` header.
    pub const MAX_HEADER_BYTES: usize = 16 * 1024;

    /// Adds a token made by [`Tag::to_token`], [`Scope::to_token`] or [`ScopeHash::to_token`].
    pub fn insert(&mut self, token: String) {
        self.0.insert(token);
    }

    /// Whether there is no token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The header's value.
    ///
    /// # Errors
    /// If it would be longer than `max_bytes`: tags are never cut silently.
    pub fn to_header(&self, max_bytes: usize) -> Result<String, TagOverflow> {
        let bytes = self.0.iter().map(|token| token.len() + 1).sum::<usize>().saturating_sub(1);
        if bytes > max_bytes {
            return Err(TagOverflow { bytes, max_bytes });
        }
        let mut header = String::with_capacity(bytes + 1);
        for token in &self.0 {
            if !header.is_empty() {
                header.push(',');
            }
            header.push_str(token);
        }
        Ok(header)
    }
}

/// The tags of a response do not fit into one header; the response must not be kept by the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TagOverflow {
    /// How long the header would be.
    pub bytes: usize,
    /// How long it may be.
    pub max_bytes: usize,
}

impl fmt::Display for TagOverflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "expected at most {} bytes of tags, got {}: tag the data with fewer, coarser tags",
            self.max_bytes, self.bytes
        )
    }
}

impl core::error::Error for TagOverflow {}

/// The scopes that a `Cache-Tag` value (tokens between commas) or `Surrogate-Key` value (between spaces) names.
///
/// A foreign origin's tag counts as it is written and in lower case, as Cloudflare matches tags without case.
pub fn scopes_from_header(value: &str) -> impl Iterator<Item = ScopeHash> {
    value.split([',', ' ', '\t']).filter(|token| !token.is_empty()).flat_map(|token| {
        let hashed = token.strip_prefix('~').and_then(|hash| hash.parse().ok());
        let lower = token.to_ascii_lowercase();
        let folded = (hashed.is_none() && lower != token).then(|| Scope::hash_tag(&lower));
        core::iter::once(hashed.unwrap_or_else(|| Scope::hash_tag(token))).chain(folded)
    })
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn overflow_is_an_error_and_nothing_is_cut() {
        let mut tags = TagSet::default();
        (0..10).for_each(|n| tags.insert(alloc::format!("tag:{n}")));
        assert_eq!(tags.to_header(59).unwrap().len(), 59);
        assert_eq!(tags.to_header(58), Err(TagOverflow { bytes: 59, max_bytes: 58 }));
    }

    #[test]
    fn a_foreign_tag_is_found_in_its_own_case_and_in_lower_case() {
        let scopes: Vec<_> = scopes_from_header("News, a").collect();
        for text in ["tag:News", "tag:news", "tag:a"] {
            assert!(scopes.contains(&text.parse::<Scope>().unwrap().hash()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_edge_reads_the_scope_that_the_origin_wrote(text in ".{1,80}") {
            let scope = Scope::Tag(Tag::new(&text).unwrap());
            let read: Vec<_> = scopes_from_header(&scope.to_token()).collect();
            prop_assert_eq!(read, [scope.hash()]);
        }

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
