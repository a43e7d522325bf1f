//! The parts of a response (RFC 9110 section 14, RFC 9111 sections 3.3 and 3.4).
//!
//! Input: a request and a stored response. Output: the octets of the stored response that answer
//! the request. A stored response is either whole (200) or one part (206), whose `Content-Range`
//! gives its position. A part never answers a request for the whole.
//!
//! Choices where the RFC leaves room:
//! - Ranges that touch are joined. If several ranges remain, the whole is served: RFC 9110 section
//!   14.2 allows to ignore `Range`.
//! - A part that is shorter than its `Content-Range` contains the first octets of that range. A
//!   part that is longer is not cut, since its octets have no known position.
//! - Parts are not combined: each fill replaces the stored response. A part that covers the whole
//!   length is stored as the whole.
//! - A response to a `Range` also answers the identical `Range` again, unchanged, unless it was cut
//!   off. So a message of several parts, and a part of a whole of unknown length, are reused as
//!   well.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::date::date;
use super::{Request, StoredResponse};

/// The most satisfiable ranges of a `Range` field. A field with more is ignored, as an error or an
/// attack (RFC 9110 section 14.2).
const MAX_RANGES: usize = 16;

/// The internal field of a stored 206 that holds the `Range` of its request.
pub const ANSWERED_RANGE: HeaderName = HeaderName::from_static("strata-range");

/// A range of octets in a whole of known length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Octets {
    /// The position of the first octet, from 0.
    pub first: u64,
    /// The position of the last octet, inclusive.
    pub last: u64,
    /// The number of octets of the whole.
    pub length: u64,
}

/// The part of a stored response that answers a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The stored response, unchanged.
    Whole,
    /// A range of octets, served as a 206.
    Octets(Octets),
    /// No octets, served as a 416.
    Unsatisfiable {
        /// The number of octets of the whole.
        length: u64,
    },
}

impl Octets {
    /// Returns the number of octets in the range.
    pub fn count(self) -> u64 {
        self.last - self.first + 1
    }

    /// Returns whether the range covers the whole.
    pub fn is_whole(self) -> bool {
        self.count() == self.length
    }

    /// Parses the `Content-Range` field; `None` if it is absent, invalid, of another unit than
    /// `bytes`, or without a known length (RFC 9110 section 14.4).
    pub fn from_content_range(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
        let (unit, range) = value.split_once(' ')?;
        let (range, length) = range.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let octets = Self { first: number(first)?, last: number(last)?, length: number(length)? };
        let valid =
            unit.eq_ignore_ascii_case("bytes") && octets.first <= octets.last && octets.last < octets.length;
        valid.then_some(octets)
    }

    /// Returns the `Content-Range` of these octets.
    pub fn content_range(self) -> HeaderValue {
        text(format!("bytes {}-{}/{}", self.first, self.last, self.length))
    }
}

/// Returns the `Content-Range` of a 416 for a whole of `length` octets (RFC 9110 section 15.5.17).
pub fn unsatisfied(length: u64) -> HeaderValue {
    text(format!("bytes */{length}"))
}

