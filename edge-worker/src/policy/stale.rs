//! The conditions for serving a stale response (RFC 9111 section 4.2.4, RFC 5861).
//!
//! Input: the directives, and the staleness: the time since the lifetime ended. Output: whether the
//! response may be served. All windows start when the lifetime ends. `must-revalidate`,
//! `proxy-revalidate` and `no-cache` forbid all of them, and so does `s-maxage` (RFC 9111 section
//! 5.2.2.10) in a field that declares no window.

use std::time::Duration;

use http::StatusCode;
use shared_keys::Directives;

/// The window for responses that declare none, while the origin is disconnected: RFC 9111 section
/// 4.2.4 allows a disconnected cache to serve stale responses. An error response from the origin
/// does not count as a disconnect.
pub const GRACE: Duration = Duration::from_secs(10 * 60);

/// Returns whether the status means that the origin failed (RFC 5861 section 4).
pub fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504) || is_disconnected(status)
}

/// Returns whether the status is one that Cloudflare sends if it could not reach the origin.
pub fn is_disconnected(status: StatusCode) -> bool {
    matches!(status.as_u16(), 520..=527 | 530)
}

/// Returns whether a response may be served while it is refreshed in the background (RFC 5861
/// section 3).
pub fn while_revalidate(directives: &Directives, staleness: Duration) -> bool {
    within(directives.stale_while_revalidate, directives, staleness)
}

/// Returns whether a response may be served if the origin fails (RFC 5861 section 4).
pub fn if_error(directives: &Directives, staleness: Duration) -> bool {
    within(directives.stale_if_error, directives, staleness)
}

/// Returns whether a response may be served if the origin is disconnected (RFC 9111 section 4.2.4).
pub fn if_disconnected(directives: &Directives, staleness: Duration) -> bool {
    if_error(directives, staleness) || staleness < grace(directives)
}

/// Returns the window after the lifetime in which a response without a declared window may be
/// served while the origin is disconnected: 10 minutes, or zero if the directives forbid stale
/// responses.
fn grace(directives: &Directives) -> Duration {
    if directives.forbids_stale() { Duration::ZERO } else { GRACE }
}

/// Returns the longest declared window after the lifetime: the greater of `stale-while-revalidate`
/// and `stale-if-error`, or zero if the directives forbid stale responses.
pub fn longest_window(directives: &Directives) -> Duration {
    if directives.forbids_stale() { Duration::ZERO } else { declared_window(directives) }
}

/// Returns whether a declared window would permit a stale response that another directive forbids.
pub fn is_window_refused(directives: &Directives, staleness: Duration) -> bool {
    directives.forbids_stale() && staleness < declared_window(directives)
}

fn declared_window(directives: &Directives) -> Duration {
    directives.stale_while_revalidate.max(directives.stale_if_error).unwrap_or_default()
}

/// Returns whether the staleness is within the window. The end of a window is exclusive.
fn within(window: Option<Duration>, directives: &Directives, staleness: Duration) -> bool {
    !directives.forbids_stale() && window.is_some_and(|window| staleness < window)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::directives::directives;
    use crate::policy::testing::headers;

    #[test]
    fn rfc5861_4_server_errors_and_disconnects_are_failures() {
        for status in 200..600 {
            let expected = [500, 502, 503, 504, 530].contains(&status) || (520..=527).contains(&status);
            assert_eq!(is_failure(StatusCode::from_u16(status).unwrap()), expected, "{status}");
        }
    }

    #[test]
    fn rfc5861_3_and_4_windows_start_when_the_lifetime_ends() {
        let fields = headers(&[("cache-control", "max-age=1, stale-while-revalidate=10, stale-if-error=20")]);
        let directives = directives(&fields);
        for (staleness, swr, sie) in [(0, true, true), (9, true, true), (10, false, true), (20, false, false)]
        {
            let staleness = Duration::from_secs(staleness);
            assert_eq!(
                (while_revalidate(&directives, staleness), if_error(&directives, staleness)),
                (swr, sie)
            );
        }
        assert_eq!(longest_window(&directives).as_secs(), 20);
    }

    #[test]
    fn rfc9111_4_2_4_directives_can_forbid_stale_responses() {
        const WINDOWS: &str = "stale-while-revalidate=10, stale-if-error=10";
        for (forbidding, windows) in [
            ("must-revalidate", WINDOWS),
            ("proxy-revalidate", WINDOWS),
            ("no-cache", WINDOWS),
            ("s-maxage=1", "public"),
            ("s-maxage=1, must-revalidate", WINDOWS),
        ] {
            let value = format!("max-age=1, {windows}, {forbidding}");
            let directives = directives(&headers(&[("cache-control", &value)]));
            assert_eq!(
                is_window_refused(&directives, Duration::from_secs(9)),
                windows == WINDOWS,
                "{forbidding}"
            );
            assert!(!is_window_refused(&directives, Duration::from_secs(10)), "{forbidding}");
            assert!(!while_revalidate(&directives, Duration::ZERO), "{forbidding}");
            assert!(!if_error(&directives, Duration::ZERO), "{forbidding}");
            assert!(!if_disconnected(&directives, Duration::ZERO), "{forbidding}");
            assert_eq!((longest_window(&directives), grace(&directives)), (Duration::ZERO, Duration::ZERO));
        }
    }

    #[test]
    fn rfc9111_5_2_2_10_a_window_beside_s_maxage_is_obeyed() {
        let directives = directives(&headers(&[("cache-control", "s-maxage=1, stale-while-revalidate=10")]));
        let staleness = Duration::from_secs(9);
        assert!(while_revalidate(&directives, staleness) && !if_error(&directives, staleness));
        assert!(if_disconnected(&directives, staleness) && !is_window_refused(&directives, staleness));
    }

    #[test]
    fn rfc9111_4_2_4_without_a_window_a_stale_response_is_served_only_while_disconnected() {
        let directives = directives(&headers(&[("cache-control", "max-age=1")]));
        assert!(
            if_disconnected(&directives, GRACE - Duration::from_secs(1))
                && !if_disconnected(&directives, GRACE)
        );
        assert!(!while_revalidate(&directives, Duration::ZERO) && !if_error(&directives, Duration::ZERO));
    }
}
