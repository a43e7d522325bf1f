//! The validation of the client's copy against the stored response, and of the stored response
//! against the origin (RFC 9111 section 4.3).
//!
//! Input: header sections. Output: whether the client's validators match (4.3.2), the conditions to
//! send to the origin (4.3.1), and the stored response updated by a 304 (4.3.4, 3.2) or by a HEAD
//! (4.3.5).

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use shared_keys::{EntityTag, lists_entity_tag};

use super::StoredResponse;
use super::date::date;

/// The fields that make a GET or HEAD conditional (RFC 9110 section 13.1).
pub const CONDITIONAL_FIELDS: [HeaderName; 5] = [
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_MATCH,
    header::IF_UNMODIFIED_SINCE,
    header::IF_RANGE,
];

/// The fields of a 200 that its 304 carries as well (RFC 9110 section 15.4.5), and those that
/// explain the response.
const NOT_MODIFIED_FIELDS: [&str; 14] = [
    "access-control-allow-credentials",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "age",
    "cache-control",
    "cache-status",
    "cdn-cache-control",
    "content-location",
    "date",
    "etag",
    "expires",
    "last-modified",
    // `Set-Cookie` is not about the representation. An origin that sets a cookie with a 200 sets it
    // with the 304 as well.
    "set-cookie",
    "vary",
];

/// The fields that describe the stored content. A 304 does not update them, since it does not
/// change the content (RFC 9111 section 3.2).
const NOT_FRESHENED: [HeaderName; 6] = [
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    CONTENT_DIGEST,
    CONTENT_MD5,
    header::TRANSFER_ENCODING,
];

/// The field with the digest of a message's content (RFC 9530 section 2).
pub const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
/// The predecessor of [`CONTENT_DIGEST`] (RFC 2616 section 14.15).
pub const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

/// Returns whether the request has `If-Match` or `If-Unmodified-Since`. The origin must evaluate
/// them; a cache may ignore them only if it serves a stored response (RFC 9110 sections 13.1.1 and
/// 13.1.4).
pub fn has_precondition(request: &HeaderMap) -> bool {
    request.contains_key(header::IF_MATCH) || request.contains_key(header::IF_UNMODIFIED_SINCE)
}

/// Returns whether a value contains U+FFFD: the runtime decodes values as UTF-8, and other octets
/// become this character. Two such values that look alike may differ.
pub fn is_undecodable(value: &HeaderValue) -> bool {
    value.as_bytes().windows(3).any(|octets| octets == "\u{FFFD}".as_bytes())
}

/// Returns whether a field could not be decoded.
pub fn has_undecodable_value(headers: &HeaderMap) -> bool {
    headers.values().any(is_undecodable)
}

/// Returns whether a response has a validator: `ETag` or `Last-Modified`.
pub fn has_validator(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ETAG) || headers.contains_key(header::LAST_MODIFIED)
}

/// Returns whether the client's `If-None-Match`, or in its absence `If-Modified-Since`, matches the
/// stored response (RFC 9111 section 4.3.2).
pub fn not_modified(request: &HeaderMap, stored: &StoredResponse) -> bool {
    if request.contains_key(header::IF_NONE_MATCH) {
        return is_named(request, stored);
    }
    let Some(since) =
        date(request, header::IF_MODIFIED_SINCE, stored.response_time).filter(|_| is_evaluated(stored))
    else {
        return false;
    };
    let modified = date(&stored.headers, header::LAST_MODIFIED, stored.response_time)
        .or_else(|| date(&stored.headers, header::DATE, stored.response_time))
        .unwrap_or(stored.response_time);
    modified <= since
}

/// Returns whether the client's `If-None-Match` contains the entity tag of the response, by weak
/// comparison (RFC 9110 section 13.1.2).
///
/// Unlike [`not_modified`], it compares no dates. Use it for a response that is not stored, or that
/// the origin sent despite the client's conditions: only the origin knows by which dates the
/// resource has changed.
pub fn is_named(request: &HeaderMap, response: &StoredResponse) -> bool {
    let etag = response.headers.get(header::ETAG).filter(|etag| !is_undecodable(etag)).map(entity_tag);
    let mut lines = request.get_all(header::IF_NONE_MATCH).iter();
    is_evaluated(response) && lines.any(|line| lists_entity_tag(line.as_bytes(), etag))
}

