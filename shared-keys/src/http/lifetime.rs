//! Lifetimes: how long a copy is fresh, and how long it may be served stale after that, in one type
//! for every layer.

use alloc::string::String;
use core::fmt::Write;
use core::str::FromStr;
use core::time::Duration;

use super::field_lists::split_outside_quotes;
use crate::{MAX_DELTA, ParseError, delta_seconds};

/// The time for which a copy is fresh, and the two windows after it in which the copy may be served
/// stale.
///
/// There is no constructor without `fresh`, so an entry always has an end. The windows default to
/// zero and have the meaning of RFC 5861: `stale_while_revalidate` applies while a refresh runs,
/// `stale_if_error` when the loader or origin fails.
///
/// ```
/// # extern crate shared_keys as origin_sdk;
/// use core::time::Duration;
/// use origin_sdk::Lifetime;
///
/// let lifetime = Lifetime::fresh(Duration::from_secs(60))
///     .stale_while_revalidate(Duration::from_secs(300));
/// assert_eq!(lifetime.to_directives(), "max-age=60, stale-while-revalidate=300");
/// assert_eq!(lifetime.total(), Duration::from_secs(360));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    fresh: Duration,
    stale_while_revalidate: Duration,
    stale_if_error: Duration,
}

impl Lifetime {
    /// Creates a lifetime with this freshness and no stale windows.
    #[must_use]
    pub const fn fresh(fresh: Duration) -> Self {
        Self { fresh, stale_while_revalidate: Duration::ZERO, stale_if_error: Duration::ZERO }
    }

    /// Sets the window after `fresh` in which a copy is served stale while a refresh runs.
    #[must_use]
    pub const fn stale_while_revalidate(self, window: Duration) -> Self {
        Self { stale_while_revalidate: window, ..self }
    }

    /// Sets the window after `fresh` in which a copy is served stale when a load fails.
    #[must_use]
    pub const fn stale_if_error(self, window: Duration) -> Self {
        Self { stale_if_error: window, ..self }
    }

    /// Returns how long a copy is fresh.
    #[must_use]
    pub const fn fresh_for(&self) -> Duration {
        self.fresh
    }

    /// Returns the window after `fresh` in which a copy may be served while a refresh runs.
    #[must_use]
    pub const fn swr_for(&self) -> Duration {
        self.stale_while_revalidate
    }

    /// Returns the window after `fresh` in which a copy may be served when a load fails.
    #[must_use]
    pub const fn sie_for(&self) -> Duration {
        self.stale_if_error
    }

    /// Returns how long a copy is worth storing: `fresh` plus the longer of the two windows.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.fresh.saturating_add(self.stale_while_revalidate.max(self.stale_if_error))
    }

    /// Returns the remaining lifetime of a copy with this age: first `fresh` shrinks, then the
    /// windows.
    ///
    /// ```
    /// # extern crate shared_keys as origin_sdk;
    /// use core::time::Duration;
    /// use origin_sdk::Lifetime;
    /// let lifetime: Lifetime = "max-age=60, stale-if-error=600".parse().unwrap();
    /// let after = |secs| lifetime.remaining(Duration::from_secs(secs)).to_directives();
    /// assert_eq!(after(45), "max-age=15, stale-if-error=600");
    /// assert_eq!(after(90), "max-age=0, stale-if-error=570");
    /// ```
    #[must_use]
    pub fn remaining(&self, age: Duration) -> Self {
        let past = age.saturating_sub(self.fresh);
        Self {
            fresh: self.fresh.saturating_sub(age),
            stale_while_revalidate: self.stale_while_revalidate.saturating_sub(past),
            stale_if_error: self.stale_if_error.saturating_sub(past),
        }
    }

    /// Returns the shorter of two lifetimes in every part, which is the lifetime of a value built
    /// from both.
    ///
    /// ```
    /// # extern crate shared_keys as origin_sdk;
    /// use origin_sdk::Lifetime;
    /// let long: Lifetime = "max-age=60, stale-if-error=600".parse().unwrap();
    /// let short: Lifetime = "max-age=5".parse().unwrap();
    /// assert_eq!(long.min(short), short);
    /// ```
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self {
            fresh: self.fresh.min(other.fresh),
            stale_while_revalidate: self.stale_while_revalidate.min(other.stale_while_revalidate),
            stale_if_error: self.stale_if_error.min(other.stale_if_error),
        }
    }

    /// Shortens `fresh` by a fraction of it, from 0 (unchanged) to 1 (zero). The windows are
    /// unchanged. A fraction that is negative or not a number counts as 0.
    ///
    /// With a random fraction, copies stored together do not expire together.
    ///
    /// ```
    /// # extern crate shared_keys as origin_sdk;
    /// use core::time::Duration;
    /// use origin_sdk::Lifetime;
    /// let minute = Duration::from_secs(60);
    /// let lifetime = Lifetime::fresh(minute).stale_if_error(10 * minute);
    /// assert_eq!(lifetime.jittered(0.25).to_directives(), "max-age=45, stale-if-error=600");
    /// ```
    #[must_use]
    pub fn jittered(self, part: f64) -> Self {
        let taken = match Duration::try_from_secs_f64(self.fresh.as_secs_f64() * part) {
            Ok(taken) => taken,
            // Longer than any duration, and so longer than `fresh`; or negative; or not a number.
            Err(_) if part > 0.0 => self.fresh,
            Err(_) => Duration::ZERO,
        };
        Self { fresh: self.fresh.saturating_sub(taken), ..self }
    }

    /// Returns the directives for `Cache-Control` or `CDN-Cache-Control`, which parse back. They
    /// are in whole seconds, rounded down, and at most [`MAX_DELTA`], since a cache need not read
    /// more. Empty windows are left out.
    ///
    /// Other directives, such as `private`, are for the caller to add.
    #[must_use]
    pub fn to_directives(&self) -> String {
        let mut text = String::with_capacity(64);
        let parts = [self.fresh, self.stale_while_revalidate, self.stale_if_error];
        for (name, part) in DIRECTIVES.into_iter().zip(parts) {
            let seconds = part.min(MAX_DELTA).as_secs();
            let first = text.is_empty();
            if first || seconds > 0 {
                // Writing to a String does not fail.
                let _ = write!(text, "{}{name}={seconds}", if first { "" } else { ", " });
            }
        }
        text
    }
}

