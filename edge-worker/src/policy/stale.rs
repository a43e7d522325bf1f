//! When a stale response may be served (RFC 9111 section 4.2.4, RFC 5861).
//!
//! In: the directives and how long ago the lifetime ended. Out: yes or no. Both windows start when the lifetime ends, and
//! `must-revalidate`, `proxy-revalidate`, `no-cache` and `s-maxage` (5.2.2.10) forbid both.

use std::time::Duration;

use super::directives::Directives;

/// Whether to serve now and refresh in the background.
pub fn while_revalidate(directives: &Directives, staleness: Duration) -> bool {
    within(directives.stale_while_revalidate, directives, staleness)
}

/// Whether to serve should the origin fail.
pub fn if_error(directives: &Directives, staleness: Duration) -> bool {
    within(directives.stale_if_error, directives, staleness)
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
    use crate::policy::testing::headers;

    #[test]
    fn rfc5861_3_and_4_windows_begin_when_the_lifetime_ends() {
        let fields = headers(&[("cache-control", "max-age=1, stale-while-revalidate=10, stale-if-error=20")]);
        let directives = Directives::of(&fields);
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
            let directives = Directives::of(&headers(&[("cache-control", &value)]));
            assert!(!while_revalidate(&directives, Duration::ZERO), "{forbidding}");
            assert!(!if_error(&directives, Duration::ZERO), "{forbidding}");
            assert_eq!(longest_window(&directives), Duration::ZERO);
        }
    }

    #[test]
    fn rfc9111_4_2_4_without_a_window_nothing_is_served_stale() {
        let directives = Directives::of(&headers(&[("cache-control", "max-age=1")]));
        assert!(!while_revalidate(&directives, Duration::ZERO) && !if_error(&directives, Duration::ZERO));
    }
}
