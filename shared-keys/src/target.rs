//! Method + target URI → the name of a stored response. The only place that normalises a URL.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use url::Url;

use crate::{ParseError, Scope, ScopeHash};

/// The query parameter that carries a variant in the name of a stored response. A client's own is dropped.
pub const RESERVED_PARAMETER: &str = "__strata_variant";

/// The target cache key of a `GET` (a `HEAD` is answered from it, and nothing else is stored, so the method is not spelled).
///
/// The URL is normalised: scheme and host in lower case, no default port, no fragment, no user name, dot segments
/// resolved, percent-encoding in its normal form (RFC 3986, 6.2.2), query parameters sorted by name with repeated ones
/// in their order. An empty query stays different from none.
///
/// ```
/// use shared_keys::TargetKey;
/// let key = TargetKey::parse("HTTPS://Shop.example:443/a/../api/%7Eann?b=2&a=%2f&b=1#top").unwrap();
/// assert_eq!(key.as_str(), "https://shop.example/api/~ann?a=%2F&b=2&b=1");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TargetKey {
    url: Box<str>,
    /// Where host and path stand in `url`.
    host_and_path: core::ops::Range<usize>,
}

impl TargetKey {
    /// The key of this absolute URL.
    ///
    /// # Errors
    /// If it is not an absolute `http` or `https` URL, or its host is not in ASCII (as browsers and runtimes write it).
    pub fn parse(url: &str) -> Result<Self, ParseError> {
        let expected = || ParseError::new("an absolute http or https URL", 0, url);
        check_host(url)?;
        let parsed = Url::parse(url).map_err(|_| expected())?;
        let host = parsed.host_str().filter(|_| matches!(parsed.scheme(), "http" | "https")).ok_or_else(expected)?;

        let mut key = format!("{}://{host}", parsed.scheme());
        let host_at = key.len() - host.len();
        if let Some(port) = parsed.port() {
            key.push_str(&format!(":{port}"));
        }
        push_normal(parsed.path(), &mut key);
        let path_end = key.len();
        if let Some(query) = parsed.query() {
            key.push('?');
            key.push_str(&normal_query(query));
        }
        Ok(Self { url: key.into(), host_and_path: host_at..path_end })
    }

    /// A URL's query without the reserved parameter, however its name is spelled: what the origin is asked with, so that it
    /// sees nothing that the key leaves out. All other parameters stay as they came, in their order.
    #[must_use]
    pub fn without_reserved(query: &str) -> String {
        query.split('&').filter(|parameter| !is_reserved(&normal(parameter))).collect::<Vec<_>>().join("&")
    }

    /// The normalised URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// The scopes that its path lies in: the host, and the path at each of its segments.
    #[must_use]
    pub fn scopes(&self) -> Vec<ScopeHash> {
        let path = self.url[self.host_and_path.clone()].trim_end_matches('/');
        path.match_indices('/').map(|(at, _)| &path[..at]).chain([path]).map(Scope::hash_path).collect()
    }

    /// The URL with the reserved parameter, which names one of its variants.
    pub(crate) fn with_variant(&self, value: &str) -> String {
        let separator = if self.url.contains('?') { '&' } else { '?' };
        format!("{}{separator}{RESERVED_PARAMETER}={value}", self.url)
    }
}

impl fmt::Display for TargetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

/// Refuses a host that is not plain ASCII. What such a host becomes depends on the Unicode tables that a build has, so two
/// sides could disagree; and the `url` crate's adapter without tables asserts that it never meets one.
fn check_host(url: &str) -> Result<(), ParseError> {
    let from = url.find("://").map_or(url.len(), |at| at + 3);
    let authority = url[from..].split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let host_at = from + authority.rfind('@').map_or(0, |at| at + 1);
    let host = &url[host_at..from + authority.len()];
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'%';
    match host.bytes().position(|byte| !is_plain(byte)) {
        None if !host.is_empty() => Ok(()),
        at => Err(ParseError::new("`://` and a host in ASCII without escapes", host_at + at.unwrap_or(0), url)),
    }
}

fn normal_query(query: &str) -> String {
    let mut parameters: Vec<String> = query.split('&').map(normal).collect();
    parameters.retain(|parameter| !is_reserved(parameter));
    parameters.sort_by(|a, b| name_of(a).cmp(name_of(b)));
    parameters.join("&")
}

fn is_reserved(normal_parameter: &str) -> bool {
    name_of(normal_parameter) == RESERVED_PARAMETER
}

fn normal(parameter: &str) -> String {
    let mut normal = String::with_capacity(parameter.len());
    push_normal(parameter, &mut normal);
    normal
}

fn name_of(parameter: &str) -> &str {
    parameter.split_once('=').map_or(parameter, |(name, _)| name)
}

