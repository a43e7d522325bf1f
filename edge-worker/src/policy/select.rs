//! The selection of a stored response for a request (RFC 9111 section 4.1), in two lookups: by
//! target key, then by variant key.
//!
//! The target key of a URL holds either the response itself, if the origin sent no `Vary`, or a
//! [`VaryMarker`] with the names of the selecting fields. In the latter case the response is stored
//! under a variant key, which contains the normalised values of these fields. Requests that differ
//! in a selecting field have different keys, so stored requests are never compared.

use http::{HeaderMap, HeaderName, header};
use shared_keys::{TargetKey, VariantKey, VaryFields, VaryRules, split_list};

use super::StoredResponse;
use super::usage::Variant;
use crate::unkeyed::with_hyphens;

/// The result of a request's lookup in the store.
#[derive(Debug, Clone, Copy)]
pub enum Selected<'a> {
    /// The URI is not stored.
    UriMiss,
    /// A marker is stored, but not the variant that it selects.
    VaryMiss,
    /// A response for these selecting fields, fresh or not.
    Response(&'a StoredResponse),
}

/// The marker under the target key of a URL whose responses vary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaryMarker {
    /// The selecting fields of the latest response.
    pub fields: VaryFields,
    /// The generation that ties variants to their marker. A variant of another generation is never
    /// selected, so removing the marker removes all its variants, and a new marker does not restore
    /// them.
    pub generation: u64,
    /// The stored variants.
    pub variants: Vec<Variant>,
}

/// The largest number of selecting fields. Each is compared with all fields of a request.
const MAX_FIELDS: usize = 64;

/// Returns the selecting fields of a response, empty if it does not vary. Returns `None` if it may
/// not be selected at all: for `Vary: *`, an unreadable line, a malformed name, or more than 64
/// names.
///
/// A response in a content coding was selected by the client's codings, and one in a coding with a
/// dictionary by the client's dictionary (RFC 9842), whether its `Vary` says so or not. Many
/// origins compress without `Vary`.
pub fn vary_fields(headers: &HeaderMap) -> Option<VaryFields> {
    let lines = headers.get_all(header::VARY).iter().map(|value| value.to_str().ok());
    let lines: Option<Vec<&str>> = lines.chain(coding_fields(headers).map(Some)).collect();
    // This hop replaces these fields: the origin selected by another value than the client's.
    let is_replaced = |name: &str| matches!(name, "forwarded" | "x-forwarded-for");
    let selects = |name: &str| !is_replaced(name) && HeaderName::from_bytes(name.as_bytes()).is_ok();
    VaryFields::parse(lines?).filter(|fields| {
        fields.iter().take(MAX_FIELDS + 1).count() <= MAX_FIELDS && fields.iter().all(selects)
    })
}

/// Returns the fields that selected the content coding of a response.
fn coding_fields(headers: &HeaderMap) -> Option<&'static str> {
    let codings =
        headers.get_all(header::CONTENT_ENCODING).iter().flat_map(|value| split_list(value.as_bytes()));
    let mut codings =
        codings.filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"));
    let needs_dictionary =
        |coding: &[u8]| [b"dcb", b"dcz"].iter().any(|known| coding.eq_ignore_ascii_case(*known));
    let first = codings.next()?;
    Some(if needs_dictionary(first) || codings.any(needs_dictionary) {
        "accept-encoding, available-dictionary"
    } else {
        "accept-encoding"
    })
}

/// Returns the key of the variant that the request fields select; `None` if a selecting value was
/// not UTF-8, since different values are then indistinguishable.
pub fn variant_key(
    target: &TargetKey,
    fields: &VaryFields,
    rules: &VaryRules,
    request: &HeaderMap,
) -> Option<VariantKey> {
    can_select(fields, request)
        .then(|| VariantKey::new(target, fields, rules, |name| combined(request, name)))
}

/// Returns whether the selecting values of a request are certain.
///
/// All must be UTF-8: other values contain the replacement character and cannot be distinguished
/// from each other. The request must not state a selecting field with `_` in place of `-` either,
/// which the origin may have read instead.
pub fn can_select(fields: &VaryFields, request: &HeaderMap) -> bool {
    let mut values = fields.iter().filter_map(|name| combined(request, name));
    !is_misspelt(request, fields.iter()) && !values.any(|value| value.contains(char::REPLACEMENT_CHARACTER))
}

/// Joins the lines of a request field to one value, with one space after each comma that separates
/// members; RFC 9111 section 4.1 allows to normalise this white space. Returns `None` if the field
/// is absent, which differs from empty.
pub fn combined(request: &HeaderMap, name: &str) -> Option<String> {
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    // `Cookie` is not a list. Its lines are joined with a semicolon (RFC 9113 section 8.2.3).
    let (is_list, separator) = if name == header::COOKIE { (false, "; ") } else { (true, ", ") };
    let mut lines = request.get_all(name).iter().map(|value| match value.as_bytes() {
        list if is_list => {
            String::from_utf8_lossy(&split_list(list).collect::<Vec<_>>().join(&b", "[..])).into_owned()
        }
        value => String::from_utf8_lossy(value).into_owned(),
    });
    let first = lines.next()?;
    Some(lines.fold(first, |all, line| all + separator + &line))
}

