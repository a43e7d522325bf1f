//! An exchange of a request and the origin's response: forwarded, received, stored, decided,
//! invalidated.
#![no_main]

mod fields;

use std::time::{Duration, SystemTime};

use edge_worker::headers::{is_ambiguous, remove_hop_by_hop};
use edge_worker::json::Json;
use edge_worker::origin::location;
use edge_worker::origin::request::{bypass_headers, fill_headers, is_loop, is_websocket};
use edge_worker::origin::response::{self, FetchContext};
use edge_worker::policy::directives::{directives, from_origin};
use edge_worker::policy::select::{Selected, can_select, combined, variant_key, vary_fields};
use edge_worker::policy::not_stored::NotStored;
use edge_worker::policy::storable::{answers_gets, retention, without_unstorable_fields};
use edge_worker::policy::validate::{Head, by_head};
use edge_worker::policy::{
    Decision, Request, Reuse, StoredResponse, bypass_reason, decide, invalidate, range,
};
use edge_worker::rules::{Client, Rule, Rules};
use edge_worker::store::metadata;
use edge_worker::unkeyed::remove_unkeyed;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use libfuzzer_sys::fuzz_target;
use shared_keys::{Applied, Mode, Record, Scope, Seq, Stamp, TargetKey};
use url::Url;

/// Fields that the worker sets on a request to the origin, replacing those of the client.
const SET_HERE: [&str; 5] = ["cdn-loop", "forwarded", "via", "x-forwarded-host", "x-forwarded-proto"];

const ARRIVED: Duration = Duration::from_secs(1_795_564_800);

thread_local! {
    static RULES: Rules = rules();
}

// The first line has a method, a status, a path, and the seconds until the same request is
// repeated. The request's fields, an empty line and the response's fields follow.
fuzz_target!(|text: &[u8]| {
    let (first, rest) = split(text, b"\n");
    let (asked, answered) = split(rest, b"\n\n");
    let mut words = std::str::from_utf8(first).unwrap_or_default().split(' ');
    let mut word = || words.next().unwrap_or_default();
    let Ok(method) = word().parse::<Method>() else { return };
    let Some(status) = word().parse().ok().and_then(|code| response::status(code).ok()) else { return };
    let Ok(url) = Url::parse(&format!("https://shop.example/{}", word().trim_start_matches('/'))) else {
        return;
    };
    let later = Duration::from_secs(word().parse::<u32>().unwrap_or_default().into());
    let Ok(plain) = TargetKey::parse(url.as_str()) else { return };

    let mut client = fields::fields(asked).unwrap_or_default();
    let mut answer = fields::fields(answered).unwrap_or_default();
    // A library has a debug assertion that fails for capitals beside escapes in a host.
    for name in [header::LOCATION, header::CONTENT_LOCATION, header::LINK, header::REFRESH] {
        if answer.get_all(&name).iter().any(|value| value.as_bytes().contains(&b'%')) {
            answer.remove(name);
        }
    }
    rewrites_its_own_urls(&mut answer, &url);
    if is_ambiguous(&client) {
        return;
    }
    assert!(!(client.contains_key(header::CONTENT_LENGTH) && client.contains_key(header::TRANSFER_ENCODING)));
    RULES.with(|rules| {
        let websocket = is_websocket(&method, &client);
        remove_hop_by_hop(&mut client);
        let rule = rules.of(&method, &plain, Client::new(&client));
        let Some(target) = rule.target(url.as_str(), plain.clone()) else { return };
        selects(rules, rule, &plain, &mut client);
        bypasses_what_it_should(rule, &client);
        forwarded(rule, &client, &url, &answer);
        invalidates_its_own_origin(rules, &method, &url, status, &answer);

        let request = Request { method: &method, headers: &client, choices: rule.choices };
        let time = SystemTime::UNIX_EPOCH + ARRIVED;
        let context = FetchContext { request_time: time, response_time: time, edge_seq: Seq(1) };
        let mut response = response::to_stored(status, answer, &target, context);
        if answers_gets(&url, &response) {
            assert!(status == StatusCode::OK && response.headers.contains_key(header::CONTENT_LOCATION));
        }
        sets_a_lifetime(rule, request, &mut response);
        rule.is_deceptive(url.path(), &response);
        if bypass_reason(request, websocket).is_none() && !rule.bypasses_store(&client) {
            kept(request, &response, &target, rule, time + later);
        }
    });
});

/// Splits a text at the first `at`. Without one, everything is before it.
fn split<'a>(text: &'a [u8], at: &[u8]) -> (&'a [u8], &'a [u8]) {
    match text.windows(at.len()).position(|window| window == at) {
        Some(place) => (&text[..place], &text[place + at.len()..]),
        None => (text, &[]),
    }
}

