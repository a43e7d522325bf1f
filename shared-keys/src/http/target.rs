//! Target keys: method and target URI of a stored response. With [`QueryRules`], this is the only
//! code that normalises URLs.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use url::{Position, Url};

use super::percent::{is_unreserved, push_escaped, push_normal};
use super::query::RESERVED_PREFIX;
use crate::scope::within_depth;
use crate::{ContentHash, NoVarySearch, ParseError, QueryRules, ScopeHash};

/// The form of the text behind the scheme, for error messages.
const HOST: &str = "a host in ASCII without escapes, and at most a port up to 65535 behind it";

/// The target cache key of a method and a URL (RFC 9111 section 2).
///
/// The URL is normalised: scheme and host in lower case, no default port, no fragment, no user
/// name, dot segments resolved, percent-encoding in its normal form (RFC 3986 section 6.2.2), and
/// query parameters according to [`QueryRules`], which can also keep the spelling of path and query
/// ([`QueryRules::exact`]). A host beyond ASCII must be in Punycode, as clients send it.
///
/// The key of a `GET` names no method, and a `HEAD` is answered from it.
/// [`of_method`](Self::of_method) returns the key of another method.
///
/// ```
/// use shared_keys::TargetKey;
/// let url = "HTTPS://Shop.example:443/a/../api/%7Eann?b=2&a=%2f&b=1#top";
/// let key = TargetKey::parse(url).unwrap();
/// assert_eq!(key.as_str(), "https://shop.example/api/~ann?b=2&a=%2F&b=1");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TargetKey {
    url: Box<str>,
    /// Host and path in normal form, also where `url` has another spelling.
    host_and_path: Box<str>,
}

impl TargetKey {
    /// Returns the key of a `GET` of this absolute URL, with the default [`QueryRules`].
    ///
    /// # Errors
    /// Fails if it is not an absolute `http` or `https` URL, or if its host is not in ASCII, as
    /// browsers and runtimes write it.
    pub fn parse(url: &str) -> Result<Self, ParseError> {
        Self::with_rules(url, &QueryRules::default())
    }

    /// Returns the key of a `GET` of this absolute URL.
    ///
    /// ```
    /// use shared_keys::{QueryRules, TargetKey};
    /// let rules = QueryRules::default().keeping(["page"])?;
    /// let key = TargetKey::with_rules("https://a.example/list?sid=1&page=2", &rules)?;
    /// assert_eq!(key.as_str(), "https://a.example/list?page=2");
    /// # Ok::<_, shared_keys::ParseError>(())
    /// ```
    ///
    /// # Errors
    /// Fails if it is not an absolute `http` or `https` URL, or if its host is not in ASCII, as
    /// browsers and runtimes write it.
    pub fn with_rules(url: &str, query: &QueryRules) -> Result<Self, ParseError> {
        let host = check_host(url)?;
        let refused = || ParseError::new(HOST, host.start, url);
        let masked = masked(url, host.clone());
        let parsed = Url::parse(masked.as_deref().unwrap_or(url)).map_err(|_| refused())?;
        let mut key = String::with_capacity(url.len());
        key.push_str(parsed.scheme());
        key.push_str("://");
        let host_at = key.len();
        if masked.is_some() {
            let end = host.start + parsed[Position::BeforeHost..Position::AfterHost].len();
            let spelled = url.get(host.start..end).filter(|_| end <= host.end).ok_or_else(refused)?;
            key.push_str(&spelled.to_ascii_lowercase());
        } else {
            key.push_str(&parsed[Position::BeforeHost..Position::AfterHost]);
        }
        key.push_str(&parsed[Position::AfterHost..Position::AfterPort]);
        let path_at = key.len();
        push_normal(parsed.path(), &mut key);
        let host_and_path = key[host_at..].into();
        if query.is_exact() {
            key.truncate(path_at);
            key.push_str(parsed.path());
        }
        if let Some(query) = query.normal(parsed.query()) {
            key.push('?');
            key.push_str(&query);
        }
        Ok(Self { url: key.into(), host_and_path })
    }

    /// Returns the key of another method's response for the same URL. `GET` and `HEAD` share the
    /// key itself; any other method is written to a reserved parameter. Methods are case-sensitive
    /// (RFC 9110 section 9.1).
    ///
    /// ```
    /// use shared_keys::TargetKey;
    /// let get = TargetKey::parse("https://a.example/search?q=x").unwrap();
    /// let query = get.of_method("QUERY");
    /// assert_eq!(query.as_str(), "https://a.example/search?q=x&__strata_method=QUERY");
    /// assert_eq!(get.of_method("HEAD"), get);
    /// ```
    #[must_use]
    pub fn of_method(&self, method: &str) -> Self {
        let url = match method {
            "GET" | "HEAD" => self.url.clone(),
            other => self.with_reserved("method", other).into(),
        };
        Self { url, host_and_path: self.host_and_path.clone() }
    }

