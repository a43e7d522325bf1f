//! Decides whether a response may depend on who sent its request.
//!
//! The layer sees which entries a handler reads, and not which cookies. A response to a request
//! that identifies its sender is therefore private unless the route or the response says otherwise.

use http::{HeaderMap, HeaderName, header};
use shared_keys::{Directives, has_identifying_cookie};

use super::headers::TARGETED_CACHE_CONTROL;

/// The credentials that count for a layer.
#[derive(Debug, Clone, Default)]
pub(super) struct CredentialPolicy {
    /// Cookies that identify no user, besides [`ANONYMOUS_COOKIES`](shared_keys::ANONYMOUS_COOKIES).
    pub(super) anonymous_cookies: Vec<String>,
    /// No response depends on credentials.
    pub(super) ignores_all: bool,
}

/// The credentials that a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Credentials {
    cookie: bool,
    authorization: bool,
}

impl CredentialPolicy {
    /// Returns the credentials of a request.
    pub(super) fn of_request(&self, headers: &HeaderMap) -> Credentials {
        let mut cookies = headers.get_all(header::COOKIE).iter();
        Credentials {
            cookie: !self.ignores_all && cookies.any(|line| self.identifies(line.as_bytes())),
            authorization: !self.ignores_all && headers.contains_key(header::AUTHORIZATION),
        }
    }

    /// Returns whether only the sender of the request may get the response.
    pub(super) fn restricts(&self, credentials: Credentials, response: &HeaderMap) -> bool {
        let depends_on_sender = (credentials.cookie && !varies_by(response, &header::COOKIE))
            || (credentials.authorization && !varies_by(response, &header::AUTHORIZATION))
            || (!self.ignores_all && self.sets_cookie(response));
        depends_on_sender && !permits_sharing(response)
    }

    /// Returns whether the response sets a cookie that identifies its client (RFC 9111, 7.3).
    fn sets_cookie(&self, response: &HeaderMap) -> bool {
        let cookies = response.get_all(header::SET_COOKIE).iter();
        cookies
            .filter_map(|line| line.as_bytes().split(|b| *b == b';').next())
            .any(|pair| self.identifies(pair))
    }

    fn identifies(&self, cookies: &[u8]) -> bool {
        has_identifying_cookie(cookies, &self.anonymous_cookies)
    }
}

/// Returns whether the response is selected by a request field (RFC 9111, 4.1).
fn varies_by(response: &HeaderMap, field: &HeaderName) -> bool {
    let lines = response.get_all(header::VARY).iter().filter_map(|line| line.to_str().ok());
    let mut names = lines.flat_map(|line| line.split(',')).map(str::trim);
    names.any(|name| name == "*" || name.eq_ignore_ascii_case(field.as_str()))
}

/// Returns whether the response itself permits shared caches to store it: `public` (RFC 9111,
/// 5.2.2.9) or `s-maxage` (5.2.2.10), also in a targeted field (RFC 9213).
fn permits_sharing(response: &HeaderMap) -> bool {
    let lines = response.get_all(header::CACHE_CONTROL).iter().map(|line| line.as_bytes());
    let targeted = TARGETED_CACHE_CONTROL.into_iter().filter_map(|name| {
        let lines: Vec<_> = response.get_all(name).iter().map(|line| line.as_bytes()).collect();
        Directives::from_targeted(&lines.join(&b", "[..]))
    });
    let mut directives = targeted.chain([Directives::from_cache_control(lines)]);
    directives.any(|directives| directives.public || directives.s_maxage.is_some())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn every_line_of_the_cookie_field_counts() {
        let request = headers(&[("cookie", "_ga=1"), ("cookie", "sid=1")]);
        assert!(CredentialPolicy::default().of_request(&request).cookie);
    }
}
