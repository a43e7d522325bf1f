//! The effect of each cache directive, by the section that defines it: from the arrival of a
//! response to a later request for it.

#![expect(clippy::expect_used, reason = "a test panics to fail")]

use std::time::{Duration, SystemTime};

use edge_worker::policy::not_stored::NotStored;
use edge_worker::policy::select::Selected;
use edge_worker::policy::storable::retention;
use edge_worker::policy::{Choices, Decision, ForwardReason, Request, Reuse, StoredResponse, decide};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use shared_keys::{Applied, Stamp};

const ETAG: (&str, &str) = ("etag", "\"a\"");

/// The outcome for a response and a later request for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The response is not stored.
    Unstored(NotStored),
    /// The stored response answers.
    Served(Reuse),
    /// The request is forwarded, with the stored validators if there are any.
    Forwarded(ForwardReason, Validated),
}
use Outcome::{Forwarded, Served, Unstored};

/// Whether the forwarded request validates the stored response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Validated {
    Yes,
    No,
}

type Fields<'a> = &'a [(&'a str, &'a str)];

fn headers(fields: Fields<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let name: HeaderName = name.parse().expect("a field name");
        headers.append(name, HeaderValue::from_str(value).expect("a field value"));
    }
    headers
}

/// Returns the outcome for a response to GET with these fields, when the same request arrives `age`
/// seconds later.
fn outcome(request: Fields<'_>, choices: Choices, status: u16, response: Fields<'_>, age: u64) -> Outcome {
    let arrived = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_564_800);
    let (request, journal) = (headers(request), Applied::new(10));
    let request = Request { method: &Method::GET, headers: &request, choices };
    let stored = StoredResponse {
        status: StatusCode::from_u16(status).expect("a status"),
        headers: headers(response),
        request_time: arrived,
        response_time: arrived,
        stamp: Stamp::default(),
        scopes: Vec::new(),
    };
    if let Err(reason) = retention(request, &stored, &journal) {
        return Unstored(reason);
    }
    match decide(request, Selected::Response(&stored), arrived + Duration::from_secs(age), &journal) {
        Decision::Serve(hit) => Served(hit.reuse),
        Decision::Forward(forward) => {
            Forwarded(forward.reason, if forward.validate { Validated::Yes } else { Validated::No })
        }
    }
}

/// Checks rows of the response's `Cache-Control`, its age in seconds, and the outcome. The response
/// has a validator, and the request has no directives.
#[track_caller]
fn responses(rows: &[(&str, u64, Outcome)]) {
    for (cache_control, age, expected) in rows {
        let response = [ETAG, ("cache-control", cache_control)];
        let seen = outcome(&[], Choices::default(), 200, &response, *age);
        assert_eq!(seen, *expected, "{cache_control} at {age} s");
    }
}

/// Checks rows of the request's `Cache-Control`, the response's, its age in seconds, and the
/// outcome in a deployment that obeys requests. By default, the request's directives must change
/// nothing.
#[track_caller]
fn requests(rows: &[(&str, &str, u64, Outcome)]) {
    let choices = Choices { obey_requests: true, ..Choices::default() };
    for (requested, cache_control, age, expected) in rows {
        let response = [ETAG, ("cache-control", cache_control)];
        let seen = outcome(&[("cache-control", requested)], choices, 200, &response, *age);
        assert_eq!(seen, *expected, "{requested} of {cache_control} at {age} s");
        let by_default = outcome(&[("cache-control", requested)], Choices::default(), 200, &response, *age);
        assert_eq!(by_default, outcome(&[], choices, 200, &response, *age), "{requested} by default");
    }
}

const FRESH: Outcome = Served(Reuse::Fresh);
const STALE: Outcome = Forwarded(ForwardReason::Stale, Validated::Yes);
const REFUSED: Outcome = Forwarded(ForwardReason::Request, Validated::Yes);

