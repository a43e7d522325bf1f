//! Typed keys and tags: the traits that the [`keys!`](crate::keys) macro implements.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::prefix::{Prefix, tops};
use crate::{ParseError, Tag};

/// The longest text of a key or tag, in bytes, whatever its ids are. A template that could render
/// more does not compile.
///
/// Each id counts with its largest size, 128 bytes, so a key has at most seven ids. Long ids are
/// cut one by one. A cut id renders alike in every key, so a key with cut ids lies below the same
/// prefixes as its parent.
///
/// ```
/// use shared_keys::{Key, MAX_KEY_BYTES};
///
/// shared_keys::keys! {
///     app "shop" version 1;
///
///     /// Facts about two texts.
///     pub key Pair { a: String, b: String } = "pair:{a}:{b}";
/// }
///
/// let endless = Pair { a: "*".repeat(1 << 20), b: "é".repeat(1 << 20) };
/// assert!(endless.to_text().len() <= MAX_KEY_BYTES);
/// ```
pub const MAX_KEY_BYTES: usize = 1024;

/// A typed data key, declared by [`keys!`](crate::keys). Two different keys never render the same
/// text.
///
/// ```
/// # extern crate shared_keys as origin_sdk;
/// use origin_sdk::Key;
///
/// origin_sdk::keys! {
///     app "shop" version 1;
///
///     /// A page of a user's orders.
///     pub key UserOrders { user: u64, page: u32 } = "user:{user}:orders:{page}";
/// }
///
/// let key = UserOrders { user: 42, page: 3 };
/// assert_eq!(key.to_text(), "shop:v1:{user:42}:orders:3");
/// assert_eq!(UserOrders::parse("shop:v1:{user:42}:orders:3"), Ok(key));
///
/// let text = "shop:v1:{user:42}:orders:x";
/// let message = format!("expected a number from 0 to 2^32 - 1 at byte 25 of {text:?}");
/// assert_eq!(UserOrders::parse(text).unwrap_err().to_string(), message);
/// ```
pub trait Key: Sized {
    /// The type's name, which names its namespace in metrics and logs.
    const NAME: &'static str;
    /// The text in front of every key of the app and version: `app:vN:`.
    const HEAD: &'static str;
    /// The template of the declaration.
    const TEMPLATE: &'static str;

    /// Writes the key's text, at most [`MAX_KEY_BYTES`]. Nothing is allocated if the buffer is
    /// large enough.
    ///
    /// ```
    /// # use shared_keys::Key;
    /// # shared_keys::keys! {
    /// #     app "shop" version 1;
    /// #     /** A user. */ key User { user: u64 } = "user:{user}";
    /// # }
    /// let mut buffer = String::with_capacity(shared_keys::MAX_KEY_BYTES);
    /// for user in 0..3 {
    ///     buffer.clear();
    ///     User { user }.render(&mut buffer).unwrap();
    /// }
    /// assert_eq!(buffer, "shop:v1:{user:2}");
    /// ```
    ///
    /// # Errors
    /// Returns only the errors of `out`; a `String` has none.
    fn render(&self, out: &mut impl fmt::Write) -> fmt::Result;

    /// Parses a key from its text.
    ///
    /// # Errors
    /// Fails if the text belongs to another app, version or template, if an id does not parse or is
    /// not in its canonical form, or if a long id was cut and so cannot be read back.
    fn parse(text: &str) -> Result<Self, ParseError>;

    /// Returns the tags that the declaration gives to every value under this key.
    fn tags(&self) -> Vec<Tag> {
        Vec::new()
    }

    /// Returns the key's text as a new string.
    fn to_text(&self) -> String {
        let mut text = String::with_capacity(48);
        // Writing to a `String` does not fail, and ids return only the errors of their output.
        let _ = self.render(&mut text);
        text
    }

    /// Returns the prefix that covers this key and every key below it.
    fn prefix(&self) -> Prefix {
        Prefix::from_top(&self.to_text())
    }

    /// Returns the prefixes that cover this key, from the app's down to its own.
    ///
    /// ```
    /// # extern crate shared_keys as origin_sdk;
    /// # use origin_sdk::Key;
    /// # origin_sdk::keys! {
    /// #     app "shop" version 1;
    /// #     /** A user. */ key User { user: u64 } = "user:{user}";
    /// # }
    /// let prefixes = User { user: 42 }.prefixes();
    /// let texts: Vec<_> = prefixes.iter().map(|prefix| prefix.as_str()).collect();
    /// assert_eq!(texts, ["shop:", "shop:v1:", "shop:v1:{user:", "shop:v1:{user:42}:"]);
    /// ```
    fn prefixes(&self) -> Vec<Prefix> {
        tops(&self.to_text()).map(Prefix::from_top).collect()
    }

    /// Returns whether `key` lies below this one, so that an invalidation of [`Self::prefix`]
    /// covers it.
    ///
    /// ```
    /// # extern crate shared_keys as origin_sdk;
    /// # use origin_sdk::Key;
    /// # origin_sdk::keys! {
    /// #     app "shop" version 1;
    /// #     /** A user. */ key User { user: u64 } = "user:{user}";
    /// #     /** Orders. */ key UserOrders { user: u64, page: u32 } = "user:{user}:orders:{page}"
    /// #         under User { user };
    /// # }
    /// assert!(User { user: 42 }.covers(&UserOrders { user: 42, page: 3 }));
    /// assert!(!User { user: 4 }.covers(&UserOrders { user: 42, page: 3 }));
    /// ```
    fn covers<K: Below<Self>>(&self, key: &K) -> bool
    where
        Self: PartialEq,
    {
        key.above() == *self
    }
}

/// A key that lies below another key, declared by `under` in [`keys!`](crate::keys). The prefix of
/// [`Self::above`] covers it.
///
/// ```
/// # extern crate shared_keys as origin_sdk;
/// use origin_sdk::{Below, Key};
///
/// origin_sdk::keys! {
///     app "shop" version 1;
///
///     /// A user's profile.
///     pub key User { user: u64 } = "user:{user}";
///     /// A page of a user's orders.
///     pub key UserOrders { user: u64, page: u32 } = "user:{user}:orders:{page}"
///         under User { user };
/// }
///
/// let above: User = UserOrders { user: 42, page: 3 }.above();
/// assert_eq!(above.prefix().as_str(), "shop:v1:{user:42}:");
/// ```
pub trait Below<P: Key>: Key {
    /// Returns the key above.
    fn above(&self) -> P;
}

/// A typed tag, declared by [`keys!`](crate::keys).
///
/// ```
/// # extern crate shared_keys as origin_sdk;
/// use origin_sdk::TypedTag;
/// origin_sdk::keys! {
///     app "shop" version 1;
///     /// Everything of a brand.
///     pub tag Brand { name: String } = "brand:{name}";
/// }
/// assert_eq!(Brand { name: "A & B".into() }.to_tag().as_str(), "brand:A%20%26%20B");
/// ```
pub trait TypedTag {
    /// The template that it was declared with.
    const TEMPLATE: &'static str;

    /// Returns the tag, `category:7` for `"category:{category}"`, at most [`MAX_KEY_BYTES`] long.
    fn to_tag(&self) -> Tag;
}

#[cfg(test)]
mod tests;
