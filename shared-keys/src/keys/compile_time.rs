//! Checks at compile time: templates are well-formed and bounded, and no two can render the same
//! text.
//!
//! All checks are `const fn`s. In a constant they stop the build with a message; at run time they
//! panic with the same message.

use super::escape::MAX_ID_BYTES;
use super::key::MAX_KEY_BYTES;

/// The templates of one [`keys!`](crate::keys). `listed as` names them, for [`assert_disjoint`].
#[derive(Debug, Clone, Copy)]
pub struct Templates {
    head: &'static str,
    declared: &'static [Declared],
}

/// One declaration in `keys!`.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Declared {
    pub kind: Kind,
    /// The type's name, with its module path.
    pub name: &'static str,
    pub template: &'static str,
    pub fields: &'static [&'static str],
}

/// The kind of a declaration. Keys and tags are separate namespaces, so a key and a tag may render
/// the same text.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Key,
    Tag,
}

impl Templates {
    /// Checks the templates and returns them. `head` is the text in front of every key, `app:vN:`.
    #[doc(hidden)]
    pub const fn checked(app: &str, head: &'static str, declared: &'static [Declared]) -> Self {
        if !is_app_name(app) {
            fail(&["the app name \"", app, "\" must be one or more of a-z 0-9 _ -"]);
        }
        let mut at = 0;
        while at < declared.len() {
            check_template(head, declared[at]);
            at += 1;
        }
        let templates = Self { head, declared };
        assert_disjoint(&[templates]);
        templates
    }
}

/// Stops the build if two templates of one app and version can render the same key, or the same
/// tag.
///
/// Each [`keys!`](crate::keys) checks only its own declarations. An app that declares its keys in
/// several modules or crates checks them all with this function.
///
/// Every id counts as able to render any text. Two templates that differ only in the types of their
/// ids are therefore rejected.
///
/// ```
/// # extern crate shared_keys as origin_sdk;
/// mod catalogue {
///     origin_sdk::keys! {
///         app "shop" version 1 listed as pub KEYS;
///
///         /// One product's page.
///         pub key Product { id: u64 } = "product:{id}";
///     }
/// }
/// mod orders {
///     origin_sdk::keys! {
///         app "shop" version 1 listed as pub KEYS;
///
///         /// One order.
///         pub key Order { id: u64 } = "order:{id}";
///     }
/// }
///
/// const _: () = origin_sdk::assert_disjoint(&[catalogue::KEYS, orders::KEYS]);
/// ```
///
/// # Panics
/// If two templates can render the same text; the message names both. In a constant, as above, that
/// stops the build.
pub const fn assert_disjoint(lists: &[Templates]) {
    let mut in_a = 0;
    while in_a < lists.len() {
        let a = lists[in_a];
        let mut in_b = in_a;
        while in_b < lists.len() {
            let b = lists[in_b];
            let mut at_a = 0;
            while at_a < a.declared.len() && equal(a.head, b.head) {
                let mut at_b = if in_a == in_b { at_a + 1 } else { 0 };
                while at_b < b.declared.len() {
                    check_pair(a.declared[at_a], b.declared[at_b]);
                    at_b += 1;
                }
                at_a += 1;
            }
            in_b += 1;
        }
        in_a += 1;
    }
}

/// Stops the build if the keys of `child` do not all lie below those of `parent`. Each is given as
/// name, head and template.
#[doc(hidden)]
pub const fn check_under(child: (&str, &str, &str), parent: (&str, &str, &str)) {
    let (name, above) = (child.0, parent.0);
    if !equal(child.1, parent.1) {
        fail(&[name, " and ", above, " are of different apps or versions, so neither lies under the other"]);
    }
    if find(parent.2, b'{') == parent.2.len() {
        fail(&[above, " = \"", parent.2, "\" has no id and so a hash tag of its own: nothing lies under it"]);
    }
    let (child, parent) = (child.2, parent.2);
    let begins = parent.len() < child.len()
        && equal_ranges(child.as_bytes(), 0, parent.len(), parent.as_bytes(), 0, parent.len())
        && child.as_bytes()[parent.len()] == b':';
    if !begins {
        fail(&[
            name,
            " = \"",
            child,
            "\" is not under ",
            above,
            " = \"",
            parent,
            "\": it must begin with that template and a `:`",
        ]);
    }
}

