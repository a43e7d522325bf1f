//! Dates and times as ids, with the types of `chrono` and `time`.
//!
//! ```text
//! date = year "-" month "-" day            2026-11-28, -0044-03-15, +12026-01-01
//! time = date "T" hh ":" mm ":" ss "Z"     2026-11-28T09:30:00Z
//!      / date "T" hh ":" mm ":" ss "." nanoseconds "Z"
//! ```
//!
//! This is RFC 3339 in UTC, extended to all years: a year outside 0 to 9999 has a sign, and at
//! least four digits (ISO 8601). Nanoseconds that are not zero are written with nine digits.
//! `chrono` counts a leap second as nanoseconds from 10^9 on, which are written with ten digits, so
//! each value has a text of its own.

use core::fmt::{self, Write};

const EXPECTED_DATE: &str = "a date like 2026-11-28";
const EXPECTED_TIME: &str = "a time in UTC like 2026-11-28T09:30:00Z";

/// A date of the proleptic Gregorian calendar, in numbers.
struct Date {
    year: i32,
    month: u8,
    day: u8,
}

impl Date {
    fn write(&self, out: &mut impl Write) -> fmt::Result {
        let Self { year, month, day } = self;
        match year {
            0..=9999 => write!(out, "{year:04}-{month:02}-{day:02}"),
            // The width includes the sign.
            _ => write!(out, "{year:+05}-{month:02}-{day:02}"),
        }
    }

    /// Parses numbers between hyphens; whether they are a date is for the calendar's type to check.
    fn parse(text: &str) -> Option<Self> {
        let (rest, day) = text.rsplit_once('-')?;
        let (year, month) = rest.rsplit_once('-')?;
        Some(Self { year: year.parse().ok()?, month: month.parse().ok()?, day: day.parse().ok()? })
    }
}

/// A date and a time of day in UTC, in numbers.
struct DateTime {
    date: Date,
    hour: u8,
    minute: u8,
    second: u8,
    nanosecond: u32,
}

impl DateTime {
    fn write(&self, out: &mut impl Write) -> fmt::Result {
        self.date.write(out)?;
        write!(out, "T{:02}:{:02}:{:02}", self.hour, self.minute, self.second)?;
        if self.nanosecond > 0 {
            write!(out, ".{:09}", self.nanosecond)?;
        }
        out.write_char('Z')
    }

    fn parse(text: &str) -> Option<Self> {
        let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
        let (time, nanosecond) = match time.split_once('.') {
            Some((time, fraction)) => (time, fraction.parse().ok()?),
            None => (time, 0),
        };
        let (hour, rest) = time.split_once(':')?;
        let (minute, second) = rest.split_once(':')?;
        let number = |text: &str| text.parse::<u8>().ok();
        let (hour, minute, second) = (number(hour)?, number(minute)?, number(second)?);
        Some(Self { date: Date::parse(date)?, hour, minute, second, nanosecond })
    }
}

#[cfg(feature = "chrono")]
mod of_chrono {
    use chrono::{Datelike, NaiveDate, NaiveTime, Timelike, Utc};

    use super::*;
    use crate::KeyId;

    fn numbers(date: NaiveDate) -> Date {
        // A month is at most 12 and a day at most 31.
        Date { year: date.year(), month: date.month() as u8, day: date.day() as u8 }
    }

    impl Date {
        fn to_chrono(&self) -> Option<NaiveDate> {
            NaiveDate::from_ymd_opt(self.year, self.month.into(), self.day.into())
        }
    }

    impl KeyId for NaiveDate {
        const EXPECTED: &'static str = EXPECTED_DATE;

        fn write_id(&self, out: &mut impl Write) -> fmt::Result {
            numbers(*self).write(out)
        }

        fn parse_id(text: &str) -> Option<Self> {
            Date::parse(text)?.to_chrono()
        }
    }

    impl KeyId for chrono::DateTime<Utc> {
        const EXPECTED: &'static str = EXPECTED_TIME;

        fn write_id(&self, out: &mut impl Write) -> fmt::Result {
            DateTime {
                date: numbers(self.date_naive()),
                // An hour is at most 23, a minute and a second at most 59.
                hour: self.hour() as u8,
                minute: self.minute() as u8,
                second: self.second() as u8,
                nanosecond: self.nanosecond(),
            }
            .write(out)
        }

