//! The freshness lifetime of a response (RFC 9111 sections 4.2.1 and 4.2.2).
//!
//! Input: the directives that apply, the response, and the time of its arrival. Output: the
//! freshness lifetime and its source. The sources are tried in this order: `s-maxage`, `max-age`,
//! `Expires`, heuristic. `Expires` is ignored beside a targeted field (RFC 9213 section 2.2).

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};
use shared_keys::{Directives, MAX_DELTA};

use super::date::date;

/// The divisor of the time since `Last-Modified` that gives the heuristic lifetime, as RFC 9111
/// section 4.2.2 suggests.
const HEURISTIC_DIVISOR: u32 = 10;

/// The longest heuristic lifetime. A response without a declared lifetime should not live for
/// months.
const HEURISTIC_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The source of a freshness lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifetimeSource {
    /// The `s-maxage` directive.
    SMaxAge,
    /// The `max-age` directive.
    MaxAge,
    /// `Expires` minus `Date`.
    Expires,
    /// A tenth of the time since `Last-Modified`.
    Heuristic,
    /// No source: the response has no lifetime.
    None,
}

impl LifetimeSource {
    /// Returns whether the origin stated the lifetime (RFC 9111 section 4.2.1).
    pub fn is_explicit(self) -> bool {
        matches!(self, Self::SMaxAge | Self::MaxAge | Self::Expires)
    }
}

/// A freshness lifetime and its source. Zero without a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreshnessLifetime {
    /// The response is fresh while its age is strictly less (RFC 9111 section 4.2).
    pub duration: Duration,
    /// The source of the duration.
    pub source: LifetimeSource,
}

/// Returns the freshness lifetime of a response that arrived at `response_time`; at most
/// [`MAX_DELTA`].
pub fn freshness_lifetime(
    directives: &Directives,
    status: StatusCode,
    headers: &HeaderMap,
    response_time: SystemTime,
) -> FreshnessLifetime {
    let (duration, source) = if let Some(seconds) = directives.s_maxage {
        (seconds, LifetimeSource::SMaxAge)
    } else if let Some(seconds) = directives.max_age {
        (seconds, LifetimeSource::MaxAge)
    } else if headers.contains_key(header::EXPIRES) && !directives.targeted {
        (explicit_expiration(headers, response_time), LifetimeSource::Expires)
    } else if let Some(seconds) = heuristic_lifetime(directives, status, headers, response_time) {
        (seconds, LifetimeSource::Heuristic)
    } else {
        (Duration::ZERO, LifetimeSource::None)
    };
    FreshnessLifetime { duration: duration.min(MAX_DELTA), source }
}

/// Returns `Expires` minus `Date`; zero if `Expires` is invalid (RFC 9111 section 5.3). A missing
/// `Date` is replaced by the time of arrival (RFC 9110 section 6.6.1).
fn explicit_expiration(headers: &HeaderMap, response_time: SystemTime) -> Duration {
    let date_value = date(headers, header::DATE, response_time).unwrap_or(response_time);
    // The first of several `Expires` lines counts, as for directives (RFC 9111 section 4.2.1).
    date(headers, header::EXPIRES, response_time)
        .and_then(|expires| expires.duration_since(date_value).ok())
        .unwrap_or_default()
}

/// Returns a tenth of the time since `Last-Modified`, at most [`HEURISTIC_MAX`]. Returns `None`
/// without a `Last-Modified`, and for a response whose status and directives do not allow a
/// heuristic (RFC 9111 section 4.2.2).
fn heuristic_lifetime(
    directives: &Directives,
    status: StatusCode,
    headers: &HeaderMap,
    response_time: SystemTime,
) -> Option<Duration> {
    if !(heuristically_cacheable(status) || directives.public) {
        return None;
    }
    let last_modified = date(headers, header::LAST_MODIFIED, response_time)?;
    let date_value = date(headers, header::DATE, response_time).unwrap_or(response_time);
    let unchanged = date_value.duration_since(last_modified).ok()?;
    Some((unchanged / HEURISTIC_DIVISOR).min(HEURISTIC_MAX))
}