/// Stops the build if two variants of an enum share a text. Each is given as name and text.
#[doc(hidden)]
pub const fn check_variants(name: &str, variants: &[(&str, &str)]) {
    let mut at = 0;
    while at < variants.len() {
        let mut other = 0;
        while other < at {
            let (a, b) = (variants[other], variants[at]);
            if equal(a.1, b.1) {
                fail(&[name, "::", a.0, " and ", name, "::", b.0, " have the same text \"", a.1, "\""]);
            }
            other += 1;
        }
        at += 1;
    }
}

/// Returns whether a text can be an app name in [`keys!`](crate::keys): one or more of `a-z 0-9 _
/// -`.
///
/// ```
/// assert!(shared_keys::is_app_name("shop-2"));
/// assert!(!shared_keys::is_app_name("My shop") && !shared_keys::is_app_name(""));
/// ```
#[must_use]
pub const fn is_app_name(app: &str) -> bool {
    !app.is_empty() && is_literal(app.as_bytes(), 0, app.len())
}

const fn check_template(head: &str, Declared { kind, name, template, fields }: Declared) {
    let bytes = template.as_bytes();
    // The head of a key, and the braces of its hash tag.
    let mut longest = if matches!(kind, Kind::Key) { head.len() + 2 } else { 0 };
    let (mut at, mut field) = (0, 0);
    loop {
        let end = segment_end(bytes, at);
        if at == end {
            fail(&[name, " = \"", template, "\" has an empty segment"]);
        } else if bytes[at] == b'{' {
            if field == fields.len()
                || bytes[end - 1] != b'}'
                || !equal_ranges(bytes, at + 1, end - 1, fields[field].as_bytes(), 0, fields[field].len())
            {
                fail(&[
                    name,
                    " = \"",
                    template,
                    "\" must name its fields as {field}, each once and in their order",
                ]);
            }
            field += 1;
            longest += MAX_ID_BYTES;
        } else {
            if !is_literal(bytes, at, end) {
                fail(&[name, " = \"", template, "\" has a literal with other bytes than a-z 0-9 _ -"]);
            }
            longest += end - at;
        }
        if end == bytes.len() {
            break;
        }
        longest += 1;
        at = end + 1;
    }
    if field != fields.len() {
        fail(&[name, " = \"", template, "\" does not name its field ", fields[field]]);
    }
    if longest > MAX_KEY_BYTES {
        let advice = "\" can render more than 1,024 bytes, with 128 for each id: give it fewer ids or shorter literals";
        fail(&[name, " = \"", template, advice]);
    }
}

const fn check_pair(a: Declared, b: Declared) {
    let same_kind = matches!((a.kind, b.kind), (Kind::Key, Kind::Key) | (Kind::Tag, Kind::Tag));
    if same_kind && can_collide(a.template, b.template) {
        fail(&[
            a.name,
            " = \"",
            a.template,
            "\" and ",
            b.name,
            " = \"",
            b.template,
            "\" can render the same text: give one another literal",
        ]);
    }
}

/// Returns whether two templates have the same number of segments and, at each place, equal
/// literals or an id.
///
/// Templates that differ only in where the hash tag ends count as colliding too: a rule without
/// exceptions is easier to follow.
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

const fn is_literal(bytes: &[u8], mut at: usize, end: usize) -> bool {
    while at < end {
        if !matches!(bytes[at], b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-') {
            return false;
        }
        at += 1;
    }
    true
}

/// Returns the place of the first such byte, or the text's length.
pub(super) const fn find(text: &str, byte: u8) -> usize {
    let mut at = 0;
    while at < text.len() && text.as_bytes()[at] != byte {
        at += 1;
    }
    at
}

const fn segment_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && bytes[at] != b':' {
        at += 1;
    }
    at
}

const fn equal(a: &str, b: &str) -> bool {
    equal_ranges(a.as_bytes(), 0, a.len(), b.as_bytes(), 0, b.len())
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

/// Stops the build with the joined parts as the message. `panic!` in a constant cannot format.
#[expect(clippy::panic, reason = "meant for constants, where it stops the build")]
const fn fail(parts: &[&str]) -> ! {
    let mut message = [b' '; 1024];
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
