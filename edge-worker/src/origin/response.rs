//! A response from the origin, as it may be stored.

use std::time::SystemTime;

use http::{HeaderMap, StatusCode, header};
use shared_keys::{CACHE_TAG_HEADER, POSITION_HEADER, ScopeHash, Seq, Stamp, TargetKey, scopes_from_header};

use super::request::set;
use crate::error::{Error, ErrorKind};
use crate::headers::{remove_hop_by_hop, remove_internal};
use crate::policy::StoredResponse;

/// The tags of an origin that was written for another CDN, separated by spaces.
const SURROGATE_KEY: &str = "surrogate-key";

/// The status of an origin's answer.
///
/// # Errors
/// [`ErrorKind::Origin`] if it is none that the runtime can pass on to the client.
pub fn status(code: u16) -> Result<StatusCode, Error> {
    StatusCode::from_u16(code).ok().filter(|_| (200..=599).contains(&code)).ok_or_else(|| {
        Error::new(ErrorKind::Origin, format!("expected a status from 200 to 599 from the origin, got {code}"))
    })
}

/// When a response was asked for and arrived, and what of the edge journal was known before it was asked for.
#[derive(Debug, Clone, Copy)]
pub struct FetchContext {
    /// Just before the request left.
    pub request_time: SystemTime,
    /// When the header section was there.
    pub response_time: SystemTime,
    /// All records up to this one had been applied before the request left.
    pub edge_seq: Seq,
}

/// The origin's answer as it could be stored: its place in the journal and its scopes read from the fields that carry them.
pub fn to_stored(
    status: StatusCode,
    mut headers: HeaderMap,
    target: &TargetKey,
    context: FetchContext,
) -> StoredResponse {
    let position = headers.get(POSITION_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
    let mut scopes: Vec<ScopeHash> = Vec::new();
    for value in [CACHE_TAG_HEADER, SURROGATE_KEY].into_iter().flat_map(|name| headers.get_all(name)) {
        scopes.extend(scopes_from_header(&String::from_utf8_lossy(value.as_bytes())));
    }
    scopes.extend(target.scopes());
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

/// A recipient with a clock says when a response without a date came (RFC 9110 section 6.6.1).
pub fn set_date(headers: &mut HeaderMap, response_time: SystemTime) {
    if !headers.contains_key(header::DATE) {
        set(headers, header::DATE, httpdate::fmt_http_date(response_time));
    }
}

#[cfg(test)]
mod tests {
    use shared_keys::{Position, Scope};

    use super::*;
    use crate::policy::testing::headers;

    #[test]
    fn position_and_tags_of_an_answer_are_read_and_its_url_is_a_scope() {
        let fields = headers(&[
            ("strata-position", "1763900000000-2"),
            ("strata-other", "x"),
            ("cache-tag", "category:7,product:1"),
            ("surrogate-key", "a b"),
            ("etag", "\"a\""),
        ]);
        let target = TargetKey::parse("https://shop.example/api").unwrap();
        let time = SystemTime::UNIX_EPOCH;
        let context = FetchContext { request_time: time, response_time: time, edge_seq: Seq(7) };
        let response = to_stored(StatusCode::OK, fields, &target, context);
        let expected = Stamp { origin: Some(Position::new(1_763_900_000_000, 2)), edge: Some(Seq(7)) };
        assert_eq!(response.stamp, expected);
        for scope in ["tag:category:7", "tag:product:1", "tag:a", "tag:b", "path:shop.example", "path:shop.example/api"]
        {
            assert!(response.scopes.contains(&scope.parse::<Scope>().unwrap().hash()), "{scope}");
        }
        assert_eq!(response.scopes.len(), 6);
        assert!(!response.headers.keys().any(|name| name.as_str().starts_with("strata-")));
        assert!(
            response.headers.contains_key("cache-tag"),
            "kept for the zone's purge, taken out on the way to the client"
        );
    }

    #[test]
    fn rfc9110_6_6_1_an_answer_without_a_date_gets_one() {
        let target = TargetKey::parse("https://shop.example/api").unwrap();
        let time = SystemTime::UNIX_EPOCH;
        let context = FetchContext { request_time: time, response_time: time, edge_seq: Seq(7) };
        let date_of = |fields| to_stored(StatusCode::OK, headers(fields), &target, context).headers["date"].clone();
        assert_eq!(date_of(&[]), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(date_of(&[("date", "x")]), "x");
    }

    #[test]
    fn a_status_is_one_that_can_be_passed_on() {
        assert!([200, 299, 404, 599].into_iter().all(|code| status(code).is_ok()));
        assert!([0, 99, 101, 199, 600, 999].into_iter().all(|code| status(code).is_err()));
    }
}
