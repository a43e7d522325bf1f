//! The [`keys!`](crate::keys) macro, and the templates that it compiles: literals and `{id}`s
//! between colons.

use core::fmt::{self, Write};

use super::compile_time::find;
pub use super::compile_time::{Declared, Kind, check_under, check_variants};
use super::escape::unescape;
use super::id::Private;
use crate::{KeyId, ParseError};

/// Declares typed keys and tags in one place.
///
/// The first line names the app and the schema version, which precede every key. Raise the version
/// when the shape of the values changes: processes of both versions then run side by side, and obey
/// each other's invalidations ([`datum_of`](crate::datum_of)).
///
/// Each further line declares a key or a tag: its ids, and a template of literals (`a-z 0-9 _ -`)
/// and `{id}`s between colons. The ids are named in the order of the fields. The page
/// [`grammar`](crate::grammar) has the whole grammar.
///
/// ```
/// # extern crate shared_keys as origin_sdk;
/// use origin_sdk::{Key, TypedTag};
///
/// origin_sdk::keys! {
///     app "shop" version 1;
///
///     /// A user's profile.
///     pub key User { user: u64 } = "user:{user}";
///     /// A page of a user's orders.
///     pub key UserOrders { user: u64, page: u32 } = "user:{user}:orders:{page}"
///         under User { user }
///         tags [Customer { user }, Region { region: user % 4 }];
///
///     /// Everything that shows a customer.
///     pub tag Customer { user: u64 } = "customer:{user}";
///     /// Everything of a region.
///     pub tag Region { region: u64 } = "region:{region}";
/// }
///
/// let orders = UserOrders { user: 42, page: 3 };
/// assert_eq!(orders.to_text(), "shop:v1:{user:42}:orders:3");
/// assert!(User { user: 42 }.covers(&orders));
/// assert!(User { user: 42 }.prefix().covers(&orders.to_text()));
/// assert_eq!(orders.tags(), [Customer { user: 42 }.to_tag(), Region { region: 2 }.to_tag()]);
/// ```
///
/// Keys and tags convert into the [`Scope`](crate::Scope) that covers them, and tags into a
/// [`Tag`](crate::Tag), from a value or a reference.
///
/// A key's template may be followed by:
///
/// * `under Parent { field, … }`, any number of times: the keys lie below the keys of `Parent` with
///   the same fields. It implements [`Below<Parent>`](crate::Below), and does not compile unless
///   the templates agree.
/// * `tags [expression, …]`: the [tags](crate::TypedTag) of every value under the key. An
///   expression uses the ids by their names and receives clones of them.
///
/// `app "shop" version 1 listed as pub KEYS;` also declares the constant `KEYS`, for
/// [`assert_disjoint`](crate::assert_disjoint).
///
/// A malformed template does not compile:
///
/// ```compile_fail
/// # extern crate shared_keys as origin_sdk;
/// origin_sdk::keys! {
///     app "shop" version 1;
///     /// The id is missing from the template.
///     pub key Product { id: u64 } = "product";
/// }
/// ```
///
/// Two templates that can render the same key do not compile either; the message names both:
///
/// ```compile_fail
/// # extern crate shared_keys as origin_sdk;
/// origin_sdk::keys! {
///     app "shop" version 1;
///     /// By number.
///     pub key ById { id: u64 } = "product:{id}";
///     /// By name.
///     pub key ByName { name: String } = "product:{name}";
/// }
/// ```
#[macro_export]
macro_rules! keys {
    (
        app $app:literal version $version:literal $(listed as $list_vis:vis $list:ident)?;
        $(
            $(#[$meta:meta])*
            $vis:vis $kind:ident $name:ident { $($field:ident : $id:ty),* $(,)? } = $template:literal
            $(under $parent:path { $($shared:ident),* $(,)? })*
            $(tags [ $($tag:expr),* $(,)? ])?
            ;
        )*
    ) => {
        $(
            $(#[$meta])*
            #[doc = concat!("\n\nTemplate: `", $template, "`.")]
            $( #[doc = concat!("\n\nUnder: `", stringify!($parent), "`.")] )*
            $( #[doc = concat!("\n\nTags: ", $("`", stringify!($tag), "`, ",)* "and what a loader adds.")] )?
            #[derive(Debug, Clone, PartialEq, Eq, Hash)]
            $vis struct $name { $(
                #[doc = concat!("`{", stringify!($field), "}` of the template.")]
                pub $field: $id,
            )* }
            $crate::__keys_impl!(
                $kind $app $version $name { $($field),* } { $($field),* } $template
                $(under $parent { $($shared),* })*
                $(tags [ $($tag),* ])?
            );
        )*
        $crate::__keys_list! {
            [$($list_vis const $list)?]
            $crate::Templates::checked(
                $app,
                concat!($app, ":v", $version, ":"),
                &[$( $crate::template::Declared {
                    kind: $crate::__keys_kind!($kind),
                    name: concat!(module_path!(), "::", stringify!($name)),
                    template: $template,
                    fields: &[$(stringify!($field)),*],
                } ),*],
            )
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __keys_list {
    ([] $templates:expr) => {
        const _: $crate::Templates = $templates;
    };
    ([$vis:vis const $name:ident] $templates:expr) => {
        /// The templates that are declared here.
        $vis const $name: $crate::Templates = $templates;
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __keys_kind {
    (key) => {
        $crate::template::Kind::Key
    };
    (tag) => {
        $crate::template::Kind::Tag
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __keys_impl {
    (
        key $app:literal $version:literal $name:ident { $($field:ident),* } $fields:tt $template:literal
        $(under $parent:path { $($shared:ident),* })*
        $(tags [ $($tag:expr),* ])?
    ) => {
        impl $crate::Key for $name {
            const NAME: &'static str = stringify!($name);
            const HEAD: &'static str = concat!($app, ":v", $version, ":");
            const TEMPLATE: &'static str = $template;

            #[inline]
            fn render(&self, out: &mut impl $crate::__private::core::fmt::Write) -> $crate::__private::core::fmt::Result {
                const LITERALS: &[&$crate::__private::core::primitive::str] =
                    &$crate::__keys_literals!($template $($field)*);
                const START: [$crate::__private::core::primitive::u8;
                    $crate::template::start_len(<$name as $crate::Key>::HEAD, LITERALS)] =
                    $crate::template::start(<$name as $crate::Key>::HEAD, LITERALS);
                #[allow(unused_mut, reason = "a template without ids writes none")]
                let mut writer = $crate::template::Writer::key(const { $crate::template::text(&START) }, LITERALS, out)?;
                $( writer.id(&self.$field)?; )*
                writer.finish()
            }

            fn parse(text: &str) -> $crate::__private::core::result::Result<Self, $crate::ParseError> {
                #[allow(unused_mut, reason = "a template without ids reads none")]
                let mut reader = $crate::template::Reader::key(Self::HEAD, $template, text)?;
                let key = Self { $( $field: reader.id()?, )* };
                reader.finish(&$crate::Key::to_text(&key))?;
                $crate::__private::core::result::Result::Ok(key)
            }

            $(
                fn tags(&self) -> $crate::__private::Vec<$crate::Tag> {
                    $crate::__private::Vec::from([ $( $crate::__keys_tag!(self $fields $tag) ),* ])
                }
            )?
        }

        $crate::__keys_from!($name => $crate::Scope, |key| $crate::Scope::key(&$crate::Key::to_text(key)));

        $(
            impl $crate::Below<$parent> for $name {
                fn above(&self) -> $parent {
                    $parent { $( $shared: $crate::__private::core::clone::Clone::clone(&self.$shared) ),* }
                }
            }

            const _: () = $crate::template::check_under(
                (<$name as $crate::Key>::NAME, <$name as $crate::Key>::HEAD, <$name as $crate::Key>::TEMPLATE),
                (<$parent as $crate::Key>::NAME, <$parent as $crate::Key>::HEAD, <$parent as $crate::Key>::TEMPLATE),
            );
        )*
    };
    (tag $app:literal $version:literal $name:ident { $($field:ident),* } $fields:tt $template:literal) => {
        impl $crate::TypedTag for $name {
            const TEMPLATE: &'static str = $template;

            fn to_tag(&self) -> $crate::Tag {
                let mut text = $crate::__private::String::new();
                let written = (|| {
                    #[allow(unused_mut, reason = "a template without ids writes none")]
                    let mut writer = $crate::template::Writer::tag(const { &$crate::__keys_literals!($template $($field)*) }, &mut text)?;
                    $( writer.id(&self.$field)?; )*
                    writer.finish()
                })();
                // Writing to a `String` does not fail, and ids return only the errors of their
                // output.
                let _: $crate::__private::core::fmt::Result = written;
                $crate::Tag::from_template(text)
            }
        }

        $crate::__keys_from!($name => $crate::Tag, |tag| $crate::TypedTag::to_tag(tag));
        $crate::__keys_from!($name => $crate::Scope, |tag| $crate::Scope::Tag($crate::TypedTag::to_tag(tag)));
    };
    (tag $($rest:tt)*) => {
        compile_error!("a tag lies under no key and has no tags: only a key's template may be followed by `under` or `tags`");
    };
}

/// Returns the literals of a template: in front of, between and behind its ids.
#[doc(hidden)]
#[macro_export]
macro_rules! __keys_literals {
    ($template:literal $($field:ident)*) => {
        $crate::template::literals::<{ 1 $( + { let _ = stringify!($field); 1 } )* }>($template)
    };
}

/// Converts a declared type, owned or borrowed, to a [`Tag`](crate::Tag) or
/// [`Scope`](crate::Scope).
#[doc(hidden)]
#[macro_export]
macro_rules! __keys_from {
    ($name:ident => $target:ty, |$value:ident| $converted:expr) => {
        impl $crate::__private::core::convert::From<&$name> for $target {
            fn from($value: &$name) -> Self {
                $converted
            }
        }

        impl $crate::__private::core::convert::From<$name> for $target {
            fn from(value: $name) -> Self {
                Self::from(&value)
            }
        }
    };
}

/// Evaluates the expression of one tag of a key, with the ids in scope.
#[doc(hidden)]
#[macro_export]
macro_rules! __keys_tag {
    ($key:ident { $($field:ident),* } $tag:expr) => {{
        $(
            #[allow(unused_variables, reason = "a tag need not use every id")]
            let $field = $crate::__private::core::clone::Clone::clone(&$key.$field);
        )*
        $crate::TypedTag::to_tag(&$tag)
    }};
}

/// Splits a template at its ids, of which it has `N - 1`.
pub const fn literals<const N: usize>(template: &'static str) -> [&'static str; N] {
    let mut literals = [""; N];
    let (mut rest, mut at) = (template, 0);
    while at + 1 < N {
        let open = find(rest, b'{');
        let (literal, id) = rest.split_at(open);
        literals[at] = literal;
        // A template with fewer ids does not compile; here it must not panic with another message.
        let close = find(id, b'}');
        rest = id.split_at(if close < id.len() { close + 1 } else { close }).1;
        at += 1;
    }
    literals[at] = rest;
    literals
}

/// Returns the length of [`start`].
pub const fn start_len(head: &str, literals: &[&str]) -> usize {
    head.len() + 1 + literals[0].len()
}

/// Joins what a key begins with: its head, the open brace of its family and the first literal. As
/// one constant they are written by one copy.
pub const fn start<const N: usize>(head: &str, literals: &[&str]) -> [u8; N] {
    let mut start = [b'{'; N];
    start.split_at_mut(head.len()).0.copy_from_slice(head.as_bytes());
    start.split_at_mut(head.len() + 1).1.copy_from_slice(literals[0].as_bytes());
    start
}

/// Returns the text of [`start`].
pub const fn text(start: &'static [u8]) -> &'static str {
    match core::str::from_utf8(start) {
        Ok(text) => text,
        // Both parts are texts.
        Err(_) => "",
    }
}

/// Writes a template with its ids filled in, one after the other.
pub struct Writer<'a, W> {
    literals: &'static [&'static str],
    out: &'a mut W,
    /// Whether the first of the literals is not written yet.
    is_literal_due: bool,
    family_open: bool,
}

impl<'a, W: Write> Writer<'a, W> {
    /// Starts a data key: writes its [`start`].
    #[inline(always)]
    pub fn key(
        start: &'static str,
        literals: &'static [&'static str],
        out: &'a mut W,
    ) -> Result<Self, fmt::Error> {
        out.write_str(start)?;
        Ok(Self { literals, out, is_literal_due: false, family_open: true })
    }

    /// Starts a tag.
    #[inline(always)]
    pub fn tag(literals: &'static [&'static str], out: &'a mut W) -> Result<Self, fmt::Error> {
        Ok(Self { literals, out, is_literal_due: true, family_open: false })
    }

    /// Writes the literal in front of the next id, and then the id.
    #[inline(always)]
    pub fn id(&mut self, id: &impl KeyId) -> fmt::Result {
        self.literal()?;
        id.write_segment(self.out, Private(()))?;
        self.close_family()
    }

    /// Writes the literal behind the last id.
    #[inline(always)]
    pub fn finish(mut self) -> fmt::Result {
        self.literal()?;
        self.close_family()
    }

    #[inline(always)]
    fn literal(&mut self) -> fmt::Result {
        let (literal, rest) = self.literals.split_first().ok_or(fmt::Error)?;
        self.literals = rest;
        let is_due = core::mem::replace(&mut self.is_literal_due, true);
        if is_due { self.out.write_str(literal) } else { Ok(()) }
    }

    #[inline(always)]
    fn close_family(&mut self) -> fmt::Result {
        if core::mem::take(&mut self.family_open) { self.out.write_char('}') } else { Ok(()) }
    }
}

/// Parses the ids of a key, one after the other.
pub struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
    template: &'static str,
    family_open: bool,
}

impl<'a> Reader<'a> {
    /// Starts a data key: parses the head `app:vN:`.
    pub fn key(head: &'static str, template: &'static str, text: &'a str) -> Result<Self, ParseError> {
        let mut reader = Self { text, rest: text, template, family_open: true };
        reader.literal(head)?;
        reader.literal("{")?;
        Ok(reader)
    }

    /// Parses the next id.
    pub fn id<I: KeyId>(&mut self) -> Result<I, ParseError> {
        let (literal, template) =
            self.template.split_once('{').ok_or_else(|| self.expected("no further id"))?;
        self.literal(literal)?;
        let end = self.rest.find(['}', ':']).unwrap_or(self.rest.len());
        let (segment, rest) = self.rest.split_at(end);
        let id = unescape(segment)
            .map_err(|(expected, at)| ParseError::new(expected, self.at() + at, self.text))?;
        let id = I::parse_id(&id).ok_or_else(|| self.expected(I::EXPECTED))?;
        self.rest = rest;
        self.close_family()?;
        self.template = template.split_once('}').map_or("", |(_, rest)| rest);
        Ok(id)
    }

    /// Checks the text behind the last id, and that the whole text is the canonical one of the
    /// parsed key.
    pub fn finish(mut self, canonical: &str) -> Result<(), ParseError> {
        self.literal(self.template)?;
        self.close_family()?;
        if !self.rest.is_empty() {
            return Err(self.expected("the end of the key"));
        }
        if canonical != self.text {
            let differs = canonical.bytes().zip(self.text.bytes()).position(|(a, b)| a != b);
            let at = differs.unwrap_or(canonical.len().min(self.text.len()));
            return Err(ParseError::new("the key as it is rendered", at, self.text));
        }
        Ok(())
    }

    fn close_family(&mut self) -> Result<(), ParseError> {
        if core::mem::take(&mut self.family_open) { self.literal("}") } else { Ok(()) }
    }

    fn literal(&mut self, literal: &'static str) -> Result<(), ParseError> {
        let rest = self.rest.strip_prefix(literal);
        self.rest = rest.ok_or_else(|| ParseError::verbatim(literal, self.at(), self.text))?;
        Ok(())
    }

    fn at(&self) -> usize {
        self.text.len() - self.rest.len()
    }

    fn expected(&self, expected: &'static str) -> ParseError {
        ParseError::new(expected, self.at(), self.text)
    }
}