    /// Returns the key of the response to a QUERY for the same URL with this content (RFC 10008).
    ///
    /// The responses of an older `generation` have other keys, so a new one ends all of them.
    ///
    /// ```
    /// use shared_keys::{ContentHash, TargetKey};
    /// let get = TargetKey::parse("https://a.example/search").unwrap();
    /// let query = get.of_query(7, ContentHash::new([], b"shoes"));
    /// assert!(query.as_str().starts_with("https://a.example/search?__strata_query=7-"));
    /// assert_eq!(query.scopes(), get.scopes());
    /// ```
    #[must_use]
    pub fn of_query(&self, generation: u64, content: ContentHash) -> Self {
        let url = self.with_reserved("query", &format!("{generation:x}-{content}")).into();
        Self { url, host_and_path: self.host_and_path.clone() }
    }

    /// Returns the normalised URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// Returns the origin of the URL (RFC 9110 section 4.3.1): scheme, host and, unless it is the
    /// default, port.
    ///
    /// ```
    /// let target = shared_keys::TargetKey::parse("https://A.example:443/x?y").unwrap();
    /// assert_eq!(target.origin(), "https://a.example");
    /// ```
    #[must_use]
    pub fn origin(&self) -> &str {
        let host_at = self.url.find("://").map_or(0, |at| at + "://".len());
        let host = self.host_and_path.find('/').unwrap_or(self.host_and_path.len());
        &self.url[..host_at + host]
    }

    /// Returns the path in normal form.
    #[must_use]
    pub fn path(&self) -> &str {
        self.host_and_path.find('/').map_or("/", |at| &self.host_and_path[at..])
    }

    /// Returns the scopes that contain its path: the host, and the path up to each of its first 64
    /// segments. The query is in none of them.
    ///
    /// ```
    /// use shared_keys::{Scope, TargetKey};
    /// let scopes = TargetKey::parse("https://a.example/api/products/7?x=1").unwrap().scopes();
    /// assert!(scopes.contains(&"path:a.example/api".parse::<Scope>().unwrap().hash()));
    /// assert!(!scopes.contains(&"path:a.example/api/pro".parse::<Scope>().unwrap().hash()));
    /// ```
    #[must_use]
    pub fn scopes(&self) -> Vec<ScopeHash> {
        let path = within_depth(self.host_and_path.trim_end_matches('/'));
        path.match_indices('/').map(|(at, _)| &path[..at]).chain([path]).map(ScopeHash::path).collect()
    }

    /// Returns the key of the marker that describes which queries of this path are equivalent. A
    /// client's URL never has it.
    ///
    /// ```
    /// let target = shared_keys::TargetKey::parse("https://a.example/x?a=1").unwrap();
    /// assert_eq!(target.search_marker(), "https://a.example/x?__strata_search=");
    /// ```
    #[must_use]
    pub fn search_marker(&self) -> String {
        self.without_query().with_reserved("search", "")
    }

    /// Returns the key that all URLs share which `variation` declares equivalent to this one. It
    /// contains `generation`, so that another marker of the path leads to other keys. Returns
    /// `None` if the query has more than 256 parameters, and so a key of its own.
    ///
    /// ```
    /// use shared_keys::{NoVarySearch, TargetKey};
    /// let variation = NoVarySearch::default().ignoring(["utm_id"]).in_any_order();
    /// let key = |url| TargetKey::parse(url).unwrap().equivalent(&variation, 7).unwrap();
    /// assert_eq!(key("https://a.example/?b=2&a&utm_id=3"), key("https://a.example/?a=&b=2"));
    /// assert_eq!(key("https://a.example/?a").as_str(), "https://a.example/?a=&__strata_search=7");
    /// ```
    #[must_use]
    pub fn equivalent(&self, variation: &NoVarySearch, generation: u64) -> Option<Self> {
        let mut target = self.without_query();
        let query = variation.normal_query(self.url.split_once('?').map_or("", |(_, query)| query))?;
        if !query.is_empty() {
            target.url = [&target.url, "?", &query].concat().into();
        }
        target.url = target.with_reserved("search", &format!("{generation:x}")).into();
        Some(target)
    }

