//! Validation (RFC 9111 section 4.3): of the client's copy by the stored response, of the stored
//! response by the origin.
//!
//! In: header sections. Out: whether the client's validators match (4.3.2), the condition to send
//! to the origin (4.3.1), and the stored response freshened by a 304 (4.3.4, 3.2).

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use shared_keys::split_list;

use super::StoredResponse;
use super::date::date;

/// The fields that make a GET or HEAD conditional (RFC 9110 section 13.1).
pub const CONDITIONAL_FIELDS: [HeaderName; 5] =
    [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::IF_MATCH, header::IF_UNMODIFIED_SINCE, header::IF_RANGE];

/// The fields that a 304 carries if the 200 would (RFC 9110 section 15.4.5), and those that explain
/// the answer.
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
    // Not of the representation: an origin that sets a cookie with a 200 sets it with the 304 as
    // well.
    "set-cookie",
    "vary",
];

/// The fields that say how the stored content is encoded, and so never change without it (3.2).
const NOT_FRESHENED: [HeaderName; 6] = [
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    CONTENT_DIGEST,
    CONTENT_MD5,
    header::TRANSFER_ENCODING,
];

/// By these a message's own content can be checked (RFC 9530 section 2, RFC 2616 section 14.15).
pub const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
/// The older of both.
pub const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

/// Whether the client's request is to fail unless a condition holds. That is for the origin to say:
/// a cache may ignore it only where it answers from what is stored (RFC 9110 sections 13.1.1 and
/// 13.1.4).
pub fn has_precondition(request: &HeaderMap) -> bool {
    request.contains_key(header::IF_MATCH) || request.contains_key(header::IF_UNMODIFIED_SINCE)
}

/// Whether there is anything to ask the origin by.
pub fn has_validator(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ETAG) || headers.contains_key(header::LAST_MODIFIED)
}

/// Whether the client has what is stored: its `If-None-Match`, or without one its
/// `If-Modified-Since`, matches.
pub fn not_modified(request: &HeaderMap, stored: &StoredResponse) -> bool {
    if request.contains_key(header::IF_NONE_MATCH) {
        return is_named(request, stored);
    }
    let Some(since) = date(request, header::IF_MODIFIED_SINCE, stored.response_time).filter(|_| is_evaluated(stored))
    else {
        return false;
    };
    let modified = date(&stored.headers, header::LAST_MODIFIED, stored.response_time)
        .or_else(|| date(&stored.headers, header::DATE, stored.response_time))
        .unwrap_or(stored.response_time);
    modified <= since
}

/// Whether the client's `If-None-Match` names the response. All that can be said of one that is for
/// this client alone, or that the origin sent although it had the client's conditions: by which
/// dates a resource has changed, only the origin knows.
pub fn is_named(request: &HeaderMap, response: &StoredResponse) -> bool {
    let etag = response.headers.get(header::ETAG).map(|value| opaque_tag(value.as_bytes()));
    let names = |member: &[u8]| member == b"*" || Some(opaque_tag(member)) == etag;
    let mut lines = request.get_all(header::IF_NONE_MATCH).iter();
    is_evaluated(response) && lines.any(|line| split_list(line.as_bytes()).any(names))
}

/// Conditions are evaluated only against what would be a 200, or a 206 (RFC 9110 section 13.2.1).
fn is_evaluated(response: &StoredResponse) -> bool {
    matches!(response.status, StatusCode::OK | StatusCode::PARTIAL_CONTENT)
}

/// Whether two stored responses have the same body: the same validators, of the same part in the
/// same coding.
pub fn same_body(one: &StoredResponse, other: &StoredResponse) -> bool {
    const TOLD_BY: [HeaderName; 5] =
        [header::ETAG, header::LAST_MODIFIED, header::CONTENT_RANGE, header::CONTENT_ENCODING, header::CONTENT_LENGTH];
    one.status == other.status && TOLD_BY.iter().all(|name| one.headers.get(name) == other.headers.get(name))
}

