use http::StatusCode;
use proptest::prelude::*;
use shared_keys::{Mode, Record, Scope, Seq, Stamp};

use super::range::Part;
use super::testing::{ARRIVED, at, get, headers, nothing_applied, stored};
use super::*;

const WINDOWS: &str = "max-age=10, stale-while-revalidate=20, stale-if-error=60";

fn after(secs: u64, stored: &StoredResponse, journal: &Applied) -> Decision {
    decide(get(&HeaderMap::new()), Selected::Response(stored), at(ARRIVED + secs), journal)
}

fn record(mode: Mode) -> Applied {
    let mut journal = nothing_applied();
    let scope = "tag:a".parse::<Scope>().unwrap().hash();
    journal.apply(Record { scope, mode, stamp: Stamp { origin: None, edge: Some(Seq(2)) } });
    journal
}

fn tagged(fields: &[(&str, &str)]) -> StoredResponse {
    StoredResponse { scopes: vec!["tag:a".parse::<Scope>().unwrap().hash()], ..stored(fields) }
}

#[track_caller]
fn hit(decision: Decision) -> (Reuse, i64) {
    match decision {
        Decision::Serve(hit) => (hit.reuse, hit.ttl_secs),
        Decision::Forward(forward) => panic!("forwarded: {forward:?}"),
    }
}

#[track_caller]
fn forward(decision: Decision) -> Forward {
    match decision {
        Decision::Forward(forward) => forward,
        Decision::Serve(hit) => panic!("served: {hit:?}"),
    }
}

#[test]
fn rfc9111_4_2_fresh_while_the_lifetime_is_greater_than_the_age() {
    let response = stored(&[("cache-control", "max-age=10")]);
    assert_eq!(hit(after(0, &response, &nothing_applied())), (Reuse::Fresh, 10));
    assert_eq!(hit(after(9, &response, &nothing_applied())), (Reuse::Fresh, 1));
    assert_eq!(forward(after(10, &response, &nothing_applied())).reason, ForwardReason::Stale);
}

#[test]
fn rfc5861_a_stale_response_is_served_only_within_its_windows() {
    let response = stored(&[("cache-control", WINDOWS)]);
    assert_eq!(hit(after(10, &response, &nothing_applied())), (Reuse::StaleWhileRevalidate, 0));
    assert_eq!(hit(after(29, &response, &nothing_applied())), (Reuse::StaleWhileRevalidate, -19));
    let on_error = |secs| forward(after(secs, &response, &nothing_applied())).on_error;
    assert_eq!(on_error(30).map(|hit| (hit.reuse, hit.ttl_secs)), Some((Reuse::StaleIfError, -20)));
    assert!(on_error(69).is_some());
    assert!(on_error(70).is_none());
}

#[test]
fn rfc9111_5_2_2_4_a_no_cache_response_is_validated_before_each_use() {
    let response = stored(&[("cache-control", "no-cache, max-age=10"), ("etag", "\"a\"")]);
    let forward = forward(after(0, &response, &nothing_applied()));
    assert_eq!((forward.reason, forward.validate, forward.on_error), (ForwardReason::Stale, true, None));
}

#[test]
fn g3_a_removed_response_is_not_served_validated_or_used_on_errors() {
    let response = tagged(&[("cache-control", WINDOWS), ("etag", "\"a\"")]);
    for secs in [0, 15, 40] {
        let expected = Forward { detail: Some(Detail::Purged), ..Forward::miss() };
        assert_eq!(forward(after(secs, &response, &record(Mode::Remove))), expected, "{secs}");
    }
}

#[test]
fn g3_an_expired_response_is_stale_from_its_arrival() {
    let response = tagged(&[("cache-control", WINDOWS)]);
    let journal = record(Mode::Expire);
    assert_eq!(hit(after(5, &response, &journal)), (Reuse::StaleWhileRevalidate, -5));
    assert_eq!(hit(after(19, &response, &journal)), (Reuse::StaleWhileRevalidate, -19));
    assert!(forward(after(20, &response, &journal)).on_error.is_some());
    let no_window = tagged(&[("cache-control", "max-age=10")]);
    assert_eq!(forward(after(1, &no_window, &journal)).reason, ForwardReason::Stale);
}

#[test]
fn a_record_for_another_scope_or_before_the_response_changes_nothing() {
    let mut response = stored(&[("cache-control", "max-age=10")]);
    assert_eq!(hit(after(1, &response, &record(Mode::Remove))).0, Reuse::Fresh);
    response = tagged(&[("cache-control", "max-age=10")]);
    response.stamp.edge = Some(Seq(2));
    assert_eq!(hit(after(1, &response, &record(Mode::Remove))).0, Reuse::Fresh);
}