/// The directive of each part.
const DIRECTIVES: [&str; 3] = ["max-age", "stale-while-revalidate", "stale-if-error"];

/// Parses a lifetime that a person wrote: the directives of [`Lifetime::to_directives`], of which
/// `max-age` is required, each once, in any order and case.
/// [`Directives::lifetime`](crate::Directives::lifetime) reads the lifetime of a header field
/// instead.
///
/// More than [`MAX_DELTA`] seconds are read as [`MAX_DELTA`] (RFC 9111 section 1.2.2).
///
/// ```
/// use shared_keys::Lifetime;
/// let lifetime: Lifetime = "max-age=60, stale-if-error=600".parse()?;
/// assert_eq!(lifetime.sie_for().as_secs(), 600);
/// let error = "max-age=60, no-store".parse::<Lifetime>().unwrap_err();
/// let expected = "`max-age=`, `stale-while-revalidate=` or `stale-if-error=`, each once";
/// assert_eq!((error.at(), error.expected()), (12, expected));
/// # Ok::<_, shared_keys::ParseError>(())
/// ```
impl FromStr for Lifetime {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        const NAMES: &str = "`max-age=`, `stale-while-revalidate=` or `stale-if-error=`, each once";
        let mut parts = [None; 3];
        for (at, directive) in split_outside_quotes(text, b',') {
            let (name, seconds) = directive.split_once('=').unwrap_or((directive, ""));
            let mut places = DIRECTIVES.into_iter().zip(&mut parts);
            let place = places.find(|(known, place)| known.eq_ignore_ascii_case(name) && place.is_none());
            let Some((_, place)) = place else { return Err(ParseError::new(NAMES, at, text)) };
            let Some(seconds) = delta_seconds(seconds.as_bytes()) else {
                return Err(ParseError::new("whole seconds", at + directive.len() - seconds.len(), text));
            };
            *place = Some(seconds);
        }
        match parts {
            [Some(fresh), swr, sie] => Ok(Self {
                fresh,
                stale_while_revalidate: swr.unwrap_or_default(),
                stale_if_error: sie.unwrap_or_default(),
            }),
            _ => Err(ParseError::new("`max-age=`", text.len(), text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use proptest::prelude::*;

    use super::*;
    use crate::Directives;

    fn of([fresh, swr, sie]: [Duration; 3]) -> Lifetime {
        Lifetime::fresh(fresh).stale_while_revalidate(swr).stale_if_error(sie)
    }

    fn duration() -> impl Strategy<Value = Duration> {
        let small = (0..3u64).prop_map(Duration::from_secs);
        let any = (any::<u64>(), 0..1_000_000_000u32).prop_map(|(secs, nanos)| Duration::new(secs, nanos));
        prop_oneof![Just(Duration::MAX), Just(MAX_DELTA), small, any]
    }

    fn lifetime() -> impl Strategy<Value = Lifetime> {
        [duration(), duration(), duration()].prop_map(of)
    }

    #[test]
    fn a_lifetime_is_refused_with_what_was_expected_and_where() {
        const NAMES: &str = "`max-age=`, `stale-while-revalidate=` or `stale-if-error=`, each once";
        for (text, expected, at) in [
            ("", NAMES, 0),
            ("60", NAMES, 0),
            ("s-maxage=60", NAMES, 0),
            ("max-age=60, no-cache", NAMES, 12),
            ("max-age=60,\tmax-age=60", NAMES, 12),
            ("max-age=60,", NAMES, 11),
            ("max-age =60", NAMES, 0),
            ("max-age", "whole seconds", 7),
            ("max-age=", "whole seconds", 8),
            ("max-age=-1", "whole seconds", 8),
            ("max-age=1, stale-if-error=1.5", "whole seconds", 26),
            ("max-age=\"60\"", "whole seconds", 8),
            ("stale-if-error=60", "`max-age=`", 17),
        ] {
            let error = text.parse::<Lifetime>().unwrap_err();
            assert_eq!((error.expected(), error.at()), (expected, at), "{text}");
        }
    }

    #[test]
    fn rfc9111_1_2_2_seconds_are_at_most_two_to_the_31_both_ways() {
        assert_eq!(
            of([Duration::MAX; 3]).to_directives(),
            "max-age=2147483648, stale-while-revalidate=2147483648, stale-if-error=2147483648"
        );
        for seconds in ["2147483648", "2147483649", "99999999999999999999999"] {
            assert_eq!(format!("max-age={seconds}").parse(), Ok(Lifetime::fresh(MAX_DELTA)), "{seconds}");
        }
    }

    #[test]
    fn arithmetic_saturates() {
        let endless = of([Duration::MAX; 3]);
        assert_eq!(endless.total(), Duration::MAX);
        assert_eq!(endless.remaining(Duration::MAX), of([Duration::ZERO, Duration::MAX, Duration::MAX]));
        assert_eq!(endless.jittered(1.0).fresh_for(), Duration::ZERO);
        assert_eq!(endless.jittered(f64::INFINITY).fresh_for(), Duration::ZERO);
        for nothing in [0.0, -1.0, f64::NAN, f64::NEG_INFINITY] {
            assert_eq!(endless.jittered(nothing), endless, "{nothing}");
        }
    }

    proptest! {
        #[test]
        fn a_lifetime_ends_at_the_same_time_whenever_it_is_asked(fresh: u32, swr: u32, sie: u32, age: u32) {
            let secs = |n| Duration::from_secs(u64::from(n));
            let whole = of([secs(fresh), secs(swr), secs(sie)]);
            prop_assert_eq!(whole.remaining(secs(age)).total(), whole.total().saturating_sub(secs(age)));
        }

        #[test]
        fn what_is_written_parses_back_in_either_field(lifetime in lifetime()) {
            let text = lifetime.to_directives();
            let parsed: Lifetime = text.parse().unwrap();
            let whole = |part: Duration| Duration::from_secs(part.min(MAX_DELTA).as_secs());
            prop_assert_eq!(parsed, of([lifetime.fresh, lifetime.swr_for(), lifetime.sie_for()].map(whole)));
            prop_assert_eq!(parsed.to_directives(), text.as_str());
            prop_assert_eq!(Directives::from_cache_control([text.as_bytes()]).lifetime(), Some(parsed));
            prop_assert_eq!(Directives::from_targeted(text.as_bytes()).and_then(|said| said.lifetime()), Some(parsed));
        }

        #[test]
        fn arithmetic_never_makes_a_lifetime_longer(a in lifetime(), b in lifetime(), age in duration(), part: f64) {
            for less in [a.min(b), a.remaining(age), a.jittered(part)] {
                prop_assert_eq!(less.min(a), less);
                prop_assert!(less.total() <= a.total());
            }
            prop_assert_eq!(a.min(b), b.min(a));
            let jittered = a.jittered(part);
            prop_assert_eq!((jittered.swr_for(), jittered.sie_for()), (a.swr_for(), a.sie_for()));
        }

        #[test]
        fn a_part_of_fresh_is_taken(fresh: u32, part in 0.0..=1.0) {
            let left = Lifetime::fresh(Duration::from_secs(u64::from(fresh))).jittered(part).fresh_for().as_secs_f64();
            prop_assert!((left - f64::from(fresh) * (1.0 - part)).abs() < 1e-5);
        }

        #[test]
        fn hostile_texts_never_panic(text in any::<String>(), directives in "((max-age|stale-if-error|=|,| |9|x){1,3}){0,6}") {
            for text in [text, directives] {
                if let Ok(lifetime) = text.parse::<Lifetime>() {
                    prop_assert_eq!(lifetime.to_directives().parse(), Ok(lifetime));
                }
            }
        }
    }
}
