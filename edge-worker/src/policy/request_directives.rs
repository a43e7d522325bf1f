//! The cache directives of a request (RFC 9111 section 5.2.1).
//!
//! They are advisory, and by default not obeyed: a shared cache that obeys `no-cache` lets any
//! client take the origin down by reloading; the large CDNs ignore them for the same reason. Where
//! a deployment obeys them, a malformed number counts as the strictest value, and the first of
//! repeated directives counts.

use std::time::Duration;

use http::{HeaderMap, header};
use shared_keys::{MAX_DELTA, cache_directives, delta_seconds};

/// The directives of a request. Absent directives are `None` or `false`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    /// `no-cache`: only a response that the origin has validated.
    pub no_cache: bool,
    /// `no-store`: do not store the response.
    pub no_store: bool,
    /// `only-if-cached`: do not fetch from the origin.
    pub only_if_cached: bool,
    /// `max-age`: the highest age.
    pub max_age: Option<Duration>,
    /// `min-fresh`: the shortest remaining freshness.
    pub min_fresh: Option<Duration>,
    /// `max-stale`: the longest staleness; unlimited without a number.
    pub max_stale: Option<Duration>,
}

impl RequestDirectives {
    /// Parses the directives of a request's fields.
    pub fn parse(headers: &HeaderMap) -> Self {
        let mut asked = Self::default();
        for value in headers.get_all(header::CACHE_CONTROL) {
            for (name, argument) in cache_directives(value.as_bytes()) {
                let number = || argument.as_deref().and_then(delta_seconds);
                match name.as_str() {
                    "no-cache" => asked.no_cache = true,
                    "no-store" => asked.no_store = true,
                    "only-if-cached" => asked.only_if_cached = true,
                    "max-age" => asked.max_age = asked.max_age.or(Some(number().unwrap_or_default())),
                    "min-fresh" => asked.min_fresh = asked.min_fresh.or(Some(number().unwrap_or(MAX_DELTA))),
                    "max-stale" if argument.is_none() => asked.max_stale = asked.max_stale.or(Some(MAX_DELTA)),
                    "max-stale" => asked.max_stale = asked.max_stale.or(Some(number().unwrap_or_default())),
                    _ => {}
                }
            }
        }
        asked
    }

    /// Whether what is stale is not taken, however short: who says how old it may be takes it so
    /// only with `max-stale` (5.2.1.1).
    pub fn refuses_stale(&self) -> bool {
        self.max_age.is_some() && self.max_stale.is_none()
    }

    /// Whether a response of this age and with so much freshness left is not good enough.
    pub fn refuses(&self, age: Duration, left: Duration) -> bool {
        self.no_cache
            || self.max_age.is_some_and(|max_age| age > max_age)
            || self.min_fresh.is_some_and(|min_fresh| left < min_fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::headers;

    fn asked(value: &str) -> RequestDirectives {
        RequestDirectives::parse(&headers(&[("cache-control", value)]))
    }

    #[test]
    fn rfc9111_5_2_1_directives_of_a_request() {
        let secs = |secs| Some(Duration::from_secs(secs));
        let expected = RequestDirectives {
            no_store: true,
            max_age: secs(5),
            min_fresh: secs(6),
            max_stale: secs(7),
            ..RequestDirectives::default()
        };
        assert_eq!(asked("Max-Age=5, min-fresh=\"6\", max-stale=7, NO-STORE, max-age=99, x=y"), expected);
        assert_eq!(asked("max-stale").max_stale, Some(MAX_DELTA));
        assert_eq!(
            asked("only-if-cached, no-cache"),
            RequestDirectives { only_if_cached: true, no_cache: true, ..RequestDirectives::default() }
        );
        let strictest = RequestDirectives {
            max_age: secs(0),
            min_fresh: Some(MAX_DELTA),
            max_stale: secs(0),
            ..RequestDirectives::default()
        };
        assert_eq!(asked("max-age=x, min-fresh, max-stale=-1"), strictest);
        assert_eq!(
            RequestDirectives::parse(&headers(&[("pragma", "no-cache")])),
            RequestDirectives::default(),
            "5.4: Pragma is deprecated"
        );
    }

    #[test]
    fn rfc9111_5_2_1_what_is_not_good_enough() {
        let secs = Duration::from_secs;
        for (value, age, left, refused) in [
            ("max-age=5", 5, 9, false),
            ("max-age=5", 6, 9, true),
            ("min-fresh=5", 0, 5, false),
            ("min-fresh=5", 0, 4, true),
            ("no-cache", 0, 9, true),
            ("no-store", 9, 0, false),
        ] {
            assert_eq!(asked(value).refuses(secs(age), secs(left)), refused, "{value}");
        }
    }
}