#[test]
fn rfc9111_5_2_1_1_max_age_of_a_request_limits_the_age() {
    requests(&[
        ("max-age=5", "max-age=10", 5, FRESH),
        ("max-age=5", "max-age=10", 6, REFUSED),
        ("max-age=0", "max-age=10", 0, FRESH),
        ("max-age=99", "max-age=10", 10, STALE),
        ("max-age=5", "max-age=1, stale-while-revalidate=60", 3, STALE),
    ]);
}

#[test]
fn rfc9111_5_2_1_2_max_stale_of_a_request_accepts_staleness() {
    requests(&[
        ("max-stale=5", "max-age=10", 15, Served(Reuse::MaxStale)),
        ("max-stale=5", "max-age=10", 16, STALE),
        ("max-stale", "max-age=10", 600, Served(Reuse::MaxStale)),
        ("max-stale", "max-age=10, must-revalidate", 15, STALE),
        ("max-stale", "s-maxage=10", 15, STALE),
    ]);
}

#[test]
fn rfc9111_5_2_1_3_min_fresh_of_a_request_requires_remaining_freshness() {
    requests(&[("min-fresh=5", "max-age=10", 5, FRESH), ("min-fresh=5", "max-age=10", 6, REFUSED)]);
}

#[test]
fn rfc9111_5_2_1_4_no_cache_of_a_request_requires_validation() {
    requests(&[("no-cache", "max-age=10", 1, REFUSED), ("no-cache=\"x\"", "max-age=10", 1, REFUSED)]);
}

#[test]
fn rfc9111_5_2_1_5_no_store_of_a_request_prevents_storing() {
    requests(&[("no-store", "max-age=10", 1, Unstored(NotStored::Request))]);
}

#[test]
fn rfc9111_5_2_1_6_no_transform_of_a_request_changes_nothing() {
    requests(&[("no-transform", "max-age=10", 1, FRESH)]);
}

#[test]
fn rfc9111_5_2_2_1_max_age_is_the_freshness_lifetime() {
    responses(&[
        ("max-age=10", 9, FRESH),
        ("max-age=10", 10, STALE),
        ("MAX-AGE=\"10\"", 9, FRESH),
        ("max-age=10, max-age=0", 9, FRESH),
        ("max-age=ten", 0, STALE),
        ("max-age=-1", 0, STALE),
        ("max-age=99999999999999999999", 4_000_000, FRESH),
    ]);
}

#[test]
fn rfc9111_5_2_2_2_must_revalidate_forbids_stale_responses() {
    responses(&[
        ("max-age=10, must-revalidate", 9, FRESH),
        ("max-age=10, must-revalidate, stale-while-revalidate=60", 10, STALE),
    ]);
}

#[test]
fn rfc9111_5_2_2_3_must_understand_requires_a_known_status_and_overrides_no_store() {
    for (status, cache_control, expected) in [
        (200, "max-age=10, must-understand", FRESH),
        (200, "max-age=10, must-understand, no-store", FRESH),
        (299, "max-age=10, must-understand", Unstored(NotStored::Status)),
        (299, "max-age=10, must-understand, no-store", Unstored(NotStored::Status)),
        (200, "max-age=10, no-store", Unstored(NotStored::NoStore)),
    ] {
        let fields = [("cache-control", cache_control)];
        assert_eq!(
            outcome(&[], Choices::default(), status, &fields, 1),
            expected,
            "{status} {cache_control}"
        );
    }
}

#[test]
fn rfc9111_5_2_2_4_no_cache_requires_validation_before_each_use() {
    responses(&[
        ("no-cache, max-age=10", 0, STALE),
        ("no-cache, max-age=10, stale-while-revalidate=60", 11, STALE),
        ("no-cache=\"x-a\", max-age=10", 1, FRESH),
        ("no-cache=\"vary\", max-age=10", 1, Unstored(NotStored::Qualified)),
    ]);
}

#[test]
fn rfc9111_5_2_2_5_no_store_prevents_storing() {
    responses(&[
        ("no-store", 0, Unstored(NotStored::NoStore)),
        ("max-age=10, No-Store", 0, Unstored(NotStored::NoStore)),
        ("public, no-store=1", 0, Unstored(NotStored::NoStore)),
        ("max-age=10, x=\"no-store\"", 0, FRESH),
    ]);
}

