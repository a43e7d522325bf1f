//! The effect of a rule on a response's lifetime.
//!
//! Input: the rule, and a response from the origin or updated by a 304. Output: the same response
//! with the field [`RULE_CACHE_CONTROL`], which overrides all other fields. The field is stored
//! with the response and never leaves the edge.
//!
//! A rule changes how long a response is fresh, but never allows to store or share a response that
//! the origin forbids to store or share. `lifetime` applies to successful responses and redirects;
//! `errors` to errors. Neither applies to a response that may be for the sender of its request
//! alone ([`is_personal`](Rule::is_personal)); the caller checks that.

use std::time::Duration;

use http::{HeaderValue, StatusCode};
use shared_keys::{Directives, Lifetime};

use super::{Rule, content_type};
use crate::policy::StoredResponse;
use crate::policy::directives::{self, RULE_CACHE_CONTROL};
use crate::policy::lifetime::{FreshnessLifetime, freshness_lifetime, heuristically_cacheable};

impl Rule {
    /// Sets [`RULE_CACHE_CONTROL`] of a response to the lifetime by this rule, and replaces an
    /// earlier value. Removes the field if the origin's directives apply.
    pub fn set_lifetime(&self, response: &mut StoredResponse) {
        response.headers.remove(RULE_CACHE_CONTROL);
        let (declared, lifetime) = declared_by_origin(response);
        if let Some(directives) = self.directives(response.status, &declared, lifetime)
            && let Ok(value) = HeaderValue::try_from(directives)
        {
            response.headers.insert(RULE_CACHE_CONTROL, value);
        }
    }

    /// Returns whether the media type of a response contradicts the extension of `path`, and its
    /// lifetime is not the origin's own. Always `false` with `check_extension` off.
    pub fn is_deceptive(&self, path: &str, response: &StoredResponse) -> bool {
        // Only a successful response can be a page in place of the file. Errors and redirects show
        // no user's data.
        let is_answer = matches!(response.status.as_u16(), 200 | 203 | 206);
        if !self.check_extension || !is_answer || !content_type::contradicts(path, &response.headers) {
            return false;
        }
        let (_, lifetime) = declared_by_origin(response);
        !lifetime.source.is_explicit() || (self.overrides_origin && self.fresh.is_some())
    }

    /// Returns the directives that replace the origin's; `None` if the origin's apply.
    fn directives(
        &self,
        status: StatusCode,
        declared: &Directives,
        lifetime: FreshnessLifetime,
    ) -> Option<String> {
        if declared.private || (declared.no_store && !declared.must_understand) {
            return None;
        }
        let explicit = lifetime.source.is_explicit() || declared.no_cache;
        let is_error = status.is_client_error() || status.is_server_error();
        let error_lifetime = self.errors.iter().find(|(known, _)| *known == status).filter(|_| !explicit);
        if let Some((_, fresh)) = error_lifetime {
            let mut directives = Lifetime::fresh(*fresh).to_directives();
            for (holds, name) in [
                (declared.forbids_stale(), ", proxy-revalidate"),
                (declared.no_store, ", no-store"),
                (declared.must_understand, ", must-understand"),
            ] {
                directives += if holds { name } else { "" };
            }
            return Some(with_unstorable_fields(directives, declared));
        }
        let applies = heuristically_cacheable(status) && !is_error;
        // The rule's part of a lifetime, if it applies: always with `override`, else if the origin
        // declares none.
        let part = |own: Option<Duration>, declared: Option<Duration>| {
            own.filter(|_| applies && (self.overrides_origin || declared.is_none()))
        };
        let fresh = part(self.fresh, explicit.then_some(lifetime.duration));
        let while_revalidate = part(self.stale_while_revalidate, declared.stale_while_revalidate);
        let if_error = part(self.stale_if_error, declared.stale_if_error);
        // `allow_stale` does not make a response storable (RFC 9111 section 3).
        let is_storable = lifetime.source.is_explicit() || heuristically_cacheable(status);
        let lifts_stale_ban = self.allow_stale && declared.forbids_stale() && is_storable;
        let forbids_stale = self.strict_s_maxage && declared.s_maxage.is_some() && is_storable;
        if fresh.or(while_revalidate).or(if_error).is_none() && !lifts_stale_ban && !forbids_stale {
            return None;
        }
        let windows = Lifetime::fresh(fresh.unwrap_or(lifetime.duration))
            .stale_while_revalidate(while_revalidate.or(declared.stale_while_revalidate).unwrap_or_default())
            .stale_if_error(if_error.or(declared.stale_if_error).unwrap_or_default());
        let mut directives = windows.to_directives();
        // `s-maxage` implies `proxy-revalidate` (RFC 9111 section 5.2.2.10), unless the rule's
        // lifetime replaces it, or the origin declares a window and the rule is not strict.
        let s_maxage_applies = (declared.s_maxage_forbids_stale() || forbids_stale) && fresh.is_none();
        for (holds, name) in [
            (declared.no_cache && fresh.is_none(), ", no-cache"),
            (declared.must_revalidate && !self.allow_stale, ", must-revalidate"),
            ((declared.proxy_revalidate || s_maxage_applies) && !self.allow_stale, ", proxy-revalidate"),
            (declared.allows_authorized() || self.ignore_credentials, ", public"),
            (declared.no_store, ", no-store"),
            (declared.must_understand, ", must-understand"),
            (declared.immutable && fresh.is_none(), ", immutable"),
        ] {
            directives += if holds { name } else { "" };
        }
        Some(with_unstorable_fields(directives, declared))
    }
}

