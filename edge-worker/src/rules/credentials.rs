//! The protection of responses that may be for the sender of their request alone.
//!
//! An origin that says nothing about caching may still answer by the session of its user. The
//! response to a request with credentials therefore gets no lifetime from a rule or a heuristic,
//! unless the rule or the origin says that it is for everyone.

use http::{HeaderMap, header};
use shared_keys::has_identifying_cookie;

use super::Rule;
use super::lifetime::declared_by_origin;
use crate::policy::StoredResponse;
use crate::policy::directives::RULE_CACHE_CONTROL;
use crate::policy::select::{combined, vary_fields};

impl Rule {
    /// Returns whether a request identifies its sender to the origin: by `Authorization`, or by a
    /// cookie that the origin receives and that is not known to identify no user.
    pub fn has_credentials(&self, request: &HeaderMap) -> bool {
        request.contains_key(header::AUTHORIZATION) || self.has_identifying_cookie(request)
    }

    fn has_identifying_cookie(&self, request: &HeaderMap) -> bool {
        let cookies = combined(request, header::COOKIE.as_str());
        let forwarded = self.vary.normal(header::COOKIE.as_str(), cookies.as_deref());
        forwarded.is_some_and(|cookies| has_identifying_cookie(cookies.as_bytes(), &self.ignored_cookies))
    }

    /// Returns whether a response may be for the sender of its request alone: the request has
    /// credentials, neither this rule nor the origin says that the response is for everyone, and it
    /// is not selected by these credentials.
    pub fn is_personal(&self, request: &HeaderMap, response: &StoredResponse) -> bool {
        if self.ignore_credentials || !self.has_credentials(request) {
            return false;
        }
        let (declared, _) = declared_by_origin(response);
        let is_selected_by =
            |name| vary_fields(&response.headers).is_some_and(|fields| fields.iter().any(|f| f == name));
        let depends_on_sender = (request.contains_key(header::AUTHORIZATION)
            && !is_selected_by("authorization"))
            || (self.has_identifying_cookie(request) && !is_selected_by("cookie"));
        depends_on_sender && !declared.public && declared.s_maxage.is_none()
    }

    /// Returns whether a response must not be stored because it may be for the sender of its
    /// request alone, and the origin does not declare a lifetime of its own.
    pub fn withholds(&self, request: &HeaderMap, response: &StoredResponse) -> bool {
        // A response with the rule's lifetime got it by a request without credentials, and is only
        // validated by this one.
        if response.headers.contains_key(RULE_CACHE_CONTROL) || !self.is_personal(request, response) {
            return false;
        }
        let (declared, lifetime) = declared_by_origin(response);
        !lifetime.source.is_explicit() && !declared.no_cache
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use shared_keys::TargetKey;

    use crate::json::testing::json;
    use crate::policy::testing::{headers, http_date, stored};
    use crate::rules::{Client, Rules};

    /// Returns whether a rule with these members keeps the response to this request from the store.
    #[track_caller]
    fn withholds(members: &str, request: &[(&str, &str)], response: &[(&str, &str)]) -> bool {
        let rules = Rules::read(&json(&format!(r#"[{{"path": "/**"{members}}}]"#))).unwrap();
        let rule = rules.of(
            &Method::GET,
            &TargetKey::parse("https://a.example/").unwrap(),
            Client::new(&http::HeaderMap::new()),
        );
        rule.withholds(&headers(request), &stored(response))
    }

    #[test]
    fn a_response_to_credentials_is_withheld_if_the_origin_says_nothing() {
        let modified = http_date(0);
        let nothing = [("last-modified", modified.as_str())];
        for (request, withheld) in [
            (&[][..], false),
            (&[("cookie", "_ga=1; _gid=2")][..], false),
            (&[("cookie", "_ga=1"), ("cookie", "sid=1")][..], true),
            (&[("cookie", "sid=1")][..], true),
            (&[("cookie", "Zo\u{FFFD}")][..], true),
            (&[("authorization", "Basic eDp5")][..], true),
        ] {
            assert_eq!(withholds("", request, &nothing), withheld, "{request:?}");
        }
    }

    #[test]
    fn the_origin_or_the_rule_can_say_that_a_response_is_for_everyone() {
        let request = [("cookie", "sid=1; theme=dark")];
        for response in ["public", "s-maxage=5", "max-age=5", "no-cache", "max-age=0"] {
            assert!(!withholds("", &request, &[("cache-control", response)]), "{response}");
        }
        for response in ["", "must-revalidate", "stale-while-revalidate=60", "immutable"] {
            assert!(withholds("", &request, &[("cache-control", response)]), "{response}");
        }
        assert!(!withholds("", &request, &[("cdn-cache-control", "public")]));
        assert!(!withholds("", &request, &[("vary", "Accept, Cookie")]));
        assert!(withholds("", &request, &[("vary", "Accept, Authorization")]));
        assert!(!withholds(r#", "ignore_credentials": true"#, &request, &[]));
        assert!(!withholds(r#", "ignore_cookies": ["s*", "theme"]"#, &request, &[]));
        assert!(withholds(r#", "ignore_cookies": ["sid"]"#, &request, &[]));
        assert!(
            !withholds(r#", "vary": {"Cookie": "drop"}"#, &request, &[]),
            "the origin does not receive it"
        );
        assert!(withholds(r#", "vary": {"Cookie": {"cookies": ["theme"]}}"#, &request, &[]));
    }
}
