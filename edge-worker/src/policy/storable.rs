//! The conditions for storing a response (RFC 9111 section 3), and its retention time.
//!
//! Input: the request, the response with its journal position, and the current state of the
//! journal. Output: the retention time, or the reason for not storing the response.
//!
//! Three rules are stricter than the RFC:
//! - A response with `Set-Cookie` is not stored, since it belongs to one user, unless the
//!   deployment chooses so or the response excludes that field from storage.
//! - A response that a journal record already covers is not stored.
//! - A response that declares nothing about caching, and could only ever be validated, is not
//!   stored.

use std::time::Duration;

use http::{StatusCode, header};
use shared_keys::{Applied, Directives, TargetKey, Verdict};
use url::Url;

use super::endless::is_endless;
use super::invalidate::named_url;
use super::lifetime::{LifetimeSource, heuristically_cacheable};
use super::not_stored::NotStored;
use super::range::{ANSWERED_RANGE, content_length};
use super::request_directives::RequestDirectives;
use super::select::{can_select, vary_fields};
use super::stale::{GRACE, longest_window};
use super::validate::{has_undecodable_value, has_validator};
use super::{Choices, Request, StoredResponse};

/// The additional retention of a response with a validator, after it can no longer be served. Until
/// then the origin can answer with a 304 (RFC 9111 section 4.3).
const VALIDATION_RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest retention. The runtime's store accepts no longer one.
const MAX_RETENTION: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The fields that this cache reads from a stored response. Without one of them the response would
/// be misinterpreted, so a directive that excludes it from storage prevents storing the response.
const REQUIRED_FIELDS: [&str; 12] = [
    "age",
    "cache-control",
    "cdn-cache-control",
    "cloudflare-cdn-cache-control",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "expires",
    "surrogate-control",
    "vary",
];

/// The longest body that is stored: 8 MiB. A body is buffered in the isolate's memory until it is
/// complete, and all requests share 128 MB.
pub const MAX_STORED_BYTES: u64 = 8 << 20;

/// The largest number of scopes of a stored response, all of which are checked before each use. As
/// many tags as fit into a field of 16 KiB.
const MAX_SCOPES: usize = 10_000;

/// Returns how long to store the response to this request, from its arrival; in whole seconds, at
/// most 365 days.
///
/// # Errors
/// The first reason for not storing it.
pub fn retention(
    request: Request<'_>,
    response: &StoredResponse,
    journal: &Applied,
) -> Result<Duration, NotStored> {
    let directives = response.directives();
    if response.status.is_informational()
        || matches!(response.status.as_u16(), 304 | 412 | 416)
        // These are about one client and must not be stored (RFC 6585 sections 3 to 6).
        || matches!(response.status.as_u16(), 428 | 429 | 431 | 511)
        || (response.status == StatusCode::PARTIAL_CONTENT && !is_known_part(request, response))
        || (directives.must_understand && !understood(response.status))
    {
        return Err(NotStored::Status);
    }
    if request.choices.obey_requests && RequestDirectives::parse(request.headers).no_store {
        return Err(NotStored::Request);
    }
    if directives.private {
        return Err(NotStored::Private);
    }
    if directives.not_stored.iter().any(|name| REQUIRED_FIELDS.contains(&&**name)) {
        return Err(NotStored::Qualified);
    }
    // A cache that understands the status ignores `no-store` beside `must-understand` (5.2.2.3).
    if directives.no_store && !directives.must_understand {
        return Err(NotStored::NoStore);
    }
    if response.headers.contains_key(header::SET_COOKIE)
        && !directives.not_stored.iter().any(|name| **name == *header::SET_COOKIE.as_str())
        && !request.choices.store_set_cookie
    {
        return Err(NotStored::SetCookie);
    }
    // RFC 9111 section 3.5.
    if request.headers.contains_key(header::AUTHORIZATION) && !directives.allows_authorized() {
        return Err(NotStored::Authorization);
    }
    // RFC 9111 section 4.1.
    let Some(selecting) = vary_fields(&response.headers) else { return Err(NotStored::VaryAny) };
    if !can_select(&selecting, request.headers) {
        return Err(NotStored::VaryUnreadable);
    }
    if has_undecodable_value(&response.headers) {
        return Err(NotStored::Undecodable);
    }
    if is_endless(&response.headers) {
        return Err(NotStored::Endless);
    }
    if content_length(&response.headers).is_some_and(|bytes| bytes > MAX_STORED_BYTES) {
        return Err(NotStored::TooLarge);
    }
    if response.scopes.len() > MAX_SCOPES {
        return Err(NotStored::Tags);
    }
    let retention = retention_time(&directives, response);
    if retention.is_zero() {
        return Err(NotStored::NoLifetime);
    }
    if response.verdict(journal) != Verdict::Valid {
        return Err(NotStored::Outdated);
    }
    Ok(retention)
}

