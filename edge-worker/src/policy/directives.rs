//! The choice of the field whose directives apply to a response (RFC 9111 section 5.2.2, RFC 9213
//! section 2.2).
//!
//! Input: the header section of a response. Output: its [`Directives`], which `shared_keys` parses.
//! A valid targeted field replaces `Cache-Control` and `Expires` entirely; the fields are never
//! combined. A targeted field that does not parse is ignored, except for what its words forbid.
//! `Surrogate-Control` is below the targeted fields and above `Cache-Control`.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use shared_keys::Directives;

use super::surrogate::{self, SURROGATE_CONTROL};

/// The field in which a rule of the deployment replaces the origin's directives. It overrides all
/// other fields. Internal: it is removed from origin responses and never sent to clients.
pub const RULE_CACHE_CONTROL: HeaderName = HeaderName::from_static("strata-cache-control");

/// The targeted field for Cloudflare only. It takes precedence over [`CDN_CACHE_CONTROL`].
pub const CLOUDFLARE_CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cloudflare-cdn-cache-control");

/// The targeted field for all CDNs (RFC 9213 section 3). It takes precedence over `Cache-Control`.
pub const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

/// Returns the directives of a rule if one applies, else those of the origin.
pub fn directives(headers: &HeaderMap) -> Directives {
    let rule = headers.get(RULE_CACHE_CONTROL).and_then(|value| Directives::from_targeted(value.as_bytes()));
    rule.unwrap_or_else(|| from_origin(headers))
}

/// Returns the directives of the first targeted field that parses and is not empty (RFC 9213
/// section 2.2), else those of `Surrogate-Control` and `Cache-Control`; restricted by the
/// forbidding words of the targeted fields that were ignored.
pub fn from_origin(headers: &HeaderMap) -> Directives {
    let mut ignored = Vec::new();
    let mut directives = None;
    for name in [CLOUDFLARE_CDN_CACHE_CONTROL, CDN_CACHE_CONTROL] {
        let value = joined(headers, &name);
        directives = directives.or_else(|| Directives::from_targeted(&value));
        if directives.is_some() {
            break;
        }
        ignored.push(value);
    }
    let lines = headers.get_all(header::CACHE_CONTROL).iter().map(HeaderValue::as_bytes);
    let mut directives = directives.unwrap_or_else(|| {
        surrogate::combined(&joined(headers, &SURROGATE_CONTROL), Directives::from_cache_control(lines))
    });
    for value in ignored {
        directives.restrict(&value);
    }
    directives
}

/// Joins the lines of a field to one value (RFC 9110 section 5.3).
pub(super) fn joined(headers: &HeaderMap, name: &HeaderName) -> Vec<u8> {
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    lines.join(&b", "[..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::testing::headers;

    fn max_age(fields: &[(&str, &str)]) -> Option<u64> {
        directives(&headers(fields)).max_age.map(|max_age| max_age.as_secs())
    }

    #[test]
    fn rfc9213_2_2_a_targeted_field_replaces_cache_control_entirely() {
        let all = [
            ("cache-control", "no-store, max-age=1"),
            ("cdn-cache-control", "max-age=2, stale-if-error=9"),
            ("cloudflare-cdn-cache-control", "max-age=3"),
        ];
        let held = directives(&headers(&all));
        assert!(!held.no_store && held.targeted && held.stale_if_error.is_none());
        assert_eq!((max_age(&all), max_age(&all[..2]), max_age(&all[..1])), (Some(3), Some(2), Some(1)));
    }

    #[test]
    fn rfc9213_2_1_an_invalid_or_empty_targeted_field_is_ignored() {
        for bad in ["", "max-age=60,", "MAX-AGE=60", "max-age=60 no-store", "max-age=\"6", "max-age=60, &&&"]
        {
            let fields = [("cdn-cache-control", bad), ("cache-control", "max-age=1")];
            assert_eq!(max_age(&fields), Some(1), "{bad}");
            assert!(!directives(&headers(&fields)).targeted);
        }
    }

    #[test]
    fn rfc9213_2_1_the_forbidding_words_of_an_ignored_field_count() {
        for bad in ["no-store no-cache", "MAX-AGE=60; private", "Private", "max-age=60, no-cache,"] {
            for next in [("cache-control", "max-age=1"), ("cdn-cache-control", "max-age=1")] {
                let directives = directives(&headers(&[("cloudflare-cdn-cache-control", bad), next]));
                assert!(directives.no_store || directives.private || directives.no_cache, "{bad}, {next:?}");
                assert_eq!(directives.max_age.map(|age| age.as_secs()), Some(1));
            }
        }
    }

    #[test]
    fn rfc9213_2_2_the_next_field_applies_if_the_first_is_invalid() {
        for useless in ["", "max-age=60,", "&&&"] {
            let fields = [("cloudflare-cdn-cache-control", useless), ("cdn-cache-control", "max-age=2")];
            assert_eq!(max_age(&fields), Some(2), "{useless}");
        }
    }

    #[test]
    fn rfc9213_2_3_a_targeted_field_may_have_every_directive_that_a_cache_obeys() {
        let targeted =
            |value| directives(&headers(&[("cdn-cache-control", value), ("cache-control", "public")]));
        assert!(targeted("max-age=1, must-revalidate").forbids_stale());
        assert!(
            targeted("no-store").no_store && targeted("no-cache").no_cache && targeted("private").private
        );
        assert_eq!(targeted("private=\"x, y\"").not_stored, ["x".into(), "y".into()]);
        assert!(!targeted("max-age=1").public);
    }

    #[test]
    fn rfc9213_2_1_a_value_of_the_wrong_type_is_not_coerced() {
        for other in ["60.5", "\"60\"", "sixty", "(60)", "-60"] {
            assert_eq!(max_age(&[("cdn-cache-control", &format!("max-age={other}"))]), Some(0), "{other}");
        }
        assert!(!directives(&headers(&[("cdn-cache-control", "no-store=?0")])).no_store);
    }

    #[test]
    fn surrogate_control_is_below_the_targeted_fields_and_above_cache_control() {
        let all = [
            ("cache-control", "max-age=1"),
            ("surrogate-control", "max-age=2"),
            ("cdn-cache-control", "max-age=3"),
        ];
        assert_eq!((max_age(&all), max_age(&all[..2])), (Some(3), Some(2)));
        assert!(directives(&headers(&all[..2])).targeted, "`Expires` is ignored beside it");
        let forbids =
            [("cdn-cache-control", "&&&"), ("surrogate-control", "no-store"), ("cache-control", "max-age=1")];
        assert!(directives(&headers(&forbids)).no_store);
    }

    #[test]
    fn rfc9110_5_3_the_lines_of_a_field_are_one_list() {
        assert_eq!(max_age(&[("cache-control", "max-age=1"), ("cache-control", "max-age=3600")]), Some(1));
        let targeted = [("cdn-cache-control", "max-age=1"), ("cdn-cache-control", "max-age=3600")];
        assert_eq!(max_age(&targeted), Some(3600), "the last, as structured fields say");
    }

    proptest! {
        #[test]
        fn hostile_fields_never_panic(value in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                for name in [CDN_CACHE_CONTROL, header::CACHE_CONTROL] {
                    let mut headers = HeaderMap::new();
                    headers.insert(name, value.clone());
                    directives(&headers);
                }
            }
        }
    }
}