/// Returns whether conditions are evaluated: only for a 200 or a 206 (RFC 9110 section 13.2.1).
fn is_evaluated(response: &StoredResponse) -> bool {
    matches!(response.status, StatusCode::OK | StatusCode::PARTIAL_CONTENT)
}

/// Returns whether two stored responses have the same body: the same status, validators, part,
/// coding and length.
pub fn same_body(one: &StoredResponse, other: &StoredResponse) -> bool {
    const COMPARED: [HeaderName; 5] = [
        header::ETAG,
        header::LAST_MODIFIED,
        header::CONTENT_RANGE,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
    ];
    one.status == other.status && COMPARED.iter().all(|name| one.headers.get(name) == other.headers.get(name))
}

/// Turns the header section of a 200 into the header section of its 304.
pub fn retain_not_modified_fields(headers: &mut HeaderMap) {
    let dropped: Vec<HeaderName> =
        headers.keys().filter(|name| !NOT_MODIFIED_FIELDS.contains(&name.as_str())).cloned().collect();
    for name in dropped {
        headers.remove(name);
    }
}

/// Replaces the client's conditions with those that validate `stored` at the origin (RFC 9111
/// section 4.3.1). Without a validator, no condition is set.
pub fn set_condition(request: &mut HeaderMap, stored: &StoredResponse) {
    remove_conditions(request);
    for (condition, validator) in
        [(header::IF_NONE_MATCH, header::ETAG), (header::IF_MODIFIED_SINCE, header::LAST_MODIFIED)]
    {
        if let Some(value) = stored.headers.get(validator) {
            request.insert(condition, value.clone());
        }
    }
}

/// Copies the client's conditions, except `If-Range`.
pub fn copy_conditions(from: &HeaderMap, to: &mut HeaderMap) {
    for name in CONDITIONAL_FIELDS.into_iter().filter(|name| *name != header::IF_RANGE) {
        for value in from.get_all(&name) {
            to.append(&name, value.clone());
        }
    }
}

/// Removes the client's conditions, so that the origin's response can be stored. The cache
/// evaluates them instead.
pub fn remove_conditions(request: &mut HeaderMap) {
    for name in CONDITIONAL_FIELDS {
        request.remove(name);
    }
}

/// Returns the stored response updated by `answer`, a 304 with its fields, times and journal
/// position; `None` if the 304 selects another representation (RFC 9111 section 4.3.4).
///
/// A 304 without validators confirms the response whose validators were sent, since the request
/// named one response. A 304 without a journal position does not confirm a response of a Strata
/// service: the purges that the service had applied are unknown.
pub fn freshen(stored: &StoredResponse, answer: StoredResponse) -> Option<StoredResponse> {
    if stored.is_from_sdk() && !answer.is_from_sdk() {
        return None;
    }
    let of = |response: &StoredResponse, name| {
        response.headers.get(&name).filter(|value| !is_undecodable(value)).cloned()
    };
    let dates = of(&answer, header::LAST_MODIFIED).map(|new| Some(new) == of(stored, header::LAST_MODIFIED));
    let same = match (of(&answer, header::ETAG), of(stored, header::ETAG)) {
        // A strong tag selects only a response with the same strong tag (RFC 9111 section 4.3.4).
        (Some(new), old) if !entity_tag(&new).is_weak() => Some(new) == old,
        (Some(new), Some(old)) => entity_tag(&new).weakly_matches(entity_tag(&old)),
        (Some(_), None) => dates == Some(true),
        (None, _) => dates != Some(false),
    };
    same.then(|| update(stored, answer))
}

/// The effect of a 200 to HEAD on a stored response to GET (RFC 9111 section 4.3.5).
#[derive(Debug)]
pub enum Head {
    /// The representation is the same. Holds the updated stored response.
    Updates(StoredResponse),
    /// The representation is another one: the stored response is stale.
    Outdates,
    /// The 200 allows neither conclusion.
    Unrelated,
}