/// Appends `text` with escapes of unreserved bytes undone and all other escapes in capitals.
fn push_normal(text: &str, out: &mut String) {
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once('%') {
        out.push_str(plain);
        match escaped.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| !escaped.starts_with('+')) {
            Some(byte) if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') => {
                out.push(char::from(byte));
            }
            Some(byte) => out.push_str(&format!("%{byte:02X}")),
            // A stray `%` is spelled out, so that what follows it does not become an escape.
            None => {
                out.push_str("%25");
                rest = escaped;
                continue;
            }
        }
        rest = &escaped[2..];
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use proptest::prelude::*;

    use super::*;

    fn key(url: &str) -> String {
        TargetKey::parse(url).unwrap().to_string()
    }

    #[test]
    fn equivalent_urls_share_a_key() {
        for (a, b) in [
            ("http://a.example", "http://a.example/"),
            ("http://A.example:80/x", "http://a.example/x"),
            ("http://a.example/x?b=1&a=2", "http://a.example/x?a=2&b=1"),
            ("http://a.example/%7euser", "http://a.example/~user"),
            ("http://user:secret@a.example/", "http://a.example/"),
        ] {
            assert_eq!(key(a), key(b), "{a} {b}");
        }
    }

    #[test]
    fn different_resources_keep_different_keys() {
        for (a, b) in [
            ("http://a.example/", "https://a.example/"),
            ("http://a.example/", "http://a.example:81/"),
            ("http://a.example/x", "http://a.example/X"),
            ("http://a.example/x", "http://a.example/x/"),
            ("http://a.example/x", "http://a.example/x?"),
            ("http://a.example/x?a=1&a=2", "http://a.example/x?a=2&a=1"),
            ("http://a.example/a%2Fb", "http://a.example/a/b"),
            ("http://a.example/?a=b%26c", "http://a.example/?a=b&c"),
        ] {
            assert_ne!(key(a), key(b), "{a} {b}");
        }
    }

    #[test]
    fn a_host_that_is_not_ascii_is_refused_where_it_is_not() {
        for (url, at) in [
            ("http://A日.example/", 8),
            ("http://a%41.example/", 8),
            ("https://ü:ü@Bücher.example", 15),
            ("http:A日.example//a", 20),
            ("http:///A日.example", 7),
            ("http://a@/A日.example", 9),
        ] {
            let error = TargetKey::parse(url).unwrap_err();
            assert_eq!(error.at(), at, "{error}");
        }
        assert_eq!(key("http://ü@xn--bcher-kva.Example/ü"), "http://xn--bcher-kva.example/%C3%BC");
    }

    #[test]
    fn a_client_cannot_forge_the_reserved_parameter() {
        assert_eq!(key("http://a.example/?__strata_variant=x&a=1"), "http://a.example/?a=1");
        assert_eq!(key("http://a.example/?__strata_%76ariant=x"), "http://a.example/?");
        assert_eq!(key("http://a.example/?__strata_variant"), "http://a.example/?");
    }

    #[test]
    fn what_the_origin_is_asked_with_lacks_what_the_key_drops_and_nothing_else() {
        for (query, left) in [
            ("b=2&__strata_variant=x&a=%2f&b=1", "b=2&a=%2f&b=1"),
            ("__strata%5Fvariant=x&a", "a"),
            ("a=1&%5f%5fstrata_%76ariant", "a=1"),
            ("__strata_variant", ""),
            ("&a=__strata_variant&", "&a=__strata_variant&"),
            ("", ""),
        ] {
            assert_eq!(TargetKey::without_reserved(query), left, "{query}");
        }
    }

    #[test]
    fn a_path_scope_ends_at_a_segment() {
        let scopes = TargetKey::parse("http://a.example/api/products/7?x=1").unwrap().scopes();
        let scope = |text: &str| text.parse::<Scope>().unwrap().hash();
        assert_eq!(
            scopes,
            ["path:a.example", "path:a.example/api", "path:a.example/api/products", "path:a.example/api/products/7"]
                .map(scope)
        );
        assert!(!scopes.contains(&scope("path:a.example/api/pro")));
    }

    proptest! {
        #[test]
        fn a_key_is_its_own_key(path in "[a-zA-Z0-9/.%&=?~+ ;:@-]{0,40}") {
            let url = format!("http://a.example/{path}");
            let once = key(&url);
            prop_assert_eq!(key(&once), once);
        }

        #[test]
        fn the_key_is_that_of_what_the_origin_is_asked_with(query in "((__strata_|__strata%5f)?[a-c%&=]{1,3}(variant)?){0,6}") {
            let asked = TargetKey::without_reserved(&query);
            prop_assert_eq!(key(&format!("http://a.example/?{query}")), key(&format!("http://a.example/?{asked}")));
        }

        #[test]
        fn hostile_urls_never_panic(url in any::<String>(), tail in any::<String>()) {
            let _ = TargetKey::parse(&url);
            let _ = TargetKey::parse(&format!("http://a.example/{tail}"));
        }
    }
}
