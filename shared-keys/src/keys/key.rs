//! Typed keys and tags: what the [`keys!`](crate::keys) macro declares.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::prefix::{Prefix, tops};
use crate::{ParseError, Tag};

/// The longest that a key or tag can be, whatever its ids: a template that could render more does not compile.
///
/// Each id counts with the 128 bytes that it can take, so a key has at most seven. As ids are cut one by one, and never the
/// key, a key with cut ids lies below the same prefixes as the key at the prefix's top.
///
/// ```
/// use shared_keys::{Key, MAX_KEY_BYTES};
///
/// shared_keys::keys! {
///     app "shop" version 1;
///
///     /// What is known of two texts.
///     pub key Pair { a: String, b: String } = "pair:{a}:{b}";
/// }
///
/// let endless = Pair { a: "*".repeat(1 << 20), b: "é".repeat(1 << 20) };
/// assert!(endless.to_text().len() <= MAX_KEY_BYTES);
/// ```
pub const MAX_KEY_BYTES: usize = 1024;

/// A typed data key, declared by [`keys!`](crate::keys). Two different keys never render alike.
///
/// ```
/// use shared_keys::Key;
///
/// shared_keys::keys! {
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
/// let error = UserOrders::parse("shop:v1:{user:42}:orders:x").unwrap_err();
/// assert_eq!(error.to_string(), r#"expected a number from 0 to 2^32 - 1 at byte 25 of "shop:v1:{user:42}:orders:x""#);
/// ```
pub trait Key: Sized {
    /// The type's name: the name of its namespace in metrics and logs.
    const NAME: &'static str;
    /// What stands in front of every key of the app and version: `app:vN:`.
    const HEAD: &'static str;
    /// The template that it was declared with.
    const TEMPLATE: &'static str;

    /// Writes the key's text, at most [`MAX_KEY_BYTES`]. With a buffer that is large enough nothing is allocated.
    ///
    /// ```
    /// # use shared_keys::Key;
    /// # shared_keys::keys! { app "shop" version 1; /** A user. */ key User { user: u64 } = "user:{user}"; }
    /// let mut buffer = String::with_capacity(shared_keys::MAX_KEY_BYTES);
    /// for user in 0..3 {
    ///     buffer.clear();
    ///     User { user }.render(&mut buffer).unwrap();
    /// }
    /// assert_eq!(buffer, "shop:v1:{user:2}");
    /// ```
    ///
    /// # Errors
    /// Only those of `out`; a `String` has none.
    fn render(&self, out: &mut impl fmt::Write) -> fmt::Result;

    /// The key whose text this is.
    ///
    /// # Errors
    /// If the text is of another app, version or template, an id does not parse, it is not in canonical form, or a long id
    /// was cut: that cannot be read back.
    fn parse(text: &str) -> Result<Self, ParseError>;

    /// The tags of every value under this key, as its declaration says.
    fn tags(&self) -> Vec<Tag> {
        Vec::new()
    }

    /// The key's text as a new string.
    fn to_text(&self) -> String {
        let mut text = String::with_capacity(48);
        // Writing to a String does not fail, and ids only pass on the errors of what they write to.
        let _ = self.render(&mut text);
        text
    }

    /// The prefix that covers this key and every key below it.
    fn prefix(&self) -> Prefix {
        Prefix::from_top(&self.to_text())
    }

    /// The prefixes that cover this key, from the app's down to its own.
    ///
    /// ```
    /// # use shared_keys::Key;
    /// # shared_keys::keys! { app "shop" version 1; /** A user. */ key User { user: u64 } = "user:{user}"; }
    /// let prefixes = User { user: 42 }.prefixes();
    /// let texts: Vec<_> = prefixes.iter().map(|prefix| prefix.as_str()).collect();
    /// assert_eq!(texts, ["shop:", "shop:v1:", "shop:v1:{user:", "shop:v1:{user:42}:"]);
    /// ```
    fn prefixes(&self) -> Vec<Prefix> {
        tops(&self.to_text()).map(Prefix::from_top).collect()
    }

    /// Whether `key` lies below this one: whether an invalidation of [`Self::prefix`] covers it.
    ///
    /// ```
    /// # use shared_keys::Key;
    /// # shared_keys::keys! {
    /// #     app "shop" version 1;
    /// #     /** A user. */ key User { user: u64 } = "user:{user}";
    /// #     /** Orders. */ key UserOrders { user: u64, page: u32 } = "user:{user}:orders:{page}" under User { user };
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

/// A key that lies below another one, declared by `under` in [`keys!`](crate::keys): the prefix of [`Self::above`] covers it.
///
/// ```
/// use shared_keys::{Below, Key};
///
/// shared_keys::keys! {
///     app "shop" version 1;
///
///     /// Who a user is.
///     pub key User { user: u64 } = "user:{user}";
///     /// A page of a user's orders.
///     pub key UserOrders { user: u64, page: u32 } = "user:{user}:orders:{page}" under User { user };
/// }
///
/// let above: User = UserOrders { user: 42, page: 3 }.above();
/// assert_eq!(above.prefix().as_str(), "shop:v1:{user:42}:");
/// ```
pub trait Below<P: Key>: Key {
    /// The key above.
    fn above(&self) -> P;
}

/// A typed tag, declared by [`keys!`](crate::keys).
///
/// ```
/// use shared_keys::TypedTag;
/// shared_keys::keys! {
///     app "shop" version 1;
///     /// Everything of a brand.
///     pub tag Brand { name: String } = "brand:{name}";
/// }
/// assert_eq!(Brand { name: "A & B".into() }.to_tag().as_str(), "brand:A%20%26%20B");
/// ```
pub trait TypedTag {
    /// The template that it was declared with.
    const TEMPLATE: &'static str;

    /// The tag, `category:7` for `"category:{category}"`. At most [`MAX_KEY_BYTES`].
    fn to_tag(&self) -> Tag;
}

#[cfg(test)]
mod tests;