/// Returns whether a 206 answers a known `Range`, states its parts, and has all fields of a 200. A
/// response to `If-Range` lacks some of them (RFC 9110 section 15.3.7).
fn is_known_part(request: Request<'_>, response: &StoredResponse) -> bool {
    let is_multipart = |value: &[u8]| {
        const MULTIPART: &[u8] = b"multipart/byteranges";
        value.get(..MULTIPART.len()).is_some_and(|start| start.eq_ignore_ascii_case(MULTIPART))
    };
    response.headers.contains_key(ANSWERED_RANGE)
        && !request.headers.contains_key(header::IF_RANGE)
        && (response.headers.contains_key(header::CONTENT_RANGE)
            || response.headers.get(header::CONTENT_TYPE).is_some_and(|value| is_multipart(value.as_bytes())))
}

/// Removes `Set-Cookie` from a response updated by a 304, unless the deployment stores cookies. The
/// cookie belongs to the client whose request triggered the validation (RFC 9111 section 7.3).
pub fn remove_client_fields(freshened: &mut StoredResponse, choices: Choices) {
    if !choices.store_set_cookie {
        freshened.headers.remove(header::SET_COOKIE);
    }
}

/// Removes the fields that a qualified `private` or `no-cache` of the response excludes from
/// storage (RFC 9111 sections 5.2.2.4 and 5.2.2.7).
pub fn without_unstorable_fields(mut response: StoredResponse) -> StoredResponse {
    for name in response.directives().not_stored {
        response.headers.remove(&*name);
    }
    response
}

/// Returns whether the response to a POST may be stored for later GETs: its `Content-Location` is
/// the target, and its lifetime is explicit (RFC 9110 section 9.3.3).
pub fn answers_gets(target: &Url, response: &StoredResponse) -> bool {
    response.status == StatusCode::OK
        && named_url(target, &response.headers, header::CONTENT_LOCATION)
            .is_some_and(|location| location == *target)
        && response.freshness_lifetime().source.is_explicit()
}

/// Returns whether the response to a request for `url` redirects to a URL with the same target key.
/// Such a stored redirect would be an endless loop.
pub fn redirects_to(
    target: &TargetKey,
    url: &Url,
    response: &StoredResponse,
    key: impl Fn(&Url) -> Option<TargetKey>,
) -> bool {
    response.status.is_redirection()
        && named_url(url, &response.headers, header::LOCATION)
            .and_then(|location| key(&location))
            .is_some_and(|key| key.as_str() == target.as_str())
}

/// Returns how long the response can be served or validated, in whole seconds; zero if never.
fn retention_time(directives: &Directives, response: &StoredResponse) -> Duration {
    let lifetime = response.freshness_lifetime();
    // Without an explicit lifetime, only `public` or the status permits storing (RFC 9111 section
    // 3). A stale window does not.
    if !(lifetime.source.is_explicit() || directives.public || heuristically_cacheable(response.status)) {
        return Duration::ZERO;
    }
    let age = response.current_age(response.response_time);
    let window = longest_window(directives);
    let mut servable = (lifetime.duration + window).saturating_sub(age);
    // The grace for a disconnected origin extends only a retention that is not zero. A response
    // that must not be served stale is retained as well, so that `Cache-Status` can state that it
    // is stale.
    if !servable.is_zero() {
        servable = (lifetime.duration + window.max(GRACE)).saturating_sub(age);
    }
    let declares_caching = directives.explicit || lifetime.source != LifetimeSource::None;
    let validation = if declares_caching && has_validator(&response.headers) {
        VALIDATION_RETENTION
    } else {
        Duration::ZERO
    };
    // Round up: each read checks the exact time, so a fraction of a second is usable.
    let total = (servable + validation).min(MAX_RETENTION);
    Duration::from_secs(total.as_secs() + u64::from(total.subsec_nanos() > 0))
}