/// Returns whether a response with this status may be stored without an explicit lifetime (RFC 9110
/// section 15.1).
pub fn heuristically_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::directives::directives;
    use crate::policy::testing::{at, headers, http_date};

    fn lifetime(status: u16, fields: &[(&str, &str)]) -> (u64, LifetimeSource) {
        let headers = headers(fields);
        let status = StatusCode::from_u16(status).unwrap();
        let lifetime = freshness_lifetime(&directives(&headers), status, &headers, at(1_000_000));
        (lifetime.duration.as_secs(), lifetime.source)
    }

    #[test]
    fn rfc9111_4_2_1_the_first_source_in_order_gives_the_lifetime() {
        let (date, expires) = (http_date(1_000_000), http_date(1_000_030));
        let expires = [("date", date.as_str()), ("expires", expires.as_str())];
        assert_eq!(lifetime(200, &expires), (30, LifetimeSource::Expires));
        let max_age = [&expires[..], &[("cache-control", "max-age=20")]].concat();
        assert_eq!(lifetime(200, &max_age), (20, LifetimeSource::MaxAge));
        let shared = [&expires[..], &[("cache-control", "max-age=20, s-maxage=10")]].concat();
        assert_eq!(lifetime(200, &shared), (10, LifetimeSource::SMaxAge));
        let targeted = [&shared[..], &[("cdn-cache-control", "max-age=5")]].concat();
        assert_eq!(lifetime(200, &targeted), (5, LifetimeSource::MaxAge));
    }

    #[test]
    fn rfc9111_4_2_1_the_first_of_several_expires_counts() {
        let (date, first, second) = (http_date(1_000_000), http_date(1_000_030), http_date(1_000_900));
        let fields = [("date", date.as_str()), ("expires", first.as_str()), ("expires", second.as_str())];
        assert_eq!(lifetime(200, &fields), (30, LifetimeSource::Expires));
    }

    #[test]
    fn rfc9111_4_2_2_an_explicit_lifetime_prevents_the_heuristic() {
        let modified = http_date(999_000);
        for (field, expected) in [
            (("cache-control", "max-age=0"), (0, LifetimeSource::MaxAge)),
            (("cache-control", "s-maxage=x"), (0, LifetimeSource::SMaxAge)),
            (("expires", "0"), (0, LifetimeSource::Expires)),
            (("cache-control", "immutable"), (100, LifetimeSource::Heuristic)),
        ] {
            assert_eq!(lifetime(200, &[("last-modified", modified.as_str()), field]), expected, "{field:?}");
        }
    }

    #[test]
    fn rfc9213_2_2_expires_is_ignored_beside_a_targeted_field() {
        let expires = http_date(1_000_030);
        let fields = [("expires", expires.as_str()), ("cdn-cache-control", "public")];
        assert_eq!(lifetime(200, &fields), (0, LifetimeSource::None));
    }

    #[test]
    fn rfc9111_5_3_an_invalid_expires_is_in_the_past() {
        let earlier = http_date(999_000);
        for expires in ["0", "-1", "tomorrow", "", earlier.as_str()] {
            assert_eq!(lifetime(200, &[("expires", expires)]), (0, LifetimeSource::Expires), "{expires}");
        }
    }

    #[test]
    fn rfc9110_5_6_7_expires_is_accepted_in_all_three_formats() {
        let day =
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"];
        for expires in day {
            let fields = [("date", "Sun, 06 Nov 1994 08:49:00 GMT"), ("expires", expires)];
            assert_eq!(lifetime(200, &fields), (37, LifetimeSource::Expires), "{expires}");
        }
    }

    #[test]
    fn rfc9110_15_1_the_listed_statuses_are_heuristically_cacheable() {
        let listed = [200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501];
        for status in 200..600 {
            let cacheable = heuristically_cacheable(StatusCode::from_u16(status).unwrap());
            assert_eq!(cacheable, listed.contains(&status), "{status}");
        }
    }

    #[test]
    fn rfc9111_4_2_2_the_heuristic_is_a_tenth_of_the_time_since_last_modified() {
        let modified = http_date(999_000);
        let fields = [("last-modified", modified.as_str())];
        assert_eq!(lifetime(200, &fields), (100, LifetimeSource::Heuristic));
        assert_eq!(lifetime(404, &fields), (100, LifetimeSource::Heuristic));
        assert_eq!(lifetime(302, &fields), (0, LifetimeSource::None));
        let public = [fields[0], ("cache-control", "public")];
        assert_eq!(lifetime(302, &public), (100, LifetimeSource::Heuristic));
        assert_eq!(lifetime(200, &[("last-modified", &http_date(0))]).0, 86_400);
        assert_eq!(lifetime(200, &[("last-modified", &http_date(2_000_000))]).0, 0);
    }
}
