//! The `Cache-Tag` header: the origin writes it, the edge reads it, and Cloudflare's zone purge
//! matches it.
//!
//! The header is a list of *tokens* between commas. A plain tag is its own token. Every other
//! scope, and every tag that Cloudflare would not carry unchanged (capitals, since it matches
//! without case; spaces; commas; non-ASCII; long text), is written as `~` and its [`ScopeHash`].
//! Keys that do not fit are folded into prefixes that they share.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use super::Tag;
use super::fold::fold;
use crate::ScopeHash;
use crate::keys::datum_of;

/// The bytes of a hash in the header, with the `~` in front of it and the comma behind it.
const TOKEN_BYTES: usize = 15;

/// The keys and tags that a response was built from, each once. They are borrowed, and hashed
/// only for the header.
///
/// ```
/// use shared_keys::{Tag, TagSet, scopes_from_header};
/// let (product, category) = (Tag::new("product:2").unwrap(), Tag::new("category:7").unwrap());
/// let mut tags = TagSet::default();
/// tags.insert_tag(&product);
/// tags.insert_tag(&category);
/// assert_eq!(tags.to_header(TagSet::MAX_HEADER_BYTES).unwrap().value, "category:7,product:2");
///
/// // A key adds itself and the prefixes that cover it.
/// tags.insert_key("shop:v1:{product:2}");
/// let header = tags.to_header(TagSet::MAX_HEADER_BYTES).unwrap().value;
/// assert_eq!(scopes_from_header(&header).count(), 2 + 1 + 4);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagSet<'a> {
    keys: BTreeSet<&'a str>,
    tags: BTreeSet<&'a Tag>,
}

/// The value of a `Cache-Tag` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagHeader {
    /// The tokens, sorted, with commas between them.
    pub value: String,
    /// Whether keys were folded into prefixes. If so, an invalidation of other keys below those
    /// prefixes covers the response as well.
    pub folded: bool,
}

impl<'a> TagSet<'a> {
    /// Cloudflare's limit for the whole `Cache-Tag` header.
    pub const MAX_HEADER_BYTES: usize = 16 * 1024;

    /// Adds a key, by its text, and the prefixes that cover it.
    pub fn insert_key(&mut self, key: &'a str) {
        self.keys.insert(key);
    }

    /// Adds a tag.
    pub fn insert_tag(&mut self, tag: &'a Tag) {
        self.tags.insert(tag);
    }

    /// Returns whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.tags.is_empty()
    }

    /// Returns the header's value.
    ///
    /// If it would be longer than `max_bytes`, keys are folded into the longest prefixes that they
    /// share and that make it fit. An invalidation of any of the keys still covers the response; so
    /// does an invalidation of their siblings. Tags are not folded.
    ///
    /// # Errors
    /// Fails if the value would still be longer. Nothing is cut silently.
    pub fn to_header(&self, max_bytes: usize) -> Result<TagHeader, TagOverflow> {
        let (plain, hashed): (Vec<&Tag>, Vec<&Tag>) = self.tags.iter().partition(|tag| tag.is_plain());
        let hashed: BTreeSet<ScopeHash> =
            hashed.into_iter().map(|tag| ScopeHash::tag(tag.as_str())).collect();
        // Counts a comma for each token, which is one more than the value has.
        let tag_bytes =
            plain.iter().map(|tag| tag.as_str().len() + 1).sum::<usize>() + hashed.len() * TOKEN_BYTES;
        let mut keys: BTreeSet<ScopeHash> = self.keys.iter().flat_map(|key| ScopeHash::of_key(key)).collect();

        let room = max_bytes.saturating_add(1);
        let folded = tag_bytes + keys.len() * TOKEN_BYTES > room;
        if folded {
            let overflow = |tokens| TagOverflow { bytes: tag_bytes + tokens * TOKEN_BYTES - 1, max_bytes };
            if self.keys.is_empty() {
                return Err(overflow(0));
            }
            // Keys of two schema versions fold together.
            let data: Vec<_> = self.keys.iter().map(|key| datum_of(key)).collect();
            let data = data.iter().map(|datum| &**datum).collect();
            keys = fold(&data, room.saturating_sub(tag_bytes) / TOKEN_BYTES).map_err(overflow)?;
        }
        keys.extend(hashed);
        let mut value = String::with_capacity(tag_bytes + keys.len() * TOKEN_BYTES);
        for tag in plain {
            let _ = write!(value, "{tag},");
        }
        for hash in keys {
            let _ = write!(value, "~{hash},");
        }
        value.pop();
        Ok(TagHeader { value, folded })
    }
}

/// The tags of a response do not fit into one header, so the edge must not store the response.
///
/// ```
/// use shared_keys::{Tag, TagSet};
/// let tag = Tag::new("category:7").unwrap();
/// let mut tags = TagSet::default();
/// tags.insert_tag(&tag);
/// let overflow = tags.to_header(9).unwrap_err();
/// let message = "expected at most 9 bytes of tags, got 10: tag the data with fewer, coarser tags";
/// assert_eq!(overflow.to_string(), message);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TagOverflow {
    /// The length of the header in bytes, with all keys folded.
    pub bytes: usize,
    /// The largest length allowed, in bytes.
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