/// No other cookie hides one that makes the request bypass the cache.
fn bypasses_what_it_should(rule: &Rule, client: &HeaderMap) {
    if client.contains_key("x-preview") && rule.name.starts_with("bypass") {
        assert!(rule.bypasses_store(client));
    }
    for line in client.get_all(header::COOKIE) {
        let line = [line.as_bytes(), b"; sid=1"].concat();
        let mut signed_in = HeaderMap::new();
        signed_in.insert(header::COOKIE, HeaderValue::from_bytes(&line).expect("a field value"));
        assert!(rule.bypasses_store(&signed_in) || !rule.name.starts_with("bypass"), "{line:?}");
    }
}

/// The origin can see that the request passed through here, and sees nothing that no key contains.
fn forwarded(rule: &Rule, client: &HeaderMap, url: &Url, answer: &HeaderMap) {
    let is_clean = |headers: &HeaderMap| {
        let ends_here = ["connection", "host", "te", "upgrade", "transfer-encoding"];
        !ends_here.into_iter().any(|name| headers.contains_key(name))
            && !headers.keys().any(|name| name.as_str().starts_with("strata-"))
    };
    let passed = bypass_headers(client, url);
    let filled = fill_headers(client, &rule.vary, &rule.unkeyed, url);
    assert!(is_loop(&passed, url) && is_loop(&filled, url) && is_clean(&passed) && is_clean(&filled));
    let mut keyed = filled.clone();
    remove_unkeyed(&mut keyed, &rule.unkeyed);
    assert_eq!(keyed, filled);
    let again = fill_headers(&filled, &rule.vary, &rule.unkeyed, url);

    let Some(selecting) = vary_fields(answer) else { return };
    if !can_select(&selecting, client) {
        return;
    }
    for name in selecting.iter().filter(|name| !SET_HERE.contains(name)) {
        let normal = |headers: &HeaderMap| {
            let value = combined(headers, name);
            rule.vary.normal(name, value.as_deref()).map(|normal| normal.into_owned())
        };
        let (asked, sent) = (normal(client), normal(&filled));
        assert!(
            sent == asked || sent == normal(&HeaderMap::new()),
            "{name}: {sent:?} is not what selects, {asked:?}"
        );
        assert_eq!(normal(&again), sent, "{name}");
    }
}

/// A request is selected by the same fields whichever rule it matches, and states none of the
/// internal ones itself. Its key is among those that an unsafe request invalidates.
fn selects(rules: &Rules, rule: &Rule, plain: &TargetKey, client: &mut HeaderMap) {
    let mut anonymous = HeaderMap::new();
    let nobody = rules.of(&Method::GET, plain, Client::new(&anonymous)).clone();
    let expected = rules.select(&Method::GET, plain, &nobody, "XX", &mut anonymous).fields;
    let selection = rules.select(&Method::GET, plain, rule, "XX", client);
    assert_eq!(selection.fields, expected);
    assert!(client.keys().all(|name| {
        !name.as_str().starts_with("strata-") || selection.fields.iter().any(|field| field == name.as_str())
    }));
    let again = rules.of(&Method::GET, plain, Client::new(client));
    let Some(target) = again.target(plain.as_str(), plain.clone()) else { return };
    assert!(rules.targets(plain.as_str()).contains(&target));
}

fn invalidates_its_own_origin(
    rules: &Rules,
    method: &Method,
    url: &Url,
    status: StatusCode,
    answer: &HeaderMap,
) {
    for key in invalidate::invalidated(method, url, status, answer, |url| rules.targets(url)) {
        let key = Url::parse(key.as_str()).expect("a key is a URL");
        assert!(key.origin() == url.origin() && !method.is_safe(), "{key}");
    }
}

/// A rule changes how long a response is stored, never whether; applying it twice changes nothing.
fn sets_a_lifetime(rule: &Rule, request: Request<'_>, response: &mut StoredResponse) {
    let declared = from_origin(&response.headers);
    let before = retention(request, response, &journal());
    rule.set_lifetime(response);
    let once = response.headers.clone();
    rule.set_lifetime(response);
    assert_eq!(response.headers, once);
    let after = retention(request, response, &journal());
    assert!(
        after.is_err() || matches!(before, Ok(_) | Err(NotStored::NoLifetime)),
        "{before:?} by {declared:?}"
    );
    // A rule's lifetime for errors replaces the origin's directives.
    if (declared.must_revalidate || declared.proxy_revalidate) && &*rule.name != "stale" {
        assert!(directives(&response.headers).forbids_stale());
    }
}

