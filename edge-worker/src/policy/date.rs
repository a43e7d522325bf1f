//! The parser of dates in fields (RFC 9110 section 5.6.7, RFC 9111 section 4.2).
//!
//! Input: a field value. Output: its time, or `None` if it is not a valid date. All three formats
//! are accepted, case-insensitively. A time zone other than GMT is invalid. The day of the week is
//! not checked against the date, since no calculation uses it.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName};

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// Returns the date in the first line of a field; `None` if the field is absent or invalid. A
/// two-digit year is mapped to one of the hundred years that end 50 years after `now`.
pub fn date(headers: &HeaderMap, name: HeaderName, now: SystemTime) -> Option<SystemTime> {
    let value = headers.get(name)?.to_str().ok()?.to_ascii_lowercase();
    parse(value.trim_matches([' ', '\t']), now)
}

/// Parses a date in lower case.
fn parse(text: &str, now: SystemTime) -> Option<SystemTime> {
    if let Some((day_name, rest)) = text.split_once(", ") {
        let rest = rest.strip_suffix(" gmt")?;
        // IMF-fixdate: "sun, 06 nov 1994 08:49:37 gmt".
        if is_day(day_name, 3) {
            let [day, month, year, time] = words(rest, ' ')?;
            return unix_time(digits(year, 4)?, month, digits(day, 2)?, time);
        }
        // rfc850-date: "sunday, 06-nov-94 08:49:37 gmt".
        let (date, time) = rest.split_once(' ')?;
        let [day, month, year] = words(date, '-')?;
        let year = is_day(day_name, 9).then(|| full_year(digits(year, 2)?, now))??;
        return unix_time(year, month, digits(day, 2)?, time);
    }
    // asctime-date: "sun nov  6 08:49:37 1994".
    let (day_name, rest) = text.split_once(' ')?;
    let (month, rest) = rest.split_once(' ')?;
    let [day, time, year] = words(rest.strip_prefix(' ').unwrap_or(rest), ' ')?;
    let day = digits(day, if rest.starts_with(' ') { 1 } else { 2 })?;
    is_day(day_name, 3).then(|| unix_time(digits(year, 4)?, month, day, time))?
}

/// Splits `text` into exactly `N` parts; `None` if it has more or fewer.
fn words<const N: usize>(text: &str, separator: char) -> Option<[&str; N]> {
    let mut parts = text.split(separator);
    let mut words = [""; N];
    for word in &mut words {
        *word = parts.next()?;
    }
    parts.next().is_none().then_some(words)
}

/// Returns whether `name` is a day of the week, truncated to `length` letters.
fn is_day(name: &str, length: usize) -> bool {
    DAYS.iter().any(|day| day[..day.len().min(length)] == *name)
}

/// Parses a number of exactly `length` digits.
fn digits(text: &str, length: usize) -> Option<u64> {
    let all_digits = text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| text.parse().ok())?
}

/// Returns the year of a two-digit year: the latest year with these last digits that is at most 50
/// years in the future (RFC 9110 section 5.6.7).
fn full_year(two_digits: u64, now: SystemTime) -> Option<u64> {
    let (mut latest, mut days) =
        (1970 + 50, now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs() / 86_400);
    while days >= year_days(latest - 50) {
        days -= year_days(latest - 50);
        latest += 1;
    }
    let year = latest - latest % 100 + two_digits;
    Some(if year > latest { year - 100 } else { year })
}

/// Returns the time of a date. Returns `None` for an invalid date or time, and for years before
/// 1970.
fn unix_time(year: u64, month: &str, day: u64, time: &str) -> Option<SystemTime> {
    let month = MONTHS.iter().position(|name| *name == month)?;
    let [hour, minute, second] = words(time, ':')?;
    let (hour, minute, second) = (digits(hour, 2)?, digits(minute, 2)?, digits(second, 2)?);
    if !(1..=month_days(year, month)).contains(&day) || hour > 23 || minute > 59 || second > 60 || year < 1970
    {
        return None;
    }
    let days = (1970..year).map(year_days).sum::<u64>()
        + (0..month).map(|month| month_days(year, month)).sum::<u64>();
    // A leap second counts as the second before it: a date may be read as an earlier one, but not
    // as a later one (RFC 9111 section 4.2).
    let secs = (days + day - 1) * 86_400 + hour * 3600 + minute * 60 + second.min(59);
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(secs))
}