/// Determines the effect of `answer`, a 200 to HEAD, on `stored`.
///
/// The RFC also allows an update without validators. But such a response says nothing about the
/// stored body, and a monitor that sends a HEAD every minute would keep an old page fresh forever.
pub fn by_head(stored: &StoredResponse, answer: StoredResponse) -> Head {
    if stored.status != StatusCode::OK || (stored.is_from_sdk() && !answer.is_from_sdk()) {
        return Head::Unrelated;
    }
    let compare = |name| answer.headers.get(&name).map(|new| Some(new) == stored.headers.get(&name));
    let validators = [header::ETAG, header::LAST_MODIFIED].map(compare);
    // Lengths are comparable only within the same coding (RFC 9110 section 8.6).
    let same_coding =
        answer.headers.get(header::CONTENT_ENCODING) == stored.headers.get(header::CONTENT_ENCODING);
    let other_length = same_coding && compare(header::CONTENT_LENGTH) == Some(false);
    match (validators.contains(&Some(false)) || other_length, validators) {
        (true, _) => Head::Outdates,
        (false, [None, None]) => Head::Unrelated,
        (false, _) => Head::Updates(update(stored, answer)),
    }
}

/// Returns the stored response with its lifetime ended, for a HEAD that outdates it. It can still
/// be validated, and replace a failure.
pub fn expired(mut stored: StoredResponse) -> StoredResponse {
    let lifetime = stored.freshness_lifetime().duration.as_secs();
    stored.headers.insert(header::AGE, HeaderValue::from(lifetime));
    stored
}

/// Replaces the stored fields with those of `answer` (RFC 9111 section 3.2).
fn update(stored: &StoredResponse, answer: StoredResponse) -> StoredResponse {
    let mut headers = stored.headers.clone();
    // The age restarts with the 304, so the `Age` and `Date` of the old response must not count.
    headers.remove(header::AGE);
    if let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(answer.response_time)) {
        headers.insert(header::DATE, date);
    }
    for name in answer.headers.keys().filter(|name| !NOT_FRESHENED.contains(name)) {
        headers.remove(name);
        for value in answer.headers.get_all(name) {
            headers.append(name, value.clone());
        }
    }
    let mut scopes = answer.scopes;
    scopes.extend(stored.scopes.iter().filter(|scope| !scopes.contains(scope)).copied().collect::<Vec<_>>());
    StoredResponse {
        status: stored.status,
        headers,
        request_time: answer.request_time,
        response_time: answer.response_time,
        stamp: answer.stamp,
        scopes,
    }
}

