//! Typed keys and tags: what the [`keys!`](crate::keys) macro declares.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::{ParseError, Scope, ScopeHash, Tag};

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
/// ```
pub trait Key: Sized {
    /// The type's name, for metrics and logs.
    const NAME: &'static str;
    /// The template that it was declared with.
    const TEMPLATE: &'static str;

    /// Writes the key's text. With a buffer that is large enough nothing is allocated.
    ///
    /// # Errors
    /// Only those of `out`; a `String` has none.
    fn render(&self, out: &mut impl fmt::Write) -> fmt::Result;

    /// The key whose text this is.
    ///
    /// # Errors
    /// If the text is of another app, version or template, an id does not parse, or it is not in canonical form.
    fn parse(text: &str) -> Result<Self, ParseError>;

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
}

/// A typed tag, declared by [`keys!`](crate::keys).
pub trait TypedTag {
    /// The template that it was declared with.
    const TEMPLATE: &'static str;

    /// The tag, `category:7` for `"category:{category}"`.
    fn to_tag(&self) -> Tag;
}

/// A key cut behind a `:`, so that `user:4` never covers `user:42`. It covers the key itself and all keys below it.
///
/// ```
/// let prefix: shared_keys::Prefix = "shop:v1:{user:42}:".parse().unwrap();
/// assert!(prefix.covers("shop:v1:{user:42}") && prefix.covers("shop:v1:{user:42}:orders:3"));
/// assert!(!prefix.covers("shop:v1:{user:421}"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix(Box<str>);

impl Prefix {
    /// The prefix's text, which ends with `:`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn from_top(top: &str) -> Self {
        Self([top, ":"].concat().into_boxed_str())
    }

    /// The prefix without the `:` at its end: the text of the key at its top.
    pub(crate) fn top(&self) -> &str {
        self.0.strip_suffix(':').unwrap_or(&self.0)
    }

    /// Whether a key with this text lies at or below the prefix.
    #[must_use]
    pub fn covers(&self, key: &str) -> bool {
        key.strip_prefix(self.top()).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
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

/// The scopes of a key's text: the key itself and every prefix that covers it.
pub(crate) fn scopes_of_key(text: &str) -> Vec<ScopeHash> {
    let mut scopes = Vec::with_capacity(8);
    scopes.push(Scope::hash_key(text));
    scopes.extend(text.match_indices(':').map(|(at, _)| Scope::hash_prefix(&text[..at])));
    scopes.push(Scope::hash_prefix(text));
    scopes
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use core::fmt::Write;

    use proptest::prelude::*;

    use super::*;

    crate::keys! {
        app "shop" version 1;

        /// A user.
        key User { user: String } = "user:{user}";
        /// A page of orders.
        key UserOrders { user: String, page: u32 } = "user:{user}:orders:{page}";
        /// No ids.
        key Flags {} = "flags";
        /// Everything in a category.
        tag Category { category: u32 } = "category:{category}";
    }

    fn orders(user: &str, page: u32) -> UserOrders {
        UserOrders { user: user.into(), page }
    }

    #[test]
    fn a_key_renders_with_app_version_and_family_in_a_hash_tag() {
        assert_eq!(orders("42", 3).to_text(), "shop:v1:{user:42}:orders:3");
        assert_eq!(Flags {}.to_text(), "shop:v1:{flags}");
        assert_eq!(Category { category: 7 }.to_tag().as_str(), "category:7");
    }

    #[test]
    fn parse_refuses_what_render_never_writes() {
        for text in [
            "shop:v2:{user:42}:orders:3",
            "shop:v1:user:42:orders:3",
            "shop:v1:{user:42}:orders:03",
            "shop:v1:{user:42}:orders:3:",
            "shop:v1:{user:42}:orders:",
            "shop:v1:{user:4%32}:orders:3",
            "shop:v1:{user:42}",
            "",
        ] {
            assert!(UserOrders::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_prefix_covers_its_family_and_no_sibling() {
        let scopes = scopes_of_key(&orders("42", 3).to_text());
        let prefix = |user: &str| Scope::Prefix(User { user: user.into() }.prefix()).hash();
        assert!(scopes.contains(&prefix("42")));
        assert!(!scopes.contains(&prefix("4")));
        assert!(scopes_of_key("shop:v1:{user:42}").contains(&prefix("42")));
    }

    proptest! {
        #[test]
        fn a_short_key_parses_back_and_text_never_panics(user in ".{0,30}", page: u32, junk in any::<String>()) {
            let key = UserOrders { user, page };
            let text = key.to_text();
            if !text.contains("~") || key.user.is_empty() {
                prop_assert_eq!(UserOrders::parse(&text), Ok(key));
            }
            let _ = UserOrders::parse(&junk);
            let mut near = text;
            let _ = near.write_str(&junk);
            let _ = UserOrders::parse(&near);
        }

        #[test]
        fn a_prefix_scope_covers_exactly_what_the_prefix_covers(a in "[a-c:*{}]{0,3}", b in "[a-c:*{}]{0,3}") {
            let top = User { user: a.clone() };
            let key = orders(&b, 1).to_text();
            let by_scope = scopes_of_key(&key).contains(&Scope::Prefix(top.prefix()).hash());
            prop_assert_eq!(by_scope, a == b);
            prop_assert_eq!(by_scope, top.prefix().covers(&key));
        }
    }
}
