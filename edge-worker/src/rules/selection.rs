//! The request fields that select the responses of a URL because rules depend on them.
//!
//! Of two clients that request one URL, one may match a rule that the other does not. Their
//! responses must not be confused: one rule may share what the other keeps apart. So every response
//! of a URL for which some rule has conditions on the client is a variant. It is selected by the
//! internal field [`RULE`], which holds the conditions that matched, and whether the client states
//! the fields that conditions name. The fields by which rules key responses select them likewise.
//!
//! A client that states none of these fields therefore never gets the response to one that does,
//! even if the origin reads a value as another than the rule does.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use shared_keys::{TargetKey, VaryFields};

use super::conditions::{Conditions, State, cookie, cookies};
use super::place::{Place, Read};
use super::{Rule, Rules, keyed_method};
use crate::client::{COUNTRY, DEVICE, Device};
use crate::headers::remove_internal;
use crate::policy::select::is_misspelt;

/// The internal field with the conditions of the rule that a request matches.
const RULE: HeaderName = HeaderName::from_static("strata-rule");

/// The internal field with the cookies that are part of the key.
const COOKIES: HeaderName = HeaderName::from_static("strata-cookies");

/// The parts of a request, besides its URL, by which a rule keys its responses.
#[derive(Debug, Default)]
pub(super) struct KeyParts {
    pub(super) headers: Vec<HeaderName>,
    pub(super) cookies: Vec<Box<str>>,
    /// The client's country.
    pub(super) country: bool,
    /// The class of its device.
    pub(super) device: bool,
}

impl KeyParts {
    /// Parses the member `key` of a rule.
    pub(super) fn read(place: &Place<'_>) -> Read<Self> {
        let mut key = Self::default();
        for (name, member) in place.members()? {
            match name {
                "headers" => key.headers = member.field_names()?,
                "cookies" => {
                    for text in member.texts()? {
                        key.cookies.push(member.cookie_name(text)?);
                    }
                }
                "country" => key.country = member.boolean()?,
                "device" => key.device = member.boolean()?,
                _ => return Err(member.unknown()),
            }
        }
        Ok(key)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.headers.is_empty() && self.cookies.is_empty() && !self.country && !self.device
    }
}

/// The fields that select the responses of a URL, besides those that `Vary` names.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The names of the fields.
    pub fields: VaryFields,
    /// Whether the origin could read one of them differently, so that the store must not be used:
    /// the request states it with `_` in place of `-`, or a cookie twice.
    pub is_ambiguous: bool,
}

impl Selection {
    /// Returns whether responses are the same for all clients, as far as rules decide.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Rules {
    /// Returns the fields that select the responses of a URL to requests with a method, and sets
    /// those that no client states itself in `headers`, a client's own. `rule` is the rule that the
    /// request matches.
    pub fn select(
        &self,
        method: &Method,
        target: &TargetKey,
        rule: &Rule,
        country: &str,
        headers: &mut HeaderMap,
    ) -> Selection {
        // No client may choose them.
        remove_internal(headers);
        if !self.depend_on_client {
            return Selection::default();
        }
        let (mut names, mut named, mut keyed_cookies, mut named_cookies) = (vec![], vec![], vec![], vec![]);
        let (mut by_country, mut by_device, mut by_rule) = (false, false, false);
        let mut states = String::new();
        for Rule { conditions, key, .. } in self.candidates(keyed_method(method), target).map(AsRef::as_ref) {
            names.extend(key.headers.iter().cloned());
            keyed_cookies.extend(key.cookies.iter().map(AsRef::as_ref));
            (by_country, by_device) = (by_country || key.country, by_device || key.device);
            let Conditions { headers: fields, cookies, .. } = conditions;
            named.extend(fields.iter().map(|(name, _)| name));
            named_cookies.extend(cookies.iter().map(|(name, _)| &**name));
            by_rule |= conditions.depend_on_client();
            states.extend(conditions.states(headers).map(State::as_char));
        }
        let is_ambiguous = is_misspelt(headers, names.iter().chain(named).map(HeaderName::as_str))
            || keyed_cookies.iter().chain(&named_cookies).any(|name| cookies(headers, name).len() > 1);
        let stated = [
            (COUNTRY, by_country.then(|| Some(country.to_owned()))),
            (DEVICE, by_device.then(|| Some(Device::of(headers).as_str().to_owned()))),
            (COOKIES, (!keyed_cookies.is_empty()).then(|| listed(headers, &keyed_cookies))),
            (RULE, by_rule.then(|| Some(format!("{:x}-{states}", rule.conditions.id)))),
        ];
        for (name, value) in stated.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            headers.remove(&name);
            if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
                headers.insert(name.clone(), value);
            }
            names.push(name);
        }
        let fields = VaryFields::parse(names.iter().map(HeaderName::as_str)).unwrap_or_default();
        Selection { fields, is_ambiguous }
    }
}