/// Turns the header section of a 200 into that of the 304 which stands for it.
pub fn retain_not_modified_fields(headers: &mut HeaderMap) {
    let dropped: Vec<HeaderName> =
        headers.keys().filter(|name| !NOT_MODIFIED_FIELDS.contains(&name.as_str())).cloned().collect();
    for name in dropped {
        headers.remove(name);
    }
}

/// Replaces the client's conditions by one that asks the origin whether `stored` still holds.
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

/// Puts in the client's own conditions, but for the one of a range.
pub fn copy_conditions(from: &HeaderMap, to: &mut HeaderMap) {
    for name in CONDITIONAL_FIELDS.into_iter().filter(|name| *name != header::IF_RANGE) {
        for value in from.get_all(&name) {
            to.append(&name, value.clone());
        }
    }
}

/// Takes the client's conditions out, so that the origin's answer can be stored; they are evaluated
/// here instead.
pub fn remove_conditions(request: &mut HeaderMap) {
    for name in CONDITIONAL_FIELDS {
        request.remove(name);
    }
}

/// The stored response, freshened by the 304 that arrived as `answer` (its status, fields, times
/// and place in the journal), or `None` if the 304 names another representation (4.3.4).
///
/// A 304 without validators confirms the response whose validators were sent, since the request
/// named one response. A 304 without a journal position does not confirm a response of a Strata
/// service: the purges that the service had applied are unknown.
pub fn freshen(stored: &StoredResponse, answer: StoredResponse) -> Option<StoredResponse> {
    if stored.is_ours() && !answer.is_ours() {
        return None;
    }
    let of = |response: &StoredResponse, name| response.headers.get(&name).cloned();
    let dates = of(&answer, header::LAST_MODIFIED).map(|new| Some(new) == of(stored, header::LAST_MODIFIED));
    let same = match (of(&answer, header::ETAG), of(stored, header::ETAG)) {
        // A strong tag names what has the same strong one, and nothing else.
        (Some(new), old) if !is_weak(&new) => Some(new) == old,
        (Some(new), Some(old)) => opaque_tag(new.as_bytes()) == opaque_tag(old.as_bytes()),
        (Some(_), None) => dates == Some(true),
        (None, _) => dates != Some(false),
    };
    same.then(|| update(stored, answer))
}

/// The effect of a 200 to HEAD on a stored response to GET (4.3.5).
#[derive(Debug)]
pub enum Head {
    /// The representation is the same. Holds the updated stored response.
    Updates(StoredResponse),
    /// The representation is another one: the stored response is outdated.
    Outdates,
    /// The 200 allows neither conclusion.
    Silent,
}

/// Determines the effect of `answer`, a 200 to HEAD, on `stored`.
///
/// The RFC also allows an update without validators. But such a response says nothing about the
/// stored body, and a monitor that sends a HEAD every minute would keep an old page fresh forever.
pub fn by_head(stored: &StoredResponse, answer: StoredResponse) -> Head {
    if stored.status != StatusCode::OK || (stored.is_ours() && !answer.is_ours()) {
        return Head::Silent;
    }
    let compare = |name| answer.headers.get(&name).map(|new| Some(new) == stored.headers.get(&name));
    let validators = [header::ETAG, header::LAST_MODIFIED].map(compare);
    // Another coding has another length (RFC 9110 section 8.6).
    let same_coding = answer.headers.get(header::CONTENT_ENCODING) == stored.headers.get(header::CONTENT_ENCODING);
    let other_length = same_coding && compare(header::CONTENT_LENGTH) == Some(false);
    match (validators.contains(&Some(false)) || other_length, validators) {
        (true, _) => Head::Outdates,
        (false, [None, None]) => Head::Silent,
        (false, _) => Head::Updates(update(stored, answer)),
    }
}

