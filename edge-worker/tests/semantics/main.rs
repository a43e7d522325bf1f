//! A comparison of the policy with `http-cache-semantics`, an independent implementation of the
//! same RFCs. Random cases check that both agree. Tables list the known differences, each with the
//! section that decides it. In the tables, `here` is this policy and `there` is the other
//! implementation.

#![expect(clippy::expect_used, reason = "a test panics to fail")]

mod next;

use std::time::{Duration, SystemTime};

use edge_worker::policy::select::Selected;
use edge_worker::policy::storable::retention;
use edge_worker::policy::{Choices, Decision, Request, Reuse, StoredResponse, decide};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_cache_semantics::{CacheOptions, CachePolicy};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use shared_keys::{Applied, Seq, Stamp};

/// The time at which responses arrive, in seconds since 1970.
const ARRIVED: u64 = 1_795_564_800;

const URL: &str = "https://shop.example/a";

fn at(unix_secs: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(unix_secs)
}

fn http_date(unix_secs: u64) -> String {
    httpdate::fmt_http_date(at(unix_secs))
}

fn headers(fields: &[(String, String)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a field name");
        headers.append(name, HeaderValue::from_str(value).expect("a field value"));
    }
    headers
}

/// A response, and a later request for it.
#[derive(Debug, Clone)]
struct Case {
    status: u16,
    response: Vec<(String, String)>,
    request: Vec<(String, String)>,
    after_secs: u64,
}

impl Case {
    fn new(status: u16, response: &[(&str, &str)], request: &[(&str, &str)], after_secs: u64) -> Self {
        let owned = |fields: &[(&str, &str)]| {
            fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
        };
        Self { status, response: owned(response), request: owned(request), after_secs }
    }

    /// Returns the age and the remaining lifetime in seconds if this policy serves the response as
    /// fresh.
    fn served_here(&self) -> Option<(u64, u64)> {
        let request = headers(&self.request);
        let choices = Choices { obey_requests: true, ..Choices::default() };
        let request = Request { method: &Method::GET, headers: &request, choices };
        let stored = stored(self.status, headers(&self.response), ARRIVED);
        let journal = Applied::new(10);
        let decision = decide(request, Selected::Response(&stored), at(ARRIVED + self.after_secs), &journal);
        retention(request, &stored, &journal).ok()?;
        match decision {
            Decision::Serve(hit) if hit.reuse == Reuse::Fresh => {
                Some((hit.age.as_secs(), hit.ttl_secs.unsigned_abs()))
            }
            _ => None,
        }
    }

    /// Returns the age and the remaining lifetime in seconds if the other implementation serves the
    /// response as fresh.
    fn served_there(&self) -> Option<(u64, u64)> {
        let request = request(Method::GET, headers(&self.request));
        let policy = policy(&request, &response(self.status, headers(&self.response)));
        let now = at(ARRIVED + self.after_secs);
        let is_served =
            policy.is_storable() && policy.before_request(&request, now).satisfies_without_revalidation();
        is_served.then(|| (policy.age(now).as_secs(), policy.time_to_live(now).as_secs()))
    }
}

/// Returns a response that arrived without delay, `arrived` seconds after 1970.
fn stored(status: u16, headers: HeaderMap, arrived: u64) -> StoredResponse {
    StoredResponse {
        status: StatusCode::from_u16(status).expect("a status"),
        headers,
        request_time: at(arrived),
        response_time: at(arrived),
        stamp: Stamp { origin: None, edge: Some(Seq(1)) },
        scopes: Vec::new(),
    }
}

fn request(method: Method, headers: HeaderMap) -> http::Request<()> {
    let mut request = http::Request::builder().method(method).uri(URL).body(()).expect("a request");
    *request.headers_mut() = headers;
    request
}

fn response(status: u16, headers: HeaderMap) -> http::Response<()> {
    let mut response = http::Response::builder().status(status).body(()).expect("a response");
    *response.headers_mut() = headers;
    response
}

/// Returns the other implementation's policy for a response that arrived at [`ARRIVED`].
fn policy(request: &http::Request<()>, response: &http::Response<()>) -> CachePolicy {
    CachePolicy::new_options(request, response, at(ARRIVED), CacheOptions::default())
}

fn directives() -> impl Strategy<Value = String> {
    let flags = vec!["no-store", "no-cache", "private", "public", "must-revalidate", "x-unknown=1"];
    let seconds = || proptest::option::weighted(0.6, 0u64..100);
    (subsequence(flags, 0..=2), seconds(), proptest::option::weighted(0.3, 0u64..100)).prop_map(
        |(flags, age, shared)| {
            let mut list: Vec<String> = flags.into_iter().map(str::to_owned).collect();
            list.extend(age.map(|secs| format!("max-age={secs}")));
            list.extend(shared.map(|secs| format!("s-maxage=\"{secs}\"")));
            list.join(", ")
        },
    )
}