/// Appends the origin's list of fields that must not be stored, as a qualified `private` (RFC 9111
/// section 5.2.2.7). It applies independently of the lifetime.
fn with_unstorable_fields(directives: String, declared: &Directives) -> String {
    if declared.not_stored.is_empty() {
        return directives;
    }
    format!("{directives}, private=\"{}\"", declared.not_stored.join(", "))
}

/// Returns the origin's directives and freshness lifetime, without the rule's.
pub(super) fn declared_by_origin(response: &StoredResponse) -> (Directives, FreshnessLifetime) {
    let declared = directives::from_origin(&response.headers);
    let lifetime = freshness_lifetime(&declared, response.status, &response.headers, response.response_time);
    (declared, lifetime)
}

#[cfg(test)]
mod tests {
    use shared_keys::TargetKey;

    use super::*;
    use crate::json::testing::json;
    use crate::policy::testing::{ARRIVED, http_date, stored};
    use crate::rules::{Client, Rules};

    /// Applies a rule with these members to a response with this status and fields.
    #[track_caller]
    fn apply(members: &str, status: u16, fields: &[(&str, &str)]) -> String {
        let rules = Rules::read(&json(&format!(r#"[{{"path": "/**", {members}}}]"#))).unwrap();
        let rule = rules.of(
            &http::Method::GET,
            &TargetKey::parse("https://a.example/").unwrap(),
            Client::new(&http::HeaderMap::new()),
        );
        let mut response = stored(fields);
        response.status = StatusCode::from_u16(status).unwrap();
        rule.set_lifetime(&mut response);
        let before = response.headers.clone();
        rule.set_lifetime(&mut response);
        assert_eq!(response.headers, before, "a second application changes nothing");
        response.headers.get(RULE_CACHE_CONTROL).map_or("", |value| value.to_str().unwrap()).to_owned()
    }

    #[test]
    fn a_default_applies_to_the_parts_that_the_origin_does_not_declare() {
        const RULE: &str = r#""lifetime": {"fresh": 60, "stale_if_error": 600}"#;
        let modified = http_date(ARRIVED - 1000);
        for (fields, expected) in [
            (&[][..], "max-age=60, stale-if-error=600"),
            (&[("last-modified", modified.as_str())][..], "max-age=60, stale-if-error=600"),
            (&[("cache-control", "public")][..], "max-age=60, stale-if-error=600, public"),
            (&[("cache-control", "max-age=5")][..], "max-age=5, stale-if-error=600"),
            (&[("cache-control", "max-age=5, immutable")][..], "max-age=5, stale-if-error=600, immutable"),
            (&[("cache-control", "max-age=5, stale-if-error=1")][..], ""),
            (
                &[("cache-control", "s-maxage=5")][..],
                "max-age=5, stale-if-error=600, proxy-revalidate, public",
            ),
            (&[("cache-control", "no-cache")][..], "max-age=0, stale-if-error=600, no-cache"),
            (&[("expires", "0")][..], "max-age=0, stale-if-error=600"),
        ] {
            assert_eq!(apply(RULE, 200, fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn an_override_replaces_the_lifetime_but_never_shares_a_private_response() {
        const RULE: &str = r#""lifetime": {"fresh": 60, "override": true}"#;
        for (cache_control, expected) in [
            ("max-age=5", "max-age=60"),
            ("no-cache", "max-age=60"),
            ("max-age=5, stale-while-revalidate=9", "max-age=60, stale-while-revalidate=9"),
            ("s-maxage=5, stale-while-revalidate=9", "max-age=60, stale-while-revalidate=9, public"),
            ("must-revalidate", "max-age=60, must-revalidate, public"),
            ("max-age=5, no-cache=\"x\", private=\"y\"", "max-age=60, private=\"x, y\""),
            ("max-age=5, no-store, must-understand", "max-age=60, no-store, must-understand"),
            ("max-age=5, immutable", "max-age=60"),
            ("private, max-age=5", ""),
            ("no-store", ""),
        ] {
            assert_eq!(apply(RULE, 200, &[("cache-control", cache_control)]), expected, "{cache_control}");
        }
    }

    #[test]
    fn a_lifetime_applies_to_successes_and_redirects_and_errors_have_their_own() {
        const RULE: &str = r#""lifetime": {"fresh": 60, "override": true}, "errors": {"404": 10, "503": 1}"#;
        for (status, cache_control, expected) in [
            (301, "", "max-age=60"),
            (302, "", ""),
            (206, "", "max-age=60"),
            (206, "max-age=5", "max-age=60"),
            (404, "", "max-age=10"),
            (404, "max-age=5", ""),
            (404, "no-store", ""),
            (404, "must-revalidate", "max-age=10, proxy-revalidate"),
            (404, "private=\"x\"", "max-age=10, private=\"x\""),
            (404, "no-cache", ""),
            (404, "no-store, must-understand", "max-age=10, no-store, must-understand"),
            (503, "", "max-age=1"),
            (500, "", ""),
            (410, "", ""),
        ] {
            assert_eq!(
                apply(RULE, status, &[("cache-control", cache_control)]),
                expected,
                "{status} {cache_control}"
            );
        }
    }

    #[test]
    fn rfc9111_4_2_4_allow_stale_lifts_the_directives_that_forbid_stale_responses() {
        const RULE: &str = r#""allow_stale": true"#;
        for (cache_control, expected) in [
            ("s-maxage=5, stale-while-revalidate=9", ""),
            ("max-age=5, must-revalidate, stale-if-error=9", "max-age=5, stale-if-error=9, public"),
            ("max-age=5, proxy-revalidate, stale-if-error=9", "max-age=5, stale-if-error=9"),
            ("max-age=5, stale-if-error=9", ""),
            ("s-maxage=5", "max-age=5, public"),
            ("s-maxage=5, no-cache, stale-if-error=9", "max-age=5, stale-if-error=9, no-cache, public"),
        ] {
            assert_eq!(apply(RULE, 200, &[("cache-control", cache_control)]), expected, "{cache_control}");
        }
        for status in [302, 404, 503] {
            let fields = [("cache-control", "s-maxage=5, must-revalidate, stale-while-revalidate=9")];
            assert_eq!(
                apply(RULE, status, &fields),
                "max-age=5, stale-while-revalidate=9, public",
                "{status}"
            );
        }
        assert_eq!(apply(RULE, 403, &[("cache-control", "must-revalidate, stale-while-revalidate=60")]), "");
        let expires = http_date(ARRIVED + 7);
        let date = http_date(ARRIVED);
        let fields =
            [("cache-control", "must-revalidate"), ("expires", expires.as_str()), ("date", date.as_str())];
        assert_eq!(apply(RULE, 200, &fields), "max-age=7, public");
    }

    #[test]
    fn rfc9111_5_2_2_10_a_strict_rule_lets_s_maxage_forbid_stale_responses() {
        const RULE: &str = r#""strict_s_maxage": true"#;
        const FORBIDDEN: &str = "max-age=5, stale-while-revalidate=9, proxy-revalidate, public";
        for (cache_control, expected) in [
            ("s-maxage=5, stale-while-revalidate=9", FORBIDDEN),
            ("s-maxage=5", "max-age=5, proxy-revalidate, public"),
            ("max-age=5, stale-while-revalidate=9", ""),
        ] {
            assert_eq!(apply(RULE, 200, &[("cache-control", cache_control)]), expected, "{cache_control}");
        }
        let fields = [("cache-control", "s-maxage=5, stale-while-revalidate=9")];
        let with_lifetime = r#""strict_s_maxage": true, "lifetime": {"stale_if_error": 7}"#;
        assert!(apply(with_lifetime, 200, &fields).contains("proxy-revalidate"));
    }

    #[test]
    fn a_page_with_the_extension_of_a_file_needs_a_lifetime_of_the_origin() {
        let deceptive_as = |status: u16, rule: &str, cache_control: &str| {
            let rules = Rules::read(&json(&format!(r#"[{{"path": "/**"{rule}}}]"#))).unwrap();
            let rule = rules.of(
                &http::Method::GET,
                &TargetKey::parse("https://a.example/").unwrap(),
                Client::new(&http::HeaderMap::new()),
            );
            let mut response = stored(&[("content-type", "text/html"), ("cache-control", cache_control)]);
            response.status = StatusCode::from_u16(status).unwrap();
            rule.set_lifetime(&mut response);
            rule.is_deceptive("/account/x.css", &response)
        };
        let deceptive = |rule: &str, cache_control: &str| deceptive_as(200, rule, cache_control);
        assert!(deceptive_as(206, "", "") && deceptive_as(203, "", ""));
        assert!(
            ![301, 404, 410, 503].into_iter().any(|status| deceptive_as(status, "", "")),
            "errors and redirects are exempt"
        );
        assert!(deceptive("", ""));
        assert!(!deceptive("", "max-age=60"));
        assert!(deceptive(r#", "lifetime": {"fresh": 60}"#, ""));
        assert!(!deceptive(r#", "lifetime": {"fresh": 60}"#, "max-age=60"));
        assert!(deceptive(r#", "lifetime": {"fresh": 60, "override": true}"#, "max-age=60"));
        assert!(!deceptive(r#", "check_extension": false"#, ""));
    }
}
