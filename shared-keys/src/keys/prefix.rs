//! Key prefixes, which end at a segment boundary.

use alloc::boxed::Box;
use core::fmt;

use super::datum_of;
use crate::ParseError;

/// A key prefix, which ends with `:`. It covers the key at its top and every key below that. It
/// ends at a segment boundary, so `user:4` never covers `user:42`.
///
/// ```
/// # extern crate shared_keys as origin_sdk;
/// let prefix: origin_sdk::Prefix = "shop:v1:{user:42}:".parse().unwrap();
/// assert!(prefix.covers("shop:v1:{user:42}") && prefix.covers("shop:v1:{user:42}:orders:3"));
/// assert!(!prefix.covers("shop:v1:{user:421}"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix(Box<str>);

impl Prefix {
    /// Returns the prefix's text, which ends with `:`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn from_top(top: &str) -> Self {
        Self([top, ":"].concat().into_boxed_str())
    }

    /// Returns the prefix without the `:` at its end, which is the text of the key at its top.
    pub(crate) fn top(&self) -> &str {
        self.0.strip_suffix(':').unwrap_or(&self.0)
    }

    /// Returns the prefix with the name of its datum.
    pub(crate) fn of_datum(&self) -> Self {
        Self(datum_of(&self.0).into())
    }

    /// Returns whether the key with this text lies at or below the prefix, in any version of the
    /// schema.
    #[must_use]
    pub fn covers(&self, key: &str) -> bool {
        let below = datum_of(key)
            .strip_prefix(&*datum_of(self.top()))
            .map(|rest| rest.is_empty() || rest.starts_with(':'));
        below.unwrap_or(false)
    }
}

impl core::str::FromStr for Prefix {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.len() < 2 || !text.ends_with(':') {
            return Err(ParseError::new("a key prefix that ends with `:`", text.len(), text));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns the tops of the prefixes that cover a key's text, from the app's down to the key itself.
pub(crate) fn tops(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices(':').map(|(at, _)| &text[..at]).chain([text])
}
