//! The deployment's settings per path: the rules of the variable `RULES`.
//!
//! The first rule whose path and method match applies to a request; the defaults apply if no rule
//! matches. Rules are read once per isolate ([`read`](Rules::read)). A single invalid rule disables
//! caching, so that every request goes to the origin: the rule may have been meant to exclude
//! private responses from the store.
//!
//! - Matching requests: `path` (see `glob`), `methods`, and `conditions`.
//! - Keys and bypasses: `query`, `vary`, `selection`, `bypass`, `pass`.
//! - Lifetimes of responses: [`lifetime`].
//! - Choices that HTTP leaves open: [`Choices`].
//! - Protection against cache deception: [`content_type`]; of responses for one user:
//!   `credentials`.

mod conditions;
pub mod content_type;
mod credentials;
mod glob;
pub mod lifetime;
mod place;
mod read;
mod reading;
mod selection;

use std::rc::Rc;
use std::sync::LazyLock;
use std::time::Duration;

use http::{HeaderMap, HeaderName, Method, StatusCode};
use shared_keys::{QueryRules, TargetKey, VaryRules};

pub use self::conditions::Client;
use self::conditions::Conditions;
pub(crate) use self::glob::Glob;
pub use self::read::RULES;
pub use self::reading::is_reserved;
use self::selection::KeyParts;
pub use self::selection::Selection;
use crate::policy::Choices;
use crate::policy::query::METHOD;
use crate::unkeyed::PLATFORM_FIELDS;

/// The rules in their order.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    rules: Vec<Rc<Rule>>,
    fallback: Rc<Rule>,
    /// Whether a rule depends on more of a request than its URL and method, by its conditions or
    /// its key.
    depend_on_client: bool,
}

/// The settings that apply to a request. The default follows the RFCs.
#[derive(Debug)]
pub struct Rule {
    /// The name in metrics. Default: `rule-` and the rule's number from 1; `default` if no rule
    /// matches.
    pub name: Box<str>,
    /// The query parameters that are part of the target key, and their order.
    pub query: QueryRules,
    /// Whether the origin's `No-Vary-Search` is obeyed. Default: `true`.
    pub obeys_no_vary_search: bool,
    /// The normalisation of selecting fields.
    pub vary: VaryRules,
    /// The request fields that the origin acts on although they are in no key, besides those of
    /// [`unkeyed`](crate::unkeyed).
    pub unkeyed: Vec<HeaderName>,
    /// Whether all requests bypass the store. Default: `false`.
    pub bypass_always: bool,
    /// The choices that HTTP leaves open. Default: all off.
    pub choices: Choices,
    /// Whether responses to POST are stored for later GETs, as RFC 9110 section 9.3.3 permits.
    /// Default: `false`. The body of the POST is not part of the key, so any client that may POST
    /// decides what all clients get.
    pub store_post: bool,
    /// Whether URLs of the origin's own host in response fields become those of the site (see
    /// `origin::location`). Default: `true`.
    pub rewrite_urls: bool,
    /// Whether responses are for everyone, whatever credentials a request has. Default: `false`.
    ignore_credentials: bool,
    /// The cookies that identify no user, besides `shared_keys::ANONYMOUS_COOKIES`. A `*` at the
    /// end of a name matches any rest.
    ignored_cookies: Vec<Box<str>>,
    /// The patterns of the path, of which one must match.
    paths: Vec<Glob>,
    /// The same patterns as they match the [`readings`](reading::readings) of a path.
    folded_paths: Vec<Glob>,
    /// The methods; empty for all. `HEAD` is listed as `GET`.
    methods: Vec<Method>,
    /// The conditions besides path and method.
    conditions: Conditions,
    /// The parts of a request, besides its URL, that are part of the key.
    key: KeyParts,
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
    overrides_origin: bool,
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
            obeys_no_vary_search: true,
            vary: VaryRules::default(),
            unkeyed: Vec::new(),
            bypass_always: false,
            choices: Choices::default(),
            store_post: false,
            rewrite_urls: true,
            ignore_credentials: false,
            ignored_cookies: Vec::new(),
            paths: Vec::new(),
            folded_paths: Vec::new(),
            methods: Vec::new(),
            conditions: Conditions::default(),
            key: KeyParts::default(),
            bypass_cookies: Vec::new(),
            bypass_headers: Vec::new(),
            fresh: None,
            stale_while_revalidate: None,
            stale_if_error: None,
            overrides_origin: false,
            errors: Vec::new(),
            allow_stale: false,
            strict_s_maxage: false,
            check_extension: true,
        }
    }
}

