//! Entity tags (RFC 9110 section 8.8.3) and the list of them in `If-None-Match` (section 13.1.2).

use super::field_lists::split_list;

/// The value of an `ETag` field, or a member of `If-None-Match`.
///
/// The grammar is not checked, since some origins send tags without quotes. Tags are compared byte
/// by byte.
///
/// ```
/// use shared_keys::EntityTag;
/// let (strong, weak) = (EntityTag::new(br#""a,b""#), EntityTag::new(br#"W/"a,b""#));
/// assert!(weak.is_weak() && weak.weakly_matches(strong) && !weak.strongly_matches(weak));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct EntityTag<'a> {
    opaque: &'a [u8],
    is_weak: bool,
}

impl<'a> EntityTag<'a> {
    /// Returns the entity tag of a field value. White space around it does not count.
    #[must_use]
    pub fn new(value: &'a [u8]) -> Self {
        let value = value.trim_ascii();
        match value.strip_prefix(b"W/") {
            Some(opaque) => Self { opaque, is_weak: true },
            None => Self { opaque: value, is_weak: false },
        }
    }

    /// Returns whether the tag is weak: whether it begins with `W/`.
    #[must_use]
    pub fn is_weak(self) -> bool {
        self.is_weak
    }

    /// Compares weakly: the opaque tags are the same (RFC 9110 section 8.8.3.2).
    #[must_use]
    pub fn weakly_matches(self, other: EntityTag<'_>) -> bool {
        self.opaque == other.opaque
    }

    /// Compares strongly: the opaque tags are the same, and neither tag is weak (RFC 9110 section
    /// 8.8.3.2).
    #[must_use]
    pub fn strongly_matches(self, other: EntityTag<'_>) -> bool {
        !self.is_weak && !other.is_weak && self.opaque == other.opaque
    }
}

/// Returns whether a line of `If-None-Match` is `*` or lists the current entity tag, by weak
/// comparison (RFC 9110 section 13.1.2).
///
/// `*` matches a response without a tag as well. A comma inside a quoted tag does not separate.
///
/// ```
/// use shared_keys::{EntityTag, lists_entity_tag};
/// let current = EntityTag::new(br#""a,b""#);
/// assert!(lists_entity_tag(br#""c", W/"a,b""#, Some(current)));
/// assert!(!lists_entity_tag(br#""a", "b""#, Some(current)));
/// assert!(lists_entity_tag(b"*", None));
/// ```
#[must_use]
pub fn lists_entity_tag(line: &[u8], current: Option<EntityTag<'_>>) -> bool {
    split_list(line).any(|member| {
        member == b"*" || current.is_some_and(|current| current.weakly_matches(EntityTag::new(member)))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rfc9110_8_8_3_2_tags_compare_weakly_and_strongly() {
        for (one, other, strongly, weakly) in [
            (r#"W/"1""#, r#"W/"1""#, false, true),
            (r#"W/"1""#, r#"W/"2""#, false, false),
            (r#"W/"1""#, r#""1""#, false, true),
            (r#""1""#, r#""1""#, true, true),
            (r#""1""#, r#" "1"	"#, true, true),
            (r#""W/1""#, r#""1""#, false, false),
            ("w/1", "W/1", false, false),
        ] {
            let (one, other) = (EntityTag::new(one.as_bytes()), EntityTag::new(other.as_bytes()));
            assert_eq!((one.strongly_matches(other), one.weakly_matches(other)), (strongly, weakly));
            assert_eq!((other.strongly_matches(one), other.weakly_matches(one)), (strongly, weakly));
        }
    }

    #[test]
    fn rfc9110_13_1_2_a_list_names_a_tag_weakly_and_a_star_names_all() {
        let tag = EntityTag::new(br#""a,b""#);
        for line in [r#""a,b""#, r#"W/"a,b""#, r#""x" , "a,b", "y""#, "*", r#", "a,b""#, r#""x", *"#] {
            assert!(lists_entity_tag(line.as_bytes(), Some(tag)), "{line}");
        }
        for line in ["", ",", r#""a", "b""#, r#""a"#, r#""*""#, r#"a,b"#] {
            assert!(!lists_entity_tag(line.as_bytes(), Some(tag)), "{line}");
        }
        assert!(lists_entity_tag(b"*", None) && !lists_entity_tag(br#""a,b", "#, None));
    }

    proptest! {
        #[test]
        fn a_well_formed_tag_is_found_among_others(
            before in proptest::collection::vec("(W/)?\"[!#-~]{0,5}\"", 0..4), tag in "(W/)?\"[!#-~]{0,5}\"",
            after in proptest::collection::vec("(W/)?\"[!#-~]{0,5}\"", 0..4),
        ) {
            // A backslash escapes a quote in a list's quoted strings, and means nothing in a tag.
            prop_assume!(before.iter().chain([&tag]).chain(&after).all(|tag| !tag.contains('\\')));
            let line = before.iter().chain([&tag]).chain(&after).map(|tag| tag.as_str());
            let line = line.collect::<alloc::vec::Vec<_>>().join(", ");
            prop_assert!(lists_entity_tag(line.as_bytes(), Some(EntityTag::new(tag.as_bytes()))));
        }
    }
}