fn text(value: String) -> HeaderValue {
    HeaderValue::try_from(value).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Returns a response as it is stored. `length` is the number of octets of the received body, or
/// `None` without a body; it replaces `Content-Length`. A part that covers the whole becomes a 200.
pub fn as_stored(mut response: StoredResponse, length: Option<u64>) -> StoredResponse {
    if let Some(length) = length {
        let declared = response.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        let named = Octets::from_content_range(&response.headers);
        // Without a declared length the body ends with the connection (RFC 9112 section 8). Only
        // `Content-Range` then shows that it was cut off and does not answer the whole request.
        if declared.is_none() && named.is_some_and(|named| named.count() != length) {
            response.headers.remove(ANSWERED_RANGE);
        }
    }
    if response.status == StatusCode::PARTIAL_CONTENT
        && stored_octets(&response).is_some_and(Octets::is_whole)
    {
        response.status = StatusCode::OK;
        response.headers.remove(header::CONTENT_RANGE);
        response.headers.remove(ANSWERED_RANGE);
    }
    response
}

/// Returns the octets of the whole that a stored 200 or 206 contains. Every stored response with a
/// body has a `Content-Length`. Returns `None` if the length, or the position of a part, is
/// unknown.
pub fn stored_octets(stored: &StoredResponse) -> Option<Octets> {
    held_octets(stored.status, &stored.headers)
}

/// As [`stored_octets`], by the status and the fields of the stored response.
pub fn held_octets(status: StatusCode, headers: &HeaderMap) -> Option<Octets> {
    let held = content_length(headers)?;
    if status != StatusCode::PARTIAL_CONTENT {
        return Some(Octets { first: 0, last: held.checked_sub(1)?, length: held });
    }
    let named = Octets::from_content_range(headers)?;
    (1..=named.count()).contains(&held).then(|| Octets { last: named.first + held - 1, ..named })
}

/// Selects the part of `stored` that answers the request, after the evaluation of its other
/// conditions (RFC 9110 section 13.2.2). Returns `None` if the requested part is not fully stored.
pub fn select(request: Request<'_>, stored: &StoredResponse) -> Option<Part> {
    let whole = (stored.status != StatusCode::PARTIAL_CONTENT).then_some(Part::Whole);
    // `Range` applies only to a GET whose response would be a 200 (RFC 9110 section 14.2).
    if *request.method != Method::GET
        || !matches!(stored.status, StatusCode::OK | StatusCode::PARTIAL_CONTENT)
    {
        return whole;
    }
    let Some(range) = request.headers.get(header::RANGE) else { return whole };
    if !if_range_holds(request.headers, stored) {
        return whole;
    }
    if stored.headers.get(ANSWERED_RANGE) == Some(range) {
        return Some(Part::Whole);
    }
    let Some(held) = stored_octets(stored) else { return whole };
    match requested(range.as_bytes(), held.length) {
        Part::Whole => whole,
        Part::Octets(octets) => {
            (held.first <= octets.first && octets.last <= held.last).then_some(Part::Octets(octets))
        }
        unsatisfiable => Some(unsatisfiable),
    }
}

/// Returns the part of a whole of `length` octets that a `Range` field requests, or the whole if
/// the field is ignored.
fn requested(range: &[u8], length: u64) -> Part {
    let Some(ranges) = str::from_utf8(range).ok().and_then(|range| satisfiable(range, length)) else {
        return Part::Whole;
    };
    let Some((first, mut last)) = ranges.first().copied() else { return Part::Unsatisfiable { length } };
    // The ranges are sorted by their first octet. Join those that touch or overlap.
    for (next_first, next_last) in &ranges[1..] {
        if *next_first > last.saturating_add(1) {
            return Part::Whole;
        }
        last = last.max(*next_last);
    }
    Part::Octets(Octets { first, last, length })
}

/// Parses the satisfiable ranges as `(first, last)`, sorted by their first octet. Returns `None` if
/// the field is invalid, its unit is not `bytes`, or it has too many ranges (RFC 9110 sections
/// 14.1.1 and 14.2).
fn satisfiable(range: &str, length: u64) -> Option<Vec<(u64, u64)>> {
    let (unit, set) = range.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (mut ranges, mut any) = (Vec::new(), false);
    for spec in set.split(',').map(|spec| spec.trim_matches([' ', '\t'])).filter(|spec| !spec.is_empty()) {
        any = true;
        let (first, last) = spec.split_once('-')?;
        let (first, last) = if first.is_empty() {
            let suffix = number(last)?.min(length);
            // A suffix of length 0, and any suffix of an empty whole, starts at `length` and is
            // therefore unsatisfiable (RFC 9110 section 14.1.2).
            (length - suffix, length.saturating_sub(1))
        } else {
            let first = number(first)?;
            let last = if last.is_empty() { u64::MAX } else { number(last)? };
            if last < first {
                return None;
            }
            (first, last.min(length.saturating_sub(1)))
        };
        if first < length {
            if ranges.len() == MAX_RANGES {
                return None;
            }
            // Insertion sort: there are at most `MAX_RANGES` ranges.
            let at = ranges.iter().take_while(|(before, _)| *before <= first).count();
            ranges.insert(at, (first, last));
        }
    }
    any.then_some(ranges)
}

/// Returns whether `If-Range` is absent or equals a strong validator of the stored response (RFC
/// 9110 section 13.1.5).
fn if_range_holds(request: &HeaderMap, stored: &StoredResponse) -> bool {
    let Some(condition) = request.get(header::IF_RANGE) else { return true };
    if condition.as_bytes().starts_with(b"\"") {
        return stored.headers.get(header::ETAG) == Some(condition);
    }
    let modified = date(&stored.headers, header::LAST_MODIFIED, stored.response_time);
    let generated = date(&stored.headers, header::DATE, stored.response_time);
    // `Last-Modified` is a strong validator if `Date` is at least a second later (RFC 9110 section
    // 8.8.2.2). A weak entity tag is never strong; here it fails to parse as a date.
    modified.zip(generated).is_some_and(|(modified, generated)| modified < generated)
        && date(request, header::IF_RANGE, stored.response_time) == modified
}

/// Returns the value of the `Content-Length` field; `None` if it is absent or not a number.
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    number(headers.get(header::CONTENT_LENGTH)?.to_str().ok()?)
}

