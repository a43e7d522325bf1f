//! The fields that this hop does not forward, in either direction.
//!
//! - Hop-by-hop fields, and fields that `Connection` names (RFC 9110 section 7.6.1).
//! - Strata's own: a `strata-…` field from a client is forged, and one from an origin is for the
//!   edge only.
//! - The origin's tags and cache directives for the edge alone.
//!
//! [`unkeyed`](crate::unkeyed) lists the fields that are removed only from requests whose response
//! may be stored.

use http::{HeaderMap, HeaderName, header};

use crate::policy::directives::CDN_CACHE_CONTROL;

/// The prefix of the fields that only Strata's layers exchange.
pub const INTERNAL_PREFIX: &str = "strata-";

const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    // RFC 9111 section 3.1 names it beside the two around it.
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The hop-by-hop fields that are removed from an upgrade as well. It needs the others, or the
/// runtime sets them.
#[cfg(target_arch = "wasm32")]
pub const ENDS_AT_AN_UPGRADE: [&str; 3] = ["keep-alive", "proxy-authorization", "te"];

/// The response fields for the edge alone.
const FOR_THE_EDGE: [&str; 4] =
    ["cache-tag", "cloudflare-cdn-cache-control", "surrogate-control", "surrogate-key"];

/// The fields that are not removed when `Connection` names them. A client must not hide its address
/// or the request's path (RFC 8586 section 2), and fields for all recipients, such as those that
/// caches read, must not be named there (RFC 9110 section 7.6.1).
const NEVER_HOP_BY_HOP: [&str; 17] = [
    "age",
    "cache-control",
    "cache-group-invalidation",
    "cache-groups",
    "cache-tag",
    "cdn-cache-control",
    "cdn-loop",
    "cf-connecting-ip",
    "cloudflare-cdn-cache-control",
    "date",
    "expires",
    "no-vary-search",
    "strata-position",
    "surrogate-control",
    "surrogate-key",
    "vary",
    "via",
];

/// Returns whether two hops could disagree on where the request's body ends (RFC 9112 section 6.3):
/// a length that is no number, lengths that differ, a length beside a transfer coding, or a coding
/// other than `chunked`. The runtime refuses most of these itself.
pub fn is_ambiguous(headers: &HeaderMap) -> bool {
    let lengths = headers.get_all(header::CONTENT_LENGTH);
    let mut lengths =
        lengths.iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let first = lengths.next();
    let is_number = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let coding = codings.next();
    first.is_some_and(|first| !is_number(first) || lengths.any(|other| other != first))
        || coding.is_some_and(|coding| {
            first.is_some() || codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked")
        })
}

/// Removes the hop-by-hop fields (RFC 9110 section 7.6.1).
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name: &HeaderName| !NEVER_HOP_BY_HOP.contains(&name.as_str()))
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Removes the fields that only Strata's layers exchange.
pub fn remove_internal(headers: &mut HeaderMap) {
    let internal: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with(INTERNAL_PREFIX)).cloned().collect();
    for name in internal {
        headers.remove(name);
    }
}

/// Removes the fields of a response that are for the edge alone.
///
/// `CDN-Cache-Control` is also for shared caches further out (RFC 9213 section 3). It is removed
/// all the same if the SDK's layer wrote it (`is_from_sdk`): its lifetime relies on purges, which
/// do not reach those caches.
pub fn remove_for_the_edge(headers: &mut HeaderMap, is_from_sdk: bool) {
    remove_internal(headers);
    for name in FOR_THE_EDGE {
        headers.remove(name);
    }
    if is_from_sdk {
        headers.remove(CDN_CACHE_CONTROL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::headers;

    #[test]
    fn rfc9110_7_6_1_hop_by_hop_fields_and_those_named_by_connection() {
        let mut fields = headers(&[
            ("connection", "keep-alive, X-Hop, CDN-Loop"),
            ("keep-alive", "timeout=5"),
            ("x-hop", "1"),
            ("te", "trailers"),
            ("x-end", "1"),
            ("cdn-loop", "strata-edge"),
        ]);
        remove_hop_by_hop(&mut fields);
        assert_eq!(fields, headers(&[("x-end", "1"), ("cdn-loop", "strata-edge")]));
    }

    #[test]
    fn rfc9111_3_1_fields_of_one_connection_are_removed() {
        for name in HOP_BY_HOP {
            let mut fields = headers(&[(name, "x")]);
            remove_hop_by_hop(&mut fields);
            assert!(fields.is_empty(), "{name}");
        }
    }

    #[test]
    fn rfc9110_7_6_1_fields_that_caches_read_are_never_hop_by_hop() {
        let mut fields = headers(&[
            ("connection", "Cache-Control, Vary, x-a"),
            ("cache-control", "no-store"),
            ("vary", "a"),
            ("x-a", "1"),
        ]);
        remove_hop_by_hop(&mut fields);
        assert_eq!(fields, headers(&[("cache-control", "no-store"), ("vary", "a")]));
    }

    #[test]
    fn rfc9112_6_3_a_body_whose_end_is_not_certain_is_ambiguous() {
        for (fields, ambiguous) in [
            (&[][..], false),
            (&[("content-length", "5")][..], false),
            (&[("content-length", "5, 5")][..], false),
            (&[("content-length", "5"), ("content-length", "6")][..], true),
            (&[("content-length", "5, 6")][..], true),
            (&[("content-length", "+5")][..], true),
            (&[("content-length", "")][..], true),
            (&[("transfer-encoding", "Chunked")][..], false),
            (&[("transfer-encoding", "gzip, chunked")][..], true),
            (&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")][..], true),
            (&[("transfer-encoding", "chunked"), ("content-length", "5")][..], true),
        ] {
            assert_eq!(is_ambiguous(&headers(fields)), ambiguous, "{fields:?}");
        }
    }

    #[test]
    fn fields_for_the_edge_alone_are_removed() {
        let mut fields = headers(&[
            ("strata-position", "1-0"),
            ("strata-anything", "x"),
            ("cache-tag", "a"),
            ("surrogate-key", "a"),
            ("cloudflare-cdn-cache-control", "max-age=70"),
            ("cdn-cache-control", "max-age=60"),
            ("cache-control", "no-cache"),
        ]);
        remove_for_the_edge(&mut fields, false);
        assert_eq!(fields, headers(&[("cdn-cache-control", "max-age=60"), ("cache-control", "no-cache")]));
        remove_for_the_edge(&mut fields, true);
        assert_eq!(fields, headers(&[("cache-control", "no-cache")]));
    }
}