        fn parse_id(text: &str) -> Option<Self> {
            let DateTime { date, hour, minute, second, nanosecond } = DateTime::parse(text)?;
            let time = NaiveTime::from_hms_opt(hour.into(), minute.into(), second.into())?;
            // Unlike the constructor, this accepts a leap second in any minute, as values can have
            // one.
            Some(date.to_chrono()?.and_time(time.with_nanosecond(nanosecond)?).and_utc())
        }
    }
}

#[cfg(feature = "time")]
mod of_time {
    use time::{Month, Time, UtcDateTime};

    use super::*;
    use crate::KeyId;

    fn numbers(date: time::Date) -> Date {
        Date { year: date.year(), month: date.month().into(), day: date.day() }
    }

    impl Date {
        fn to_time(&self) -> Option<time::Date> {
            time::Date::from_calendar_date(self.year, Month::try_from(self.month).ok()?, self.day).ok()
        }
    }

    impl KeyId for time::Date {
        const EXPECTED: &'static str = EXPECTED_DATE;

        fn write_id(&self, out: &mut impl Write) -> fmt::Result {
            numbers(*self).write(out)
        }

        fn parse_id(text: &str) -> Option<Self> {
            Date::parse(text)?.to_time()
        }
    }

    /// An `OffsetDateTime` is not an id, since equal values can differ in their offsets. Convert it
    /// with `to_utc()`.
    impl KeyId for UtcDateTime {
        const EXPECTED: &'static str = EXPECTED_TIME;

        fn write_id(&self, out: &mut impl Write) -> fmt::Result {
            let (hour, minute, second, nanosecond) = self.as_hms_nano();
            DateTime { date: numbers(self.date()), hour, minute, second, nanosecond }.write(out)
        }

        fn parse_id(text: &str) -> Option<Self> {
            let DateTime { date, hour, minute, second, nanosecond } = DateTime::parse(text)?;
            Some(Self::new(date.to_time()?, Time::from_hms_nano(hour, minute, second, nanosecond).ok()?))
        }
    }
}

#[cfg(all(test, feature = "chrono", feature = "time"))]
mod tests {
    use alloc::string::String;
    use alloc::vec::Vec;

    use chrono::{NaiveDate, NaiveTime, Timelike, Utc};
    use proptest::prelude::*;
    use time::UtcDateTime;

    use crate::KeyId;

    type ChronoTime = chrono::DateTime<Utc>;

    fn text(id: &impl KeyId) -> String {
        let mut text = String::new();
        id.write_id(&mut text).unwrap();
        text
    }

    /// Asserts that an id is written as `expected` and parses back.
    #[track_caller]
    fn assert_id<I: KeyId + PartialEq + core::fmt::Debug>(id: I, expected: &str) {
        assert_eq!(text(&id), expected);
        assert_eq!(I::parse_id(expected), Some(id));
    }

    #[test]
    fn both_crates_write_a_date_and_a_time_alike() {
        assert_id(NaiveDate::from_ymd_opt(2026, 11, 28).unwrap(), "2026-11-28");
        assert_id(time::Date::from_calendar_date(2026, time::Month::November, 28).unwrap(), "2026-11-28");
        let (seconds, nanoseconds) = (1_795_856_400, 5_000);
        assert_id(ChronoTime::from_timestamp(seconds, 0).unwrap(), "2026-11-28T09:00:00Z");
        assert_id(UtcDateTime::from_unix_timestamp(seconds).unwrap(), "2026-11-28T09:00:00Z");
        let text = "2026-11-28T09:00:00.000005000Z";
        assert_id(ChronoTime::from_timestamp(seconds, nanoseconds).unwrap(), text);
        let nanoseconds = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
        assert_id(UtcDateTime::from_unix_timestamp_nanos(nanoseconds).unwrap(), text);
    }

    #[test]
    fn years_outside_four_digits_have_a_sign() {
        let date = |year| NaiveDate::from_ymd_opt(year, 3, 15).unwrap();
        assert_id(date(-44), "-0044-03-15");
        assert_id(date(0), "0000-03-15");
        assert_id(date(9999), "9999-03-15");
        assert_id(date(10_000), "+10000-03-15");
        assert_id(NaiveDate::MIN, "-262143-01-01");
        assert_id(NaiveDate::MAX, "+262142-12-31");
        assert_id(ChronoTime::MAX_UTC, "+262142-12-31T23:59:59.999999999Z");
        assert_id(UtcDateTime::from_unix_timestamp(-70_000_000_000).unwrap(), "-0249-10-15T19:33:20Z");
    }