impl Rules {
    /// Makes the fields unkeyed in which Cloudflare states what it knows of a client, for a worker
    /// on another runtime: there, clients state them.
    pub fn distrust_platform_fields(&mut self) {
        for rule in self.rules.iter_mut().chain([&mut self.fallback]) {
            if let Some(rule) = Rc::get_mut(rule) {
                rule.unkeyed.extend(PLATFORM_FIELDS.map(HeaderName::from_static));
            }
        }
    }

    /// Returns the rule for a request. `target` is its target key by the default query rules.
    pub fn of(&self, method: &Method, target: &TargetKey, client: Client<'_>) -> &Rc<Rule> {
        let mut matching = self.matching(method, target);
        matching.find(|rule| rule.conditions.match_client(client)).unwrap_or(&self.fallback)
    }

    /// Returns whether a rule depends on the client, so that its country is of interest.
    pub fn depend_on_client(&self) -> bool {
        self.depend_on_client
    }

    /// Returns the rules of which one applies to each request for a URL, whatever the client.
    /// `method` is one of [`KEYED_METHODS`].
    fn candidates(&self, method: &Method, target: &TargetKey) -> impl Iterator<Item = &Rc<Rule>> {
        let mut is_last = false;
        let matching = self.matching(method, target).chain([&self.fallback]);
        matching.take_while(move |rule| {
            let was_last = is_last;
            is_last = !rule.conditions.depend_on_client();
            !was_last
        })
    }

    /// Returns whether responses for this URL may be stored for some client.
    pub fn may_store(&self, target: &TargetKey) -> bool {
        KEYED_METHODS.iter().any(|method| self.candidates(method, target).any(|rule| !rule.bypass_always))
    }

    /// Returns whether a GET of the client matches `rule` as well. A response to a POST is stored
    /// for GETs by the key of its own rule.
    pub fn is_rule_of_gets(&self, rule: &Rc<Rule>, target: &TargetKey, client: Client<'_>) -> bool {
        Rc::ptr_eq(self.of(&Method::GET, target, client), rule)
    }

    /// Returns the rules that match the URL and method of a request.
    fn matching(&self, method: &Method, target: &TargetKey) -> impl Iterator<Item = &Rc<Rule>> {
        let (path, host) = (target.path(), host_of(target));
        let is_match = move |rule: &&Rc<Rule>| rule.has_path(path) && rule.has_method_and_host(method, host);
        self.rules.iter().filter(is_match)
    }

    /// Returns whether the rule of a request depends on how the origin reads its path. The store
    /// must not be used then: the origin could answer with a page that another rule excludes.
    pub fn is_ambiguous(&self, method: &Method, target: &TargetKey, client: Client<'_>) -> bool {
        let (path, host) = (target.path(), host_of(target));
        if reading::is_ambiguous(path) {
            return true;
        }
        if self.rules.is_empty() {
            return false;
        }
        let position = |has_path: &dyn Fn(&Rule) -> bool| {
            self.rules.iter().position(|rule| {
                has_path(rule)
                    && rule.has_method_and_host(method, host)
                    && rule.conditions.match_client(client)
            })
        };
        let own = position(&|rule| rule.has_path(path));
        reading::readings(path).iter().any(|reading| {
            let folded = |path: &str| position(&|rule| rule.has_folded_path(path));
            // Rules may differ for `/a` and `/a/`. If one of them bypasses the store, both do.
            let other_slash = match reading.strip_suffix('/') {
                Some("") => None,
                Some(path) => folded(path),
                None => folded(&format!("{reading}/")),
            };
            folded(reading) != own
                || (other_slash != own
                    && other_slash.is_some_and(|index| self.rules[index].bypasses_store(client.headers)))
        })
    }

    /// Returns the target key of a URL for this client's requests with a method; `None` if the URL
    /// cannot have a key.
    pub fn target(&self, method: &Method, url: &str, client: Client<'_>) -> Option<TargetKey> {
        let plain = TargetKey::parse(url).ok()?;
        self.of(keyed_method(method), &plain, client).target(url, plain)
    }

