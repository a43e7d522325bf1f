//! The age of a stored response (RFC 9111 section 4.2.3).
//!
//! Input: the header section of the response, the times of its request and its arrival, and the
//! current time. Output: the seconds since the origin generated or validated it. No other machine's
//! clock can make a response younger than the time spent in this cache.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};
use shared_keys::{MAX_DELTA, delta_seconds, split_list};

use super::date::date;

/// Returns the age at arrival (`corrected_initial_age`): the greater of the apparent age, from
/// `Date`, and the corrected `Age` value. At most [`MAX_DELTA`].
pub fn corrected_initial_age(
    headers: &HeaderMap,
    request_time: SystemTime,
    response_time: SystemTime,
) -> Duration {
    // HTTP dates have whole seconds, so the apparent age is truncated to whole seconds as well.
    let apparent_age = date(headers, header::DATE, response_time)
        .and_then(|date_value| response_time.duration_since(date_value).ok())
        .map(|age| Duration::from_secs(age.as_secs()))
        .unwrap_or_default();
    let response_delay = response_time.duration_since(request_time).unwrap_or_default();
    let corrected_age_value = age_value(headers).saturating_add(response_delay);
    apparent_age.max(corrected_age_value).min(MAX_DELTA)
}

/// Returns the age at `now` (`current_age`): [`corrected_initial_age`] plus the time since the
/// response arrived. At most [`MAX_DELTA`]. A clock that runs backwards adds nothing.
pub fn current_age(
    headers: &HeaderMap,
    request_time: SystemTime,
    response_time: SystemTime,
    now: SystemTime,
) -> Duration {
    let resident_time = now.duration_since(response_time).unwrap_or_default();
    corrected_initial_age(headers, request_time, response_time).saturating_add(resident_time).min(MAX_DELTA)
}

/// Returns the first member of the `Age` field; zero if the field is absent or not a number
/// (RFC 9111 section 5.1).
fn age_value(headers: &HeaderMap) -> Duration {
    headers
        .get(header::AGE)
        .and_then(|value| delta_seconds(split_list(value.as_bytes()).next()?))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::testing::{at, headers, http_date};

    #[test]
    fn rfc9111_4_2_3_the_initial_age_is_the_greater_of_date_and_corrected_age() {
        #[expect(clippy::type_complexity, reason = "a table's row")]
        let rows: [(&str, Vec<(&str, String)>, u64, u64, u64); 7] = [
            ("no field", vec![], 100, 100, 0),
            ("apparent age", vec![("date", http_date(90))], 100, 100, 10),
            ("a date in the future counts as now", vec![("date", http_date(200))], 100, 100, 0),
            ("Age wins when larger", vec![("date", http_date(95)), ("age", "30".into())], 100, 100, 30),
            ("the delay is added to Age", vec![("age", "30".into())], 95, 100, 35),
            ("the date wins when larger", vec![("date", http_date(40)), ("age", "30".into())], 95, 100, 60),
            ("an invalid date is ignored", vec![("date", "0".into())], 98, 100, 2),
        ];
        for (case, fields, request_time, response_time, expected) in rows {
            let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
            let age = corrected_initial_age(&headers(&fields), at(request_time), at(response_time));
            assert_eq!(age.as_secs(), expected, "{case}");
        }
    }

    #[test]
    fn rfc9111_5_1_the_first_member_counts_and_an_invalid_age_is_zero() {
        for (value, expected) in
            [("7", 7), ("7, 9", 7), ("-1", 0), ("x", 0), ("1.5", 0), ("", 0), ("99999999999", 1 << 31)]
        {
            assert_eq!(age_value(&headers(&[("age", value)])).as_secs(), expected, "{value}");
        }
    }

    #[test]
    fn rfc9111_4_2_3_the_resident_time_is_added() {
        assert_eq!(current_age(&headers(&[("age", "5")]), at(100), at(101), at(111)).as_secs(), 16);
        assert_eq!(current_age(&headers(&[]), at(100), at(100), at(50)).as_secs(), 0);
    }

    proptest! {
        #[test]
        fn age_never_falls_while_time_passes(
            age in any::<u64>(), date in 0u64..1 << 40, came in 0u64..1 << 40, later in 0u64..1 << 33, more in 0u64..1 << 33,
        ) {
            let headers = headers(&[("age", &age.to_string()), ("date", &http_date(date.min(253_402_300_799)))]);
            let first = current_age(&headers, at(came), at(came), at(came + later));
            let second = current_age(&headers, at(came), at(came), at(came + later + more));
            prop_assert!(first <= second);
            prop_assert!(first >= Duration::from_secs(later).min(MAX_DELTA));
        }
    }
}
