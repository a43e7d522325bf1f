//! The time that a client or an origin can make the worker spend on a message: it grows in
//! proportion to the message's length, whatever the message consists of.

#![expect(clippy::expect_used, reason = "a test panics to fail")]

use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime};

use edge_worker::headers::{is_ambiguous, remove_hop_by_hop};
use edge_worker::json::Json;
use edge_worker::origin::request::{bypass_headers, fill_headers, is_loop};
use edge_worker::origin::response::{FetchContext, to_stored};
use edge_worker::policy::select::{Selected, variant_key, vary_fields};
use edge_worker::policy::storable::retention;
use edge_worker::policy::{Choices, Request, decide, validate};
use edge_worker::rules::{Client, Rules, is_reserved};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use shared_keys::{Applied, Seq, TargetKey};
use url::Url;

/// The lengths that are compared. The runtime takes at most 128 KiB of fields.
const SHORT: usize = 16 << 10;
const FACTOR: usize = 4;

/// The largest growth of the time. It is 4 for a linear time, 16 for a quadratic one.
const MAX_GROWTH: u32 = 9;

/// Shorter times say nothing: they are of the clock and of the machine's other work.
const NOISE: Duration = Duration::from_millis(2);

/// Rules with all settings that read a request.
const RULES: &str = r#"[
    {"path": "/admin/**/edit", "pass": true},
    {"path": "/**/*-*.html", "query": {"drop": ["utm_*", "gclid"]}},
    {"path": "/**",
     "bypass": {"cookies": ["sid*", "wp_*_session"], "headers": ["x-preview"]},
     "vary": {"accept-language": {"language": ["en", "de"]}, "cookie": {"cookies": ["group", "theme"]},
              "accept": {"media_type": ["text/html", "text/html;level=1", "image/webp"]}},
     "unkeyed": ["x-mine"], "obey_requests": true, "lifetime": {"fresh": 60}}
]"#;

fn rules() -> Rules {
    let json: serde_json::Value = serde_json::from_str(RULES).expect("JSON");
    Rules::read(&to_json(&json)).expect("valid rules")
}

fn to_json(value: &serde_json::Value) -> Json {
    match value {
        serde_json::Value::Array(items) => Json::List(items.iter().map(to_json).collect()),
        serde_json::Value::Object(members) => {
            Json::Object(members.iter().map(|(name, value)| (name.clone(), to_json(value))).collect())
        }
        serde_json::Value::String(text) => Json::Text(text.clone()),
        serde_json::Value::Number(number) => Json::Number(number.as_f64().expect("a number")),
        serde_json::Value::Bool(bool) => Json::Bool(*bool),
        serde_json::Value::Null => Json::Null,
    }
}

/// A request and the response to it.
#[derive(Default)]
struct Exchange {
    path_and_query: String,
    request: Vec<(String, String)>,
    response: Vec<(String, String)>,
}

impl Exchange {
    fn url(path_and_query: String) -> Self {
        Self { path_and_query, ..Self::default() }
    }

    fn request(name: &str, value: String) -> Self {
        Self { request: vec![(name.into(), value)], ..Self::default() }
    }

    fn response(name: &str, value: String) -> Self {
        Self { response: vec![(name.into(), value)], ..Self::default() }
    }
}

fn headers(fields: &[(String, String)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).expect("a name"),
            HeaderValue::from_str(value).expect("a value"),
        );
    }
    headers
}

