//! What an invalidation covers, as readable text and as the compact hash that layers compare.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::key::scopes_of_key;
use crate::{ParseError, Prefix, Tag};

/// Crockford's base 32 in lower case: no letters that look alike, and safe in headers.
const BASE32: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 64 bits in steps of five.
const TOKEN_CHARS: usize = 13;

/// Each kind of scope hashes with a seed of its own, so that equal texts of two kinds stay apart.
const KEY_SEED: u64 = 1;
const PREFIX_SEED: u64 = 2;
const TAG_SEED: u64 = 3;
const PATH_SEED: u64 = 4;
const ALL_SEED: u64 = 5;

/// XXH3-64 of a [`Scope`]'s text, seeded by its kind.
///
/// Two scopes that collide only invalidate more than was asked, which is safe; nothing is ever served because of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScopeHash(pub u64);

impl ScopeHash {
    /// The hash of every key's scopes: the key, and each prefix that covers it.
    ///
    /// ```
    /// use shared_keys::{Scope, ScopeHash};
    /// let scopes = ScopeHash::of_key("shop:v1:{user:42}:orders:3");
    /// assert!(scopes.contains(&Scope::Prefix("shop:v1:{user:42}:".parse().unwrap()).hash()));
    /// ```
    #[must_use]
    pub fn of_key(text: &str) -> Vec<ScopeHash> {
        scopes_of_key(text)
    }

    /// The token that stands for this scope in `Cache-Tag`: `~` and 13 characters.
    #[must_use]
    pub fn to_token(self) -> String {
        format!("~{self}")
    }
}

impl fmt::Display for ScopeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (0..TOKEN_CHARS).rev().try_for_each(|digit| {
            let value = (self.0 >> (5 * digit)) & 31;
            fmt::Write::write_char(f, char::from(BASE32[value as usize]))
        })
    }
}

impl FromStr for ScopeHash {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let expected = |at| ParseError::new("13 characters of Crockford's base 32, lower case", at, text);
        if text.len() != TOKEN_CHARS {
            return Err(expected(text.len()));
        }
        let mut hash: u64 = 0;
        for (at, byte) in text.bytes().enumerate() {
            let digit = BASE32.iter().position(|&b| b == byte).ok_or_else(|| expected(at))?;
            // 13 digits hold 65 bits: the first may only be 0 to 15.
            if at == 0 && digit > 15 {
                return Err(expected(0));
            }
            hash = hash << 5 | digit as u64;
        }
        Ok(Self(hash))
    }
}

/// What an invalidation covers.
///
/// Its text form stands in the journal and in purge messages: `key:…`, `prefix:…:`, `tag:…`, `path:host/path`, `all`.
///
/// ```
/// use shared_keys::Scope;
/// let scope: Scope = "tag:category:7".parse().unwrap();
/// assert_eq!(scope.to_string(), "tag:category:7");
/// assert_eq!(scope.to_token(), "category:7");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Scope {
    /// One data key, by its whole text.
    Key(Box<str>),
    /// A data key and every key below it.
    Prefix(Prefix),
    /// Everything that carries the tag.
    Tag(Tag),
    /// A URL path and every path below it, as `host/path` without a `/` at its end.
    Path(Box<str>),
    /// Everything.
    All,
}

impl Scope {
    /// A key's scopes as text: the key, and each prefix that covers it. [`ScopeHash::of_key`] gives their hashes.
    #[must_use]
    pub fn of_key(text: &str) -> Vec<Self> {
        let cut = |end: usize| Self::Prefix(Prefix::from_top(&text[..end]));
        let prefixes = text.match_indices(':').map(|(at, _)| cut(at));
        core::iter::once(Self::Key(text.into())).chain(prefixes).chain([cut(text.len())]).collect()
    }

    /// The compact form that layers compare.
    #[must_use]
    pub fn hash(&self) -> ScopeHash {
        match self {
            Self::Key(text) => Self::hash_key(text),
            Self::Prefix(prefix) => Self::hash_prefix(prefix.top()),
            Self::Tag(tag) => Self::hash_tag(tag.as_str()),
            Self::Path(path) => Self::hash_path(path),
            Self::All => Self::hash_all(),
        }
    }

