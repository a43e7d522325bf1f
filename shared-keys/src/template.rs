//! The [`keys!`](crate::keys) macro and the templates that it compiles: literals and `{id}`s between colons.

use core::fmt::{self, Write};

use crate::escape::{unescape, write_escaped};
use crate::{KeyId, ParseError};

/// Declares typed keys and tags in one place.
///
/// The first line names the app and the schema version, which stand in front of every key: raise the version when
/// the shape of the values changes. Then one line per key or tag: its ids, and a template of literals
/// (`a-z 0-9 _ -`) and `{id}`s between colons. The ids stand in the template in the order of the fields.
///
/// ```
/// use shared_keys::{Key, TypedTag};
///
/// shared_keys::keys! {
///     app "shop" version 1;
///
///     /// One product's page.
///     pub key Product { id: u64 } = "product:{id}";
///     /// Everything that shows a product of the category.
///     pub tag Category { category: u32 } = "category:{category}";
/// }
///
/// assert_eq!(Product { id: 7 }.to_text(), "shop:v1:{product:7}");
/// assert_eq!(Category { category: 3 }.to_tag().as_str(), "category:3");
/// ```
///
/// A malformed template does not compile:
///
/// ```compile_fail
/// shared_keys::keys! {
///     app "shop" version 1;
///     /// The id is missing from the template.
///     pub key Product { id: u64 } = "product";
/// }
/// ```
///
/// Nor do two templates that could render the same key; the message names both:
///
/// ```compile_fail
/// shared_keys::keys! {
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
        app $app:literal version $version:literal;
        $( $(#[$meta:meta])* $vis:vis $kind:ident $name:ident { $($field:ident : $id:ty),* $(,)? } = $template:literal; )*
    ) => {
        $(
            $(#[$meta])*
            #[doc = concat!("\n\nTemplate: `", $template, "`.")]
            #[derive(Debug, Clone, PartialEq, Eq, Hash)]
            $vis struct $name { $(
                #[doc = concat!("`{", stringify!($field), "}` of the template.")]
                pub $field: $id,
            )* }
            $crate::__keys_impl!($kind $app $version $name { $($field),* } $template);
        )*
        const _: () = {
            $crate::template::check_app($app);
            $crate::template::check_all(&[
                $( ($crate::__keys_kind!($kind), stringify!($name), $template, &[$(stringify!($field)),*]) ),*
            ]);
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __keys_kind {
    (key) => {
        "key"
    };
    (tag) => {
        "tag"
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __keys_impl {
    (key $app:literal $version:literal $name:ident { $($field:ident),* } $template:literal) => {
        impl $crate::Key for $name {
            const NAME: &'static str = stringify!($name);
            const TEMPLATE: &'static str = $template;

            fn render(&self, out: &mut impl $crate::__private::core::fmt::Write) -> $crate::__private::core::fmt::Result {
                #[allow(unused_mut, reason = "a template without ids writes none")]
                let mut writer = $crate::template::Writer::key(concat!($app, ":v", $version, ":"), $template, out)?;
                $( writer.id(&self.$field)?; )*
                writer.finish()
            }

            fn parse(text: &str) -> $crate::__private::core::result::Result<Self, $crate::ParseError> {
                #[allow(unused_mut, reason = "a template without ids reads none")]
                let mut reader = $crate::template::Reader::key(concat!($app, ":v", $version, ":"), $template, text)?;
                let key = Self { $( $field: reader.id()?, )* };
                reader.finish(&$crate::Key::to_text(&key))?;
                $crate::__private::core::result::Result::Ok(key)
            }
        }
    };
    (tag $app:literal $version:literal $name:ident { $($field:ident),* } $template:literal) => {
        impl $crate::TypedTag for $name {
            const TEMPLATE: &'static str = $template;

            fn to_tag(&self) -> $crate::Tag {
                let mut text = $crate::__private::String::new();
                let written = (|| {
                    #[allow(unused_mut, reason = "a template without ids writes none")]
                    let mut writer = $crate::template::Writer::tag($template, &mut text)?;
                    $( writer.id(&self.$field)?; )*
                    writer.finish()
                })();
                // Writing to a String does not fail, and ids only pass on the errors of what they write to.
                let _: $crate::__private::core::fmt::Result = written;
                $crate::Tag::from_template(text)
            }
        }
    };
}

/// Writes a template with its ids filled in, one after the other.
pub struct Writer<'a, W> {
    rest: &'static str,
    out: &'a mut W,
    family_open: bool,
}

impl<'a, W: Write> Writer<'a, W> {
    /// A writer of a data key, behind the head `app:vN:`.
    pub fn key(head: &str, template: &'static str, out: &'a mut W) -> Result<Self, fmt::Error> {
        out.write_str(head)?;
        out.write_char('{')?;
        Ok(Self { rest: template, out, family_open: true })
    }

    /// A writer of a tag.
    pub fn tag(template: &'static str, out: &'a mut W) -> Result<Self, fmt::Error> {
        Ok(Self { rest: template, out, family_open: false })
    }

    /// Writes the literals in front of the next id, then the id.
    pub fn id(&mut self, id: &impl KeyId) -> fmt::Result {
        let (literal, rest) = self.rest.split_once('{').ok_or(fmt::Error)?;
        self.out.write_str(literal)?;
        write_escaped(id, self.out)?;
        self.close_family()?;
        self.rest = rest.split_once('}').ok_or(fmt::Error)?.1;
        Ok(())
    }

    /// Writes the literals behind the last id.
    pub fn finish(mut self) -> fmt::Result {
        self.out.write_str(self.rest)?;
        self.close_family()
    }

    fn close_family(&mut self) -> fmt::Result {
        if core::mem::take(&mut self.family_open) { self.out.write_char('}') } else { Ok(()) }
    }
}

/// Reads a key's ids back, one after the other.
pub struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
    template: &'static str,
    family_open: bool,
}

impl<'a> Reader<'a> {
    /// A reader of a data key, behind the head `app:vN:`.
    pub fn key(head: &'static str, template: &'static str, text: &'a str) -> Result<Self, ParseError> {
        let rest = text.strip_prefix(head).ok_or_else(|| ParseError::new(head, 0, text))?;
        let rest = rest
            .strip_prefix('{')
            .ok_or_else(|| ParseError::new("`{`, the start of the hash tag", head.len(), text))?;
        Ok(Self { text, rest, template, family_open: true })
    }

    /// The next id.
    pub fn id<I: KeyId>(&mut self) -> Result<I, ParseError> {
        let (literal, template) = self.template.split_once('{').ok_or_else(|| self.expected("no further id"))?;
        self.rest = self.rest.strip_prefix(literal).ok_or_else(|| self.expected(literal))?;
        let end = self.rest.find(['}', ':']).unwrap_or(self.rest.len());
        let (segment, rest) = self.rest.split_at(end);
        let id = unescape(segment)
            .and_then(|id| I::parse_id(&id))
            .ok_or_else(|| self.expected("an id of the template's type"))?;
        self.rest = rest;
        self.close_family()?;
        self.template = template.split_once('}').map_or("", |(_, rest)| rest);
        Ok(id)
    }

    /// Checks what follows the last id, and that the text is the canonical one of the key that was read.
    pub fn finish(mut self, canonical: &str) -> Result<(), ParseError> {
        self.rest = self.rest.strip_prefix(self.template).ok_or_else(|| self.expected(self.template))?;
        self.close_family()?;
        if !self.rest.is_empty() {
            return Err(self.expected("the end of the key"));
        }
        if canonical != self.text {
            return Err(ParseError::new("the canonical form of the key", 0, self.text));
        }
        Ok(())
    }

    fn close_family(&mut self) -> Result<(), ParseError> {
        if core::mem::take(&mut self.family_open) {
            self.rest = self.rest.strip_prefix('}').ok_or_else(|| self.expected("`}`, the end of the hash tag"))?;
        }
        Ok(())
    }

    fn expected(&self, expected: &'static str) -> ParseError {
        ParseError::new(expected, self.text.len() - self.rest.len(), self.text)
    }
}

/// Kind (`key` or `tag`), type name, template, field names.
type Declared<'a> = (&'a str, &'a str, &'a str, &'a [&'a str]);

/// Whether this can be the name of an app in [`keys!`](crate::keys): one or more of `a-z 0-9 _ -`.
///
/// ```
/// assert!(shared_keys::is_app_name("shop-2"));
/// assert!(!shared_keys::is_app_name("My shop") && !shared_keys::is_app_name(""));
/// ```
#[must_use]
pub const fn is_app_name(app: &str) -> bool {
    let bytes = app.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !is_literal(bytes[at]) {
            return false;
        }
        at += 1;
    }
    !bytes.is_empty()
}

/// Fails the build if the app's name is not a literal segment.
pub const fn check_app(app: &str) {
    if !is_app_name(app) {
        fail(&["the app name \"", app, "\" must be one or more of a-z 0-9 _ -"]);
    }
}

/// Fails the build if a template is malformed, or two of a kind could render alike.
pub const fn check_all(declared: &[Declared<'_>]) {
    let mut at = 0;
    while at < declared.len() {
        check_template(declared[at]);
        let mut other = 0;
        while other < at {
            let (a, b) = (declared[other], declared[at]);
            if equal(a.0, b.0) && can_collide(a.2, b.2) {
                fail(&[
                    a.1,
                    " = \"",
                    a.2,
                    "\" and ",
                    b.1,
                    " = \"",
                    b.2,
                    "\" can render the same text: give one another literal",
                ]);
            }
            other += 1;
        }
        at += 1;
    }
}

const fn check_template((_, name, template, fields): Declared<'_>) {
    let bytes = template.as_bytes();
    let (mut at, mut field) = (0, 0);
    loop {
        let end = segment_end(bytes, at);
        if at == end {
            fail(&[name, " = \"", template, "\" has an empty segment"]);
        } else if bytes[at] == b'{' {
            if field == fields.len()
                || !equal_range(bytes, at + 1, end - 1, fields[field].as_bytes())
                || bytes[end - 1] != b'}'
            {
                fail(&[name, " = \"", template, "\" must name its fields as {field}, each once and in their order"]);
            }
            field += 1;
        } else {
            let mut byte = at;
            while byte < end {
                if !is_literal(bytes[byte]) {
                    fail(&[name, " = \"", template, "\" has a literal with other bytes than a-z 0-9 _ -"]);
                }
                byte += 1;
            }
        }
        if end == bytes.len() {
            break;
        }
        at = end + 1;
    }
    if field != fields.len() {
        fail(&[name, " = \"", template, "\" does not name its field ", fields[field]]);
    }
}

/// Whether two templates have as many segments, and at each place equal literals or an id.
///
/// An id is taken to be able to render any text, so a pair is refused that only its ids' types keep apart.
const fn can_collide(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let (mut in_a, mut in_b) = (0, 0);
    loop {
        let (end_a, end_b) = (segment_end(a, in_a), segment_end(b, in_b));
        let has_id = a[in_a] == b'{' || b[in_b] == b'{';
        if !has_id && !equal_ranges(a, in_a, end_a, b, in_b, end_b) {
            return false;
        }
        match (end_a == a.len(), end_b == b.len()) {
            (true, true) => return true,
            (false, false) => (in_a, in_b) = (end_a + 1, end_b + 1),
            _ => return false,
        }
    }
}

const fn is_literal(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-')
}

const fn segment_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && bytes[at] != b':' {
        at += 1;
    }
    at
}

const fn equal(a: &str, b: &str) -> bool {
    equal_range(a.as_bytes(), 0, a.len(), b.as_bytes())
}

const fn equal_range(a: &[u8], from: usize, to: usize, b: &[u8]) -> bool {
    equal_ranges(a, from, to, b, 0, b.len())
}

const fn equal_ranges(a: &[u8], a_from: usize, a_to: usize, b: &[u8], b_from: usize, b_to: usize) -> bool {
    if a_to < a_from || a_to - a_from != b_to - b_from {
        return false;
    }
    let mut at = 0;
    while at < a_to - a_from {
        if a[a_from + at] != b[b_from + at] {
            return false;
        }
        at += 1;
    }
    true
}

/// Stops the build with the joined message; `panic!` alone joins nothing in a constant.
#[expect(clippy::panic, reason = "only ever evaluated while compiling")]
const fn fail(parts: &[&str]) -> ! {
    let mut message = [b' '; 512];
    let (mut part, mut len) = (0, 0);
    while part < parts.len() {
        let bytes = parts[part].as_bytes();
        let mut at = 0;
        while at < bytes.len() && len < message.len() {
            message[len] = bytes[at];
            len += 1;
            at += 1;
        }
        part += 1;
    }
    match core::str::from_utf8(message.split_at(len).0) {
        Ok(message) => panic!("{}", message),
        Err(_) => panic!("malformed keys"),
    }
}
