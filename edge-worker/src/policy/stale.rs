//! When a stale response may be served (RFC 9111 section 4.2.4, RFC 5861).
//!
//! In: the directives and how long ago the lifetime ended. Out: yes or no. All windows start when
//! the lifetime ends, and `must-revalidate`, `proxy-revalidate`, `no-cache` and `s-maxage`
//! (5.2.2.10) forbid them all.

use std::time::Duration;

use http::StatusCode;
use shared_keys::Directives;

/// For so long a response is served after its lifetime while the origin cannot be reached at all,
/// though it declares no window: to a cache that is disconnected 4.2.4 allows it. An answer that
/// says "error" is not that.
const GRACE: Duration = Duration::from_secs(10 * 60);

/// Statuses that stand for "the origin failed" (RFC 5861 section 4).
pub fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504) || is_disconnected(status)
}

/// Statuses by which Cloudflare says that it did not reach the origin.
pub fn is_disconnected(status: StatusCode) -> bool {
    matches!(status.as_u16(), 520..=527 | 530)
}

/// Whether to serve now and refresh in the background.
pub fn while_revalidate(directives: &Directives, staleness: Duration) -> bool {
    within(directives.stale_while_revalidate, directives, staleness)
}

/// Whether to serve should the origin fail.
pub fn if_error(directives: &Directives, staleness: Duration) -> bool {
    within(directives.stale_if_error, directives, staleness)
}

/// Whether to serve should the origin not be reachable.
pub fn if_disconnected(directives: &Directives, staleness: Duration) -> bool {
    if_error(directives, staleness) || staleness < grace(directives)
}

/// How long after its lifetime a response can stand in for an origin that cannot be reached.
pub fn grace(directives: &Directives) -> Duration {
    if directives.forbids_stale() { Duration::ZERO } else { GRACE }
}

/// How long after its lifetime a response can still be of use without the origin.
pub fn longest_window(directives: &Directives) -> Duration {
    if directives.forbids_stale() {
        return Duration::ZERO;
    }
    directives.stale_while_revalidate.max(directives.stale_if_error).unwrap_or_default()
}

fn within(window: Option<Duration>, directives: &Directives, staleness: Duration) -> bool {
    !directives.forbids_stale() && window.is_some_and(|window| staleness < window)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::directives::directives;
    use crate::policy::testing::headers;

    #[test]
    fn rfc5861_4_the_answers_that_are_failures() {
        for status in 200..600 {
            let expected = [500, 502, 503, 504, 530].contains(&status) || (520..=527).contains(&status);
            assert_eq!(is_failure(StatusCode::from_u16(status).unwrap()), expected, "{status}");
        }
    }

    #[test]
    fn rfc5861_3_and_4_windows_begin_when_the_lifetime_ends() {
        let fields = headers(&[("cache-control", "max-age=1, stale-while-revalidate=10, stale-if-error=20")]);
        let directives = directives(&fields);
        for (staleness, swr, sie) in [(0, true, true), (9, true, true), (10, false, true), (20, false, false)] {
            let staleness = Duration::from_secs(staleness);
            assert_eq!((while_revalidate(&directives, staleness), if_error(&directives, staleness)), (swr, sie));
        }
        assert_eq!(longest_window(&directives).as_secs(), 20);
    }

    #[test]
    fn rfc9111_4_2_4_directives_that_forbid_stale() {
        for forbidding in ["must-revalidate", "proxy-revalidate", "no-cache", "s-maxage=1"] {
            let value = format!("max-age=1, stale-while-revalidate=10, stale-if-error=10, {forbidding}");
            let directives = directives(&headers(&[("cache-control", &value)]));
            assert!(!while_revalidate(&directives, Duration::ZERO), "{forbidding}");
            assert!(!if_error(&directives, Duration::ZERO), "{forbidding}");
            assert!(!if_disconnected(&directives, Duration::ZERO), "{forbidding}");
            assert_eq!((longest_window(&directives), grace(&directives)), (Duration::ZERO, Duration::ZERO));
        }
    }

    #[test]
    fn rfc9111_4_2_4_without_a_window_stale_is_served_only_while_disconnected() {
        let directives = directives(&headers(&[("cache-control", "max-age=1")]));
        assert!(if_disconnected(&directives, GRACE - Duration::from_secs(1)) && !if_disconnected(&directives, GRACE));
        assert!(!while_revalidate(&directives, Duration::ZERO) && !if_error(&directives, Duration::ZERO));
    }
}
