//! The fields that this hop does not forward, in either direction.
//!
//! - Hop-by-hop fields, and fields that `Connection` names (RFC 9110 section 7.6.1).
//! - Strata's own: a `strata-…` field from a client is forged, and one from an origin is for the
//!   edge only.
//! - The origin's tags and cache directives for the edge alone.
//! - Unkeyed fields: request fields that frameworks act on although no cache key contains them.
//!   They are removed from requests whose response may be stored; requests that bypass the store
//!   retain them.

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
const FOR_THE_EDGE: [&str; 4] = ["cache-tag", "cloudflare-cdn-cache-control", "surrogate-control", "surrogate-key"];

/// The unkeyed request fields.
const UNKEYED: [&str; 36] = [
    "client-ip",
    "forwarded",
    "front-end-https",
    // As the variable HTTP_PROXY it redirects the requests that some programs send.
    "proxy",
    "true-client-ip",
    "x-backend-host",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-original-path",
    "x-forwarded",
    "x-host",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-invoke-output",
    "x-invoke-path",
    "x-invoke-query",
    "x-invoke-status",
    "x-matched-path",
    "x-method-override",
    "x-nextjs-data",
    "x-now-route-matches",
    "x-original-host",
    "x-original-uri",
    "x-original-url",
    "x-prerender-revalidate",
    "x-proxy-url",
    "x-react-router-prerender-data",
    "x-react-router-spa-mode",
    "x-real-host",
    "x-real-ip",
    "x-rewrite-uri",
    "x-rewrite-url",
    "x-scheme",
    "x-script-name",
    "x-url-scheme",
];

/// The families of unkeyed fields: some framework trusts almost any field with these prefixes.
const UNKEYED_FAMILIES: [&str; 2] = ["x-forwarded-", "x-middleware-"];
/// The families and fields, besides the unkeyed ones, that a request must not state with `_` in
/// place of `-`: this cache, or most gateways, act on them.
const ACTED_ON_FAMILIES: [&str; 3] = ["cf-", "if-", INTERNAL_PREFIX];
const ACTED_ON: [&str; 24] = [
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "available-dictionary",
    "cache-control",
    "cdn-loop",
    "content-encoding",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "keep-alive",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-websocket-key",
    "transfer-encoding",
    "user-agent",
    "x-requested-with",
];

/// The fields of these families that this worker sets itself.
const SET_HERE: [&str; 3] = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];

/// The fields that are not removed when `Connection` names them. A client must not hide its address
/// or the request's path (RFC 8586 section 2), and fields for all recipients, such as those that
/// caches read, must not be named there (RFC 9110 section 7.6.1).
const NEVER_HOP_BY_HOP: [&str; 14] = [
    "age",
    "cache-control",
    "cache-tag",
    "cdn-cache-control",
    "cdn-loop",
    "cf-connecting-ip",
    "cloudflare-cdn-cache-control",
    "date",
    "expires",
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
/// all the same if the origin is Strata's (`is_ours`): its lifetime relies on purges, which do not
/// reach those caches.
pub fn remove_for_the_edge(headers: &mut HeaderMap, is_ours: bool) {
    remove_internal(headers);
    for name in FOR_THE_EDGE {
        headers.remove(name);
    }
    if is_ours {
        headers.remove(CDN_CACHE_CONTROL);
    }
}

/// Removes the unkeyed fields: those that could change the response without being part of its key.
pub fn remove_unkeyed(headers: &mut HeaderMap) {
    let is_of = |families: &[&str], name: &str| families.iter().any(|family| name.starts_with(family));
    let is_unkeyed = |name: &&HeaderName| {
        let name = name.as_str();
        if let Some(other) = with_hyphens(name) {
            return is_of(&UNKEYED_FAMILIES, &other)
                || is_of(&ACTED_ON_FAMILIES, &other)
                || UNKEYED.contains(&&*other)
                || ACTED_ON.contains(&&*other)
                || headers.contains_key(&other);
        }
        (is_of(&UNKEYED_FAMILIES, name) && !SET_HERE.contains(&name)) || UNKEYED.contains(&name)
    };
    for name in headers.keys().filter(is_unkeyed).cloned().collect::<Vec<_>>() {
        headers.remove(name);
    }
}

/// Returns the field that gateways which pass fields as variables (CGI, WSGI, PHP) take a name with
/// `_` for; `None` if it has no `_`.
pub fn with_hyphens(name: &str) -> Option<String> {
    name.contains('_').then(|| name.replace('_', "-"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::headers;

    #[test]
    fn a_field_with_an_underscore_is_removed_only_if_it_could_be_taken_for_another() {
        for (name, removed) in [
            ("api_key", false),
            ("x_tenant", true),
            ("x_other", false),
            ("content_length", true),
            ("if_none_match", true),
            ("cf_connecting_ip", true),
            ("strata_position", true),
            ("x_forwarded_anything", true),
            ("x_http_method-override", true),
        ] {
            let mut fields = headers(&[("x-tenant", "a"), (name, "b")]);
            remove_unkeyed(&mut fields);
            assert_eq!(fields.contains_key(name), !removed, "{name}");
            assert!(fields.contains_key("x-tenant"));
        }
    }

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
    fn unkeyed_fields_are_removed_in_either_spelling() {
        for name in UNKEYED {
            for name in [name.to_owned(), name.replace('-', "_")] {
                let mut fields = headers(&[(name.as_str(), "x")]);
                remove_unkeyed(&mut fields);
                assert!(fields.is_empty(), "{name}");
            }
        }
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
    fn of_the_x_forwarded_fields_only_those_that_the_worker_sets_remain() {
        let mut fields = headers(&[
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-host", "shop.example"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-ssl", "on"),
            ("x-forwarded-anything", "1"),
            ("x-original-host", "evil.example"),
            ("x_forwarded_host", "evil.example"),
            ("X_Original_URL", "/admin"),
        ]);
        remove_unkeyed(&mut fields);
        assert_eq!(fields.len(), 3);
        assert!(SET_HERE.iter().all(|name| fields.contains_key(*name)));
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
