//! A stricter origin, client or journal never allows a response that a laxer one forbids.
//!
//! Each case is decided twice: as it is, and with one additional directive that can only forbid.
//! Directives that also allow something are excluded, with the section that says so.

use std::time::{Duration, SystemTime};

use edge_worker::json::Json;
use edge_worker::policy::select::Selected;
use edge_worker::policy::storable::{retention, without_unstorable_fields};
use edge_worker::policy::{Choices, Decision, Request, StoredResponse, decide};
use edge_worker::rules::{Client, Rules};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use shared_keys::{Applied, Mode, Record, Scope, Seq, Stamp, TargetKey};

/// The time at which responses arrive, in seconds since 1970.
const ARRIVED: u64 = 100 * 86_400 * 10;

/// The fields with directives, in ascending precedence.
const DIRECTIVES: [HeaderName; 2] = [header::CACHE_CONTROL, HeaderName::from_static("cdn-cache-control")];

/// The members of a rule's `lifetime`.
type LifetimeRule = &'static [(&'static str, u64)];

const DEFAULT_LIFETIME: LifetimeRule = &[("fresh", 20), ("stale_if_error", 40)];
const OVERRIDING_LIFETIME: LifetimeRule = &[("fresh", 20), ("stale_while_revalidate", 9)];

/// A response, its rule, and a later request for it.
#[derive(Debug, Clone)]
struct Case {
    status: u16,
    response: HeaderMap,
    request: HeaderMap,
    choices: Choices,
    /// The rule's lifetime, if there is a rule, and whether it overrides the origin's.
    rule: Option<(LifetimeRule, bool)>,
    /// The time from the response to the request.
    after_secs: u64,
    /// The mode of the record that covers the response, if there is one.
    recorded: Option<Mode>,
}

/// The use that a decision makes of the stored response, from the least to the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    Never,
    OnDisconnect,
    OnError,
    Served,
}

impl Case {
    /// Stores the response if that is allowed, and decides on the request.
    fn result(&self) -> Use {
        let request = Request { method: &Method::GET, headers: &self.request, choices: self.choices };
        let mut response = StoredResponse {
            status: StatusCode::from_u16(self.status).unwrap(),
            headers: self.response.clone(),
            request_time: at(ARRIVED),
            response_time: at(ARRIVED),
            stamp: Stamp { origin: None, edge: Some(Seq(1)) },
            scopes: vec![scope()],
        };
        let rules =
            self.rule.map_or_else(Rules::default, |(lifetime, over_origin)| rules(lifetime, over_origin));
        rules
            .of(
                &Method::GET,
                &TargetKey::parse("https://a.example/").unwrap(),
                Client::new(&HeaderMap::new()),
            )
            .set_lifetime(&mut response);
        if retention(request, &response, &nothing_applied()).is_err() {
            return Use::Never;
        }
        let response = without_unstorable_fields(response);
        let now = at(ARRIVED + self.after_secs);
        match decide(request, Selected::Response(&response), now, &self.journal()) {
            Decision::Serve(_) => Use::Served,
            Decision::Forward(forward) if forward.on_error.is_some() => Use::OnError,
            Decision::Forward(forward) if forward.on_disconnect.is_some() => Use::OnDisconnect,
            Decision::Forward(_) => Use::Never,
        }
    }

    /// Returns the journal with the record that follows the response.
    fn journal(&self) -> Applied {
        let mut journal = nothing_applied();
        if let Some(mode) = self.recorded {
            journal.apply(Record { scope: scope(), mode, stamp: Stamp { origin: None, edge: Some(Seq(2)) } });
        }
        journal
    }

