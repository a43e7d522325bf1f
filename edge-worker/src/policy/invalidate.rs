//! The invalidation of stored responses by an unsafe request (RFC 9111 section 4.4).
//!
//! Input: the method, the target, the origin's response, and the function that derives the keys of
//! all clients from a URL. Output: the target keys whose stored responses must not be used any
//! more.

use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use shared_keys::TargetKey;
use url::Url;

/// The safe methods in IANA's registry (RFC 9110 section 9.2.1).
const SAFE_METHODS: [&str; 9] =
    ["GET", "HEAD", "OPTIONS", "PRI", "PROPFIND", "QUERY", "REPORT", "SEARCH", "TRACE"];

/// Returns whether a method changes nothing at the origin (RFC 9110 section 9.2.1).
pub(super) fn is_safe(method: &Method) -> bool {
    SAFE_METHODS.contains(&method.as_str())
}

/// Returns the keys to invalidate: those of the target, and of `Location` and `Content-Location` on
/// the same origin. Empty after a safe method or an error.
pub fn invalidated(
    method: &Method,
    target: &Url,
    status: StatusCode,
    headers: &HeaderMap,
    keys_of: impl Fn(&str) -> Vec<TargetKey>,
) -> Vec<TargetKey> {
    if is_safe(method) || !(status.is_success() || status.is_redirection()) {
        return Vec::new();
    }
    let named = [header::LOCATION, header::CONTENT_LOCATION]
        .into_iter()
        .filter_map(|name| named_url(target, headers, name))
        // Another origin's responses must stay (RFC 9111 section 4.4): otherwise one site could
        // empty the cache of another.
        .filter(|url| url.origin() == target.origin());
    let mut keys: Vec<TargetKey> = Vec::new();
    for url in std::iter::once(target.clone()).chain(named) {
        for key in keys_of(url.as_str()) {
            if !keys.iter().any(|known| known.as_str() == key.as_str()) {
                keys.push(key);
            }
        }
    }
    keys
}

/// Returns the URL in a field of the response to a request for `target`, resolved against `target`;
/// `None` if the field is absent or invalid.
pub fn named_url(target: &Url, headers: &HeaderMap, name: HeaderName) -> Option<Url> {
    target.join(headers.get(name)?.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::headers;

    fn keys(method: &str, status: u16, fields: &[(&str, &str)]) -> Vec<String> {
        let target = Url::parse("https://shop.example/a/b?x=1").unwrap();
        let status = StatusCode::from_u16(status).unwrap();
        invalidated(&method.parse().unwrap(), &target, status, &headers(fields), |url| {
            TargetKey::parse(url).into_iter().collect()
        })
        .iter()
        .map(|key| key.as_str().to_owned())
        .collect()
    }

    #[test]
    fn rfc9111_4_4_a_successful_unsafe_request_invalidates_its_target() {
        for method in ["PUT", "POST", "DELETE", "PATCH", "MKCOL", "FROBNICATE", "query"] {
            for status in [200, 204, 303] {
                assert_eq!(keys(method, status, &[]), ["https://shop.example/a/b?x=1"], "{method} {status}");
            }
            for status in [400, 404, 500] {
                assert!(keys(method, status, &[]).is_empty(), "{method} {status}");
            }
        }
        for method in SAFE_METHODS {
            assert!(keys(method, 200, &[]).is_empty(), "{method}");
        }
    }

    #[test]
    fn rfc9111_4_4_location_and_content_location_are_invalidated_on_the_same_origin_only() {
        let fields = [("location", "../c"), ("content-location", "https://shop.example/d")];
        let expected = ["https://shop.example/a/b?x=1", "https://shop.example/c", "https://shop.example/d"];
        assert_eq!(keys("POST", 201, &fields), expected);
        let foreign =
            [("location", "https://other.example/c"), ("content-location", "http://shop.example/d")];
        assert_eq!(keys("POST", 201, &foreign), expected[..1]);
    }
}
