//! Hashes of scopes, which the layers compare.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::ParseError;
use crate::keys::datum_of;
use crate::keys::prefix::tops;

/// Crockford's base 32 in lower case: no letters that are easily confused, and safe in header
/// fields.
const BASE32: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// The digits for 64 bits, of five bits each.
const TOKEN_CHARS: usize = 13;

/// Each kind of scope hashes with its own seed, so that equal texts of two kinds have different
/// hashes.
const KEY_SEED: u64 = 1;
const PREFIX_SEED: u64 = 2;
const TAG_SEED: u64 = 3;
const PATH_SEED: u64 = 4;
const ALL_SEED: u64 = 5;
const FOLD_SEED: u64 = 6;
const ALL_TAGS_SEED: u64 = 7;
const TARGET_SEED: u64 = 8;

/// The XXH3-64 hash of a [`Scope`](crate::Scope)'s text, seeded by its kind.
///
/// A collision of two scopes only invalidates more than requested, which is safe; it never makes an
/// entry valid. The text form has 13 digits of Crockford's base 32.
///
/// ```
/// use shared_keys::{Scope, ScopeHash};
/// let hash = "tag:category:7".parse::<Scope>().unwrap().hash();
/// assert_eq!(hash.to_string(), "2s20nqrqsddsz");
/// assert_eq!("2s20nqrqsddsz".parse(), Ok(hash));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScopeHash(pub u64);

impl ScopeHash {
    /// Returns the hashes of a key's scopes: the key, and each prefix that covers it. They are the
    /// same in every version of the schema ([`datum_of`](crate::datum_of)).
    ///
    /// ```
    /// use shared_keys::{Scope, ScopeHash};
    /// let scopes = ScopeHash::of_key("shop:v1:{user:42}:orders:3");
    /// assert!(scopes.contains(&Scope::Prefix("shop:v1:{user:42}:".parse().unwrap()).hash()));
    /// ```
    #[must_use]
    pub fn of_key(text: &str) -> Vec<ScopeHash> {
        let datum = datum_of(text);
        let mut scopes = Vec::with_capacity(8);
        scopes.push(Self::datum(&datum));
        // The tops of a datum are of version 1 as well: `datum_of` would return them unchanged.
        scopes.extend(tops(&datum).map(Self::datum_prefix));
        scopes
    }

    /// Returns the token of this scope in `Cache-Tag`: `~` and 13 digits.
    #[must_use]
    pub fn to_token(self) -> String {
        format!("~{self}")
    }

    pub(crate) fn key(text: &str) -> Self {
        Self::datum(&datum_of(text))
    }

    /// Hashes a prefix; `top` is the prefix without the `:` at its end.
    pub(crate) fn prefix(top: &str) -> Self {
        Self::datum_prefix(&datum_of(top))
    }

    fn datum(datum: &str) -> Self {
        Self(xxh3_64_with_seed(datum.as_bytes(), KEY_SEED))
    }

    fn datum_prefix(top: &str) -> Self {
        Self(xxh3_64_with_seed(top.as_bytes(), PREFIX_SEED))
    }

    pub(crate) fn tag(text: &str) -> Self {
        Self(xxh3_64_with_seed(text.as_bytes(), TAG_SEED))
    }

    /// Hashes a path, `host/segment/segment`, as far as [`within_depth`] counts it.
    pub(crate) fn path(path: &str) -> Self {
        Self(xxh3_64_with_seed(within_depth(path).as_bytes(), PATH_SEED))
    }

    /// Hashes the fold of a prefix, which stands for the keys below `top` that were folded into it.
    pub(crate) fn fold(top: &str) -> Self {
        Self(xxh3_64_with_seed(datum_of(top).as_bytes(), FOLD_SEED))
    }

    /// Hashes several tags; `joined` holds them as in the scope's text.
    pub(crate) fn all_tags(joined: &str) -> Self {
        Self(xxh3_64_with_seed(joined.as_bytes(), ALL_TAGS_SEED))
    }

    pub(crate) fn target(url: &str) -> Self {
        Self(xxh3_64_with_seed(url.as_bytes(), TARGET_SEED))
    }

    pub(crate) fn all() -> Self {
        Self(xxh3_64_with_seed(b"all", ALL_SEED))
    }
}

/// The segments of a path that are scopes of their own. Each costs a hash per response, and a
/// client chooses their number.
const MAX_PATH_DEPTH: usize = 64;

/// Returns a path, `host/segment/segment`, up to its 64th segment. A deeper path has the scope of
/// that segment, so its purge covers more and never less.
pub(crate) fn within_depth(path: &str) -> &str {
    path.match_indices('/').nth(MAX_PATH_DEPTH).map_or(path, |(end, _)| &path[..end])
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
            return Err(expected(text.len().min(TOKEN_CHARS)));
        }
        let mut hash: u64 = 0;
        for (at, byte) in text.bytes().enumerate() {
            let digit = BASE32.iter().position(|&b| b == byte).ok_or_else(|| expected(at))?;
            // 13 digits hold 65 bits, so the first may only be 0 to 15.
            if at == 0 && digit > 15 {
                return Err(expected(0));
            }
            hash = hash << 5 | digit as u64;
        }
        Ok(Self(hash))
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn equal_texts_of_two_kinds_have_different_hashes() {
        let hashes = [
            ScopeHash::key,
            ScopeHash::prefix,
            ScopeHash::tag,
            ScopeHash::path,
            ScopeHash::fold,
            ScopeHash::target,
        ]
        .map(|hash| hash("a"));
        let distinct: alloc::collections::BTreeSet<_> = hashes.iter().collect();
        assert_eq!(distinct.len(), hashes.len());
    }

    #[test]
    fn a_hash_is_refused_with_what_was_expected_and_where() {
        for (text, at) in [
            ("", 0),
            ("2s20nqrqsddszz", 13),
            ("2s20nqrqsdds", 12),
            ("2S20nqrqsddsz", 1),
            ("g000000000000", 0),
            ("000é00000000", 3),
        ] {
            let error = text.parse::<ScopeHash>().unwrap_err();
            assert_eq!(
                (error.expected(), error.at()),
                ("13 characters of Crockford's base 32, lower case", at),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_hash_prints_and_parses_back(hash: u64) {
            let text = ScopeHash(hash).to_string();
            prop_assert_eq!(text.len(), TOKEN_CHARS);
            prop_assert_eq!(text.parse(), Ok(ScopeHash(hash)));
        }
    }
}