/// Runs the request and the response through everything that the pipeline computes from them.
fn run(rules: &Rules, exchange: &Exchange) {
    let url = format!("https://shop.example/{}", exchange.path_and_query);
    let (method, now) = (Method::GET, SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    let parsed = Url::parse(&url).expect("a URL");
    let mut request = headers(&exchange.request);
    black_box(is_ambiguous(&request));
    black_box(is_reserved(parsed.path()));
    let plain = TargetKey::parse(&url).expect("a key");
    remove_hop_by_hop(&mut request);
    let client = Client::new(&request);
    let rule = rules.of(&method, &plain, client);
    let target = rule.target(&url, plain).expect("a key");
    black_box(is_loop(&request, &parsed));
    black_box(rules.is_ambiguous(&method, &target, client));
    black_box(rule.bypasses_store(&request));
    black_box(bypass_headers(&request, &parsed));
    black_box(fill_headers(&request, &rule.vary, &rule.unkeyed, &parsed));
    let context = FetchContext { request_time: now, response_time: now, edge_seq: Seq(1) };
    let mut response = to_stored(StatusCode::OK, headers(&exchange.response), &target, context);
    rule.set_lifetime(&mut response);
    black_box(rule.withholds(&request, &response));
    let journal = Applied::new(10);
    let asked = Request {
        method: &method,
        headers: &request,
        choices: Choices { obey_requests: true, ..rule.choices },
    };
    black_box(retention(asked, &response, &journal)).ok();
    black_box(validate::not_modified(&request, &response));
    if let Some(fields) = vary_fields(&response.headers) {
        black_box(variant_key(&target, &fields, &rule.vary, &request));
    }
    black_box(decide(asked, Selected::Response(&response), now, &journal));
}

/// Returns the shortest of several times, which has the least of the machine's other work.
fn time(rules: &Rules, exchange: &Exchange) -> Duration {
    let once = || {
        let began = Instant::now();
        run(rules, exchange);
        began.elapsed()
    };
    (0..5).map(|_| once()).min().unwrap_or_default()
}

type Make = fn(usize) -> Exchange;

fn many(part: &str, length: usize) -> String {
    part.repeat(length / part.len())
}

fn numbered(length: usize, part: impl Fn(usize) -> String) -> String {
    let mut text = String::new();
    for number in 0.. {
        text += &part(number);
        if text.len() >= length {
            break;
        }
    }
    text
}

#[test]
fn the_time_for_a_message_grows_in_proportion_to_its_length() {
    let rules = rules();
    let cases: &[(&str, Make)] = &[
        ("path segments", |n| Exchange::url(many("a/", n))),
        ("empty path segments", |n| Exchange::url(many("/", n))),
        ("escaped path segments", |n| Exchange::url(many("%2f", n))),
        ("escapes of escapes", |n| Exchange::url(format!("{}41", many("%25", n)))),
        ("path parameters", |n| Exchange::url(many(";a", n))),
        ("a path that almost matches", |n| Exchange::url(format!("admin/{}", many("/edi", n)))),
        ("a name that almost matches", |n| Exchange::url(many("-.htm", n))),
        ("query parameters", |n| Exchange::url(format!("?{}", numbered(n, |i| format!("p{i}=1&"))))),
        ("equal query parameters", |n| Exchange::url(format!("?{}", many("a&", n)))),
        ("256 long query parameters", |n| {
            let name = many("a", n / 256);
            Exchange::url(format!("?{}", (0..256).map(|i| format!("{name}{i}&")).collect::<String>()))
        }),
        ("escaped query names", |n| Exchange::url(format!("?{}", many("%61", n)))),
        ("cookies", |n| Exchange::request("cookie", numbered(n, |i| format!("c{i}=1; ")))),
        ("analytics cookies", |n| Exchange::request("cookie", many("_ga_x=1; ", n))),
        ("a cookie's long name", |n| Exchange::request("cookie", many("wp_session_", n))),
        ("codings", |n| Exchange::request("accept-encoding", many("gzip;q=0.1, ", n))),
        ("unknown codings", |n| Exchange::request("accept-encoding", many("a,", n))),
        ("languages", |n| Exchange::request("accept-language", many("de-AT;q=0.3, ", n))),
        ("a long language", |n| Exchange::request("accept-language", many("de-", n))),
        ("media ranges", |n| Exchange::request("accept", many("text/html;level=1;q=0.1, ", n))),
        ("a media range's parameters", |n| {
            Exchange::request("accept", format!("text/html{}", many(";a=b", n)))
        }),
        ("an open quote", |n| Exchange::request("accept", format!("\"{}", many(",", n)))),
        ("open quotes in parameters", |n| Exchange::request("accept", many("a;\",", n))),
        ("ranges", |n| Exchange::request("range", format!("bytes={}", many("0-1,", n)))),
        ("unsatisfiable ranges", |n| Exchange::request("range", format!("bytes={}", many("9-,", n)))),
        ("entity tags", |n| Exchange::request("if-none-match", many("\"a\", ", n))),
        ("an entity tag's open quote", |n| Exchange::request("if-none-match", format!("\"{}", many(",", n)))),
        ("request directives", |n| Exchange::request("cache-control", many("a=1, ", n))),
        ("repeated request directives", |n| Exchange::request("cache-control", many("max-age=1, ", n))),
        ("a request directive's open quote", |n| {
            Exchange::request("cache-control", format!("a=\"{}", many(",b=\"", n)))
        }),
        ("a request directive's signs", |n| Exchange::request("cache-control", many("=;", n))),
        ("connection options", |n| Exchange::request("connection", numbered(n, |i| format!("x{i}, ")))),
        ("proxies", |n| Exchange::request("via", many("1.1 a, ", n))),
        ("networks", |n| Exchange::request("cdn-loop", many("a;b=c, ", n))),
        ("addresses", |n| Exchange::request("x-forwarded-for", many("1.1.1.1, ", n))),
        ("request fields", |n| Exchange {
            request: (0..n / 10).map(|i| (format!("x-{i}"), "1".to_owned())).collect(),
            ..Exchange::default()
        }),
        ("request fields with underscores", |n| Exchange {
            request: (0..n / 10).map(|i| (format!("x_{i}"), "1".to_owned())).collect(),
            response: vec![("vary".into(), "accept, accept-language, x-a, x-b, x-c, x-d".into())],
            ..Exchange::default()
        }),
        ("selecting fields", |n| Exchange::response("vary", numbered(n, |i| format!("x-{i}, ")))),
        ("selecting fields beside as many request fields", |n| Exchange {
            request: (0..n / 10).map(|i| (format!("y_{i}"), "1".to_owned())).collect(),
            response: vec![("vary".into(), numbered(n, |i| format!("x-{i}, ")))],
            ..Exchange::default()
        }),
        ("tags", |n| Exchange::response("cache-tag", numbered(n, |i| format!("t{i},")))),
        ("a long tag", |n| Exchange::response("cache-tag", many("a", n))),
        ("an escaped tag", |n| Exchange::response("cache-tag", many("%41", n))),
        ("tags between spaces", |n| Exchange::response("surrogate-key", many("a ", n))),
        ("response directives", |n| Exchange::response("cache-control", many("max-age=1, ", n))),
        ("a response directive's quotes", |n| Exchange::response("cache-control", many("a=\"b\" c, ", n))),
        ("a response directive's open quote", |n| {
            Exchange::response("cache-control", format!("private=\"{}", many(",b=\"", n)))
        }),
        ("a response directive's signs", |n| Exchange::response("cache-control", many("a=;", n))),
        ("a response directive's words", |n| Exchange::response("cache-control", many("a b=", n))),
        ("a directive's list of fields", |n| {
            Exchange::response("cache-control", format!("private=\"{}\"", numbered(n, |i| format!("x{i},"))))
        }),
        ("a targeted field", |n| {
            Exchange::response("cdn-cache-control", numbered(n, |i| format!("a{i}=1, ")))
        }),
        ("a targeted field's inner list", |n| {
            Exchange::response("cdn-cache-control", format!("a=({})", many("1 ", n)))
        }),
        ("a targeted field that does not parse", |n| {
            Exchange::response("cdn-cache-control", many("max-age=1;;, ", n))
        }),
        ("surrogate directives", |n| Exchange::response("surrogate-control", many("max-age=1;x, ", n))),
        ("content codings", |n| Exchange::response("content-encoding", many("a, ", n))),
        ("an entity tag", |n| Exchange::response("etag", format!("\"{}\"", many("a", n)))),
        ("ages", |n| Exchange::response("age", many("1, ", n))),
    ];
    for (name, make) in cases {
        // Other work of the machine can only lengthen a time, so one good comparison is enough.
        let grows = |_| {
            let [short, long] = [SHORT, FACTOR * SHORT].map(|length| time(&rules, &make(length)));
            println!("{name}: {short:?}, {long:?}");
            long > NOISE && long > MAX_GROWTH * short
        };
        assert!(!(0..5).all(grows), "{name}: see the times for {SHORT} bytes and for {FACTOR} times as many");
    }
}