fn year_days(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

fn month_days(year: u64, month: usize) -> u64 {
    const DAYS: [u64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    DAYS[month] + u64::from(month == 1 && is_leap(year))
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use http::header;
    use proptest::prelude::*;

    use super::*;
    use crate::policy::testing::{at, headers};

    /// 2026-11-25.
    const NOW: u64 = 1_795_564_800;

    fn read(value: &str) -> Option<u64> {
        let date = date(&headers(&[("date", value)]), header::DATE, at(NOW))?;
        Some(date.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs())
    }

    #[test]
    fn rfc9110_5_6_7_all_three_formats_are_accepted() {
        for value in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            " Sun, 06 Nov 1994 08:49:37 GMT\t",
        ] {
            assert_eq!(read(value), Some(784_111_777), "{value}");
        }
        assert_eq!(read("Wed Nov 16 00:00:00 1994"), Some(784_944_000));
        assert_eq!(read("Thu, 29 Feb 2024 23:59:60 GMT"), Some(1_709_251_199));
    }

    #[test]
    fn rfc9110_5_6_7_a_two_digit_year_is_at_most_50_years_ahead() {
        for (year, full) in [("26", 2026), ("76", 2076), ("77", 1977), ("94", 1994), ("00", 2000)] {
            let long = read(&format!("Sun, 01 Mar {full} 00:00:00 GMT"));
            assert_eq!(read(&format!("Sunday, 01-Mar-{year} 00:00:00 GMT")), long, "{year}");
            assert!(long.is_some());
        }
    }

    #[test]
    fn rfc9111_4_2_case_is_ignored_and_zones_other_than_gmt_are_invalid() {
        assert_eq!(read("SUN, 06 nov 1994 08:49:37 gMT"), Some(784_111_777));
        for zone in ["UTC", "AEST", "+0000", "", "GMT+1"] {
            assert_eq!(read(&format!("Sun, 06 Nov 1994 08:49:37 {zone}")), None, "{zone}");
        }
    }

    #[test]
    fn rfc9111_5_3_other_formats_are_invalid() {
        for value in [
            "0",
            "",
            "tomorrow",
            "784111777",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun 06 Nov 1994 08:49:37 GMT",
            "Sun, 06-Nov-1994 08:49:37 GMT",
            "Sun, 06 Nov 94 08:49:37 GMT",
            "Sun, 06  Nov  1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 8:49:37 GMT",
            "Sun, 06 Nov 1994 08.49.37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 31 Nov 1994 08:49:37 GMT",
            "Mon, 29 Feb 1999 08:49:37 GMT",
            "Son, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov +994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
            "Sun Nov 6 08:49:37 1994",
            "Sun, 06 Nov 1969 08:49:37 GMT",
        ] {
            assert_eq!(read(value), None, "{value}");
        }
    }

    proptest! {
        #[test]
        fn a_formatted_date_parses_to_the_same_time(secs in 0u64..253_402_300_800) {
            let printed = httpdate::fmt_http_date(at(secs));
            prop_assert_eq!(read(&printed), Some(secs));
            prop_assert_eq!(read(&printed.to_lowercase()), Some(secs));
        }

        /// Compares with another parser: both read the same dates, except years of two digits, for
        /// which the other parser has a fixed century.
        #[test]
        fn hostile_dates_never_panic_and_agree_with_another_parser(value in "(Sun|Mon), ?[0-3][0-9] (Nov|Feb) [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT|[ -~]{0,40}") {
            if let Ok(theirs) = httpdate::parse_http_date(&value) {
                let theirs = theirs.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
                prop_assert_eq!(read(&value), Some(theirs));
            } else {
                read(&value);
            }
        }
    }
}
