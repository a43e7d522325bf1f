//! `Surrogate-Control` (W3C Edge Architecture, 2001), which origins written for other CDNs send.
//!
//! Input: its value, and the directives of `Cache-Control`. Output: the directives of both. The
//! field is for surrogates alone: `max-age` replaces the lifetime of `Cache-Control` and `Expires`,
//! so that browsers can get a shorter one. It does not make a private response shared.

use std::time::Duration;

use http::HeaderName;
use shared_keys::{Directives, cache_directives, delta_seconds, split_list};

/// The field.
pub const SURROGATE_CONTROL: HeaderName = HeaderName::from_static("surrogate-control");

/// Returns the directives of a response with this `Surrogate-Control`.
///
/// `max-age=60+30` is fresh for 60 s and may be served stale for 30 s more. A `max-age` for another
/// surrogate (`max-age=60;name`) is ignored. Forbidding words count in any case, such as `no-store`
/// or `no-store-remote`.
pub fn combined(value: &[u8], cache_control: Directives) -> Directives {
    let mut directives = match lifetime(value) {
        None => cache_control,
        Some((fresh, grace)) => Directives {
            max_age: Some(fresh),
            stale_while_revalidate: grace,
            stale_if_error: grace,
            accepts_stale: grace.is_some(),
            public: cache_control.public || cache_control.s_maxage.is_some(),
            private: cache_control.private,
            not_stored: cache_control.not_stored,
            targeted: true,
            explicit: true,
            ..Directives::default()
        },
    };
    directives.restrict(value);
    directives
}

/// Returns the freshness lifetime and the grace that the first `max-age` states; a lifetime of zero
/// if it is not a number.
fn lifetime(value: &[u8]) -> Option<(Duration, Option<Duration>)> {
    let for_all = split_list(value).filter(|member| !member.contains(&b';'));
    let (_, argument) = for_all.flat_map(cache_directives).find(|(name, _)| name == "max-age")?;
    let argument = argument.unwrap_or_default();
    let mut parts = argument.split(|byte| *byte == b'+');
    let fresh = parts.next().and_then(delta_seconds).unwrap_or_default();
    Some((fresh, parts.next().and_then(delta_seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(value: &str, cache_control: &str) -> Directives {
        combined(value.as_bytes(), Directives::from_cache_control([cache_control.as_bytes()]))
    }

    #[test]
    fn w3c_edge_arch_max_age_replaces_the_lifetime_and_may_have_a_grace() {
        let secs = |duration: Option<Duration>| duration.map(|duration| duration.as_secs());
        for (value, fresh, grace) in [
            ("max-age=60", 60, None),
            ("max-age=60+30", 60, Some(30)),
            ("content=\"ESI/1.0\", max-age=60+30", 60, Some(30)),
            ("max-age=7;other, max-age=60", 60, None),
            ("max-age=60, max-age=7", 60, None),
            ("max-age=x+30", 0, Some(30)),
            ("max-age", 0, None),
        ] {
            let directives = parsed(value, "no-store, max-age=5, s-maxage=6, must-revalidate");
            assert_eq!(secs(directives.max_age), Some(fresh), "{value}");
            assert_eq!(
                [secs(directives.stale_while_revalidate), secs(directives.stale_if_error)],
                [grace; 2]
            );
            assert!(
                !directives.forbids_stale() && !directives.no_store && directives.s_maxage.is_none(),
                "{value}"
            );
        }
        for other in ["content=\"ESI/1.0\"", "max-age=7;other", ""] {
            assert_eq!(secs(parsed(other, "max-age=5").max_age), Some(5), "{other}");
        }
    }

    #[test]
    fn w3c_edge_arch_what_either_field_forbids_to_share_is_not_shared() {
        for value in
            ["no-store", "no-store-remote", "max-age=60, no-store", "no-store;other", "No-Store; max-age=60"]
        {
            assert!(parsed(value, "max-age=60").no_store, "{value}");
        }
        assert!(parsed("private", "max-age=60").private && parsed("max-age=60", "private").private);
        assert_eq!(parsed("max-age=60", "private=\"x\"").not_stored, ["x".into()]);
    }
}