    /// Returns the target keys of a URL for all clients and all methods whose responses are stored.
    pub fn targets(&self, url: &str) -> Vec<TargetKey> {
        let Ok(plain) = TargetKey::parse(url) else { return Vec::new() };
        let mut targets: Vec<TargetKey> = Vec::new();
        let rules = KEYED_METHODS.iter().flat_map(|method| self.candidates(method, &plain));
        for target in rules.filter_map(|rule| rule.target(url, plain.clone())) {
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        targets
    }
}

impl Rule {
    /// Returns the target key of `url` by this rule. `plain` is its key by the default query rules.
    pub fn target(&self, url: &str, plain: TargetKey) -> Option<TargetKey> {
        if self.query == QueryRules::default() {
            Some(plain)
        } else {
            TargetKey::with_rules(url, &self.query).ok()
        }
    }

    /// Returns whether a request with these fields bypasses the store, for its lookup and its
    /// response.
    pub fn bypasses_store(&self, request: &HeaderMap) -> bool {
        self.bypass_always
            || self.bypass_headers.iter().any(|name| request.contains_key(name))
            || (!self.bypass_cookies.is_empty() && self.has_bypass_cookie(request))
    }

    fn has_bypass_cookie(&self, request: &HeaderMap) -> bool {
        conditions::any_cookie(request, |name, _| self.bypass_cookies.iter().any(|glob| glob.matches(name)))
    }

    fn has_path(&self, path: &str) -> bool {
        self.paths.iter().any(|glob| glob.matches(path))
    }

    fn has_folded_path(&self, reading: &str) -> bool {
        self.folded_paths.iter().any(|glob| glob.matches(reading))
    }

