//! Cache groups (RFC 9875): labels that the responses of one origin share.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::Tag;
use super::tag::MAX_TAG_BYTES;
use crate::http::structured_fields::{Member, parse_list};
use crate::{ParseError, TargetKey};

/// The name of a cache group (RFC 9875): printable ASCII, in which case counts.
///
/// A response lists its groups in `Cache-Groups`, and the response to an unsafe request lists those
/// that it invalidates in `Cache-Group-Invalidation`. Both fields have the form of
/// [`to_field`](Self::to_field). A group belongs to one origin (scheme, host and port): groups of
/// two origins with one name have nothing in common.
///
/// ```
/// use shared_keys::{CacheGroup, TargetKey};
/// let groups = CacheGroup::parse_field(br#""news";x=1, "menu""#).unwrap();
/// assert_eq!(CacheGroup::to_field(&groups), r#""news", "menu""#);
///
/// let target = TargetKey::parse("https://a.example/today?page=2").unwrap();
/// assert_eq!(groups[0].tag(&target).as_str(), "group:https://a.example/news");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheGroup(Box<str>);

impl CacheGroup {
    /// Creates a group. Other caches need not support more than 32 groups in a field, and more than
    /// 32 characters in a name.
    ///
    /// # Errors
    /// Fails if the name is not printable ASCII.
    pub fn new(name: &str) -> Result<Self, ParseError> {
        match name.bytes().position(|byte| !matches!(byte, b' '..=b'~')) {
            Some(at) => Err(ParseError::new("a group's name in printable ASCII", at, name)),
            None => Ok(Self(name.into())),
        }
    }

    /// Parses the value of `Cache-Groups` or `Cache-Group-Invalidation`, with all its lines joined
    /// by commas. Parameters are ignored. Returns `None` if the value is not a list of strings: the
    /// whole field is then ignored (RFC 9651 section 4.2).
    #[must_use]
    pub fn parse_field(value: &[u8]) -> Option<Vec<Self>> {
        let group = |member: Member| match member {
            Member::String(name) => Self::new(core::str::from_utf8(&name).ok()?).ok(),
            _ => None,
        };
        parse_list(value)?.into_iter().map(group).collect()
    }

    /// Returns the value of a field that lists these groups.
    #[must_use]
    pub fn to_field<'a>(groups: impl IntoIterator<Item = &'a Self>) -> String {
        let mut field = String::new();
        for Self(name) in groups {
            field.push_str(if field.is_empty() { "\"" } else { ", \"" });
            for character in name.chars() {
                if matches!(character, '"' | '\\') {
                    field.push('\\');
                }
                field.push(character);
            }
            field.push('"');
        }
        field
    }

    /// Returns the group's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the tag that stands for this group of the target's origin.
    ///
    /// It has at most 1,024 bytes. Groups whose names begin with the same thousand characters or so
    /// share a tag, and so their invalidations.
    #[must_use]
    pub fn tag(&self, target: &TargetKey) -> Tag {
        let mut text = format!("group:{}/{}", target.origin(), self.0);
        text.truncate(MAX_TAG_BYTES);
        Tag::from_template(text)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use proptest::prelude::*;

    use super::*;
    use crate::Scope;

    fn target(url: &str) -> TargetKey {
        TargetKey::parse(url).unwrap()
    }

    #[test]
    fn rfc9875_2_1_a_group_belongs_to_one_origin_and_case_counts() {
        let tag = |name: &str, url: &str| CacheGroup::new(name).unwrap().tag(&target(url));
        let own = tag("news", "https://a.example/x?y");
        assert_eq!(own, tag("news", "https://A.example:443/z"));
        for (name, url) in [
            ("News", "https://a.example/"),
            ("news ", "https://a.example/"),
            ("news", "http://a.example/"),
            ("news", "https://a.example:444/"),
            ("news", "https://b.example/"),
            ("a.example/news", "https://b.example/"),
        ] {
            assert_ne!(own, tag(name, url), "{name} {url}");
        }
    }

    #[test]
    fn rfc9875_2_a_field_that_is_no_list_of_strings_is_ignored() {
        for field in ["news", "\"a\", news", "1", "(\"a\")", "\"a", "\"a\",", "\"é\"", "\"a\" \"b\""] {
            assert_eq!(CacheGroup::parse_field(field.as_bytes()), None, "{field}");
        }
        assert_eq!(CacheGroup::parse_field(b""), Some(Vec::new()));
    }

    #[test]
    fn rfc9875_2_32_groups_of_32_characters_and_more_are_supported() {
        for (number, length) in [(32, 32), (1000, 2000)] {
            let names: Vec<_> = (0..number).map(|n| format!("{n:0length$}")).collect();
            let groups: Vec<_> = names.iter().map(|name| CacheGroup::new(name).unwrap()).collect();
            assert_eq!(CacheGroup::parse_field(CacheGroup::to_field(&groups).as_bytes()), Some(groups));
        }
    }

    #[test]
    fn a_long_name_is_cut_and_its_tag_is_a_scope() {
        let long = "x".repeat(5000);
        let tag = CacheGroup::new(&long).unwrap().tag(&target("https://a.example/"));
        assert_eq!(tag.as_str().len(), MAX_TAG_BYTES);
        assert_eq!(Scope::from(&tag).to_string().parse(), Ok(Scope::Tag(tag)));
        assert_eq!(CacheGroup::new("a\nb").unwrap_err().at(), 1);
    }

    proptest! {
        #[test]
        fn a_field_parses_back(names in proptest::collection::vec("[ -~]{0,40}", 0..8)) {
            let groups: Vec<_> = names.iter().map(|name| CacheGroup::new(name).unwrap()).collect();
            prop_assert_eq!(CacheGroup::parse_field(CacheGroup::to_field(&groups).as_bytes()), Some(groups));
        }

        #[test]
        fn a_hostile_field_never_panics(value in proptest::collection::vec(any::<u8>(), 0..40)) {
            for group in CacheGroup::parse_field(&value).unwrap_or_default() {
                let scope = Scope::Tag(group.tag(&target("https://a.example/")));
                prop_assert_eq!(scope.to_string().parse(), Ok(scope));
            }
        }
    }
}
