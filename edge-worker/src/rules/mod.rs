//! The deployment's settings per path: the rules of the variable `RULES`.
//!
//! The first rule whose path and method match applies to a request; the defaults apply if no rule
//! matches. Rules are read once per isolate ([`read`](Rules::read)). A single invalid rule disables
//! caching, so that every request goes to the origin: the rule may have been meant to exclude
//! private responses from the store.
//!
//! - Matching requests: `path` (see `glob`), `methods`.
//! - Keys and bypasses: `query`, `vary`, `bypass`, `pass`.
//! - Lifetimes of responses: [`lifetime`].
//! - Choices that HTTP leaves open: [`Choices`].
//! - Protection against cache deception: [`content_type`].

pub mod content_type;
mod glob;
pub mod lifetime;
mod read;

use std::rc::Rc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use shared_keys::{QueryRules, TargetKey, VaryRules};

use self::glob::Glob;
pub use self::read::RULES;
use crate::policy::Choices;

/// The rules in their order.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    rules: Vec<Rc<Rule>>,
    fallback: Rc<Rule>,
}

/// The settings that apply to a request. The default follows the RFCs.
#[derive(Debug)]
pub struct Rule {
    /// The name in metrics. Default: `rule-` and the rule's number from 1; `default` if no rule
    /// matches.
    pub name: Box<str>,
    /// The query parameters that are part of the target key, and their order.
    pub query: QueryRules,
    /// The normalisation of selecting fields.
    pub vary: VaryRules,
    /// Whether all requests bypass the store. Default: `false`.
    pub pass: bool,
    /// The choices that HTTP leaves open. Default: all off.
    pub choices: Choices,
    /// The patterns of the path, of which one must match.
    paths: Vec<Glob>,
    /// The methods; empty for all. `HEAD` is listed as `GET`.
    methods: Vec<Method>,
    /// A request with one of these cookies bypasses the store.
    bypass_cookies: Vec<Glob>,
    /// A request with one of these fields bypasses the store.
    bypass_headers: Vec<HeaderName>,
    /// The freshness lifetime; `None` for the origin's.
    fresh: Option<Duration>,
    /// The window of RFC 5861 section 3; `None` for the origin's.
    stale_while_revalidate: Option<Duration>,
    /// The window of RFC 5861 section 4; `None` for the origin's.
    stale_if_error: Option<Duration>,
    /// Whether these three replace the origin's values. Otherwise they apply if the origin declares
    /// none.
    over_the_origin: bool,
    /// The lifetimes of errors without an explicit lifetime, by status.
    errors: Vec<(StatusCode, Duration)>,
    /// Whether stale responses are allowed despite `s-maxage`, `must-revalidate` and
    /// `proxy-revalidate`.
    allow_stale: bool,
    /// Whether `s-maxage` forbids stale responses even beside a declared window.
    strict_s_maxage: bool,
    /// Whether a response without a lifetime of the origin must have the media type of its URL's
    /// extension. Default: `true`.
    check_extension: bool,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            name: "default".into(),
            query: QueryRules::default(),
            vary: VaryRules::default(),
            pass: false,
            choices: Choices::default(),
            paths: Vec::new(),
            methods: Vec::new(),
            bypass_cookies: Vec::new(),
            bypass_headers: Vec::new(),
            fresh: None,
            stale_while_revalidate: None,
            stale_if_error: None,
            over_the_origin: false,
            errors: Vec::new(),
            allow_stale: false,
            strict_s_maxage: false,
            check_extension: true,
        }
    }
}

impl Rules {
    /// Returns the rule for a request. `target` is its target key by the default query rules.
    pub fn of(&self, method: &Method, target: &TargetKey) -> &Rc<Rule> {
        let path = path_of(target);
        self.rules.iter().find(|rule| rule.matches(method, path)).unwrap_or(&self.fallback)
    }

    /// Returns the target key of a GET for this URL; `None` if the URL cannot have a key.
    pub fn target(&self, url: &str) -> Option<TargetKey> {
        let plain = TargetKey::parse(url).ok()?;
        self.of(&Method::GET, &plain).target(url, plain)
    }
}

impl Rule {
    /// Returns the target key of `url` by this rule. `plain` is its key by the default query rules.
    pub fn target(&self, url: &str, plain: TargetKey) -> Option<TargetKey> {
        if self.query == QueryRules::default() { Some(plain) } else { TargetKey::with_rules(url, &self.query).ok() }
    }

    /// Returns whether a request with these fields bypasses the store, for its lookup and its
    /// response.
    pub fn passes(&self, request: &HeaderMap) -> bool {
        self.pass
            || self.bypass_headers.iter().any(|name| request.contains_key(name))
            || (!self.bypass_cookies.is_empty() && self.has_bypass_cookie(request))
    }

    fn has_bypass_cookie(&self, request: &HeaderMap) -> bool {
        request.get_all(header::COOKIE).iter().any(|line| {
            // Decode lossily: a value that is not UTF-8 must not hide the other cookies of its
            // line.
            let line = String::from_utf8_lossy(line.as_bytes());
            // The runtime joins lines with a comma, which no cookie contains (RFC 6265 section
            // 4.1.1).
            let mut names = line.split([';', ',']).map(|pair| pair.split('=').next().unwrap_or(pair).trim());
            names.any(|name| self.bypass_cookies.iter().any(|glob| glob.matches(name)))
        })
    }