#[test]
fn rfc9111_5_2_2_6_no_transform_changes_nothing() {
    responses(&[("no-transform, max-age=10", 9, FRESH), ("no-transform, max-age=10", 10, STALE)]);
}

#[test]
fn rfc9111_5_2_2_7_private_prevents_storing() {
    responses(&[
        ("private, max-age=10", 0, Unstored(NotStored::Private)),
        ("private, s-maxage=10", 0, Unstored(NotStored::Private)),
        ("private=\"x-a\", max-age=10", 0, FRESH),
        ("private=\"\", max-age=10", 0, Unstored(NotStored::Private)),
    ]);
}

#[test]
fn rfc9111_5_2_2_8_proxy_revalidate_forbids_stale_responses() {
    responses(&[
        ("max-age=10, proxy-revalidate", 9, FRESH),
        ("max-age=10, proxy-revalidate, stale-while-revalidate=60", 10, STALE),
    ]);
}

#[test]
fn rfc9111_5_2_2_9_public_allows_credentials_and_a_heuristic_lifetime() {
    let authorized = [("authorization", "Basic eDp5")];
    let with =
        |cache_control| outcome(&authorized, Choices::default(), 200, &[("cache-control", cache_control)], 1);
    assert_eq!(with("max-age=10"), Unstored(NotStored::Authorization));
    assert_eq!(with("max-age=10, public"), FRESH);
    // `public` allows a heuristic lifetime for a status that is not heuristically cacheable.
    let modified = ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT");
    let unusual = |cache_control| {
        outcome(&[], Choices::default(), 302, &[modified, ("cache-control", cache_control)], 1)
    };
    assert_eq!((unusual("x"), unusual("public")), (Unstored(NotStored::NoLifetime), FRESH));
}

#[test]
fn rfc9111_5_2_2_10_s_maxage_overrides_max_age_and_windows_beside_it_are_obeyed() {
    responses(&[
        ("max-age=99, s-maxage=10", 9, FRESH),
        ("max-age=99, s-maxage=10", 10, STALE),
        ("max-age=1, s-maxage=10", 9, FRESH),
        ("s-maxage=10, stale-while-revalidate=60", 10, Served(Reuse::StaleWhileRevalidate)),
        ("s-maxage=10, stale-while-revalidate=60, proxy-revalidate", 10, STALE),
        ("s-maxage=10, stale-if-error=60", 10, STALE),
    ]);
}

#[test]
fn rfc9111_5_2_3_an_unknown_extension_changes_nothing() {
    responses(&[
        ("max-age=10, community=\"UCI\"", 9, FRESH),
        ("community=\"no-store\", max-age=10", 10, STALE),
    ]);
}

#[test]
fn rfc9111_5_4_and_5_5_pragma_and_warning_change_nothing() {
    let fresh = [("cache-control", "max-age=10"), ("pragma", "no-cache"), ("warning", "110 - \"stale\"")];
    let choices = Choices { obey_requests: true, ..Choices::default() };
    assert_eq!(outcome(&[("pragma", "no-cache")], choices, 200, &fresh, 1), FRESH);
}

#[test]
fn rfc8246_2_a_fresh_immutable_response_answers_reloads() {
    requests(&[
        ("max-age=0", "max-age=10, immutable", 9, FRESH),
        ("max-age=0", "max-age=10, immutable=x, immutable", 9, FRESH),
        ("max-age=0", "max-age=10, immutable", 10, STALE),
        ("no-cache", "max-age=10, immutable", 9, REFUSED),
        ("max-age=0, immutable", "max-age=10", 9, REFUSED),
    ]);
    responses(&[("max-age=10, immutable", 10, STALE), ("no-cache, immutable", 0, STALE)]);
}

#[test]
fn rfc5861_3_a_stale_response_is_served_within_stale_while_revalidate() {
    responses(&[
        ("max-age=10, stale-while-revalidate=5", 14, Served(Reuse::StaleWhileRevalidate)),
        ("max-age=10, stale-while-revalidate=5", 15, STALE),
        ("max-age=10, stale-while-revalidate=x", 10, STALE),
    ]);
}
