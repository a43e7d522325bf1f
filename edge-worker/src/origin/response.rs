//! A response from the origin, as it may be stored.

use std::time::SystemTime;

use http::{HeaderMap, StatusCode, header};
use shared_keys::{CACHE_TAG_HEADER, POSITION_HEADER, ScopeHash, Seq, Stamp, TargetKey, scopes_from_header};

use super::request::set;
use crate::error::{Error, ErrorKind};
use crate::headers::{remove_hop_by_hop, remove_internal};
use crate::journal::response_position;
use crate::policy::StoredResponse;
use crate::policy::groups::group_scopes;

/// The field with the tags of an origin that was written for another CDN, separated by spaces.
const SURROGATE_KEY: &str = "surrogate-key";

/// Checks the status of the origin's response.
///
/// # Errors
/// [`ErrorKind::Origin`] if the runtime cannot pass it on to the client.
pub fn status(code: u16) -> Result<StatusCode, Error> {
    StatusCode::from_u16(code).ok().filter(|_| (200..=599).contains(&code)).ok_or_else(|| {
        Error::new(
            ErrorKind::Origin,
            format!("expected a status from 200 to 599 from the origin, got {code}"),
        )
    })
}

/// The times of a fetch, and the state of the edge journal before it.
#[derive(Debug, Clone, Copy)]
pub struct FetchContext {
    /// When the request was sent.
    pub request_time: SystemTime,
    /// When the header section was received.
    pub response_time: SystemTime,
    /// All records up to this number had been applied before the request was sent.
    pub edge_seq: Seq,
}

/// Converts the origin's response to its stored form: reads its journal position and its scopes
/// from their fields, and removes hop-by-hop and internal fields.
pub fn to_stored(
    status: StatusCode,
    mut headers: HeaderMap,
    target: &TargetKey,
    context: FetchContext,
) -> StoredResponse {
    let position = headers.get(POSITION_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
    let position = position.map(|position| response_position(position, context.response_time));
    let mut scopes: Vec<ScopeHash> = Vec::new();
    for value in [CACHE_TAG_HEADER, SURROGATE_KEY].into_iter().flat_map(|name| headers.get_all(name)) {
        scopes.extend(scopes_from_header(&String::from_utf8_lossy(value.as_bytes())));
    }
    scopes.extend(group_scopes(&headers, target));
    scopes.extend(target.scopes());
    scopes.push(target.own_scope());
    remove_hop_by_hop(&mut headers);
    remove_internal(&mut headers);
    set_date(&mut headers, context.response_time);
    StoredResponse {
        status,
        headers,
        request_time: context.request_time,
        response_time: context.response_time,
        stamp: Stamp { origin: position, edge: Some(context.edge_seq) },
        scopes,
    }
}

/// Sets `Date` to the response time if the origin has not sent it (RFC 9110 section 6.6.1).
pub fn set_date(headers: &mut HeaderMap, response_time: SystemTime) {
    if !headers.contains_key(header::DATE) {
        set(headers, header::DATE, httpdate::fmt_http_date(response_time));
    }
}

#[cfg(test)]
mod tests {
    use shared_keys::{Position, Scope};

    use super::*;
    use crate::policy::testing::{at, headers};

    #[test]
    fn position_and_tags_are_read_and_the_url_is_a_scope() {
        let fields = headers(&[
            ("strata-position", "1763900000000-2"),
            ("strata-other", "x"),
            ("cache-tag", "category:7,product:1"),
            ("surrogate-key", "a b"),
            ("etag", "\"a\""),
        ]);
        let target = TargetKey::parse("https://shop.example/api").unwrap();
        let time = at(1_763_900_000);
        let context = FetchContext { request_time: time, response_time: time, edge_seq: Seq(7) };
        let response = to_stored(StatusCode::OK, fields, &target, context);
        let expected = Stamp { origin: Some(Position::new(1_763_900_000_000, 2)), edge: Some(Seq(7)) };
        assert_eq!(response.stamp, expected);
        for scope in [
            "tag:category:7",
            "tag:product:1",
            "tag:a",
            "tag:b",
            "path:shop.example",
            "path:shop.example/api",
        ] {
            assert!(response.scopes.contains(&scope.parse::<Scope>().unwrap().hash()), "{scope}");
        }
        assert!(response.scopes.contains(&target.own_scope()));
        assert_eq!(response.scopes.len(), 7);
        assert!(!response.headers.keys().any(|name| name.as_str().starts_with("strata-")));
        assert!(
            response.headers.contains_key("cache-tag"),
            "stored for the zone's purge, removed from the response to the client"
        );
    }

    /// No purge would cover the response until then.
    #[test]
    fn a_position_from_the_future_is_the_one_before_every_record() {
        let target = TargetKey::parse("https://shop.example/api").unwrap();
        let time = at(1_763_900_000);
        let context = FetchContext { request_time: time, response_time: time, edge_seq: Seq(7) };
        for (position, expected) in [
            ("1763986400000-2", Position::new(1_763_986_400_000, 2)),
            ("1763986400001-0", Position::ZERO),
            ("18446744073709551615-18446744073709551615", Position::ZERO),
        ] {
            let response =
                to_stored(StatusCode::OK, headers(&[("strata-position", position)]), &target, context);
            assert_eq!(response.stamp.origin, Some(expected), "{position}");
        }
    }

    #[test]
    fn rfc9110_6_6_1_a_response_without_a_date_gets_one() {
        let target = TargetKey::parse("https://shop.example/api").unwrap();
        let time = SystemTime::UNIX_EPOCH;
        let context = FetchContext { request_time: time, response_time: time, edge_seq: Seq(7) };
        let date_of =
            |fields| to_stored(StatusCode::OK, headers(fields), &target, context).headers["date"].clone();
        assert_eq!(date_of(&[]), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(date_of(&[("date", "x")]), "x");
    }

    #[test]
    fn a_status_outside_200_to_599_is_refused() {
        assert!([200, 299, 404, 599].into_iter().all(|code| status(code).is_ok()));
        assert!([0, 99, 101, 199, 600, 999].into_iter().all(|code| status(code).is_err()));
    }
}