/// Returns the scopes named by a `Cache-Tag` value (tokens between commas) or a `Surrogate-Key`
/// value (tokens between spaces).
///
/// A foreign origin's tag counts as written and in lower case, since Cloudflare matches tags
/// without case.
///
/// ```
/// use shared_keys::{Scope, scopes_from_header};
/// let scope: Scope = "tag:news".parse().unwrap();
/// assert!(scopes_from_header("category:7, News").any(|hash| hash == scope.hash()));
/// ```
pub fn scopes_from_header(value: &str) -> impl Iterator<Item = ScopeHash> {
    value.split([',', ' ', '\t']).filter(|token| !token.is_empty()).flat_map(|token| {
        let hashed = token.strip_prefix('~').and_then(|hash| hash.parse().ok());
        let lower = token.to_ascii_lowercase();
        let folded = (hashed.is_none() && lower != token).then(|| ScopeHash::tag(&lower));
        core::iter::once(hashed.unwrap_or_else(|| ScopeHash::tag(token))).chain(folded)
    })
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use proptest::prelude::*;

    use super::*;
    use crate::Scope;

    fn tags(numbers: core::ops::Range<usize>) -> Vec<Tag> {
        numbers.map(|n| Tag::new(&format!("tag:{n}")).unwrap()).collect()
    }

    fn set<'a>(keys: &'a [String], tags: &'a [Tag]) -> TagSet<'a> {
        TagSet { keys: keys.iter().map(String::as_str).collect(), tags: tags.iter().collect() }
    }

    #[test]
    fn tags_that_do_not_fit_are_an_error_and_nothing_is_cut() {
        let tags = tags(0..10);
        let header = set(&[], &tags).to_header(59).unwrap();
        assert_eq!((header.value.len(), header.folded), (59, false));
        assert_eq!(set(&[], &tags).to_header(58), Err(TagOverflow { bytes: 59, max_bytes: 58 }));
    }

    #[test]
    fn keys_that_do_not_fit_fold_and_only_then_it_is_an_error() {
        let (keys, tags) = ((0..10).map(|n| format!("a:v1:{{b:{n}}}")).collect::<Vec<_>>(), tags(0..1));
        // The tag; `a`, `a:v1`, `a:v1:{b`; of each key itself and its own prefix.
        let whole = "tag:0".len() + (3 + 2 * 10) * TOKEN_BYTES;
        let header = |max_bytes| {
            set(&keys, &tags).to_header(max_bytes).map(|header| (header.value.len(), header.folded))
        };
        assert_eq!(header(whole), Ok((whole, false)));
        // The tag; `a`, `a:v1`, `a:v1:{b`, and what is folded into the last.
        let folded = "tag:0".len() + 4 * TOKEN_BYTES;
        assert_eq!(header(whole - 1), Ok((folded, true)));
        let least = folded - TOKEN_BYTES;
        assert_eq!(header(least), Ok((least, true)));
        assert_eq!(header(least - 1), Err(TagOverflow { bytes: least, max_bytes: least - 1 }));
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
        fn a_header_says_all_that_went_in_in_any_order(
            texts in proptest::collection::vec("[a-cA ,:é]{1,5}|x{60,70}", 0..12),
            keys in proptest::collection::vec("[a-c]:v1:\\{[a-c]:[0-9]\\}(:[a-c]){0,2}", 0..12),
        ) {
            let tags: Vec<Tag> = texts.iter().map(|text| Tag::new(text).unwrap()).collect();
            let header = set(&keys, &tags).to_header(TagSet::MAX_HEADER_BYTES).unwrap();
            let read: BTreeSet<_> = scopes_from_header(&header.value).collect();
            let wrote = tags.iter().map(|tag| ScopeHash::tag(tag.as_str()));
            let wrote: BTreeSet<_> = wrote.chain(keys.iter().flat_map(|key| ScopeHash::of_key(key))).collect();
            prop_assert_eq!(read, wrote);

            let mut reversed = TagSet::default();
            keys.iter().rev().for_each(|key| reversed.insert_key(key));
            tags.iter().rev().for_each(|tag| reversed.insert_tag(tag));
            prop_assert_eq!(reversed.to_header(TagSet::MAX_HEADER_BYTES), Ok(header));
        }

        #[test]
        fn a_header_is_never_longer_than_it_may_be(
            tags in proptest::collection::vec("[a-c ]{1,4}", 0..6),
            keys in proptest::collection::vec("a:v1:\\{[a-c]:[0-9]\\}(:[a-c]){0,2}", 0..12),
            max_bytes in 0usize..600,
        ) {
            let tags: Vec<Tag> = tags.iter().map(|text| Tag::new(text).unwrap()).collect();
            match set(&keys, &tags).to_header(max_bytes) {
                Ok(header) => prop_assert!(header.value.len() <= max_bytes),
                Err(overflow) => {
                    prop_assert!(overflow.bytes > max_bytes);
                    prop_assert!(set(&keys, &tags).to_header(overflow.bytes).is_ok());
                }
            }
        }
    }
}