/// Returns the cookies of these names as one text; `None` without any. No name has a `=`, and
/// no value a `;`.
fn listed(headers: &HeaderMap, names: &[&str]) -> Option<String> {
    let pair = |name: &&str| cookie(headers, name).map(|value| format!("{name}={value}"));
    let pairs: Vec<String> = names.iter().filter_map(pair).collect();
    (!pairs.is_empty()).then(|| pairs.join(";"))
}

#[cfg(test)]
mod tests {
    use shared_keys::{VariantKey, VaryRules};

    use super::*;
    use crate::json::testing::json;
    use crate::policy::select::combined;
    use crate::policy::testing::headers;
    use crate::rules::Client;

    const URL: &str = "https://shop.example/x";

    fn rules(text: &str) -> Rules {
        Rules::read(&json(text)).unwrap()
    }

    /// Returns the key under which the response to such a request is stored; `None` if the store is
    /// not used.
    fn key(rules: &Rules, fields: &[(&str, &str)], country: &str) -> Option<String> {
        let mut headers = headers(fields);
        let plain = TargetKey::parse(URL).unwrap();
        let rule = rules.of(&Method::GET, &plain, Client { headers: &headers, country }).clone();
        let selection = rules.select(&Method::GET, &plain, &rule, country, &mut headers);
        let target = rule.target(URL, plain).unwrap();
        let field = |name: &str| combined(&headers, name);
        let key = VariantKey::new(&target, &selection.fields, &VaryRules::default(), field);
        (!selection.is_ambiguous).then(|| key.as_str().to_owned())
    }