    fn without_query(&self) -> Self {
        let url = self.url.split('?').next().unwrap_or_default();
        Self { url: url.into(), host_and_path: self.host_and_path.clone() }
    }

    /// Returns the scope of this URL alone: neither of what is below its path, nor of other
    /// queries. The responses to other methods and to any content of a QUERY share it. The edge's
    /// journal has records of it for unsafe requests. It has no text, so no purge message can name
    /// it.
    ///
    /// ```
    /// use shared_keys::TargetKey;
    /// let target = |url| TargetKey::parse(url).unwrap();
    /// let page = target("https://a.example/list?page=1");
    /// assert_eq!(page.own_scope(), target("https://A.example:443/list?page=1").own_scope());
    /// assert_ne!(page.own_scope(), target("https://a.example/list").own_scope());
    /// assert!(!page.scopes().contains(&page.own_scope()));
    /// assert_eq!(page.own_scope(), page.of_method("QUERY").own_scope());
    /// ```
    #[must_use]
    pub fn own_scope(&self) -> ScopeHash {
        ScopeHash::target(self.without_reserved())
    }

    /// Returns the URL without reserved parameters.
    fn without_reserved(&self) -> &str {
        let query = self.url.find('?').unwrap_or(self.url.len());
        let is_reserved = |(at, _): &(usize, _)| self.url[at + 1..].starts_with(RESERVED_PREFIX);
        let mut parameters = self.url[query..].match_indices(['?', '&']).map(|(at, mark)| (query + at, mark));
        parameters.find(is_reserved).map_or(&self.url, |(at, _)| &self.url[..at])
    }

    /// Returns the URL with a reserved parameter behind its query, where no parameter of a client
    /// can be.
    pub(crate) fn with_reserved(&self, name: &str, value: &str) -> String {
        let mut url =
            String::with_capacity(self.url.len() + RESERVED_PREFIX.len() + name.len() + value.len() + 2);
        url.push_str(&self.url);
        url.push(if self.url.contains('?') { '&' } else { '?' });
        url.push_str(RESERVED_PREFIX);
        url.push_str(name);
        url.push('=');
        for byte in value.bytes() {
            if is_unreserved(byte) { url.push(char::from(byte)) } else { push_escaped(byte, &mut url) }
        }
        url
    }
}

impl fmt::Display for TargetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

/// Returns the URL with `_` for each `-` of a host that may contain Punycode. Whether Punycode
/// decodes depends on the Unicode tables of a build, so such a host is only changed to lower case.
fn masked(url: &str, host: Range<usize>) -> Option<String> {
    let has_punycode = url[host.clone()].to_ascii_lowercase().contains("xn--");
    has_punycode
        .then(|| [&url[..host.start], &url[host.clone()].replace('-', "_"), &url[host.end..]].concat())
}