fn entity_tag(value: &HeaderValue) -> EntityTag<'_> {
    EntityTag::new(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared_keys::{Position, Seq, Stamp};

    use super::*;
    use crate::policy::testing::{ARRIVED, at, headers, http_date, stored};

    #[test]
    fn rfc9110_8_8_3_2_weak_tags_match_only_by_weak_comparison() {
        for (one, other, strongly, weakly) in [
            ("W/\"1\"", "W/\"1\"", false, true),
            ("W/\"1\"", "W/\"2\"", false, false),
            ("W/\"1\"", "\"1\"", false, true),
            ("\"1\"", "\"1\"", true, true),
        ] {
            let (one, other) = (HeaderValue::from_static(one), HeaderValue::from_static(other));
            let both_strong = !entity_tag(&one).is_weak() && !entity_tag(&other).is_weak();
            assert_eq!(both_strong && one == other, strongly, "{one:?} {other:?}");
            assert_eq!(entity_tag(&one).weakly_matches(entity_tag(&other)), weakly, "{one:?} {other:?}");
        }
    }

    #[test]
    fn rfc9110_13_1_1_and_13_1_4_preconditions_go_to_the_origin() {
        for (name, is_one) in [
            ("if-match", true),
            ("if-unmodified-since", true),
            ("if-none-match", false),
            ("if-modified-since", false),
            ("if-range", false),
        ] {
            let client = headers(&[(name, "x")]);
            assert_eq!(has_precondition(&client), is_one, "{name}");
            let mut forwarded = HeaderMap::new();
            copy_conditions(&client, &mut forwarded);
            assert_eq!(
                forwarded.contains_key(name),
                name != "if-range",
                "{name}: If-Range belongs to the range"
            );
        }
        let fresh = stored(&[("etag", "\"a\"")]);
        assert!(
            !not_modified(&headers(&[("if-match", "\"a\"")]), &fresh),
            "If-Match does not apply to a stored response"
        );
    }

    #[test]
    fn rfc9110_13_1_2_if_none_match_compares_weakly() {
        let response = stored(&[("etag", "\"a,b\"")]);
        for (condition, expected) in [
            ("\"a,b\"", true),
            ("W/\"a,b\"", true),
            ("\"x\", W/\"a,b\"", true),
            ("*", true),
            ("\"a\"", false),
            ("a,b", false),
            ("", false),
        ] {
            let request = headers(&[("if-none-match", condition)]);
            assert_eq!(not_modified(&request, &response), expected, "{condition}");
        }
        assert!(!not_modified(&headers(&[("if-none-match", "\"a\"")]), &stored(&[])));
    }

    #[test]
    fn rfc9110_13_1_3_if_modified_since_matches_up_to_its_date() {
        let modified = http_date(500);
        let response = stored(&[("last-modified", &modified)]);
        for (since, expected) in [(499, false), (500, true), (501, true)] {
            let request = headers(&[("if-modified-since", &http_date(since))]);
            assert_eq!(not_modified(&request, &response), expected, "{since}");
        }
        assert!(!not_modified(&headers(&[("if-modified-since", "yesterday")]), &response));
        let both = headers(&[("if-none-match", "\"x\""), ("if-modified-since", &http_date(501))]);
        assert!(!not_modified(&both, &response), "If-None-Match alone counts when both are there");
    }

    #[test]
    fn rfc9111_4_3_2_without_last_modified_the_date_or_the_arrival_is_compared() {
        let dated = stored(&[("date", &http_date(500))]);
        for (response, last) in [(&dated, 500), (&stored(&[]), ARRIVED)] {
            for (since, expected) in [(last - 1, false), (last, true), (last + 1, true)] {
                let request = headers(&[("if-modified-since", &http_date(since))]);
                assert_eq!(not_modified(&request, response), expected, "{since}");
            }
        }
        let part = StoredResponse { status: StatusCode::PARTIAL_CONTENT, ..dated };
        assert!(not_modified(&headers(&[("if-modified-since", &http_date(500))]), &part));
    }

    #[test]
    fn rfc9110_13_1_3_an_unstored_response_is_not_compared_by_date() {
        let modified = http_date(500);
        let response = stored(&[("etag", "\"a\""), ("last-modified", &modified)]);
        for (fields, named) in [
            (&[("if-modified-since", modified.as_str())][..], false),
            (&[("if-none-match", "\"a\""), ("if-modified-since", modified.as_str())][..], true),
            (&[("if-none-match", "\"b\"")][..], false),
            (&[][..], false),
        ] {
            assert_eq!(is_named(&headers(fields), &response), named, "{fields:?}");
        }
        let error = StoredResponse { status: StatusCode::NOT_FOUND, ..response };
        assert!(!is_named(&headers(&[("if-none-match", "\"a\"")]), &error));
    }

    #[test]
    fn rfc9110_13_2_1_conditions_do_not_apply_to_an_error() {
        let mut response = stored(&[("etag", "\"a\"")]);
        response.status = StatusCode::NOT_FOUND;
        assert!(!not_modified(&headers(&[("if-none-match", "\"a\"")]), &response));
    }

    #[test]
    fn rfc9111_4_3_1_the_stored_validators_replace_the_clients() {
        let mut request =
            headers(&[("if-none-match", "\"client\""), ("if-match", "\"x\""), ("accept", "*/*")]);
        set_condition(&mut request, &stored(&[("etag", "\"a\""), ("last-modified", "x")]));
        let expected = headers(&[("accept", "*/*"), ("if-none-match", "\"a\""), ("if-modified-since", "x")]);
        assert_eq!(request, expected);
    }

    #[test]
    fn rfc9111_3_2_a_304_updates_fields_and_restarts_the_age() {
        let old = stored(&[
            ("etag", "\"a\""),
            ("age", "50"),
            ("content-encoding", "br"),
            ("cache-control", "max-age=1"),
            ("x", "old"),
        ]);
        let mut answer = stored(&[
            ("etag", "W/\"a\""),
            ("content-encoding", "gzip"),
            ("content-length", "0"),
            ("cache-control", "max-age=9"),
        ]);
        answer.status = StatusCode::NOT_MODIFIED;
        answer.response_time = at(2_000_000);
        let fresh = freshen(&old, answer).unwrap();
        assert_eq!(fresh.status, StatusCode::OK);
        assert_eq!(
            fresh.headers,
            headers(&[
                ("etag", "W/\"a\""),
                ("content-encoding", "br"),
                ("cache-control", "max-age=9"),
                ("x", "old"),
                ("date", &http_date(2_000_000)),
            ])
        );
        assert_eq!(fresh.current_age(at(2_000_003)).as_secs(), 3);
    }

    #[test]
    fn rfc9111_3_2_fields_of_the_content_stay_and_all_lines_of_other_fields_are_replaced() {
        let old = stored(&[
            ("etag", "\"a\""),
            ("content-range", "bytes 0-1/9"),
            ("content-md5", "x"),
            ("content-digest", "x"),
            ("vary", "a"),
            ("vary", "b"),
            ("link", "</1>"),
        ]);
        let answer = stored(&[
            ("content-range", "bytes 2-3/9"),
            ("content-md5", "y"),
            ("content-digest", "y"),
            ("vary", "c"),
            ("link", "</2>"),
            ("link", "</3>"),
        ]);
        let fresh = freshen(&old, answer).unwrap().headers;
        let lines =
            |name: &str| fresh.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!((lines("content-range"), lines("content-md5")), (vec!["bytes 0-1/9"], vec!["x"]));
        assert_eq!(
            (lines("content-digest"), lines("vary"), lines("link")),
            (vec!["x"], vec!["c"], vec!["</2>", "</3>"])
        );
    }

    #[test]
    fn rfc9111_4_3_1_a_validation_request_has_one_condition_for_each_stored_validator() {
        for (fields, conditions) in [
            (&[][..], &[][..]),
            (&[("etag", "W/\"a\"")][..], &[("if-none-match", "W/\"a\"")][..]),
            (&[("last-modified", "x")], &[("if-modified-since", "x")]),
        ] {
            let mut request =
                headers(&[("if-match", "\"c\""), ("if-unmodified-since", "x"), ("if-range", "\"c\"")]);
            set_condition(&mut request, &stored(fields));
            assert_eq!((request, has_validator(&headers(fields))), (headers(conditions), !fields.is_empty()));
        }
    }

    #[test]
    fn rfc9111_4_3_4_a_304_for_another_representation_is_rejected() {
        assert!(freshen(&stored(&[("etag", "\"a\"")]), stored(&[("etag", "\"b\"")])).is_none());
        let (then, later) = (http_date(1), http_date(2));
        let modified = |date| stored(&[("last-modified", date)]);
        assert!(freshen(&modified(&then), modified(&later)).is_none());
        assert!(freshen(&modified(&then), modified(&then)).is_some());
        // The 304 has a validator that the stored response lacks.
        assert!(freshen(&modified(&then), stored(&[("etag", "W/\"a\"")])).is_none());
        assert!(freshen(&stored(&[("etag", "\"a\"")]), modified(&then)).is_none());
        assert!(
            freshen(&modified(&then), stored(&[("etag", "W/\"a\""), ("last-modified", &then)])).is_some()
        );
    }

    #[test]
    fn rfc9111_4_3_4_a_strong_tag_selects_the_same_strong_tag_and_a_weak_tag_either() {
        for (stored_tag, answered, freshened) in [
            ("\"a\"", "\"a\"", true),
            ("\"a\"", "W/\"a\"", true),
            ("W/\"a\"", "W/\"a\"", true),
            ("W/\"a\"", "\"a\"", false),
            ("\"a\"", "W/\"b\"", false),
        ] {
            let answer = stored(&[("etag", answered)]);
            assert_eq!(
                freshen(&stored(&[("etag", stored_tag)]), answer).is_some(),
                freshened,
                "{stored_tag} {answered}"
            );
        }
        assert!(freshen(&stored(&[("last-modified", "x")]), stored(&[("etag", "\"a\"")])).is_none());
        assert!(freshen(&stored(&[("etag", "\"a\"")]), stored(&[])).is_some());
    }

    #[test]
    fn g2_a_response_without_a_journal_position_confirms_no_response_of_a_strata_origin() {
        let stamp = Stamp { origin: Some(Position::new(5, 0)), edge: Some(Seq(7)) };
        let (foreign, ours) =
            (stored(&[("etag", "\"a\"")]), StoredResponse { stamp, ..stored(&[("etag", "\"a\"")]) });
        for (old, answer, confirmed) in
            [(&ours, &foreign, false), (&ours, &ours, true), (&foreign, &ours, true)]
        {
            assert_eq!(freshen(old, answer.clone()).is_some(), confirmed);
            assert_eq!(matches!(by_head(old, answer.clone()), Head::Updates(_)), confirmed);
        }
    }

    #[test]
    fn rfc9111_4_3_5_a_head_updates_only_the_representation_that_it_describes() {
        let old =
            stored(&[("etag", "\"a\""), ("content-length", "5"), ("cache-control", "max-age=1"), ("x", "1")]);
        let same = stored(&[("etag", "\"a\""), ("content-length", "5"), ("cache-control", "max-age=9")]);
        let Head::Updates(fresh) = by_head(&old, same.clone()) else { panic!("expected an update") };
        assert_eq!(fresh.headers["cache-control"], "max-age=9");
        assert_eq!((&fresh.headers["x"], &fresh.headers["etag"]), (&old.headers["x"], &old.headers["etag"]));
        for other in [("etag", "\"b\""), ("etag", "W/\"a\""), ("last-modified", "x"), ("content-length", "6")]
        {
            assert!(matches!(by_head(&old, stored(&[other])), Head::Outdates), "{other:?}");
        }
        for nothing in [&[][..], &[("content-length", "5")], &[("cache-control", "max-age=9")]] {
            assert!(matches!(by_head(&old, stored(nothing)), Head::Unrelated), "{nothing:?}");
        }
        let encoded = stored(&[("etag", "\"a\""), ("content-length", "3"), ("content-encoding", "gzip")]);
        let Head::Updates(fresh) = by_head(&old, encoded) else {
            panic!("expected an update: lengths of two codings are not comparable")
        };
        assert_eq!(fresh.headers.get("content-encoding"), None);
        let part = StoredResponse { status: StatusCode::PARTIAL_CONTENT, ..old };
        assert!(
            matches!(by_head(&part, same), Head::Unrelated),
            "the length of a part is not comparable with the whole"
        );
    }

    #[test]
    fn rfc9111_3_3_a_part_and_a_whole_with_the_same_validator_differ_in_body() {
        let whole = stored(&[("etag", "\"a\""), ("content-length", "10")]);
        assert!(same_body(&whole, &whole.clone()));
        let part = StoredResponse { status: StatusCode::PARTIAL_CONTENT, ..whole.clone() };
        assert!(!same_body(&whole, &part));
        for other in
            [("content-length", "5"), ("content-encoding", "gzip"), ("content-range", "bytes 0-4/10")]
        {
            let mut changed = whole.clone();
            changed.headers.extend(headers(&[other]));
            assert!(!same_body(&whole, &changed), "{other:?}");
        }
    }

    #[test]
    fn rfc9110_15_4_5_a_304_describes_no_content() {
        let mut fields =
            headers(&[("etag", "\"a\""), ("content-length", "5"), ("vary", "accept"), ("x", "y")]);
        retain_not_modified_fields(&mut fields);
        assert_eq!(fields, headers(&[("etag", "\"a\""), ("vary", "accept")]));
        for name in ["cache-control", "content-location", "date", "etag", "expires", "vary"] {
            let mut fields = headers(&[(name, "x")]);
            retain_not_modified_fields(&mut fields);
            assert!(fields.contains_key(name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn hostile_conditions_never_panic(value in proptest::collection::vec(any::<u8>(), 0..48)) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                for name in [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE] {
                    let mut request = HeaderMap::new();
                    request.insert(name, value.clone());
                    not_modified(&request, &stored(&[("etag", "\"a\"")]));
                }
            }
        }
    }
}