#[test]
fn rfc9111_3_5_a_request_with_credentials_needs_a_response_that_allows_sharing() {
    let fields = headers(&[("authorization", "Bearer x")]);
    let decide_for = |response: &StoredResponse| {
        decide(get(&fields), Selected::Response(response), at(ARRIVED), &nothing_applied())
    };
    let detail = forward(decide_for(&stored(&[("cache-control", "max-age=10")]))).detail;
    assert_eq!(detail, Some(Detail::Authorization));
    hit(decide_for(&stored(&[("cache-control", "max-age=10, public")])));
}

fn obeying(headers: &HeaderMap) -> Request<'_> {
    Request { choices: Choices { obey_requests: true, ..Choices::default() }, ..get(headers) }
}

#[test]
fn rfc9111_5_2_1_request_directives_are_obeyed_if_the_deployment_chooses_so() {
    let response = stored(&[("cache-control", "max-age=10, stale-while-revalidate=99"), ("etag", "\"a\"")]);
    for (value, secs, expected) in [
        ("no-cache", 0, Err(ForwardReason::Request)),
        ("no-cache", 11, Err(ForwardReason::Stale)),
        ("max-age=5", 5, Ok(Reuse::Fresh)),
        ("max-age=5", 6, Err(ForwardReason::Request)),
        ("min-fresh=5", 5, Ok(Reuse::Fresh)),
        ("min-fresh=5", 6, Err(ForwardReason::Request)),
        ("max-age=99", 11, Err(ForwardReason::Stale)),
        ("max-age=99, max-stale", 11, Ok(Reuse::StaleWhileRevalidate)),
        ("no-store", 0, Ok(Reuse::Fresh)),
        ("only-if-cached", 0, Ok(Reuse::Fresh)),
    ] {
        let fields = headers(&[("cache-control", value)]);
        let decision =
            decide(obeying(&fields), Selected::Response(&response), at(ARRIVED + secs), &nothing_applied());
        let found = match decision {
            Decision::Serve(hit) => Ok(hit.reuse),
            Decision::Forward(forward) => {
                assert!(forward.validate, "{value}");
                Err(forward.reason)
            }
        };
        assert_eq!(found, expected, "{value} after {secs} s");
    }
    assert!(obeying(&headers(&[("cache-control", "only-if-cached")])).is_only_if_cached());
    assert!(!get(&headers(&[("cache-control", "only-if-cached")])).is_only_if_cached());
}

#[test]
fn rfc9111_5_2_1_2_max_stale_accepts_stale_responses_that_directives_do_not_forbid() {
    let fields = headers(&[("cache-control", "max-stale=5")]);
    for (value, secs, served) in [
        ("max-age=10", 15, true),
        ("max-age=10", 16, false),
        ("max-age=10, must-revalidate", 11, false),
        ("s-maxage=10", 11, false),
        ("no-cache, max-age=10", 1, false),
    ] {
        let response = stored(&[("cache-control", value)]);
        let decision =
            decide(obeying(&fields), Selected::Response(&response), at(ARRIVED + secs), &nothing_applied());
        assert_eq!(
            matches!(decision, Decision::Serve(Hit { reuse: Reuse::MaxStale, .. })),
            served,
            "{value} {secs}"
        );
    }
}

#[test]
fn rfc9111_3_4_a_request_for_octets_outside_the_stored_part_is_forwarded() {
    let fields =
        [("cache-control", "max-age=10"), ("content-range", "bytes 4-8/10"), ("content-length", "5")];
    let part = StoredResponse { status: StatusCode::PARTIAL_CONTENT, ..stored(&fields) };
    let of = |method: &Method, fields: &[(&str, &str)]| {
        let headers = headers(fields);
        let request = Request { method, ..get(&headers) };
        decide(request, Selected::Response(&part), at(ARRIVED), &nothing_applied())
    };
    let Decision::Serve(hit) = of(&Method::GET, &[("range", "bytes=6-8")]) else { panic!("expected a hit") };
    assert_eq!(hit.part, Part::Octets(range::Octets { first: 6, last: 8, length: 10 }));
    for (method, fields) in [
        (Method::GET, &[][..]),
        (Method::HEAD, &[]),
        (Method::GET, &[("range", "bytes=0-8")]),
        (Method::GET, &[("range", "x")]),
    ] {
        let forward = forward(of(&method, fields));
        assert_eq!(
            (forward.reason, forward.validate),
            (ForwardReason::Partial, false),
            "{method} {fields:?}"
        );
    }
}

#[test]
fn rfc9110_13_2_2_conditions_are_evaluated_before_the_range() {
    let response = stored(&[("cache-control", "max-age=10"), ("content-length", "10"), ("etag", "\"a\"")]);
    let fields = headers(&[("range", "bytes=0-1"), ("if-none-match", "\"a\"")]);
    let Decision::Serve(hit) =
        decide(get(&fields), Selected::Response(&response), at(ARRIVED), &nothing_applied())
    else {
        panic!("expected a hit")
    };
    assert!(hit.not_modified);
}