    fn has_method_and_host(&self, method: &Method, host: &str) -> bool {
        // A HEAD is answered from the stored response to GET, so the rules for GET apply.
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        (self.methods.is_empty() || self.methods.contains(method)) && self.conditions.match_host(host)
    }
}

/// The methods whose responses are stored under keys of their own. A HEAD and a POST use those of
/// GET.
static KEYED_METHODS: LazyLock<[Method; 2]> =
    LazyLock::new(|| [Method::GET, METHOD.parse().unwrap_or(Method::GET)]);

/// Returns the method by whose rules the response to a request is stored.
fn keyed_method(method: &Method) -> &Method {
    if KEYED_METHODS.contains(method) { method } else { &Method::GET }
}

/// Returns the host of a target key, without its port.
pub fn host_of(target: &TargetKey) -> &str {
    let host = target.origin().split_once("://").map_or("", |(_, host)| host);
    match host.rsplit_once(':') {
        // An IPv6 address ends with a bracket.
        Some((host, port)) if !port.ends_with(']') => host,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::headers;

    fn rules(json: &str) -> Rules {
        Rules::read(&crate::json::testing::json(json)).unwrap()
    }

    #[test]
    fn outside_the_platform_its_fields_are_unkeyed_by_every_rule() {
        let mut rules = rules(r#"[{"path": "/a", "unkeyed": ["x-a"]}]"#);
        rules.distrust_platform_fields();
        for (path, others) in [("a", 1), ("b", 0)] {
            let target = TargetKey::parse(&format!("https://shop.example/{path}")).unwrap();
            let client = HeaderMap::new();
            let unkeyed = &rules.of(&Method::GET, &target, Client::new(&client)).unkeyed;
            assert!(PLATFORM_FIELDS.iter().all(|name| unkeyed.iter().any(|other| other == name)));
            assert_eq!(unkeyed.len(), PLATFORM_FIELDS.len() + others);
        }
    }

    fn name_of(rules: &Rules, method: &str, url: &str) -> String {
        rules
            .of(&method.parse().unwrap(), &TargetKey::parse(url).unwrap(), Client::new(&HeaderMap::new()))
            .name
            .to_string()
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

    fn is_ambiguous(rules: &Rules, url: &str) -> bool {
        rules.is_ambiguous(&Method::GET, &TargetKey::parse(url).unwrap(), Client::new(&HeaderMap::new()))
    }

    #[test]
    fn a_path_that_an_origin_may_read_under_another_rule_is_ambiguous() {
        let rules = rules(
            r#"[{"path": "/me", "pass": true}, {"path": "/Admin/**", "pass": true}, {"path": "/x/*/y"},
                {"path": "**.css"}, {"path": "/shop/**"}]"#,
        );
        for path in [
            "//me",
            "/ME",
            "/me%2F",
            "/me;x",
            "/me;x=1/",
            "/%256de",
            "/me%2e",
            "/me%3Fx",
            "/me;a.css",
            "/me%3F.css",
            "/me%5c",
            "/me/",
            "/admin/x",
            "/ADMIN//x",
            "/shop%2Fx",
            "/x/a%2Fb/y",
            "/Shop/x",
            "/shop/a%3B.css",
            "/shop/a;.css",
        ] {
            assert!(is_ambiguous(&rules, &format!("https://a.example{path}")), "{path}");
        }
        for path in [
            "/",
            "/me",
            "/mee",
            "/me/x",
            "/Admin/x",
            "/Admin/x;y",
            "/x/a/y",
            "/shop/",
            "/shop",
            "/shop/a%2Fb",
            "/shop/a;b/C/",
            "/shop/X%20y",
            "/other/A;b",
            "/a.css",
            "/Page",
        ] {
            assert!(!is_ambiguous(&rules, &format!("https://a.example{path}")), "{path}");
        }
    }

    #[test]
    fn without_rules_only_a_path_that_servers_resolve_differently_is_ambiguous() {
        let rules = Rules::default();
        for (url, ambiguous) in [
            ("https://a.example/static/..%2Faccount", true),
            ("https://a.example/static/%2e%2e%2faccount", true),
            ("https://a.example/static/../account", false),
            ("https://a.example//A;b%2F", false),
            ("https://a.example/a?..%2F", false),
        ] {
            assert_eq!(is_ambiguous(&rules, url), ambiguous, "{url}");
        }
    }

    #[test]
    fn a_rule_for_the_other_trailing_slash_keeps_requests_from_the_store() {
        let rules = rules(r#"[{"path": "/me/**", "pass": true}, {"path": "/news/**"}, {"path": "/**"}]"#);
        for (path, ambiguous) in [("/me", true), ("/news", false), ("/news/", false), ("/x", false)] {
            assert_eq!(is_ambiguous(&rules, &format!("https://a.example{path}")), ambiguous, "{path}");
        }
    }

    #[test]
    fn a_listed_cookie_or_field_bypasses_the_store() {
        let rules =
            rules(r#"[{"path": "/**", "bypass": {"cookies": ["sid", "wp_*"], "headers": ["X-Preview"]}}]"#);
        let rule = rules.of(
            &Method::GET,
            &TargetKey::parse("https://a.example/").unwrap(),
            Client::new(&HeaderMap::new()),
        );
        for (fields, bypasses_store) in [
            (&[("cookie", "a=1; sid=2")][..], true),
            (&[("cookie", "a=1"), ("cookie", "wp_logged_in=")][..], true),
            (&[("cookie", "a=1, sid=2")][..], true),
            (&[("cookie", "a=1,wp_x=2; b=3")][..], true),
            (&[("cookie", "name=Zo\u{eb}; sid=1")][..], true),
            (&[("cookie", "a=sid; sid2=1; xwp_=1")][..], false),
            (&[("x-preview", "")][..], true),
            (&[][..], false),
        ] {
            assert_eq!(rule.bypasses_store(&headers(fields)), bypasses_store, "{fields:?}");
        }
    }

    #[test]
    fn a_target_is_keyed_by_the_rule_for_its_url() {
        let rules = rules(
            r#"[{"path": "/list", "query": {"keep": ["page"]}}, {"path": "/x", "query": {"sort": true}}, {"path": "/s", "exact_url": true}]"#,
        );
        for (url, key) in [
            ("https://a.example/list?sid=1&page=2", "https://a.example/list?page=2"),
            ("https://a.example/x?b&a", "https://a.example/x?a&b"),
            ("https://a.example/%73?b=%2f&a", "https://a.example/%73?b=%2f&a"),
            ("https://a.example/%79?b=%2f&a", "https://a.example/y?b=%2F&a"),
        ] {
            assert_eq!(
                rules.target(&Method::GET, url, Client::new(&HeaderMap::new())).unwrap().as_str(),
                key
            );
        }
        assert!(rules.target(&Method::GET, "mailto:a@b.example", Client::new(&HeaderMap::new())).is_none());
    }
}