/// Parses a number of digits only, without a sign. A number above [`u64::MAX`] counts as the
/// maximum.
pub fn number(text: &str) -> Option<u64> {
    let all_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::testing::{ARRIVED, get, headers, http_date, stored};

    fn octets(first: u64, last: u64, length: u64) -> Part {
        Part::Octets(Octets { first, last, length })
    }

    #[test]
    fn rfc9110_14_1_2_a_single_range_selects_its_octets_or_is_unsatisfiable() {
        for (range, expected) in [
            ("bytes=0-1", octets(0, 1, 10)),
            ("Bytes=9-9", octets(9, 9, 10)),
            ("bytes=1-", octets(1, 9, 10)),
            ("bytes=-1", octets(9, 9, 10)),
            ("bytes=-99", octets(0, 9, 10)),
            ("bytes=3-99999999999999999999999", octets(3, 9, 10)),
            ("bytes= 3-4 ,", octets(3, 4, 10)),
            ("bytes=10-", Part::Unsatisfiable { length: 10 }),
            ("bytes=99999999999999999999999-", Part::Unsatisfiable { length: 10 }),
            ("bytes=-0", Part::Unsatisfiable { length: 10 }),
        ] {
            assert_eq!(requested(range.as_bytes(), 10), expected, "{range}");
        }
        assert_eq!(requested(b"bytes=-5", 0), Part::Unsatisfiable { length: 0 });
    }

    #[test]
    fn rfc9110_14_2_an_invalid_range_is_ignored() {
        for range in [
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=a-b",
            "bytes=2-1",
            "bytes=1-2-3",
            "bytes=+1-2",
            "bytes=0-1, x",
            "lines=0-1",
            "0-1",
            "bytes=0 -1",
        ] {
            assert_eq!(requested(range.as_bytes(), 10), Part::Whole, "{range}");
        }
        let many: Vec<String> = (0..=MAX_RANGES).map(|at| format!("{at}-{at}")).collect();
        assert_eq!(requested(format!("bytes={}", many.join(",")).as_bytes(), 100), Part::Whole);
    }

    #[test]
    fn rfc9110_15_3_7_2_several_ranges_are_joined_or_answered_with_the_whole() {
        for (range, expected) in [
            ("bytes=0-1, 2-3", octets(0, 3, 10)),
            ("bytes=5-6, 0-5", octets(0, 6, 10)),
            ("bytes=0-1, 20-30", octets(0, 1, 10)),
            ("bytes=0-1, -2", Part::Whole),
            ("bytes=20-30, 40-", Part::Unsatisfiable { length: 10 }),
        ] {
            assert_eq!(requested(range.as_bytes(), 10), expected, "{range}");
        }
    }

    #[test]
    fn rfc9110_15_5_17_a_416_states_the_length_of_the_whole() {
        let whole = stored(&[("content-length", "10")]);
        let Some(Part::Unsatisfiable { length }) = select_of(&whole, &[("range", "bytes=10-")]) else {
            panic!("expected a 416")
        };
        assert_eq!(unsatisfied(length), "bytes */10");
    }

    #[test]
    fn rfc9110_14_4_a_content_range_is_parsed_and_formatted_alike() {
        let parsed = |value| Octets::from_content_range(&headers(&[("content-range", value)]));
        assert_eq!(parsed("bytes 42-1233/1234").map(Octets::content_range).unwrap(), "bytes 42-1233/1234");
        for invalid in [
            "bytes 42-1233/*",
            "bytes */1234",
            "bytes 9-8/10",
            "bytes 0-10/10",
            "bytes=0-1/10",
            "x 0-1/10",
            "",
        ] {
            assert_eq!(parsed(invalid), None, "{invalid}");
        }
    }

    fn select_of(stored: &StoredResponse, fields: &[(&str, &str)]) -> Option<Part> {
        select(get(&headers(fields)), stored)
    }

    #[test]
    fn rfc9110_14_2_only_a_get_of_a_200_has_parts() {
        let mut response = stored(&[("content-length", "10")]);
        let range = headers(&[("range", "bytes=0-1")]);
        assert_eq!(select(get(&range), &response), Some(octets(0, 1, 10)));
        assert_eq!(select(Request { method: &Method::HEAD, ..get(&range) }, &response), Some(Part::Whole));
        response.status = StatusCode::NOT_FOUND;
        assert_eq!(select(get(&range), &response), Some(Part::Whole));
        assert_eq!(select(get(&range), &stored(&[])), Some(Part::Whole), "a length that is not known");
    }

    #[test]
    fn rfc9110_13_1_5_if_range_without_a_range_is_ignored() {
        let response = stored(&[("content-length", "10"), ("etag", "\"a\"")]);
        assert_eq!(select_of(&response, &[("if-range", "\"a\"")]), Some(Part::Whole));
        assert_eq!(select_of(&response, &[("if-range", "\"b\"")]), Some(Part::Whole));
    }

    #[test]
    fn rfc9110_13_1_5_if_range_needs_a_strong_validator() {
        let part = octets(0, 1, 10);
        let (modified, later) = (http_date(ARRIVED - 1), http_date(ARRIVED));
        let dated = |date: &str| {
            stored(&[
                ("content-length", "10"),
                ("etag", "\"a\""),
                ("last-modified", &modified),
                ("date", date),
            ])
        };
        let response = dated(&later);
        let of = |response: &StoredResponse, condition| {
            select_of(response, &[("range", "bytes=0-1"), ("if-range", condition)])
        };
        for (condition, expected) in [
            ("\"a\"", part),
            ("\"b\"", Part::Whole),
            ("W/\"a\"", Part::Whole),
            (modified.as_str(), part),
            (later.as_str(), Part::Whole),
            ("a", Part::Whole),
        ] {
            assert_eq!(of(&response, condition), Some(expected), "{condition}");
        }
        assert_eq!(
            of(&dated(&modified), &modified),
            Some(Part::Whole),
            "the representation can change within that second"
        );
        let weak = stored(&[("content-length", "10"), ("etag", "W/\"a\"")]);
        assert_eq!(of(&weak, "W/\"a\""), Some(Part::Whole));
    }

    #[test]
    fn rfc9111_3_3_a_part_answers_only_ranges_inside_it() {
        let part = |content_range, length| {
            let fields = [("content-range", content_range), ("content-length", length), ("etag", "\"a\"")];
            StoredResponse { status: StatusCode::PARTIAL_CONTENT, ..stored(&fields) }
        };
        let response = part("bytes 4-8/10", "5");
        for (range, expected) in [
            ("bytes=6-8", Some(octets(6, 8, 10))),
            ("bytes=4-8", Some(octets(4, 8, 10))),
            ("bytes=3-5", None),
            ("bytes=6-", None),
            ("bytes=-1", None),
            ("bytes=x", None),
            ("bytes=10-", Some(Part::Unsatisfiable { length: 10 })),
        ] {
            assert_eq!(select_of(&response, &[("range", range)]), expected, "{range}");
        }
        assert_eq!(select_of(&response, &[]), None);
        assert_eq!(stored_octets(&as_stored(response.clone(), None)), stored_octets(&response));
        assert_eq!(select_of(&response, &[("range", "bytes=6-8"), ("if-range", "\"b\"")]), None);
        // A part shorter than its `Content-Range` contains the first octets. The octets of a longer
        // part, or of a part without a position, are unknown.
        assert_eq!(stored_octets(&part("bytes 4-9/10", "5")), Some(Octets { first: 4, last: 8, length: 10 }));
        for (content_range, length) in [
            ("bytes 4-8/10", "6"),
            ("bytes 4-8/10", "0"),
            ("bytes 4-8/*", "5"),
            ("bytes */10", "5"),
            ("bytes 8-4/10", "5"),
            ("bytes 4-10/10", "7"),
            ("lines 4-8/10", "5"),
            ("4-8/10", "5"),
        ] {
            assert_eq!(stored_octets(&part(content_range, length)), None, "{content_range} {length}");
        }
    }

    #[test]
    fn rfc9111_3_3_a_part_answers_the_range_field_of_its_own_request() {
        let own_range = "bytes=0-0, -1";
        for content in
            [("content-type", "multipart/byteranges; boundary=a"), ("content-range", "bytes 0-0/*")]
        {
            let fields = [content, ("content-length", "40"), ("etag", "\"a\""), ("strata-range", own_range)];
            let part = StoredResponse { status: StatusCode::PARTIAL_CONTENT, ..stored(&fields) };
            let part = as_stored(part, Some(40));
            assert_eq!(part.status, StatusCode::PARTIAL_CONTENT);
            for (fields, expected) in [
                (vec![("range", own_range)], Some(Part::Whole)),
                (vec![("range", own_range), ("if-range", "\"a\"")], Some(Part::Whole)),
                (vec![("range", own_range), ("if-range", "\"b\"")], None),
                (vec![("range", "bytes=0-0")], None),
                (vec![], None),
            ] {
                assert_eq!(select_of(&part, &fields), expected, "{fields:?}");
            }
        }
        let whole =
            [("content-range", "bytes 0-9/10"), ("content-length", "10"), ("strata-range", "bytes=0-")];
        let whole =
            as_stored(StoredResponse { status: StatusCode::PARTIAL_CONTENT, ..stored(&whole) }, Some(10));
        assert_eq!((whole.status, whole.headers.len()), (StatusCode::OK, 1), "{:?}", whole.headers);
    }

    #[test]
    fn rfc9111_3_3_a_truncated_part_does_not_answer_the_range_field_of_its_own_request() {
        let own_range = [("range", "bytes=4-9")];
        for (declared, length, answers) in
            [(None, 6, true), (None, 5, false), (Some("6"), 6, true), (Some("5"), 5, true)]
        {
            let mut part = stored(&[("content-range", "bytes 4-9/12"), ("strata-range", "bytes=4-9")]);
            part.status = StatusCode::PARTIAL_CONTENT;
            part.headers
                .extend(declared.map(|length| (header::CONTENT_LENGTH, HeaderValue::from_static(length))));
            let part = as_stored(part, Some(length));
            assert_eq!(select_of(&part, &own_range) == Some(Part::Whole), answers, "{declared:?} {length}");
            assert_eq!(
                select_of(&part, &[("range", "bytes=5-6")]),
                Some(octets(5, 6, 12)),
                "its first octets are known"
            );
        }
    }

    proptest! {
        /// For any `Range`, the selected part lies inside the whole and inside the stored part.
        #[test]
        fn a_selected_part_is_stored(
            range in "bytes=[0-9]{0,2}-[0-9]{0,2}(, ?[0-9]{0,2}-[0-9]{0,2}){0,2}|[ -~]{0,20}", first in 0u64..20, more in 0u64..20, after in 0u64..20,
        ) {
            let named = Octets { first, last: first + more, length: first + more + 1 + after };
            let fields = [("content-range", named.content_range().to_str().unwrap().to_owned()), ("content-length", named.count().to_string())];
            let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let part = StoredResponse { status: StatusCode::PARTIAL_CONTENT, ..stored(&fields) };
            prop_assert_eq!(stored_octets(&part), Some(named));
            match select_of(&part, &[("range", &range)]) {
                Some(Part::Octets(octets)) => {
                    prop_assert!(octets.first <= octets.last && octets.length == named.length);
                    prop_assert!(named.first <= octets.first && octets.last <= named.last);
                }
                Some(Part::Whole) => prop_assert!(false, "a part is not the whole"),
                Some(Part::Unsatisfiable { length }) => prop_assert_eq!(length, named.length),
                None => {}
            }
        }

        #[test]
        fn hostile_ranges_never_panic(range in proptest::collection::vec(any::<u8>(), 0..40), length in any::<u64>()) {
            requested(&range, length);
        }
    }
}