    /// Returns this case with an additional restriction.
    fn stricter(&self, restriction: &Restriction, at_end: bool) -> Self {
        let mut case = self.clone();
        match *restriction {
            Restriction::Directive(directive) => {
                // The last of repeated members counts in a targeted field (RFC 8941 section 4.2.2).
                // A qualified directive at the end would replace a stricter unqualified one.
                let at_end = at_end && !directive.contains('"');
                let names: Vec<_> =
                    DIRECTIVES.into_iter().filter(|name| case.response.contains_key(name)).collect();
                names.into_iter().for_each(|name| add(&mut case.response, name, directive, at_end));
            }
            Restriction::Field(name, value) => {
                case.response.append(name, HeaderValue::from_static(value));
            }
            Restriction::RequestDirective(directive) => {
                add(&mut case.request, header::CACHE_CONTROL, directive, at_end);
            }
            Restriction::Credentials => {
                case.request.insert(header::AUTHORIZATION, HeaderValue::from_static("Basic eDp5"));
            }
            Restriction::Delay(secs) => case.after_secs += secs,
            Restriction::Record(mode) => case.recorded = Some(mode),
        }
        case
    }
}

/// An additional condition that can only forbid.
#[derive(Debug, Clone)]
enum Restriction {
    /// A directive of the response, in each field with directives.
    Directive(&'static str),
    /// A field of the response.
    Field(&'static str, &'static str),
    /// A directive of the request.
    RequestDirective(&'static str),
    /// Credentials of the request.
    Credentials,
    /// A delay of the request, in seconds.
    Delay(u64),
    /// A journal record that covers the response.
    Record(Mode),
}

impl Restriction {
    /// Returns whether the restriction can also allow something in this case. `must-revalidate` and
    /// `s-maxage` allow to share a response to a request with credentials (RFC 9111 section 3.5).
    /// An unstorable `Set-Cookie` no longer prevents storing the response (section 5.2.2.7).
    fn can_allow(&self, case: &Case) -> bool {
        match self {
            Self::Directive("must-revalidate" | "s-maxage=0") => {
                case.request.contains_key(header::AUTHORIZATION)
            }
            Self::Directive(directive) => {
                directive.contains("set-cookie") && case.response.contains_key(header::SET_COOKIE)
            }
            _ => false,
        }
    }
}

/// Adds a directive to a field, at its start or end.
fn add(headers: &mut HeaderMap, name: HeaderName, directive: &str, at_end: bool) {
    let before = headers.get(&name).map_or("", |value| value.to_str().unwrap());
    let (first, second) = if at_end { (before, directive) } else { (directive, before) };
    let separator = if before.is_empty() { "" } else { ", " };
    headers.insert(name, HeaderValue::from_str(&format!("{first}{separator}{second}")).unwrap());
}

fn at(unix_secs: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(unix_secs)
}

fn http_date(unix_secs: u64) -> String {
    httpdate::fmt_http_date(at(unix_secs))
}

/// Returns a journal without records.
fn nothing_applied() -> Applied {
    Applied::new(1000)
}

/// Returns rules with one rule for all paths.
fn rules(lifetime: LifetimeRule, over_origin: bool) -> Rules {
    let object = |members: Vec<(&str, Json)>| {
        Json::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    };
    let mut members: Vec<_> =
        lifetime.iter().map(|(name, secs)| (*name, Json::Number(*secs as f64))).collect();
    members.push(("override", Json::Bool(over_origin)));
    let rule = object(vec![("path", Json::Text("/**".to_owned())), ("lifetime", object(members))]);
    Rules::read(&Json::List(vec![rule])).unwrap()
}

fn scope() -> shared_keys::ScopeHash {
    "tag:a".parse::<Scope>().unwrap().hash()
}

fn restriction() -> impl Strategy<Value = Restriction> {
    let directives = [
        "no-store",
        "no-cache",
        "private",
        "must-revalidate",
        "proxy-revalidate",
        "max-age=x",
        "s-maxage=0",
        "no-cache=\"last-modified\"",
        "private=\"expires\"",
        "private=\"set-cookie, x\"",
    ];
    let request_directives = ["no-cache", "no-store", "max-age=20", "min-fresh=20", "min-fresh=x"];
    let fields = [("set-cookie", "a=b"), ("vary", "*"), ("age", "7"), ("expires", "0")];
    prop_oneof![
        4 => select(directives.map(Restriction::Directive).to_vec()),
        2 => select(request_directives.map(Restriction::RequestDirective).to_vec()),
        2 => select(fields.map(|(name, value)| Restriction::Field(name, value)).to_vec()),
        1 => Just(Restriction::Credentials),
        1 => (1u64..700).prop_map(Restriction::Delay),
        1 => select(vec![Restriction::Record(Mode::Expire), Restriction::Record(Mode::Remove)]),
    ]
}

fn directives() -> impl Strategy<Value = String> {
    let flags = vec![
        "public",
        "must-revalidate",
        "proxy-revalidate",
        "no-cache",
        "no-store",
        "must-understand",
        "private=\"x\"",
        "x=\"a, b",
        "x=\"a\"",
    ];
    let seconds = |name: &'static str| {
        proptest::option::of(0u64..90).prop_map(move |secs| secs.map(|secs| format!("{name}={secs}")))
    };
    let times = (
        seconds("max-age"),
        seconds("s-maxage"),
        seconds("stale-while-revalidate"),
        seconds("stale-if-error"),
    );
    // Any known directive makes a response with a validator storable. Without one, the restriction
    // could be the first and make it storable.
    (subsequence(flags, 0..3), times).prop_map(|(flags, times)| {
        let times = [times.0, times.1, times.2, times.3].into_iter().flatten();
        let all: Vec<String> = flags.into_iter().map(str::to_owned).chain(times).collect();
        let is_unknown = all.iter().all(|directive| directive.starts_with("x="));
        if is_unknown { format!("public, {}", all.join(", ")) } else { all.join(", ") }
    })
}

prop_compose! {
    fn case()(
        status in select(vec![200, 203, 301, 404]),
        (cache_control, targeted) in (directives(), proptest::option::weighted(0.3, directives())),
        fields in subsequence(vec![
            ("set-cookie", "a=b".to_owned()), ("vary", "accept".to_owned()), ("etag", "\"a\"".to_owned()),
            ("expires", http_date(ARRIVED + 30)), ("last-modified", http_date(ARRIVED - 300)),
            ("date", http_date(ARRIVED - 5)),
        ], 0..4),
        age in proptest::option::of(0u64..50),
        request_directives in subsequence(vec!["max-stale=30", "max-stale", "max-age=40", "min-fresh=1"], 0..3),
        authorized in proptest::bool::weighted(0.2),
        (store_set_cookie, obey_requests) in any::<(bool, bool)>(),
        rule in select(vec![
            None,
            Some((DEFAULT_LIFETIME, false)),
            Some((OVERRIDING_LIFETIME, true)),
        ]),
        after_secs in 0u64..100,
        recorded in proptest::option::weighted(0.2, Just(Mode::Expire)),
    ) -> Case {
        let field = |name, value: String| (HeaderName::from_static(name), HeaderValue::try_from(value).unwrap());
        let fields = fields.into_iter().map(|(name, value)| field(name, value));
        let age = age.map(|age| field("age", age.to_string()));
        let targeted = targeted.map(|value| field("cdn-cache-control", value));
        let response = fields.chain(age).chain(targeted).chain([field("cache-control", cache_control)]).collect();
        let authorized = authorized.then(|| field("authorization", "Basic eDp5".to_owned()));
        let request = authorized.into_iter().chain([field("cache-control", request_directives.join(", "))]).collect();
        let choices = Choices { store_set_cookie, obey_requests };
        Case { status, response, request, choices, rule, after_secs, recorded }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8192))]

    #[test]
    fn a_restriction_never_allows_a_greater_use(
        case in case(), restriction in restriction(), at_end in any::<bool>(),
    ) {
        let (base, stricter) = (case.result(), case.stricter(&restriction, at_end).result());
        prop_assert!(
            stricter <= base || restriction.can_allow(&case),
            "{base:?}, but {stricter:?} with {restriction:?}"
        );
    }
}