    /// The token that stands for this scope in `Cache-Tag`: a simple tag's own text, else the hash.
    #[must_use]
    pub fn to_token(&self) -> String {
        match self {
            Self::Tag(tag) => tag.to_token(),
            other => other.hash().to_token(),
        }
    }

    pub(crate) fn hash_key(text: &str) -> ScopeHash {
        ScopeHash(xxh3_64_with_seed(text.as_bytes(), KEY_SEED))
    }

    /// `top` is the prefix without the `:` at its end.
    pub(crate) fn hash_prefix(top: &str) -> ScopeHash {
        ScopeHash(xxh3_64_with_seed(top.as_bytes(), PREFIX_SEED))
    }

    pub(crate) fn hash_tag(text: &str) -> ScopeHash {
        ScopeHash(xxh3_64_with_seed(text.as_bytes(), TAG_SEED))
    }

    pub(crate) fn hash_path(path: &str) -> ScopeHash {
        ScopeHash(xxh3_64_with_seed(path.as_bytes(), PATH_SEED))
    }

    pub(crate) fn hash_all() -> ScopeHash {
        ScopeHash(xxh3_64_with_seed(b"all", ALL_SEED))
    }
}

impl From<Tag> for Scope {
    fn from(tag: Tag) -> Self {
        Self::Tag(tag)
    }
}

impl From<Prefix> for Scope {
    fn from(prefix: Prefix) -> Self {
        Self::Prefix(prefix)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(text) => write!(f, "key:{text}"),
            Self::Prefix(prefix) => write!(f, "prefix:{prefix}"),
            Self::Tag(tag) => write!(f, "tag:{tag}"),
            Self::Path(path) => write!(f, "path:{path}"),
            Self::All => f.write_str("all"),
        }
    }
}

impl FromStr for Scope {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text == "all" {
            return Ok(Self::All);
        }
        let expected = ParseError::new("`all`, `key:`, `prefix:`, `tag:` or `path:` and what it names", 0, text);
        let (kind, rest) = text.split_once(':').ok_or_else(|| expected.clone())?;
        match kind {
            _ if rest.is_empty() => Err(expected),
            "key" => Ok(Self::Key(rest.into())),
            "prefix" => Ok(Self::Prefix(rest.parse()?)),
            "tag" => Ok(Self::Tag(Tag::new(rest)?)),
            "path" => match rest.trim_end_matches('/') {
                "" => Err(expected),
                path => Ok(Self::Path(path.into())),
            },
            _ => Err(expected),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn equal_texts_of_two_kinds_have_different_hashes() {
        let hashes = [Scope::hash_key("a"), Scope::hash_prefix("a"), Scope::hash_tag("a"), Scope::hash_path("a")];
        let distinct: alloc::collections::BTreeSet<_> = hashes.iter().collect();
        assert_eq!(distinct.len(), hashes.len());
    }

    #[test]
    fn a_scope_is_refused_with_what_was_expected() {
        for text in ["", "tag", "tag:", "path:/", "user:42", "prefix:shop", "ALL"] {
            assert!(text.parse::<Scope>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_hash_prints_and_parses_back(hash: u64) {
            let text = ScopeHash(hash).to_string();
            prop_assert_eq!(text.len(), TOKEN_CHARS);
            prop_assert_eq!(text.parse(), Ok(ScopeHash(hash)));
        }

        #[test]
        fn a_keys_scopes_and_their_hashes_agree(text in "[a-z:{}0-9]{0,30}") {
            let hashes: Vec<_> = Scope::of_key(&text).iter().map(Scope::hash).collect();
            prop_assert_eq!(hashes, ScopeHash::of_key(&text));
        }

        #[test]
        fn text_parses_to_a_scope_that_prints_and_parses_back(text in "(all|(key|prefix|tag|path):.{0,20}|.{0,20})") {
            if let Ok(scope) = text.parse::<Scope>() {
                prop_assert_eq!(scope.to_string().parse(), Ok(scope));
            }
        }
    }
}
