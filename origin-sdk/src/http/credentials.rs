//! Decides whether a response may depend on who sent its request.
//!
//! The layer sees which entries a handler reads, and not which cookies. A response to a request
//! that identifies its sender is therefore private unless the route or the response says otherwise.

use http::{HeaderMap, HeaderName, header};
use shared_keys::Directives;

use super::headers::TARGETED_CACHE_CONTROL;

/// Cookies that identify no user to an application: those of analytics tools, which scripts in the
/// page read, and those of Cloudflare's bot management. A `*` at the end matches any rest.
///
/// [`CacheLayer::ignore_cookies`](super::CacheLayer::ignore_cookies) adds to this list.
pub const ANONYMOUS_COOKIES: &[&str] = &[
    // Google Analytics, Ads and Tag Manager.
    "_ga",
    "_ga_*",
    "_gid",
    "_gat",
    "_gat_*",
    "_gac_*",
    "_gcl_*",
    "__utm*",
    // Meta, TikTok, Microsoft Advertising.
    "_fbp",
    "_fbc",
    "_ttp",
    "_uetsid",
    "_uetvid",
    // Microsoft Clarity, Hotjar, Matomo, Yandex Metrica.
    "_clck",
    "_clsk",
    "_hj*",
    "_pk_*",
    "_ym_*",
    // HubSpot, Segment. `ajs_user_id` is missing on purpose: it identifies a user.
    "__hstc",
    "__hssc",
    "__hssrc",
    "ajs_anonymous_id",
    // Cloudflare.
    "__cf_bm",
    "_cfuvid",
    "cf_clearance",
];

/// The credentials that count for a layer.
#[derive(Debug, Clone, Default)]
pub(super) struct CredentialPolicy {
    /// Cookies that identify no user, besides [`ANONYMOUS_COOKIES`].
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
        let mut cookies = headers.get_all(header::COOKIE).iter().flat_map(|line| line.as_bytes().split(|b| *b == b';'));
        Credentials {
            cookie: !self.ignores_all && cookies.any(|pair| self.identifies(pair)),
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
        cookies.filter_map(|line| line.as_bytes().split(|b| *b == b';').next()).any(|pair| self.identifies(pair))
    }

    /// Returns whether a cookie, `name=value`, identifies its client.
    fn identifies(&self, pair: &[u8]) -> bool {
        let pair = pair.trim_ascii();
        let (name, value) = pair.split_at(pair.iter().position(|b| *b == b'=').unwrap_or(pair.len()));
        let own = self.anonymous_cookies.iter().map(String::as_str);
        let is_anonymous = ANONYMOUS_COOKIES.iter().copied().chain(own).any(|pattern| matches(pattern, name));
        // Some servers see a second cookie behind a comma or inside quotes (RFC 2965), so a value
        // that is not of cookie octets (RFC 6265, 4.1.1) is not taken for an anonymous one.
        let is_harmless = is_anonymous && value.iter().all(|b| is_cookie_octet(*b));
        !pair.is_empty() && !is_harmless
    }
}

/// Returns whether a cookie's name is `pattern`, or begins with what stands before its final `*`.
/// Names are compared with case, as browsers do (RFC 6265, 5.3).
fn matches(pattern: &str, name: &[u8]) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start.as_bytes()),
        None => name == pattern.as_bytes(),
    }
}

fn is_cookie_octet(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\')
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
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    fn is_anonymous(cookie: &'static str) -> bool {
        let policy = CredentialPolicy { anonymous_cookies: vec!["theme".into(), "ab_*".into()], ignores_all: false };
        !policy.of_request(&headers(&[("cookie", cookie)])).cookie
    }

    #[test]
    fn only_known_analytics_cookies_identify_nobody() {
        for cookie in [
            "",
            " ; ;",
            "_ga=GA1.1.1.2",
            "_ga_4XJ=GS1.1.1; _gid=GA1.2.3",
            "_pk_id.1.1fff=a;_hjid=b",
            "theme=dark; ab_checkout=2; _ga=1",
            "_ga",
        ] {
            assert!(is_anonymous(cookie), "{cookie}");
        }
        for cookie in [
            "sid=1",
            "_ga=1; sid=1",
            "sid=1;_ga=1",
            "_GA=1",
            "_gax=1",
            "theme_=1",
            "sid",
            "=x",
            "_ga=1,sid=2",
            "_ga=\"x; sid=2\"",
            "_ga=1 sid=2",
            "ajs_user_id=7",
        ] {
            assert!(!is_anonymous(cookie), "{cookie}");
        }
    }

    #[test]
    fn every_line_of_the_cookie_field_counts() {
        let request = headers(&[("cookie", "_ga=1"), ("cookie", "sid=1")]);
        assert!(CredentialPolicy::default().of_request(&request).cookie);
    }
}