/// Returns whether a request states one of these fields with another mark in place of a `-`, which
/// the origin may read as the field.
pub fn is_misspelt<'a>(request: &HeaderMap, fields: impl Iterator<Item = &'a str>) -> bool {
    let hyphened = |name: &str| with_hyphens(name).unwrap_or_else(|| name.to_owned());
    let read_as: Vec<(&str, String)> = fields.map(|field| (field, hyphened(field))).collect();
    request.keys().any(|sent| {
        with_hyphens(sent.as_str()).is_some_and(|name| {
            read_as.iter().any(|(field, hyphened)| sent.as_str() != *field && name == *hyphened)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::headers;

    /// Each is compared with all fields of a request.
    #[test]
    fn a_response_with_too_many_selecting_fields_is_not_selected() {
        let vary = |count: usize| {
            let names: Vec<String> = (0..count).map(|number| format!("x-{number}")).collect();
            vary_fields(&headers(&[("vary", &names.join(","))])).is_some()
        };
        assert!(vary(64) && !vary(65));
    }

    #[test]
    fn rfc9111_4_1_utf8_values_select_and_other_values_do_not() {
        let target = TargetKey::parse("https://shop.example/a").unwrap();
        let fields = VaryFields::parse(["X-Name"]).unwrap();
        let key =
            |name: &str| variant_key(&target, &fields, &VaryRules::default(), &headers(&[("x-name", name)]));
        assert!(key("Zoë").is_some());
        assert_ne!(key("Zoë"), key("Zoè"));
        assert_eq!(key("Zo\u{FFFD}"), None);
        assert!(
            variant_key(&target, &fields, &VaryRules::default(), &headers(&[("x-other", "\u{FFFD}")]))
                .is_some()
        );
    }

    #[test]
    fn a_request_with_a_selecting_field_in_another_spelling_selects_nothing() {
        let fields = VaryFields::parse(["X-Tenant, api_key"]).unwrap();
        for (name, selects) in [("x_tenant", false), ("x-tenant", true), ("api_key", true), ("x_other", true)]
        {
            assert_eq!(can_select(&fields, &headers(&[(name, "a")])), selects, "{name}");
        }
    }

    #[test]
    fn rfc9111_4_1_white_space_between_members_does_not_select() {
        for (value, normal) in [
            ("1,2", "1, 2"),
            (" 1 ,\t 2 ", "1, 2"),
            ("1, \"a,b\"", "1, \"a,b\""),
            ("1  2", "1  2"),
            ("", ""),
            ("1,,2", "1, , 2"),
        ] {
            assert_eq!(combined(&headers(&[("foo", value)]), "foo").as_deref(), Some(normal), "{value}");
        }
        assert_eq!(combined(&headers(&[("cookie", "a=1,2;b")]), "cookie").as_deref(), Some("a=1,2;b"));
    }

    #[test]
    fn rfc9110_5_3_lines_are_joined_with_commas_and_rfc9113_8_2_3_cookies_with_semicolons() {
        let fields =
            headers(&[("accept", "a"), ("cookie", "a=1"), ("accept", "b"), ("cookie", "b=2"), ("x", "")]);
        for (name, value) in
            [("accept", Some("a, b")), ("cookie", Some("a=1; b=2")), ("x", Some("")), ("y", None)]
        {
            assert_eq!(combined(&fields, name).as_deref(), value);
        }
    }

    #[test]
    fn rfc9110_8_4_and_rfc9842_a_coding_was_selected_whether_vary_says_so_or_not() {
        for (vary, coding, fields) in [
            ("", "br", "accept-encoding"),
            ("Accept, Accept-Encoding", "gzip", "accept, accept-encoding"),
            ("", "gzip, DCB", "accept-encoding, available-dictionary"),
            ("", "dcz", "accept-encoding, available-dictionary"),
            ("", "identity", ""),
            ("", "", ""),
        ] {
            let selecting = vary_fields(&headers(&[("vary", vary), ("content-encoding", coding)])).unwrap();
            assert_eq!(selecting.to_header(), fields, "{vary} {coding}");
        }
    }

    #[test]
    fn rfc9111_4_1_an_invalid_vary_counts_as_vary_any() {
        assert_eq!(vary_fields(&headers(&[("vary", "accept"), ("vary", "ä")])), None);
        for name in ["Foo Bar", "\"Foo\"", "a:b", "Accept, X-Forwarded-For", "Forwarded"] {
            assert_eq!(vary_fields(&headers(&[("vary", name)])), None, "{name}");
        }
        assert_eq!(vary_fields(&headers(&[])), Some(VaryFields::default()));
    }
}