    #[test]
    fn clients_that_match_different_rules_share_no_key() {
        let rules = rules(
            r#"[{"path": "/x", "when": {"headers": {"X-Beta": "1"}}, "query": {"drop": ["a"]}},
                {"path": "/x", "when": {"cookies": {"group": "b"}}},
                {"path": "/x", "when": {"country": ["DE", "AT"]}},
                {"path": "/x", "when": {"device": "bot"}},
                {"path": "/**", "when": {"host": "other.example"}}]"#,
        );
        let clients: [(&[(&str, &str)], &str); 6] = [
            (&[("x-beta", "1")], "XX"),
            (&[("cookie", "group=b")], "XX"),
            (&[], "DE"),
            (&[("user-agent", "Googlebot")], "XX"),
            (&[], "XX"),
            // It matches no rule, but the origin may take it for the first.
            (&[("x-beta", "true")], "XX"),
        ];
        let keys: Vec<_> =
            clients.iter().map(|(fields, country)| key(&rules, fields, country).unwrap()).collect();
        for (index, key) in keys.iter().enumerate() {
            assert!(!keys[..index].contains(key), "{:?}", clients[index]);
        }
        assert_eq!(key(&rules, &[], "DE"), key(&rules, &[("cookie", "a=b")], "AT"), "they match one rule");
        assert_eq!(key(&rules, &[("strata-rule", "x")], "XX"), key(&rules, &[], "XX"), "no client names it");
    }

    #[test]
    fn a_request_that_the_origin_may_read_differently_does_not_use_the_store() {
        let rules = rules(
            r#"[{"path": "/x", "when": {"headers": {"X-Beta": true}, "cookies": {"group": "b"}},
                 "key": {"headers": ["X-Theme"], "cookies": ["size"]}}]"#,
        );
        for fields in [
            &[("x_beta", "1")][..],
            &[("x.beta", "1")][..],
            &[("x_theme", "dark")][..],
            &[("x-theme", "dark"), ("x_theme", "light")][..],
            &[("cookie", "group=a; group=b")][..],
            &[("cookie", "size=1"), ("cookie", "size=2")][..],
        ] {
            assert_eq!(key(&rules, fields, "XX"), None, "{fields:?}");
        }
        assert!(key(&rules, &[("x_other", "1"), ("cookie", "a=1; a=2")], "XX").is_some());
    }

    #[test]
    fn a_rule_keys_its_responses_by_parts_of_the_request() {
        let rules = rules(
            r#"[{"path": "/x", "key": {"headers": ["X-Theme"], "cookies": ["size", "tone"],
                 "country": true, "device": true}}, {"path": "/y"}]"#,
        );
        let own: &[(&str, &str)] = &[("x-theme", "dark"), ("cookie", "size=1; z=1"), ("user-agent", "x")];
        let same: &[(&str, &str)] = &[("x-theme", "dark"), ("cookie", "size=1"), ("user-agent", "y")];
        assert_eq!(key(&rules, own, "DE"), key(&rules, same, "DE"));
        for (fields, country) in [
            (&[("x-theme", "light"), ("cookie", "size=1")][..], "DE"),
            (&[("x-theme", "dark"), ("cookie", "size=2")][..], "DE"),
            (&[("x-theme", "dark"), ("cookie", "size=1; tone=1")][..], "DE"),
            (&[("x-theme", "dark")][..], "DE"),
            (&[("x-theme", "dark"), ("cookie", "size=1"), ("user-agent", "iPhone")][..], "DE"),
            (same, "AT"),
        ] {
            assert_ne!(key(&rules, own, "DE"), key(&rules, fields, country), "{fields:?} {country}");
        }
        let forged: &[(&str, &str)] = &[("x-device-class", "bot"), ("x-country-code", "FR")];
        assert_eq!(key(&rules, forged, "XX"), key(&rules, &[], "XX"));
    }

    #[test]
    fn the_rules_for_query_select_its_responses_and_are_invalidated_with_their_url() {
        let rules = rules(
            r#"[{"path": "/x", "methods": ["QUERY"], "key": {"headers": ["X-Tenant"]}, "query": {"drop": ["a"]}},
                {"path": "/x", "pass": true}]"#,
        );
        let query: Method = "QUERY".parse().unwrap();
        let plain = TargetKey::parse(URL).unwrap();
        let selected = |method: &Method| {
            let mut headers = headers(&[("x-tenant", "1")]);
            let rule = rules.of(method, &plain, Client::new(&headers)).clone();
            rules.select(method, &plain, &rule, "XX", &mut headers).fields
        };
        assert_eq!(selected(&query), VaryFields::parse(["x-tenant"]).unwrap());
        assert_eq!(selected(&Method::GET), VaryFields::default());
        let targets: Vec<String> =
            rules.targets("https://shop.example/x?a&b").iter().map(ToString::to_string).collect();
        assert_eq!(targets, ["https://shop.example/x?a&b", "https://shop.example/x?b"]);
        assert!(rules.may_store(&plain), "responses to QUERY are stored");
    }

    /// The response to a POST is stored by the key of the POST's rule.
    #[test]
    fn a_post_by_another_rule_than_that_of_the_clients_gets_answers_none() {
        let rules = rules(
            r#"[{"path": "/x", "methods": ["POST"]}, {"path": "/x", "when": {"country": "DE"}},
                {"path": "/y", "when": {"country": "DE"}}]"#,
        );
        let headers = headers(&[]);
        for (path, country, expected) in [("x", "DE", false), ("x", "AT", false), ("y", "DE", true)] {
            let target = TargetKey::parse(&format!("https://shop.example/{path}")).unwrap();
            let client = Client { headers: &headers, country };
            let rule = rules.of(&Method::POST, &target, client);
            assert_eq!(rules.is_rule_of_gets(rule, &target, client), expected, "{path} {country}");
        }
    }

    #[test]
    fn rules_that_depend_on_the_url_alone_select_nothing() {
        for text in [
            "[]",
            r#"[{"path": "/x", "when": {"host": "*.example"}}]"#,
            r#"[{"path": "/y", "key": {"device": true}}]"#,
        ] {
            let mut headers = headers(&[("strata-rule", "x"), ("x-device-class", "own")]);
            let plain = TargetKey::parse(URL).unwrap();
            let rules = rules(text);
            let rule = rules.of(&Method::GET, &plain, Client::new(&headers)).clone();
            assert_eq!(
                rules.select(&Method::GET, &plain, &rule, "DE", &mut headers),
                Selection::default(),
                "{text}"
            );
            assert_eq!(headers, crate::policy::testing::headers(&[("x-device-class", "own")]));
        }
    }

    #[test]
    fn an_unsafe_request_invalidates_the_keys_of_all_clients() {
        let rules = rules(
            r#"[{"path": "/x", "when": {"headers": {"X-Beta": true}}, "query": {"drop": ["a"]}},
                {"path": "/x", "methods": ["POST"], "query": {"drop": ["c"]}},
                {"path": "/x", "query": {"drop": ["b"]}},
                {"path": "/x", "when": {"headers": {"X-Never": true}}, "query": {"drop": ["d"]}}]"#,
        );
        let targets: Vec<String> =
            rules.targets("https://shop.example/x?a&b&c&d").iter().map(ToString::to_string).collect();
        assert_eq!(targets, ["https://shop.example/x?b&c&d", "https://shop.example/x?a&c&d"]);
    }
}
