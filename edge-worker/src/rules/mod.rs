//! The deployment's settings per path: the rules of the variable `RULES`.
//!
//! The first rule whose path and method match is the one that holds for a request; where none does,
//! the defaults hold. Rules are read once per isolate ([`read`](Rules::read)); one malformed
//! rule disables caching altogether, since it may have been meant to keep private responses out of
//! the store: then every request goes to the origin.
//!
//! - Which requests: `glob`, `methods`.
//! - What of a request counts: `query`, `vary`, `bypass`, `pass`.
//! - How long a response lives: [`lifetime`].
//! - Where HTTP leaves a choice: [`Choices`].
//! - Whether a response is what its URL says: [`content_type`].

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
    /// Names it in metrics; `default` where no rule matches.
    pub name: Box<str>,
    /// Which query parameters count.
    pub query: QueryRules,
    /// Which values of selecting fields are the same.
    pub vary: VaryRules,
    /// Requests go to the origin and nothing is stored.
    pub pass: bool,
    /// Where HTTP leaves a choice; all off by default.
    pub choices: Choices,
    /// One of these matches.
    paths: Vec<Glob>,
    /// Empty: all.
    methods: Vec<Method>,
    /// Requests with one of these cookies, or fields, are passed.
    bypass_cookies: Vec<Glob>,
    bypass_headers: Vec<HeaderName>,
    /// Parts of a lifetime that hold where the origin declares none, or always.
    fresh: Option<Duration>,
    stale_while_revalidate: Option<Duration>,
    stale_if_error: Option<Duration>,
    over_the_origin: bool,
    /// Lifetimes of errors that declare none.
    errors: Vec<(StatusCode, Duration)>,
    /// `s-maxage`, `must-revalidate` and `proxy-revalidate` do not forbid stale.
    allow_stale: bool,
    /// Where the origin declared no lifetime, a response must be of the type that its URL's
    /// extension says.
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
            check_extension: true,
        }
    }
}

impl Rules {
    /// The rule for requests with this method whose target key, by the default query rules, is
    /// `target`.
    pub fn of(&self, method: &Method, target: &TargetKey) -> &Rc<Rule> {
        let path = path_of(target);
        self.rules.iter().find(|rule| rule.matches(method, path)).unwrap_or(&self.fallback)
    }

    /// The key that the responses to a GET of this URL are stored under; `None` if it cannot have
    /// one.
    pub fn target(&self, url: &str) -> Option<TargetKey> {
        let plain = TargetKey::parse(url).ok()?;
        self.of(&Method::GET, &plain).target(url, plain)
    }
}

impl Rule {
    /// The target key of `url` by this rule; `plain` is the one by the default rules.
    pub fn target(&self, url: &str, plain: TargetKey) -> Option<TargetKey> {
        if self.query == QueryRules::default() { Some(plain) } else { TargetKey::with_rules(url, &self.query).ok() }
    }

    /// Whether a request with these fields is not to be answered from the store, nor its answer
    /// stored.
    pub fn passes(&self, request: &HeaderMap) -> bool {
        self.pass
            || self.bypass_headers.iter().any(|name| request.contains_key(name))
            || (!self.bypass_cookies.is_empty() && self.has_bypass_cookie(request))
    }

    fn has_bypass_cookie(&self, request: &HeaderMap) -> bool {
        request.get_all(header::COOKIE).iter().any(|line| {
            // A value may have any bytes, and must not hide the cookies beside it.
            let line = String::from_utf8_lossy(line.as_bytes());
            let mut names = line.split(';').map(|pair| pair.split('=').next().unwrap_or(pair).trim());
            names.any(|name| self.bypass_cookies.iter().any(|glob| glob.matches(name)))
        })
    }

    fn matches(&self, method: &Method, path: &str) -> bool {
        // A HEAD is answered from what is stored for GETs.
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        (self.methods.is_empty() || self.methods.contains(method)) && self.paths.iter().any(|glob| glob.matches(path))
    }
}

/// The path in a target key, in the one spelling that all its spellings share: no escape gets
/// around a rule.
pub fn path_of(target: &TargetKey) -> &str {
    let text = target.as_str();
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    let path = text.find('/').map_or("/", |at| &text[at..]);
    path.split_once('?').map_or(path, |(path, _)| path)
}

/// Whether an origin could take a path for another than rules do: it leads up behind an escaped
/// separator, or with a parameter (`/static/..%2Faccount`, `/static/..;/account`). What is written
/// plainly, the URL parser has resolved.
pub fn is_ambiguous(path: &str) -> bool {
    let mut segments = path.split('/').flat_map(|part| part.split("%2F")).flat_map(|part| part.split("%5C"));
    segments.any(|segment| segment.split(';').next() == Some(".."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::headers;

    #[test]
    fn a_path_that_leads_up_for_some_is_ambiguous() {
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
    fn the_first_that_matches_path_and_method_holds() {
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
    fn no_spelling_of_a_path_gets_around_a_rule() {
        let rules = rules(r#"[{"name": "admin", "path": "/admin/**", "pass": true}]"#);
        for path in ["/admin/x", "/%61dmin/x", "/x/../admin/x", "/./admin/x", "/admin/%78"] {
            assert_eq!(name_of(&rules, "GET", &format!("https://a.example{path}")), "admin", "{path}");
        }
    }

    #[test]
    fn cookies_and_fields_bypass() {
        let rules = rules(r#"[{"path": "/**", "bypass": {"cookies": ["sid", "wp_*"], "headers": ["X-Preview"]}}]"#);
        let rule = rules.of(&Method::GET, &TargetKey::parse("https://a.example/").unwrap());
        for (fields, passes) in [
            (&[("cookie", "a=1; sid=2")][..], true),
            (&[("cookie", "a=1"), ("cookie", "wp_logged_in=")][..], true),
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