    fn matches(&self, method: &Method, path: &str) -> bool {
        // A HEAD is answered from the stored response to GET, so the rules for GET apply.
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        (self.methods.is_empty() || self.methods.contains(method)) && self.paths.iter().any(|glob| glob.matches(path))
    }
}

/// Returns the path of a target key. It is normalised, so that no escape sequence evades a rule.
pub fn path_of(target: &TargetKey) -> &str {
    let text = target.as_str();
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    let path = text.find('/').map_or("/", |at| &text[at..]);
    path.split_once('?').map_or(path, |(path, _)| path)
}

/// Returns whether an origin could resolve a path differently from the rules: it has a `..` segment
/// beside an escaped separator or with a parameter (`/static/..%2Faccount`, `/static/..;/account`).
/// The URL parser has already resolved plain `..` segments.
pub fn is_ambiguous(path: &str) -> bool {
    let mut segments = path.split('/').flat_map(|part| part.split("%2F")).flat_map(|part| part.split("%5C"));
    segments.any(|segment| segment.split(';').next() == Some(".."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::headers;

    #[test]
    fn a_path_with_an_escaped_or_parameterised_parent_segment_is_ambiguous() {
        for (url, ambiguous) in [
            ("https://a.example/static/..%2Faccount", true),
            ("https://a.example/static/%2e%2e%2faccount", true),
            ("https://a.example/static%5c..%5Caccount", true),
            ("https://a.example/static/..;a=b/account", true),
            ("https://a.example/static/%2F..", true),
            ("https://a.example/static/../account", false),
            ("https://a.example/a%2Fb", false),
            ("https://a.example/a..b/..c/...", false),
            ("https://a.example/a?..%2F", false),
        ] {
            assert_eq!(is_ambiguous(path_of(&TargetKey::parse(url).unwrap())), ambiguous, "{url}");
        }
    }

    fn rules(json: &str) -> Rules {
        Rules::read(&crate::json::testing::json(json)).unwrap()
    }

    fn name_of(rules: &Rules, method: &str, url: &str) -> String {
        rules.of(&method.parse().unwrap(), &TargetKey::parse(url).unwrap()).name.to_string()
    }

    #[test]
    fn the_first_rule_that_matches_path_and_method_applies() {
        let rules = rules(
            r#"[{"name": "writes", "path": "/api/**", "methods": ["POST", "PUT"]},
                {"name": "api", "path": ["/api/**", "/rpc"]}, {"path": "/img/*", "methods": ["GET"]}]"#,
        );
        for (method, url, name) in [
            ("POST", "https://a.example/api/x", "writes"),
            ("GET", "https://a.example/api/x?y", "api"),
            ("GET", "https://a.example/rpc", "api"),
            ("GET", "https://a.example/img/x", "rule-3"),
            ("HEAD", "https://a.example/img/x", "rule-3"),
            ("GET", "https://a.example/img/x/y", "default"),
            ("GET", "https://a.example/", "default"),
        ] {
            assert_eq!(name_of(&rules, method, url), name, "{method} {url}");
        }
    }

    #[test]
    fn no_spelling_of_a_path_evades_a_rule() {
        let rules = rules(r#"[{"name": "admin", "path": "/admin/**", "pass": true}]"#);
        for path in ["/admin/x", "/%61dmin/x", "/x/../admin/x", "/./admin/x", "/admin/%78"] {
            assert_eq!(name_of(&rules, "GET", &format!("https://a.example{path}")), "admin", "{path}");
        }
    }

    #[test]
    fn a_listed_cookie_or_field_bypasses_the_store() {
        let rules = rules(r#"[{"path": "/**", "bypass": {"cookies": ["sid", "wp_*"], "headers": ["X-Preview"]}}]"#);
        let rule = rules.of(&Method::GET, &TargetKey::parse("https://a.example/").unwrap());
        for (fields, passes) in [
            (&[("cookie", "a=1; sid=2")][..], true),
            (&[("cookie", "a=1"), ("cookie", "wp_logged_in=")][..], true),
            (&[("cookie", "a=1, sid=2")][..], true),
            (&[("cookie", "a=1,wp_x=2; b=3")][..], true),
            (&[("cookie", "name=Zo\u{eb}; sid=1")][..], true),
            (&[("cookie", "a=sid; sid2=1; xwp_=1")][..], false),
            (&[("x-preview", "")][..], true),
            (&[][..], false),
        ] {
            assert_eq!(rule.passes(&headers(fields)), passes, "{fields:?}");
        }
    }

    #[test]
    fn a_target_is_keyed_by_the_rule_for_its_url() {
        let rules =
            rules(r#"[{"path": "/list", "query": {"keep": ["page"]}}, {"path": "/x", "query": {"sort": false}}]"#);
        for (url, key) in [
            ("https://a.example/list?sid=1&page=2", "https://a.example/list?page=2"),
            ("https://a.example/x?b&a", "https://a.example/x?b&a"),
            ("https://a.example/y?b&a", "https://a.example/y?a&b"),
        ] {
            assert_eq!(rules.target(url).unwrap().as_str(), key);
        }
        assert!(rules.target("mailto:a@b.example").is_none());
    }
}
