//! QUERY, whose response depends on the content of the request (RFC 10008).
//!
//! The response is stored under the URL, the content and the fields about it, if its lifetime is
//! explicit. Everything else is as for GET: `Vary`, validation, stale windows and purges.

use http::{HeaderMap, Method, header};
use shared_keys::ContentHash;

use super::StoredResponse;
use super::range::content_length;

/// The method's name. Case matters (RFC 9110 section 9.1).
pub const METHOD: &str = "QUERY";

/// The longest content of a request whose response may be stored: 64 KiB. It is held in the
/// isolate's memory during the request.
pub const MAX_CONTENT_BYTES: u64 = 64 << 10;

/// Returns whether the content of a request may be part of its key: the method is QUERY, and the
/// request does not state a longer content.
pub fn is_keyed(method: &Method, request: &HeaderMap) -> bool {
    method.as_str() == METHOD && content_length(request).is_none_or(|bytes| bytes <= MAX_CONTENT_BYTES)
}

/// Returns the hash of the content and of all fields about it (RFC 10008 section 2.7): those whose
/// names begin with `content-`, except the length, which the content itself has.
pub fn content_hash(request: &HeaderMap, content: &[u8]) -> ContentHash {
    let mut fields: Vec<(&str, &[u8])> = Vec::new();
    for (name, value) in request {
        if name.as_str().starts_with("content-") && name != header::CONTENT_LENGTH {
            // By name, with the lines of a name in their order. Inserted one by one, since they are
            // few and a sort would add much code to the worker.
            let place = fields.partition_point(|(before, _)| *before <= name.as_str());
            fields.insert(place, (name.as_str(), value.as_bytes()));
        }
    }
    ContentHash::new(fields, content)
}

/// Returns whether the response to a QUERY may be stored: its lifetime must be explicit, since a
/// guess by the age of a document says nothing about the result of a query.
pub fn is_storable(response: &StoredResponse) -> bool {
    response.freshness_lifetime().source.is_explicit()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{headers, http_date, stored};

    #[test]
    fn rfc10008_2_7_the_hash_contains_the_content_and_all_fields_about_it() {
        let of = |fields: &[(&str, &str)], content: &str| content_hash(&headers(fields), content.as_bytes());
        let json = ("content-type", "application/json");
        let own = of(&[json], "{}");
        for (fields, content, same) in [
            (&[json, ("accept", "text/csv"), ("content-length", "2")][..], "{}", true),
            (&[json][..], "{ }", false),
            (&[("content-type", "application/json; charset=utf-8")][..], "{}", false),
            (&[json, ("content-encoding", "gzip")][..], "{}", false),
            (&[json, ("content-language", "de")][..], "{}", false),
            (&[][..], "{}", false),
        ] {
            assert_eq!(of(fields, content) == own, same, "{fields:?} {content}");
        }
        let (one, other) = (("content-language", "de"), ("content-encoding", "gzip"));
        assert_eq!(of(&[one, other], ""), of(&[other, one], ""), "the order of fields says nothing");
    }

    #[test]
    fn only_a_query_of_at_most_64_kib_is_keyed_by_its_content() {
        for (method, length, expected) in [
            ("QUERY", Some("65536"), true),
            ("QUERY", Some("65537"), false),
            ("QUERY", None, true),
            ("query", None, false),
            ("POST", Some("1"), false),
        ] {
            let fields: Vec<_> = length.map(|length| ("content-length", length)).into_iter().collect();
            assert_eq!(
                is_keyed(&method.parse().unwrap(), &headers(&fields)),
                expected,
                "{method} {length:?}"
            );
        }
    }

    #[test]
    fn a_response_is_stored_only_with_an_explicit_lifetime() {
        let modified = http_date(0);
        for (fields, storable) in [
            (&[("cache-control", "max-age=60")][..], true),
            (&[("cdn-cache-control", "max-age=60")][..], true),
            (&[("strata-cache-control", "max-age=60")][..], true),
            (&[("last-modified", modified.as_str())][..], false),
            (&[("cache-control", "public")][..], false),
            (&[][..], false),
        ] {
            assert_eq!(is_storable(&stored(fields)), storable, "{fields:?}");
        }
    }
}
