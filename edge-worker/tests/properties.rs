//! Properties of the policy, the rules and the markers for arbitrary input.

#![expect(clippy::expect_used, reason = "a test panics to fail")]

use std::time::{Duration, SystemTime};

use edge_worker::json::Json;
use edge_worker::policy::select::{Selected, VaryMarker};
use edge_worker::policy::usage::Variant;
use edge_worker::policy::{Choices, Decision, Hit, Request, StoredResponse, decide};
use edge_worker::rules::{Client, Rules};
use edge_worker::store::metadata::{decode_marker, encode_marker};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use shared_keys::{Applied, Stamp, TargetKey, VaryFields};

/// The time at which responses arrive, in seconds since 1970.
const ARRIVED: u64 = 1_795_564_800;

fn at(unix_secs: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(unix_secs)
}

fn stored(fields: &[(&str, Vec<u8>)]) -> StoredResponse {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a field name");
        headers.extend(HeaderValue::from_bytes(value).ok().map(|value| (name, value)));
    }
    let time = at(ARRIVED);
    let stamp = Stamp::default();
    StoredResponse {
        status: StatusCode::OK,
        headers,
        request_time: time,
        response_time: time,
        stamp,
        scopes: Vec::new(),
    }
}

/// Returns how the stored response is served, at once or if the origin fails or is disconnected.
fn hit(stored: &StoredResponse, now: SystemTime) -> Option<Hit> {
    let request = Request { method: &Method::GET, headers: &HeaderMap::new(), choices: Choices::default() };
    match decide(request, Selected::Response(stored), now, &Applied::new(10)) {
        Decision::Serve(hit) => Some(hit),
        Decision::Forward(forward) => forward.on_error.or(forward.on_disconnect),
    }
}

/// Generates values of fields that a cache reads.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let date = (0u64..2 * ARRIVED).prop_map(|secs| httpdate::fmt_http_date(at(secs)));
    let near = (ARRIVED - 100..ARRIVED + 100).prop_map(|secs| httpdate::fmt_http_date(at(secs)));
    let directives = "(max-age|s-maxage|stale-if-error|stale-while-revalidate)=[0-9]{1,10}";
    let text =
        prop_oneof![date, near, directives, "[0-9]{0,12}", "max-age=[0-9]{1,2}, stale-if-error=[0-9]{1,2}"];
    prop_oneof![4 => text.prop_map(String::into_bytes), 1 => proptest::collection::vec(any::<u8>(), 0..24)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn rfc9111_4_2_3_a_response_only_grows_older_and_staler(
        fields in proptest::collection::vec(
            (select(vec!["age", "date", "expires", "last-modified", "cache-control", "cdn-cache-control"]), value()), 0..6),
        secs in 0u64..1 << 32, more_ms in 0u64..100_000,
    ) {
        let response = stored(&fields);
        let (now, later) = (at(ARRIVED + secs % 1000), at(ARRIVED + secs % 1000) + Duration::from_millis(more_ms));
        if let (Some(now), Some(later)) = (hit(&response, now), hit(&response, later)) {
            prop_assert!(now.age <= later.age && now.ttl_secs >= later.ttl_secs, "{now:?}, then {later:?}");
        }
        prop_assert!(hit(&response, now).is_some() || hit(&response, later).is_none(), "an unusable response stays unusable");
        let far = at(ARRIVED + secs);
        prop_assert!(response.current_age(far) <= response.current_age(far + Duration::from_millis(more_ms)));
    }

    #[test]
    fn a_marker_is_decoded_as_it_was_encoded(
        names in proptest::collection::vec("[A-Za-z!#$%&'*+.^_`|~0-9-]{1,12}", 0..6),
        generation in any::<u64>(), variants in proptest::collection::vec(any::<(u128, u8, u64)>(), 0..9),
    ) {
        let Some(fields) = VaryFields::parse([names.join(", ").as_str()]) else { return Ok(()) };
        let variant = |(id, magnitude, recorded_ms)| Variant { id, magnitude, recorded_ms };
        let marker = VaryMarker { fields, generation, variants: variants.into_iter().map(variant).collect() };
        prop_assert_eq!(decode_marker(&encode_marker(&marker)), Ok(Some(marker)));
    }
}