/// Returns whether this cache implements the caching behaviour of a final status (RFC 9111 section
/// 5.2.2.3).
fn understood(status: StatusCode) -> bool {
    heuristically_cacheable(status)
        || matches!(status.as_u16(), 302 | 303 | 307 | 400 | 403 | 451 | 500 | 502..=504)
}

#[cfg(test)]
mod tests {
    use shared_keys::{Mode, Position, QueryRules, Record, Scope, Seq, Stamp};

    use super::*;
    use crate::policy::testing::{get, headers, http_date, nothing_applied, stored};

    /// The additional storage time of a servable response, for an origin that becomes unreachable.
    const AWAY: u64 = 600;

    fn of(status: u16, fields: &[(&str, &str)]) -> Result<u64, NotStored> {
        let mut response = stored(fields);
        response.status = StatusCode::from_u16(status).unwrap();
        retention(get(&headers(&[])), &response, &nothing_applied()).map(|keep| keep.as_secs())
    }

    /// All are checked before each use.
    #[test]
    fn a_response_with_too_many_tags_is_not_stored() {
        let of = |scopes: usize| {
            let response = StoredResponse {
                scopes: (0..scopes as u64).map(shared_keys::ScopeHash).collect(),
                ..stored(&[("cache-control", "max-age=60")])
            };
            retention(get(&headers(&[])), &response, &nothing_applied()).err()
        };
        assert_eq!((of(10_000), of(10_001)), (None, Some(NotStored::Tags)));
    }

    #[test]
    fn rfc9111_3_directives_fields_and_status_decide_whether_a_response_is_stored() {
        let modified = http_date(0);
        #[expect(clippy::type_complexity, reason = "a table's row")]
        let rows: Vec<(u16, Vec<(&str, &str)>, Result<u64, NotStored>)> = vec![
            (200, vec![("cache-control", "max-age=60")], Ok(60 + AWAY)),
            (200, vec![("cache-control", "s-maxage=60")], Ok(60 + AWAY)),
            (
                200,
                vec![("cache-control", "max-age=60"), ("etag", "\"\u{FFFD}\"")],
                Err(NotStored::Undecodable),
            ),
            (200, vec![("cache-control", "max-age=60"), ("etag", "\"\u{e9}\"")], Ok(60 + AWAY + 86_400)),
            (200, vec![("cache-control", "no-store, max-age=60")], Err(NotStored::NoStore)),
            (200, vec![("cache-control", "private, max-age=60")], Err(NotStored::Private)),
            (200, vec![("cache-control", "private, no-store")], Err(NotStored::Private)),
            (200, vec![("cache-control", "private=\"x\", max-age=60")], Ok(60 + AWAY)),
            (
                200,
                vec![("cache-control", "private=\"set-cookie\", max-age=60"), ("set-cookie", "a=b")],
                Ok(60 + AWAY),
            ),
            (200, vec![("cache-control", "private"), ("cdn-cache-control", "max-age=60")], Ok(60 + AWAY)),
            (
                200,
                vec![("cache-control", "max-age=60"), ("cdn-cache-control", "no-store")],
                Err(NotStored::NoStore),
            ),
            (200, vec![("cache-control", "max-age=60"), ("set-cookie", "a=b")], Err(NotStored::SetCookie)),
            (200, vec![("cache-control", "max-age=60"), ("vary", "*")], Err(NotStored::VaryAny)),
            (200, vec![("cache-control", "max-age=60"), ("vary", "a, *")], Err(NotStored::VaryAny)),
            (200, vec![], Err(NotStored::NoLifetime)),
            (200, vec![("etag", "\"a\"")], Err(NotStored::NoLifetime)),
            (200, vec![("cache-control", "max-age=0")], Err(NotStored::NoLifetime)),
            (200, vec![("cache-control", "max-age=60"), ("age", "60")], Err(NotStored::NoLifetime)),
            (200, vec![("cache-control", "max-age=60"), ("age", "20")], Ok(40 + AWAY)),
            (200, vec![("cache-control", "no-cache"), ("etag", "\"a\"")], Ok(86_400)),
            (200, vec![("last-modified", &modified)], Ok(2 * 86_400 + AWAY)),
            (200, vec![("cache-control", "max-age=60"), ("content-length", "8388608")], Ok(60 + AWAY)),
            (
                200,
                vec![("cache-control", "max-age=60"), ("content-length", "8388609")],
                Err(NotStored::TooLarge),
            ),
            (206, vec![("cache-control", "max-age=60")], Err(NotStored::Status)),
            (
                206,
                vec![("cache-control", "max-age=60"), ("content-range", "bytes 0-1/9")],
                Err(NotStored::Status),
            ),
            (416, vec![("cache-control", "max-age=60")], Err(NotStored::Status)),
            (304, vec![("cache-control", "max-age=60")], Err(NotStored::Status)),
            (404, vec![("cache-control", "max-age=60")], Ok(60 + AWAY)),
            (403, vec![("cache-control", "stale-while-revalidate=60")], Err(NotStored::NoLifetime)),
            (403, vec![("cache-control", "no-cache"), ("etag", "\"a\"")], Err(NotStored::NoLifetime)),
            (403, vec![("cache-control", "public, stale-while-revalidate=60")], Ok(AWAY)),
            (404, vec![("cache-control", "stale-while-revalidate=60")], Ok(AWAY)),
            (500, vec![("cache-control", "max-age=60")], Ok(60 + AWAY)),
            (299, vec![("cache-control", "max-age=60")], Ok(60 + AWAY)),
            (299, vec![("cache-control", "max-age=60, must-understand")], Err(NotStored::Status)),
            (200, vec![("cache-control", "max-age=60, must-understand, no-store")], Ok(60 + AWAY)),
        ];
        for (status, fields, expected) in rows {
            assert_eq!(of(status, &fields), expected, "{status} {fields:?}");
        }
    }