#[test]
fn rfc9111_4_2_4_without_a_window_a_stale_response_is_only_for_a_disconnected_origin() {
    for (value, disconnected) in
        [("max-age=10", true), ("max-age=10, must-revalidate", false), ("s-maxage=10", false)]
    {
        let forward = forward(after(11, &stored(&[("cache-control", value)]), &nothing_applied()));
        assert_eq!(
            (forward.on_error.is_some(), forward.on_disconnect.is_some()),
            (false, disconnected),
            "{value}"
        );
    }
}

#[test]
fn rfc9111_5_2_1_request_directives_are_ignored_by_default() {
    for value in ["no-cache", "no-store", "max-age=0", "only-if-cached"] {
        let fields = headers(&[("cache-control", value), ("pragma", "no-cache")]);
        let response = stored(&[("cache-control", "max-age=10")]);
        hit(decide(get(&fields), Selected::Response(&response), at(ARRIVED), &nothing_applied()));
    }
}

#[test]
fn rfc9211_2_2_a_miss_states_its_kind() {
    let fields = HeaderMap::new();
    for (selected, reason) in [(Selected::UriMiss, "uri-miss"), (Selected::VaryMiss, "vary-miss")] {
        let decision = decide(get(&fields), selected, at(ARRIVED), &nothing_applied());
        assert_eq!(forward(decision).reason.as_str(), reason);
    }
}

#[test]
fn unsafe_methods_and_upgrades_bypass_the_store() {
    let row = |method: Method, fields: &[(&str, &str)]| {
        let headers = headers(fields);
        bypass_reason(Request { method: &method, ..get(&headers) }, false)
            .map(|forward| (forward.reason, forward.detail))
    };
    assert_eq!(row(Method::GET, &[]), None);
    assert_eq!(row(Method::HEAD, &[]), None);
    assert_eq!(row(Method::PUT, &[]), Some((ForwardReason::Method, None)));
    assert_eq!(row(Method::OPTIONS, &[]), Some((ForwardReason::Method, None)));
    assert_eq!(row(Method::GET, &[("range", "bytes=0-1")]), None);
    let websocket =
        bypass_reason(get(&HeaderMap::new()), true).map(|forward| (forward.reason, forward.detail));
    assert_eq!(websocket, Some((ForwardReason::Bypass, Some(Detail::Upgrade))));
}

proptest! {
    /// For any windows, a stale response is within one of them, and a fresh response within its
    /// lifetime.
    #[test]
    fn a_served_response_is_fresh_or_inside_its_window(
        max_age in 0u64..50, swr in 0u64..50, sie in 0u64..50, secs in 0u64..200, forbid in any::<bool>(), expired in any::<bool>(),
    ) {
        let forbidding = if forbid { ", must-revalidate" } else { "" };
        let value = format!("max-age={max_age}, stale-while-revalidate={swr}, stale-if-error={sie}{forbidding}");
        let journal = if expired { record(Mode::Expire) } else { nothing_applied() };
        let lifetime = if expired { 0 } else { max_age };
        match after(secs, &tagged(&[("cache-control", &value)]), &journal) {
            Decision::Serve(hit) if hit.reuse == Reuse::Fresh => prop_assert!(secs < lifetime),
            Decision::Serve(_) => prop_assert!(!forbid && secs < lifetime + swr),
            Decision::Forward(forward) if forward.on_error.is_some() => prop_assert!(!forbid && secs < lifetime + sie),
            Decision::Forward(_) => prop_assert!(secs >= lifetime),
        }
    }
}

#[test]
fn rfc9111_4_3_3_the_use_of_a_stale_response_on_errors_ends_with_its_window() {
    for (cache_control, secs, on_error, on_disconnect) in [
        ("max-age=10, stale-if-error=5", 14, true, true),
        ("max-age=10, stale-if-error=5", 15, false, true),
        ("max-age=10", 11, false, true),
        ("max-age=10, must-revalidate, stale-if-error=5", 11, false, false),
        ("s-maxage=10, stale-if-error=5", 11, true, true),
        ("s-maxage=10, stale-if-error=5, proxy-revalidate", 11, false, false),
        ("no-cache, stale-if-error=5", 1, false, false),
    ] {
        let response = stored(&[("cache-control", cache_control), ("etag", "\"a\"")]);
        let forward = forward(after(secs, &response, &nothing_applied()));
        let stands_in = (forward.on_error.is_some(), forward.on_disconnect.is_some());
        assert_eq!(stands_in, (on_error, on_disconnect), "{cache_control} at {secs} s");
    }
}
