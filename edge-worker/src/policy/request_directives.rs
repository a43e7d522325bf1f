//! The cache directives of a request (RFC 9111 section 5.2.1).
//!
//! They are advisory and ignored by default: in a shared cache that obeys `no-cache`, any client
//! can overload the origin by reloading. The large CDNs ignore them for the same reason. If a
//! deployment obeys them, an invalid number counts as the strictest value, and the first of
//! repeated directives counts.

use std::time::Duration;

use http::{HeaderMap, header};
use shared_keys::{MAX_DELTA, cache_directives, delta_seconds};

/// The directives of a request. Absent directives are `None` or `false`. The sections are those of
/// RFC 9111.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    /// `no-cache`: do not serve a stored response without validation (5.2.1.4).
    pub no_cache: bool,
    /// `no-store`: do not store the response (5.2.1.5).
    pub no_store: bool,
    /// `only-if-cached`: do not fetch from the origin (5.2.1.7).
    pub only_if_cached: bool,
    /// `max-age`: the greatest acceptable age (5.2.1.1).
    pub max_age: Option<Duration>,
    /// `min-fresh`: the shortest acceptable remaining freshness (5.2.1.3).
    pub min_fresh: Option<Duration>,
    /// `max-stale`: the longest acceptable staleness; [`MAX_DELTA`] without a number (5.2.1.2).
    pub max_stale: Option<Duration>,
}

impl RequestDirectives {
    /// Parses the `Cache-Control` field of a request. `Pragma` is ignored (RFC 9111 section 5.4).
    pub fn parse(headers: &HeaderMap) -> Self {
        let mut parsed = Self::default();
        for value in headers.get_all(header::CACHE_CONTROL) {
            for (name, argument) in cache_directives(value.as_bytes()) {
                let number = || argument.as_deref().and_then(delta_seconds);
                match name.as_str() {
                    "no-cache" => parsed.no_cache = true,
                    "no-store" => parsed.no_store = true,
                    "only-if-cached" => parsed.only_if_cached = true,
                    "max-age" => parsed.max_age = parsed.max_age.or(Some(number().unwrap_or_default())),
                    "min-fresh" => {
                        parsed.min_fresh = parsed.min_fresh.or(Some(number().unwrap_or(MAX_DELTA)));
                    }
                    "max-stale" if argument.is_none() => {
                        parsed.max_stale = parsed.max_stale.or(Some(MAX_DELTA));
                    }
                    "max-stale" => parsed.max_stale = parsed.max_stale.or(Some(number().unwrap_or_default())),
                    _ => {}
                }
            }
        }
        parsed
    }

    /// Returns whether the request refuses any stale response: a client that sends `max-age`
    /// accepts staleness only with `max-stale` (RFC 9111 section 5.2.1.1).
    pub fn refuses_stale(&self) -> bool {
        self.max_age.is_some() && self.max_stale.is_none()
    }

    /// Returns whether the request refuses a response with this age and remaining freshness (RFC
    /// 9111 sections 5.2.1.1, 5.2.1.3 and 5.2.1.4).
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

    fn parse(value: &str) -> RequestDirectives {
        RequestDirectives::parse(&headers(&[("cache-control", value)]))
    }

    #[test]
    fn rfc9111_5_2_1_invalid_numbers_are_strictest_and_the_first_directive_counts() {
        let secs = |secs| Some(Duration::from_secs(secs));
        let expected = RequestDirectives {
            no_store: true,
            max_age: secs(5),
            min_fresh: secs(6),
            max_stale: secs(7),
            ..RequestDirectives::default()
        };
        assert_eq!(parse("Max-Age=5, min-fresh=\"6\", max-stale=7, NO-STORE, max-age=99, x=y"), expected);
        assert_eq!(parse("max-stale").max_stale, Some(MAX_DELTA));
        assert_eq!(
            parse("only-if-cached, no-cache"),
            RequestDirectives { only_if_cached: true, no_cache: true, ..RequestDirectives::default() }
        );
        let strictest = RequestDirectives {
            max_age: secs(0),
            min_fresh: Some(MAX_DELTA),
            max_stale: secs(0),
            ..RequestDirectives::default()
        };
        assert_eq!(parse("max-age=x, min-fresh, max-stale=-1"), strictest);
        assert_eq!(
            RequestDirectives::parse(&headers(&[("pragma", "no-cache")])),
            RequestDirectives::default(),
            "5.4: Pragma is deprecated"
        );
    }

    #[test]
    fn rfc9111_5_2_1_a_request_refuses_by_age_and_remaining_freshness() {
        let secs = Duration::from_secs;
        for (value, age, left, refused) in [
            ("max-age=5", 5, 9, false),
            ("max-age=5", 6, 9, true),
            ("min-fresh=5", 0, 5, false),
            ("min-fresh=5", 0, 4, true),
            ("no-cache", 0, 9, true),
            ("no-store", 9, 0, false),
        ] {
            assert_eq!(parse(value).refuses(secs(age), secs(left)), refused, "{value}");
        }
    }
}