    #[test]
    fn rfc6585_3_to_6_a_response_about_one_clients_requests_is_not_stored() {
        for status in [428, 429, 431, 511] {
            assert_eq!(
                of(status, &[("cache-control", "public, max-age=60")]),
                Err(NotStored::Status),
                "{status}"
            );
        }
    }

    #[test]
    fn a_body_that_does_not_end_by_its_type_is_not_stored() {
        for (media_type, stored) in [
            ("text/event-stream", false),
            ("Text/Event-Stream ; charset=utf-8", false),
            ("multipart/x-mixed-replace; boundary=frame", false),
            ("multipart/mixed; boundary=text/event-stream", true),
            ("application/x-ndjson", true),
        ] {
            for lifetime in ["max-age=60", "no-cache"] {
                let fields = [("cache-control", lifetime), ("etag", "\"a\""), ("content-type", media_type)];
                assert_eq!(of(200, &fields) != Err(NotStored::Endless), stored, "{media_type} {lifetime}");
            }
        }
    }

    #[test]
    fn a_lifetime_of_less_than_a_second_is_stored_for_a_second() {
        let mut response = stored(&[("cache-control", "s-maxage=1")]);
        for (delay_ms, kept) in [(1, Ok(1 + AWAY)), (999, Ok(1 + AWAY)), (1000, Err(NotStored::NoLifetime))] {
            response.request_time = response.response_time - Duration::from_millis(delay_ms);
            let result =
                retention(get(&headers(&[])), &response, &nothing_applied()).map(|keep| keep.as_secs());
            assert_eq!(result, kept, "{delay_ms}");
        }
    }

    #[test]
    fn rfc5861_a_response_is_stored_until_the_longest_window_ends() {
        let windows = "max-age=60, stale-while-revalidate=700, stale-if-error=900";
        assert_eq!(of(200, &[("cache-control", windows)]), Ok(960));
        assert_eq!(of(200, &[("cache-control", &format!("{windows}, must-revalidate"))]), Ok(60 + AWAY));
        assert_eq!(of(200, &[("cache-control", "max-age=0, stale-while-revalidate=700")]), Ok(700));
        assert_eq!(of(200, &[("cache-control", "max-age=0, stale-while-revalidate=30")]), Ok(AWAY));
    }