/// A stored response is read back unchanged, and never allows more than the response itself.
fn kept(request: Request<'_>, response: &StoredResponse, target: &TargetKey, rule: &Rule, now: SystemTime) {
    let selecting = vary_fields(&response.headers);
    let Ok(keep) = retention(request, response, &journal()) else { return };
    let held = response.directives();
    assert!(!held.private && (!held.no_store || held.must_understand) && !keep.is_zero());
    let selecting = selecting.expect("a response that may not be selected is not stored");
    assert!(variant_key(target, &selecting, &rule.vary, request.headers).is_some());

    let stored = range::as_stored(without_unstorable_fields(response.clone()), None);
    let (read, _) = metadata::decode(metadata::encode(&stored, None)).expect("what was encoded");
    let of = |response: &StoredResponse, now| decide(request, Selected::Response(response), now, &journal());
    let (whole, kept) = (of(response, now), of(&read, now));
    assert_eq!(of(&stored, now), kept);
    assert!(
        is_servable(whole) || !is_servable(kept) || stored.status != response.status,
        "{whole:?} but {kept:?}"
    );
    if let Decision::Serve(hit) = kept {
        assert!(
            (hit.reuse == Reuse::Fresh) == (hit.ttl_secs > 0) || hit.age.subsec_nanos() > 0 || held.no_cache
        );
    }
    assert!(
        !is_servable(kept)
            || is_servable(of(&read, now - Duration::from_secs(1)))
            || request.choices.obey_requests
    );

    if let Head::Updates(updated) = by_head(&read, fields::stored(response.headers.clone())) {
        assert_eq!(updated.status, StatusCode::OK);
    }
    let removed = StoredResponse { scopes: vec![scope("tag:removed")], ..read };
    assert!(!is_servable(of(&removed, now)), "a record takes it away, for errors too");
}

/// Returns whether the response may be served, if only while the origin is unavailable.
fn is_servable(decision: Decision) -> bool {
    match decision {
        Decision::Serve(_) => true,
        Decision::Forward(forward) => forward.on_error.is_some() || forward.on_disconnect.is_some(),
    }
}

fn scope(text: &str) -> shared_keys::ScopeHash {
    text.parse::<Scope>().expect("a scope").hash()
}

/// Returns a journal with records after every response: one removes what has its tag, one expires
/// it.
fn journal() -> Applied {
    let mut journal = Applied::new(10);
    for (tag, mode) in [("tag:removed", Mode::Remove), ("tag:expired", Mode::Expire)] {
        journal.apply(Record { scope: scope(tag), mode, stamp: Stamp { origin: None, edge: Some(Seq(2)) } });
    }
    journal
}

/// A field changes only if it names the origin, and then names the site.
fn rewrites_its_own_urls(answer: &mut HeaderMap, url: &Url) {
    let origin = Url::parse("https://origin.example/base").expect("a URL");
    let before = answer.clone();
    location::rewrite(answer, &origin, url);
    for (name, value) in &*answer {
        let text = String::from_utf8_lossy(value.as_bytes());
        let is_unchanged = before.get_all(name).iter().any(|other| other == value);
        assert!(is_unchanged || text.contains("https://shop.example/"), "{text}");
    }
}

/// Returns rules, one for each setting of a rule, selected by the first segment of the path.
fn rules() -> Rules {
    let number = |value: f64| Json::Number(value);
    let text = |value: &str| Json::Text(value.to_owned());
    let on = || Json::Bool(true);
    let object = |members: Vec<(&str, Json)>| {
        Json::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    };
    let lifetime = |is_override| {
        let windows = [
            ("fresh", number(60.0)),
            ("stale_while_revalidate", number(30.0)),
            ("stale_if_error", number(90.0)),
        ];
        object(windows.into_iter().chain([("override", Json::Bool(is_override))]).collect())
    };
    let errors = || object(vec![("404", number(10.0)), ("503", number(5.0))]);
    let rule = |name: &str, member: Vec<(&str, Json)>| {
        let own = [("name", text(name)), ("path", text(&format!("/{name}/**")))];
        object(own.into_iter().chain(member).collect())
    };
    let list = |value: &str| Json::List(vec![text(value)]);
    Rules::read(&Json::List(vec![
        rule(
            "bypass",
            vec![("bypass", object(vec![("cookies", list("s*d")), ("headers", list("X-Preview"))]))],
        ),
        rule("default", vec![("lifetime", lifetime(false)), ("errors", errors())]),
        rule("override", vec![("lifetime", lifetime(true)), ("errors", errors())]),
        rule("stale", vec![("allow_stale", on()), ("lifetime", lifetime(true))]),
        rule(
            "choices",
            vec![("obey_requests", on()), ("store_set_cookie", on()), ("check_extension", Json::Bool(false))],
        ),
        rule(
            "client",
            vec![
                (
                    "when",
                    object(vec![
                        ("headers", object(vec![("X-Beta", text("1*"))])),
                        ("cookies", object(vec![("sid", Json::Bool(false))])),
                    ]),
                ),
                ("query", object(vec![("drop", list("a"))])),
            ],
        ),
        rule("client", vec![("key", object(vec![("headers", list("X-Theme")), ("device", on())]))]),
        rule(
            "keyed",
            vec![
                ("query", object(vec![("keep", list("a"))])),
                (
                    "vary",
                    object(vec![("cookie", object(vec![("cookies", list("group"))])), ("x-a", text("drop"))]),
                ),
            ],
        ),
    ]))
    .expect("rules")
}