/// The parts of a lifetime, in seconds: freshness, `stale-while-revalidate` and `stale-if-error`.
#[derive(Debug, Clone, Copy, Default)]
struct Parts {
    fresh: Option<u64>,
    swr: Option<u64>,
    sie: Option<u64>,
}

fn parts() -> impl Strategy<Value = Parts> {
    let secs = || proptest::option::of(0u64..1000);
    (secs(), secs(), secs()).prop_map(|(fresh, swr, sie)| Parts { fresh, swr, sie })
}

fn rule(lifetime: Parts, overrides_origin: bool, allow_stale: bool) -> Rules {
    let object = |members: Vec<(&str, Json)>| {
        Json::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    };
    let of = |name, secs: Option<u64>| secs.map(|secs| (name, Json::Number(secs as f64)));
    let parts = [
        of("fresh", lifetime.fresh),
        of("stale_while_revalidate", lifetime.swr),
        of("stale_if_error", lifetime.sie),
        Some(("override", Json::Bool(overrides_origin))),
    ];
    let lifetime = object(parts.into_iter().flatten().collect());
    let path = Json::Text("/**".to_owned());
    let members = vec![("path", path), ("lifetime", lifetime), ("allow_stale", Json::Bool(allow_stale))];
    Rules::read(&Json::List(vec![object(members)])).expect("a rule")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn rule_and_origin_combine_to_the_documented_lifetime(
        own in parts(), declared in parts(), (overrides_origin, allow_stale, is_shared) in any::<(bool, bool, bool)>(),
        flags in subsequence(vec!["no-cache", "must-revalidate", "proxy-revalidate", "public", "must-understand"], 0..3),
    ) {
        let fresh = declared.fresh.map(|secs| format!("{}={secs}", if is_shared { "s-maxage" } else { "max-age" }));
        let swr = declared.swr.map(|secs| format!("stale-while-revalidate={secs}"));
        let sie = declared.sie.map(|secs| format!("stale-if-error={secs}"));
        let flag_directives = flags.iter().map(|flag| (*flag).to_owned());
        let declared_directives: Vec<String> = flag_directives.chain(fresh).chain(swr).chain(sie).collect();
        let mut response = stored(&[("cache-control", declared_directives.join(", ").into_bytes())]);
        let target = TargetKey::parse("https://shop.example/a").expect("a URL");
        let (rules, fields) = (rule(own, overrides_origin, allow_stale), HeaderMap::new());
        rules.of(&Method::GET, &target, Client::new(&fields)).set_lifetime(&mut response);

        let has = |flag| flags.contains(&flag);
        let either = |own: Option<u64>, declared: Option<u64>| {
            if overrides_origin { own.or(declared) } else { declared.or(own) }
        };
        // `no-cache` is an explicit lifetime as well: the origin declares that it is never fresh.
        let is_explicit = declared.fresh.is_some() || has("no-cache");
        let fresh_is_the_origins = own.fresh.is_none() || (!overrides_origin && is_explicit);
        let fresh = if fresh_is_the_origins { declared.fresh } else { own.fresh };
        let no_cache = has("no-cache") && fresh_is_the_origins;
        let s_maxage = declared.fresh.is_some() && is_shared;
        let declares_window = [declared.swr, declared.sie].into_iter().flatten().any(|secs| secs > 0);
        let s_maxage_forbids = s_maxage && fresh_is_the_origins && !declares_window;
        let revalidates = has("must-revalidate") || has("proxy-revalidate") || s_maxage_forbids;
        let forbids_stale = no_cache || (revalidates && !allow_stale);
        let windows = [either(own.swr, declared.swr), either(own.sie, declared.sie)];

        let effective = response.directives();
        let secs = |duration: Option<Duration>| duration.unwrap_or_default().as_secs();
        prop_assert_eq!(response.freshness_lifetime().duration.as_secs(), fresh.unwrap_or_default());
        prop_assert_eq!((effective.no_cache, effective.forbids_stale()), (no_cache, forbids_stale), "{:?}", effective);
        let found = [effective.stale_while_revalidate, effective.stale_if_error].map(secs);
        prop_assert_eq!(found, windows.map(Option::unwrap_or_default));
        let shared = has("public") || has("must-revalidate") || s_maxage;
        prop_assert_eq!((effective.allows_authorized(), effective.must_understand), (shared, has("must-understand")));
    }
}
