//! Which fields end at this hop, in either direction.
//!
//! - Hop-by-hop fields and those that `Connection` names (RFC 9110 section 7.6.1).
//! - Strata's own: `strata-…` from a client is forged, and from an origin it is for the edge only.
//! - What an origin tells the edge: tags, and directives for it alone.
//! - Request fields that frameworks act on although no cache key holds them. They are taken out where a response could be
//!   stored under a key that does not say so; requests that are never answered from the store keep them.

use http::{HeaderMap, HeaderName, header};

use crate::policy::directives::CDN_CACHE_CONTROL;

/// What begins the name of every field that only Strata's layers exchange.
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

/// Those of them that end here for an upgrade as well: the rest it needs, or the runtime sets.
#[cfg(target_arch = "wasm32")]
pub const ENDS_AT_AN_UPGRADE: [&str; 3] = ["keep-alive", "proxy-authorization", "te"];

const FOR_THE_EDGE: [&str; 4] = ["cache-tag", "cloudflare-cdn-cache-control", "surrogate-control", "surrogate-key"];

const UNKEYED: [&str; 36] = [
    "client-ip",
    "forwarded",
    "front-end-https",
    // As a variable, HTTP_PROXY: where some programs send their own requests.
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

/// Some framework believes almost any field of these families.
const UNKEYED_FAMILIES: [&str; 2] = ["x-forwarded-", "x-middleware-"];
/// Those of the families that this worker sets itself.
const SET_HERE: [&str; 3] = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];

/// Never taken out because `Connection` names them: who the client is, and where the request has been (RFC 8586 section 2), is not
/// the client's to say; and what is for all recipients, as all that caches read is, must not be named there (RFC 9110 section 7.6.1).
const FOR_ALL: [&str; 13] = [
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
    "surrogate-key",
    "vary",
    "via",
];

/// Whether two hops could see the end of such a request's body in different places (RFC 9112 section 6.3): a length that is no number, or
/// several that differ, or one beside a transfer coding, or a coding other than `chunked`. The runtime refuses most of these itself.
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

/// Takes out what belongs to the connection the message came by.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name: &HeaderName| !FOR_ALL.contains(&name.as_str()))
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Takes out what only Strata's layers say to each other.
pub fn remove_internal(headers: &mut HeaderMap) {
    let internal: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with(INTERNAL_PREFIX)).cloned().collect();
    for name in internal {
        headers.remove(name);
    }
}

/// Takes out of a response what the origin said to the edge alone.
///
/// `CDN-Cache-Control` goes on to shared caches further out, as RFC 9213 section 3 has it; but not from a service of ours (`is_ours`), as
/// its lifetime counts on purges, and none reaches those caches.
pub fn remove_for_the_edge(headers: &mut HeaderMap, is_ours: bool) {
    remove_internal(headers);
    for name in FOR_THE_EDGE {
        headers.remove(name);
    }
    if is_ours {
        headers.remove(CDN_CACHE_CONTROL);
    }
}

/// Takes out of a request what could change the response without being part of its key.
pub fn remove_unkeyed(headers: &mut HeaderMap) {
    let is_unkeyed = |name: &&HeaderName| {
        let name = name.as_str();
        let of_a_family = UNKEYED_FAMILIES.iter().any(|family| name.starts_with(family)) && !SET_HERE.contains(&name);
        // To what passes fields on as variables (CGI, WSGI, PHP) `_` is `-`: the field would be another, which may be keyed.
        of_a_family || name.contains('_') || UNKEYED.contains(&name)
    };
    for name in headers.keys().filter(is_unkeyed).cloned().collect::<Vec<_>>() {
        headers.remove(name);
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
    fn what_frameworks_act_on_is_taken_out_in_either_spelling() {
        for name in UNKEYED {
            for name in [name.to_owned(), name.replace('-', "_")] {
                let mut fields = headers(&[(name.as_str(), "x")]);
                remove_unkeyed(&mut fields);
                assert!(fields.is_empty(), "{name}");
            }
        }
    }

    #[test]
    fn rfc9111_3_1_what_is_for_one_connection_is_taken_out() {
        for name in HOP_BY_HOP {
            let mut fields = headers(&[(name, "x")]);
            remove_hop_by_hop(&mut fields);
            assert!(fields.is_empty(), "{name}");
        }
    }

    #[test]
    fn rfc9110_7_6_1_what_caches_read_is_never_for_one_connection() {
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
    fn rfc9112_6_3_a_body_that_ends_in_two_places_is_ambiguous() {
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
    fn of_what_names_the_clients_way_here_only_what_the_worker_sets_stays() {
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
    fn what_the_origin_says_to_the_edge_ends_here() {
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