/// Puts the fields of `answer` in the place of those that are stored (3.2).
fn update(stored: &StoredResponse, answer: StoredResponse) -> StoredResponse {
    let mut headers = stored.headers.clone();
    // The age starts again with the 304: what the old response said of its own must not count.
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

fn is_weak(tag: &HeaderValue) -> bool {
    tag.as_bytes().trim_ascii_start().starts_with(b"W/")
}

/// An entity tag without its weakness mark: what a weak comparison compares (RFC 9110 section
/// 8.8.3.2).
fn opaque_tag(tag: &[u8]) -> &[u8] {
    let tag = tag.trim_ascii();
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared_keys::{Position, Seq, Stamp};

    use super::*;
    use crate::policy::testing::{ARRIVED, at, headers, http_date, stored};

    #[test]
    fn rfc9110_8_8_3_2_tags_compare_weakly_and_strongly() {
        for (one, other, strongly, weakly) in [
            ("W/\"1\"", "W/\"1\"", false, true),
            ("W/\"1\"", "W/\"2\"", false, false),
            ("W/\"1\"", "\"1\"", false, true),
            ("\"1\"", "\"1\"", true, true),
        ] {
            let (one, other) = (HeaderValue::from_static(one), HeaderValue::from_static(other));
            let both_strong = !is_weak(&one) && !is_weak(&other);
            assert_eq!(both_strong && one == other, strongly, "{one:?} {other:?}");
            assert_eq!(opaque_tag(one.as_bytes()) == opaque_tag(other.as_bytes()), weakly, "{one:?} {other:?}");
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
            let mut asked = HeaderMap::new();
            copy_conditions(&client, &mut asked);
            assert_eq!(asked.contains_key(name), name != "if-range", "{name}: that is part of what is asked for");
        }
        let fresh = stored(&[("etag", "\"a\"")]);
        assert!(!not_modified(&headers(&[("if-match", "\"a\"")]), &fresh), "no concern of what is stored");
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
    fn rfc9110_13_1_3_if_modified_since() {
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
    fn rfc9111_4_3_2_without_a_last_modified_the_date_is_compared_and_then_the_arrival() {
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
    fn rfc9110_13_1_3_only_what_is_stored_is_compared_by_date() {
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
    fn rfc9110_13_2_1_conditions_apply_to_a_200_only() {
        let mut response = stored(&[("etag", "\"a\"")]);
        response.status = StatusCode::NOT_FOUND;
        assert!(!not_modified(&headers(&[("if-none-match", "\"a\"")]), &response));
    }

    #[test]
    fn rfc9111_4_3_1_the_stored_validators_replace_the_clients() {
        let mut request = headers(&[("if-none-match", "\"client\""), ("if-match", "\"x\""), ("accept", "*/*")]);
        set_condition(&mut request, &stored(&[("etag", "\"a\""), ("last-modified", "x")]));
        let expected = headers(&[("accept", "*/*"), ("if-none-match", "\"a\""), ("if-modified-since", "x")]);
        assert_eq!(request, expected);
    }

    #[test]
    fn rfc9111_3_2_a_304_updates_field_by_field() {
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
    fn rfc9111_3_2_what_describes_the_stored_content_stays_and_all_lines_of_a_field_are_replaced() {
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
        let lines = |name: &str| fresh.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!((lines("content-range"), lines("content-md5")), (vec!["bytes 0-1/9"], vec!["x"]));
        assert_eq!(
            (lines("content-digest"), lines("vary"), lines("link")),
            (vec!["x"], vec!["c"], vec!["</2>", "</3>"])
        );
    }

    #[test]
    fn rfc9111_4_3_1_without_a_validator_there_is_nothing_to_ask_by() {
        for (fields, asked) in [
            (&[][..], &[][..]),
            (&[("etag", "W/\"a\"")][..], &[("if-none-match", "W/\"a\"")][..]),
            (&[("last-modified", "x")], &[("if-modified-since", "x")]),
        ] {
            let mut request = headers(&[("if-match", "\"c\""), ("if-unmodified-since", "x"), ("if-range", "\"c\"")]);
            set_condition(&mut request, &stored(fields));
            assert_eq!((request, has_validator(&headers(fields))), (headers(asked), !fields.is_empty()));
        }
    }

    #[test]
    fn rfc9111_4_3_4_a_304_for_another_representation_freshens_nothing() {
        assert!(freshen(&stored(&[("etag", "\"a\"")]), stored(&[("etag", "\"b\"")])).is_none());
        let (then, later) = (http_date(1), http_date(2));
        let modified = |date| stored(&[("last-modified", date)]);
        assert!(freshen(&modified(&then), modified(&later)).is_none());
        assert!(freshen(&modified(&then), modified(&then)).is_some());
        // A validator that nothing stored corresponds to.
        assert!(freshen(&modified(&then), stored(&[("etag", "W/\"a\"")])).is_none());
        assert!(freshen(&stored(&[("etag", "\"a\"")]), modified(&then)).is_none());
        assert!(freshen(&modified(&then), stored(&[("etag", "W/\"a\""), ("last-modified", &then)])).is_some());
    }

    #[test]
    fn rfc9111_4_3_4_a_strong_tag_names_the_same_strong_tag_and_a_weak_one_either() {
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
    fn g2_what_does_not_say_where_it_stands_in_the_journal_confirms_nothing_of_ours() {
        let stamp = Stamp { origin: Some(Position::new(5, 0)), edge: Some(Seq(7)) };
        let (foreign, ours) = (stored(&[("etag", "\"a\"")]), StoredResponse { stamp, ..stored(&[("etag", "\"a\"")]) });
        for (old, answer, confirmed) in [(&ours, &foreign, false), (&ours, &ours, true), (&foreign, &ours, true)] {
            assert_eq!(freshen(old, answer.clone()).is_some(), confirmed);
            assert_eq!(matches!(by_head(old, answer.clone()), Head::Updates(_)), confirmed);
        }
    }

    #[test]
    fn rfc9111_4_3_5_a_head_updates_what_it_describes_and_nothing_else() {
        let old = stored(&[("etag", "\"a\""), ("content-length", "5"), ("cache-control", "max-age=1"), ("x", "1")]);
        let same = stored(&[("etag", "\"a\""), ("content-length", "5"), ("cache-control", "max-age=9")]);
        let Head::Updates(fresh) = by_head(&old, same.clone()) else { panic!("the same representation") };
        assert_eq!(fresh.headers["cache-control"], "max-age=9");
        assert_eq!((&fresh.headers["x"], &fresh.headers["etag"]), (&old.headers["x"], &old.headers["etag"]));
        for other in [("etag", "\"b\""), ("etag", "W/\"a\""), ("last-modified", "x"), ("content-length", "6")] {
            assert!(matches!(by_head(&old, stored(&[other])), Head::Outdates), "{other:?}");
        }
        for nothing in [&[][..], &[("content-length", "5")], &[("cache-control", "max-age=9")]] {
            assert!(matches!(by_head(&old, stored(nothing)), Head::Silent), "{nothing:?}");
        }
        let encoded = stored(&[("etag", "\"a\""), ("content-length", "3"), ("content-encoding", "gzip")]);
        let Head::Updates(fresh) = by_head(&old, encoded) else { panic!("lengths of two codings differ") };
        assert_eq!(fresh.headers.get("content-encoding"), None);
        let part = StoredResponse { status: StatusCode::PARTIAL_CONTENT, ..old };
        assert!(matches!(by_head(&part, same), Head::Silent), "its length is not that of the whole");
    }

    #[test]
    fn rfc9111_3_3_a_part_is_not_the_body_of_the_whole_that_shares_its_validator() {
        let whole = stored(&[("etag", "\"a\""), ("content-length", "10")]);
        assert!(same_body(&whole, &whole.clone()));
        let part = StoredResponse { status: StatusCode::PARTIAL_CONTENT, ..whole.clone() };
        assert!(!same_body(&whole, &part));
        for other in [("content-length", "5"), ("content-encoding", "gzip"), ("content-range", "bytes 0-4/10")] {
            let mut changed = whole.clone();
            changed.headers.extend(headers(&[other]));
            assert!(!same_body(&whole, &changed), "{other:?}");
        }
    }

    #[test]
    fn rfc9110_15_4_5_a_304_describes_no_content() {
        let mut fields = headers(&[("etag", "\"a\""), ("content-length", "5"), ("vary", "accept"), ("x", "y")]);
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