    #[test]
    fn a_leap_second_differs_from_the_seconds_beside_it() {
        let date = NaiveDate::from_ymd_opt(2016, 12, 31).unwrap();
        let leap = date.and_time(NaiveTime::from_hms_nano_opt(23, 59, 59, 1_500_000_000).unwrap()).and_utc();
        assert_id(leap, "2016-12-31T23:59:59.1500000000Z");
        let elsewhere = leap.with_second(30).unwrap();
        assert_id(elsewhere, "2016-12-31T23:59:30.1500000000Z");
    }

    #[test]
    fn a_text_that_is_no_date_or_time_is_refused() {
        for text in ["", "-", "2026-11", "2026-02-29", "2026-13-01", "2026-11-28Z", "2026-11-28T", "é-11-28"]
        {
            assert_eq!(NaiveDate::parse_id(text), None, "{text}");
            assert_eq!(time::Date::parse_id(text), None, "{text}");
        }
        for text in
            ["", "T", "TZ", "2026-11-28", "2026-11-28T09:00Z", "2026-11-28T24:00:00Z", "2026-11-28T09:00:60Z"]
        {
            assert_eq!(ChronoTime::parse_id(text), None, "{text}");
            assert_eq!(UtcDateTime::parse_id(text), None, "{text}");
        }
        // Chrono refuses nanoseconds from two seconds on, time those from one second on.
        assert_eq!(ChronoTime::parse_id("2026-11-28T09:00:00.2000000000Z"), None);
        assert_eq!(UtcDateTime::parse_id("2026-11-28T09:00:00.1000000000Z"), None);
    }

    /// Generates numbers in a range, its two ends and recent times among them.
    fn within(least: i64, most: i64) -> impl Strategy<Value = i64> {
        prop_oneof![least..=most, Just(least), Just(most), -100_000_000_000..=250_000_000_000i64]
    }

    fn chrono_time() -> impl Strategy<Value = ChronoTime> {
        let (least, most) = (ChronoTime::MIN_UTC.timestamp(), ChronoTime::MAX_UTC.timestamp());
        let nanosecond = prop_oneof![Just(0), 0..2_000_000_000u32];
        // A leap second at the very end of the range is beyond it.
        (within(least, most), nanosecond).prop_filter_map("beyond the range", |(seconds, nanosecond)| {
            ChronoTime::from_timestamp(seconds, 0).unwrap().with_nanosecond(nanosecond)
        })
    }

    fn utc_date_time() -> impl Strategy<Value = UtcDateTime> {
        let (least, most) = (UtcDateTime::MIN.unix_timestamp(), UtcDateTime::MAX.unix_timestamp());
        (within(least, most), prop_oneof![Just(0), 0..1_000_000_000u32]).prop_map(|(seconds, nanosecond)| {
            UtcDateTime::from_unix_timestamp(seconds).unwrap().replace_nanosecond(nanosecond).unwrap()
        })
    }

    proptest! {
        #[test]
        fn every_date_and_time_parses_back(chrono in chrono_time(), time in utc_date_time()) {
            prop_assert_eq!(ChronoTime::parse_id(&text(&chrono)), Some(chrono));
            prop_assert_eq!(NaiveDate::parse_id(&text(&chrono.date_naive())), Some(chrono.date_naive()));
            prop_assert_eq!(UtcDateTime::parse_id(&text(&time)), Some(time));
            prop_assert_eq!(time::Date::parse_id(&text(&time.date())), Some(time.date()));
        }

        #[test]
        fn different_times_have_different_texts(times in proptest::collection::vec((0..3i64, 0..2_000_000_000u32), 2)) {
            let times: Vec<_> = times.iter().map(|(seconds, nanosecond)| {
                ChronoTime::from_timestamp(*seconds, 0).unwrap().with_nanosecond(*nanosecond).unwrap()
            }).collect();
            prop_assert_eq!(times[0] == times[1], text(&times[0]) == text(&times[1]));
        }

        #[test]
        fn hostile_text_never_panics(junk in any::<String>(), near in "[-+]?[0-9]{1,12}-[0-9]{1,3}-[0-9]{1,3}(T[0-9]{1,3}:[0-9]{1,3}:[0-9]{1,3}(\\.[0-9]{0,12})?Z)?") {
            for text in [junk, near] {
                let _ = (NaiveDate::parse_id(&text), ChronoTime::parse_id(&text));
                let _ = (time::Date::parse_id(&text), UtcDateTime::parse_id(&text));
            }
        }
    }
}