/// Returns the range of the host and an optional port, if they are plain ASCII. The form of any
/// other host depends on the Unicode tables of a build, so two sides could disagree; and the `url`
/// crate's adapter without tables asserts that it never gets one.
fn check_host(url: &str) -> Result<Range<usize>, ParseError> {
    let begins_with =
        |scheme: &&str| url.get(..scheme.len()).is_some_and(|head| head.eq_ignore_ascii_case(scheme));
    let Some(scheme) = ["https://", "http://"].into_iter().find(begins_with) else {
        return Err(ParseError::new("an absolute http or https URL", 0, url));
    };
    let authority = url[scheme.len()..].split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let host_at = scheme.len() + authority.rfind('@').map_or(0, |at| at + 1);
    let place = host_at..scheme.len() + authority.len();
    let host = &url[place.clone()];
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'%';
    match host.bytes().position(|byte| !is_plain(byte)) {
        None if !host.is_empty() => Ok(place),
        at => Err(ParseError::new(HOST, host_at + at.unwrap_or(0), url)),
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use proptest::prelude::*;

    use super::*;
    use crate::Scope;

    fn key(url: &str) -> String {
        TargetKey::parse(url).unwrap().to_string()
    }

    #[test]
    fn a_host_in_punycode_is_only_changed_to_lower_case() {
        for (url, normal) in [
            ("https://XN--Bcher-kva.example:443/x", "https://xn--bcher-kva.example/x"),
            ("http://a-b.xn--p1ai:8080", "http://a-b.xn--p1ai:8080/"),
            // Decoded, this is a combining mark, which the adapter without tables asserts never to
            // get.
            ("http://xn--a-0gn/", "http://xn--a-0gn/"),
        ] {
            assert_eq!(key(url), normal);
            assert_eq!(key(normal), normal);
        }
        assert_ne!(key("http://xn--a.example"), key("http://xn__a.example"));
    }

    #[test]
    fn equivalent_urls_share_a_key() {
        for (a, b) in [
            ("http://a.example", "http://a.example/"),
            ("http://A.example:80/x", "http://a.example/x"),
            ("http://a.example/%7euser", "http://a.example/~user"),
            ("http://user:secret@a.example/", "http://a.example/"),
            ("http://a.example/a/./b/../c/%2e%2E/d", "http://a.example/a/d"),
            ("http://a.example/../..", "http://a.example/"),
            ("http://a.example:080/", "http://a.example/"),
            ("http://XN--BCHER-KVA.example/", "http://xn--bcher-kva.example/"),
            ("http://[2001:DB8:0::1]/", "http://[2001:db8::1]/"),
            ("http://127.1/", "http://127.0.0.1/"),
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
            ("http://a.example/x?b=1&a=2", "http://a.example/x?a=2&b=1"),
            ("http://a.example/a%2Fb", "http://a.example/a/b"),
            ("http://a.example/?a=b%26c", "http://a.example/?a=b&c"),
            ("http://a.example/?a=+", "http://a.example/?a=%20"),
            ("http://a.example/?a", "http://a.example/?a="),
            ("http://a.example//x", "http://a.example/x"),
            ("http://a.example/%252F", "http://a.example/%2F"),
            ("http://a.example./", "http://a.example/"),
        ] {
            assert_ne!(key(a), key(b), "{a} {b}");
        }
    }

    #[test]
    fn a_client_cannot_forge_the_reserved_parameter() {
        assert_eq!(key("http://a.example/?__strata_variant=x&a=1"), "http://a.example/?a=1");
        assert_eq!(key("http://a.example/?__strata_%76ariant=x"), "http://a.example/?");
        assert_eq!(key("http://a.example/?%5F_%73trata%5fmethod"), "http://a.example/?");
        // Other parameters, which name no stored response.
        for query in [
            "__STRATA_variant=x",
            "a=1;__strata_variant=x",
            "a[__strata_variant]=x",
            "%255F_strata_variant=x",
        ] {
            assert_eq!(key(&format!("http://a.example/?{query}")), format!("http://a.example/?{query}"));
        }
        for path in ["%3F__strata_variant=x", "&__strata_variant=x", ";__strata_variant=x"] {
            assert_eq!(key(&format!("http://a.example/{path}")), format!("http://a.example/{path}"));
        }
    }

    #[test]
    fn rfc9110_9_1_methods_have_keys_of_their_own_but_for_head() {
        let get = TargetKey::parse("http://a.example/x").unwrap();
        assert_eq!(get.of_method("HEAD"), get.of_method("GET"));
        assert_eq!(get.of_method("POST").as_str(), "http://a.example/x?__strata_method=POST");
        assert_ne!(get.of_method("POST"), get.of_method("post"));
        assert_eq!(
            get.of_method("M&__strata_variant=é").as_str(),
            "http://a.example/x?__strata_method=M%26__strata_variant%3D%C3%A9"
        );
        assert_eq!(get.of_method("POST").scopes(), get.scopes());
    }

    #[test]
    fn a_url_is_refused_with_what_was_expected_and_where() {
        const URL: &str = "an absolute http or https URL";
        for (url, expected, at) in [
            ("", URL, 0),
            ("/x", URL, 0),
            ("a.example/x", URL, 0),
            ("ftp://a.example/", URL, 0),
            ("http:", URL, 0),
            ("http://", HOST, 7),
            ("HTTPS://?x", HOST, 8),
            ("http://a b/", HOST, 8),
            ("http:a.example", URL, 0),
            ("http:/A日.example://b", URL, 0),
            ("ht\ttp://A日.example", URL, 0),
            ("http://@/", HOST, 8),
            ("http://a@:80/", HOST, 9),
            ("http://a.example:65536/", HOST, 7),
            ("http://[::1/", HOST, 7),
            ("http://A日.example/", HOST, 8),
            ("http://a%41.example/", HOST, 8),
            ("https://ü:ü@Bücher.example", HOST, 15),
            ("http:A日.example//a", URL, 0),
            ("http:///A日.example", HOST, 7),
            ("http://a@/A日.example", HOST, 9),
        ] {
            let error = TargetKey::parse(url).unwrap_err();
            assert_eq!((error.expected(), error.at()), (expected, at), "{url}");
        }
        assert_eq!(key("http://a@ü@a.example/"), "http://a.example/");
        assert_eq!(key("http://ü@xn--bcher-kva.Example/ü"), "http://xn--bcher-kva.example/%C3%BC");
    }

    #[test]
    fn an_exact_key_has_the_scopes_and_the_path_of_its_normal_form() {
        let url = "http://a.example/%61pi/./%7e%2f?b=%2f";
        let exact = TargetKey::with_rules(url, &QueryRules::default().exact()).unwrap();
        assert_eq!(exact.as_str(), "http://a.example/%61pi/%7e%2f?b=%2f");
        let normal = TargetKey::parse(url).unwrap();
        assert_eq!((exact.scopes(), exact.path()), (normal.scopes(), normal.path()));
        assert_eq!(exact.path(), "/api/~%2F");
        assert_eq!(exact.of_method("POST").scopes(), normal.scopes());
    }

    #[test]
    fn a_path_scope_ends_at_a_segment() {
        let scopes = TargetKey::parse("http://a.example/api/products/7?x=1").unwrap().scopes();
        let scope = |text: &str| text.parse::<Scope>().unwrap().hash();
        assert_eq!(
            scopes,
            [
                "path:a.example",
                "path:a.example/api",
                "path:a.example/api/products",
                "path:a.example/api/products/7"
            ]
            .map(scope)
        );
        assert!(!scopes.contains(&scope("path:a.example/api/pro")));
    }

    /// A client chooses the number of segments, and each scope costs a hash.
    #[test]
    fn the_scopes_of_a_path_are_bounded_and_its_purge_reaches_it_at_any_depth() {
        for depth in [63, 64, 65, 66, 30_000] {
            let path = |depth: usize| format!("a.example{}", "/a".repeat(depth));
            let scopes = TargetKey::parse(&format!("http://{}", path(depth))).unwrap().scopes();
            assert_eq!(scopes.len(), 1 + depth.min(64));
            for purged in [0, 1, 63, 64, 65, 66, depth].into_iter().filter(|purged| *purged <= depth) {
                let purge = format!("path:{}", path(purged)).parse::<Scope>().unwrap();
                assert!(scopes.contains(&purge.hash()), "{purged} of {depth}");
            }
            let sibling = format!("path:{}/b", path(62)).parse::<Scope>().unwrap();
            assert!(!scopes.contains(&sibling.hash()), "{depth}");
        }
    }

    #[test]
    fn equivalent_urls_of_one_path_share_a_key_per_generation() {
        let variation = NoVarySearch::default().only(["id"]);
        let key = |url: &str, generation| {
            TargetKey::parse(url).unwrap().equivalent(&variation, generation).unwrap()
        };
        let own = key("https://a.example/x?id=1&utm=2", 1);
        assert_eq!(own, key("https://a.example/x?y&id=1", 1));
        assert_eq!(own.scopes(), TargetKey::parse("https://a.example/x").unwrap().scopes());
        for (url, generation) in [
            ("https://a.example/x?id=1", 2),
            ("https://a.example/x?id=2", 1),
            ("https://a.example/x", 1),
            ("https://a.example/y?id=1", 1),
            ("https://b.example/x?id=1", 1),
            ("http://a.example/x?id=1", 1),
        ] {
            assert_ne!(own, key(url, generation), "{url} {generation}");
        }
    }

    proptest! {
        #[test]
        fn a_key_is_its_own_key(path in "[a-zA-Z0-9/.%&=?~+ ;:@-]{0,40}") {
            let url = format!("http://a.example/{path}");
            let once = key(&url);
            prop_assert_eq!(key(&once), once);
        }

        #[test]
        fn no_clients_url_names_what_a_method_or_variant_does(
            path in "(/|\\?|&|;|a|=|%3F|%26|__strata_|method|variant|=POST){0,8}",
            other in "(/|\\?|&|;|a|=|__strata_|method|variant|=POST){0,8}",
        ) {
            let (client, other) = (key(&format!("http://a.example/{path}")), format!("http://a.example/{other}"));
            let stored = TargetKey::parse(&other).unwrap();
            prop_assert_ne!(&client, &stored.of_method("POST").to_string());
            prop_assert_ne!(&client, &stored.with_reserved("variant", "x"));
            prop_assert_ne!(&client, &stored.search_marker());
            let variation = NoVarySearch::default().in_any_order();
            prop_assert_ne!(client, stored.equivalent(&variation, 1).unwrap().to_string());
        }

        #[test]
        fn hostile_urls_never_panic(url in any::<String>(), tail in any::<String>()) {
            let _ = TargetKey::parse(&url);
            let _ = TargetKey::parse(&format!("http://a.example/{tail}"));
        }
    }
}