    #[test]
    fn rfc9110_15_3_7_a_part_needs_a_known_position_and_a_known_range() {
        let (lifetime, own_range) = (("cache-control", "max-age=60"), ("strata-range", "bytes=0-1"));
        for (fields, expected) in [
            (vec![lifetime, own_range, ("content-range", "bytes 0-1/9")], Ok(60 + AWAY)),
            (vec![lifetime, own_range, ("content-range", "bytes 0-1/*")], Ok(60 + AWAY)),
            (vec![lifetime, own_range, ("content-type", "Multipart/ByteRanges; boundary=a")], Ok(60 + AWAY)),
            (vec![lifetime, own_range, ("content-type", "text/plain")], Err(NotStored::Status)),
            (vec![lifetime, own_range], Err(NotStored::Status)),
            (vec![lifetime, ("content-range", "bytes 0-1/9")], Err(NotStored::Status)),
        ] {
            assert_eq!(of(206, &fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn rfc9110_15_3_7_a_part_for_if_range_is_not_stored_because_it_lacks_fields() {
        let fields = [
            ("cache-control", "max-age=60"),
            ("content-range", "bytes 0-1/9"),
            ("strata-range", "bytes=0-1"),
        ];
        let part = StoredResponse { status: StatusCode::PARTIAL_CONTENT, ..stored(&fields) };
        let request = headers(&[("range", "bytes=0-1"), ("if-range", "\"a\"")]);
        assert_eq!(retention(get(&request), &part, &nothing_applied()), Err(NotStored::Status));
    }

    #[test]
    fn rfc9111_5_2_2_4_and_7_a_response_is_not_stored_without_a_required_field() {
        for name in REQUIRED_FIELDS {
            for form in ["private", "no-cache"] {
                let cache_control = format!("max-age=60, {form}=\"x, {name}\"");
                assert_eq!(
                    of(200, &[("cache-control", &cache_control)]),
                    Err(NotStored::Qualified),
                    "{cache_control}"
                );
            }
        }
        assert_eq!(of(200, &[("cache-control", "max-age=60, private=\"x\"")]), Ok(60 + AWAY));
    }

    #[test]
    fn rfc9111_7_3_the_cookie_of_a_304_is_not_stored_for_other_clients() {
        for (store_set_cookie, left) in [(false, 1), (true, 2)] {
            let mut freshened = stored(&[("cache-control", "max-age=60"), ("set-cookie", "a=b")]);
            remove_client_fields(&mut freshened, Choices { store_set_cookie, ..Choices::default() });
            assert_eq!(freshened.headers.len(), left);
        }
    }

    #[test]
    fn rfc9111_7_3_cookies_are_stored_if_the_deployment_chooses_so() {
        let response = stored(&[("cache-control", "max-age=60"), ("set-cookie", "a=b")]);
        let (fields, choices) = (headers(&[]), Choices { store_set_cookie: true, ..Choices::default() });
        assert!(retention(Request { choices, ..get(&fields) }, &response, &nothing_applied()).is_ok());
    }

    #[test]
    fn rfc9111_5_2_1_5_no_store_of_a_request_is_obeyed_if_the_deployment_chooses_so() {
        let response = stored(&[("cache-control", "max-age=60")]);
        let (fields, choices) = (
            headers(&[("cache-control", "no-store")]),
            Choices { obey_requests: true, ..Choices::default() },
        );
        let result = retention(Request { choices, ..get(&fields) }, &response, &nothing_applied());
        assert_eq!(result, Err(NotStored::Request));
        assert!(retention(get(&fields), &response, &nothing_applied()).is_ok());
    }

    #[test]
    fn rfc9111_5_2_2_4_and_7_the_fields_of_a_qualified_directive_are_not_stored() {
        let control = ("cache-control", "max-age=60, private=\"Set-Cookie\", no-cache=\"x\"");
        let response =
            without_unstorable_fields(stored(&[control, ("set-cookie", "a=b"), ("x", "1"), ("y", "2")]));
        assert_eq!(response.headers, headers(&[control, ("y", "2")]));
    }

    #[test]
    fn rfc9110_9_3_3_a_post_needs_its_own_content_location_and_a_lifetime_to_answer_gets() {
        let target = Url::parse("https://shop.example/a?b").unwrap();
        let of = |fields: &[(&str, &str)]| answers_gets(&target, &stored(fields));
        let fresh = ("cache-control", "max-age=60");
        assert!(of(&[fresh, ("content-location", "/a?b")]));
        assert!(of(&[fresh, ("content-location", "https://shop.example/a?b")]));
        for location in ["/a", "https://other.example/a?b", "http://["] {
            assert!(!of(&[fresh, ("content-location", location)]), "{location}");
        }
        assert!(!of(&[fresh]) && !of(&[("content-location", "/a?b")]));
    }

    #[test]
    fn rfc9110_15_4_a_redirect_to_the_same_target_key_is_a_loop() {
        let url = Url::parse("https://shop.example/a?b=2&a=1").unwrap();
        let sorted = QueryRules::default().sorted();
        let key = |url: &Url| TargetKey::with_rules(url.as_str(), &sorted).ok();
        let target = key(&url).unwrap();
        for (status, location, is_loop) in [
            (301, "/a?a=1&b=2", true),
            (302, "https://shop.example/a?b=2&a=1#x", true),
            (308, "?b=2&a=1", true),
            (301, "/a?a=1", false),
            (301, "/a/?a=1&b=2", false),
            (301, "http://shop.example/a?a=1&b=2", false),
            (301, "https://other.example/a?a=1&b=2", false),
            (201, "/a?a=1&b=2", false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let response = StoredResponse { status, ..stored(&[("location", location)]) };
            assert_eq!(redirects_to(&target, &url, &response, key), is_loop, "{status} {location}");
        }
        let nowhere = StoredResponse { status: StatusCode::MOVED_PERMANENTLY, ..stored(&[]) };
        assert!(!redirects_to(&target, &url, &nowhere, key));
    }

    #[test]
    fn rfc9111_3_5_a_request_with_credentials_needs_an_explicit_permission() {
        let request = headers(&[("authorization", "Basic eDp5")]);
        for (value, allowed) in [
            ("max-age=60", false),
            ("max-age=60, public", true),
            ("max-age=60, must-revalidate", true),
            ("s-maxage=60", true),
            ("max-age=60, proxy-revalidate", false),
        ] {
            let result = retention(get(&request), &stored(&[("cache-control", value)]), &nothing_applied());
            assert_eq!(result.is_ok(), allowed, "{value}");
        }
    }

    #[test]
    fn rfc9111_4_1_a_response_selected_by_an_unreadable_value_is_not_stored() {
        let request = headers(&[("x-name", "Zo\u{FFFD}")]);
        let response = |vary| stored(&[("cache-control", "max-age=60"), ("vary", vary)]);
        assert_eq!(
            retention(get(&request), &response("x-name"), &nothing_applied()),
            Err(NotStored::VaryUnreadable)
        );
        assert!(retention(get(&request), &response("accept"), &nothing_applied()).is_ok());
    }

    #[test]
    fn g2_a_response_that_a_known_record_covers_is_not_stored() {
        let tag: Scope = "tag:a".parse().unwrap();
        let mut journal = nothing_applied();
        let stamp = Stamp { origin: Some(Position::new(200, 0)), edge: Some(Seq(7)) };
        journal.apply(Record { scope: tag.hash(), mode: Mode::Expire, stamp });
        for (position, expected) in
            [(199, Err(NotStored::Outdated)), (200, Ok(60 + AWAY)), (201, Ok(60 + AWAY))]
        {
            let mut response = stored(&[("cache-control", "max-age=60")]);
            response.scopes = vec![tag.hash()];
            response.stamp = Stamp { origin: Some(Position::new(position, 0)), edge: Some(Seq(6)) };
            let result = retention(get(&headers(&[])), &response, &journal).map(|keep| keep.as_secs());
            assert_eq!(result, expected, "{position}");
        }
    }
}