prop_compose! {
    fn case()(
        status in select(vec![200, 203, 204, 300, 301, 302, 303, 307, 308, 404, 405, 410, 414, 501]),
        cache_control in proptest::option::weighted(0.8, directives()),
        expires in proptest::option::weighted(0.3, prop_oneof![(0u64..200).prop_map(|secs| http_date(ARRIVED + secs)), Just("0".to_owned())]),
        unchanged_secs in proptest::option::weighted(0.3, 0u64..1000),
        age in proptest::option::weighted(0.3, 0u64..100),
        vary in proptest::option::weighted(0.2, select(vec!["Accept", "*"])),
        request_control in proptest::option::weighted(0.3, prop_oneof![
            Just("no-cache".to_owned()), Just("no-store".to_owned()),
            (0u64..100).prop_map(|secs| format!("max-age={secs}")), (0u64..100).prop_map(|secs| format!("min-fresh={secs}")),
        ]),
        authorized in proptest::bool::weighted(0.2),
        after_secs in 0u64..150,
    ) -> Case {
        let mut response = vec![("date".to_owned(), http_date(ARRIVED))];
        let mut field = |name: &str, value: Option<String>| response.extend(value.map(|value| (name.to_owned(), value)));
        field("cache-control", cache_control);
        field("expires", expires);
        field("last-modified", unchanged_secs.map(|secs| http_date(ARRIVED - secs * 10)));
        field("age", age.map(|secs| secs.to_string()));
        field("vary", vary.map(str::to_owned));
        let mut request = vec![("accept".to_owned(), "*/*".to_owned())];
        request.extend(request_control.map(|value| ("cache-control".to_owned(), value)));
        request.extend(authorized.then(|| ("authorization".to_owned(), "Basic eDp5".to_owned())));
        Case { status, response, request, after_secs }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn both_serve_the_same_responses_with_the_same_age_and_lifetime(case in case()) {
        prop_assert_eq!(case.served_here(), case.served_there(), "{:?}", case);
    }
}

#[test]
fn differences_in_serving_are_decided_by_a_section() {
    let (date, earlier, long_ago) =
        (http_date(ARRIVED), http_date(ARRIVED - 30), http_date(ARRIVED - 3_000_000));
    let (later, rfc850) = (http_date(ARRIVED + 60), "Friday, 27-Nov-26 00:00:00 GMT");
    let fresh = ("cache-control", "max-age=60");
    let none: &[(&str, &str)] = &[];
    #[expect(clippy::type_complexity, reason = "a table's row")]
    let rows: &[(&str, bool, bool, u16, &[(&str, &str)], &[(&str, &str)], u64)] = &[
        (
            "5.2.2.8: proxy-revalidate applies to stale responses only",
            true,
            false,
            200,
            &[("cache-control", "max-age=60, proxy-revalidate")],
            none,
            1,
        ),
        ("3: an explicit lifetime makes any final status storable", true, false, 500, &[fresh], none, 1),
        ("4.2.3: the apparent age counts", false, true, 200, &[fresh, ("date", &earlier)], none, 40),
        ("5.1: of several ages the first counts", true, true, 200, &[fresh, ("age", "0, 90")], none, 1),
        ("5.1: of several ages the first counts", false, true, 200, &[fresh, ("age", "90, 0")], none, 1),
        ("5.2: names are case-insensitive", true, false, 200, &[("cache-control", "Max-Age=60")], none, 1),
        (
            "5.2: names are case-insensitive",
            false,
            true,
            200,
            &[("cache-control", "max-age=60, No-Store")],
            none,
            1,
        ),
        (
            "5.2: a comma in a quoted string does not separate directives",
            true,
            false,
            200,
            &[("cache-control", "x=\"a, no-store, b\", max-age=60")],
            none,
            1,
        ),
        (
            "5.2.2.4: a qualified no-cache applies to the listed fields only",
            true,
            false,
            200,
            &[("cache-control", "max-age=60, no-cache=\"x\"")],
            none,
            1,
        ),
        (
            "5.2.2.3: must-understand and no-store",
            true,
            false,
            200,
            &[("cache-control", "max-age=60, no-store, must-understand")],
            none,
            1,
        ),
        (
            "4.2.1: the first of duplicates counts",
            true,
            true,
            200,
            &[("cache-control", "max-age=60, max-age=1")],
            none,
            2,
        ),
        (
            "RFC 9110 5.6.7: all three formats of dates are valid",
            true,
            false,
            200,
            &[("date", &date), ("expires", rfc850)],
            none,
            1,
        ),
        (
            "4.2.2: the RFC sets no limit; here a heuristic lifetime is at most a day",
            false,
            true,
            200,
            &[("date", &date), ("last-modified", &long_ago)],
            none,
            90_000,
        ),
        (
            "RFC 8246: immutable is about reloads and gives no lifetime",
            false,
            true,
            200,
            &[("cache-control", "immutable")],
            none,
            1,
        ),
        (
            "by choice: a response with Set-Cookie belongs to one user, even if public",
            false,
            true,
            200,
            &[("cache-control", "public, max-age=60"), ("set-cookie", "a=b")],
            none,
            1,
        ),
        (
            "RFC 9213: the targeted field takes precedence",
            true,
            false,
            200,
            &[("cache-control", "no-store"), ("cdn-cache-control", "max-age=60")],
            none,
            1,
        ),
        ("5.4: Pragma is deprecated", true, false, 200, &[fresh], &[("pragma", "no-cache")], 1),
        (
            "4.2.1: an invalid number means stale",
            false,
            false,
            200,
            &[("cache-control", "max-age=x"), ("date", &date), ("expires", &later)],
            none,
            1,
        ),
    ];
    for (why, here, there, status, response, request, after_secs) in rows {
        let case = Case::new(*status, response, request, *after_secs);
        assert_eq!(
            (case.served_here().is_some(), case.served_there().is_some()),
            (*here, *there),
            "{why}: {case:?}"
        );
    }
}
