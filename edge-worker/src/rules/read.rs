//! The parser of the variable `RULES`. edge-worker/README.md describes its JSON.
//!
//! Nothing is ignored: an unknown member, a wrong type and a value out of range are errors that
//! name their location, such as `RULES[2].lifetime.fresh`. Any of them could have been meant to
//! exclude a response from the cache.

use std::rc::Rc;

use http::{Method, StatusCode};
use shared_keys::{Normaliser, QueryRules, VaryRules};

use super::conditions::Conditions;
use super::glob::Glob;
use super::place::{Place, Read};
use super::reading::folded_pattern;
use super::selection::KeyParts;
use super::{Rule, Rules};
use crate::error::Error;
use crate::json::Json;

/// The name of the variable with the rules.
pub const RULES: &str = "RULES";

impl Rules {
    /// Parses the rules from a JSON array.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::error::ErrorKind::Config), which names the member, the expected
    /// value and the actual one.
    pub fn read(json: &Json) -> Result<Self, Error> {
        let mut rules = Vec::new();
        for (index, place) in (Place { path: RULES.to_owned(), value: json }).items()?.iter().enumerate() {
            rules.push(Rc::new(rule(place, index)?));
        }
        let depend_on_client =
            rules.iter().any(|rule| rule.conditions.depend_on_client() || !rule.key.is_empty());
        Ok(Self { rules, depend_on_client, ..Self::default() })
    }
}

fn rule(place: &Place<'_>, index: usize) -> Read<Rule> {
    let mut rule = Rule { name: format!("rule-{}", index + 1).into(), ..Rule::default() };
    let mut is_exact = false;
    for (name, member) in place.members()? {
        match name {
            "name" => rule.name = member.text()?.into(),
            "path" => paths(&mut rule, &member)?,
            "methods" => {
                for text in member.texts()? {
                    let method = text
                        .parse::<Method>()
                        .ok()
                        .filter(|_| text.bytes().all(|byte| byte.is_ascii_uppercase()));
                    let method = method.ok_or_else(|| member.wrong("methods in capitals"))?;
                    rule.methods.push(if method == Method::HEAD { Method::GET } else { method });
                }
            }
            "when" => rule.conditions = Conditions::read(&member)?,
            "key" => rule.key = KeyParts::read(&member)?,
            "pass" => rule.bypass_always = member.boolean()?,
            "bypass" => bypass(&mut rule, &member)?,
            "query" => rule.query = query(&member)?,
            "no_vary_search" => rule.obeys_no_vary_search = member.boolean()?,
            "exact_url" => is_exact = member.boolean()?,
            "vary" => rule.vary = vary(&member)?,
            "unkeyed" => rule.unkeyed = member.field_names()?,
            "lifetime" => lifetime(&mut rule, &member)?,
            "errors" => errors(&mut rule, &member)?,
            "store_set_cookie" => rule.choices.store_set_cookie = member.boolean()?,
            "store_post" => rule.store_post = member.boolean()?,
            "rewrite_urls" => rule.rewrite_urls = member.boolean()?,
            "ignore_credentials" => rule.ignore_credentials = member.boolean()?,
            "ignore_cookies" => rule.ignored_cookies = member.texts()?.into_iter().map(Into::into).collect(),
            "obey_requests" => rule.choices.obey_requests = member.boolean()?,
            "allow_stale" => rule.allow_stale = member.boolean()?,
            "strict_s_maxage" => rule.strict_s_maxage = member.boolean()?,
            "check_extension" => rule.check_extension = member.boolean()?,
            _ => return Err(member.unknown()),
        }
    }
    if rule.paths.is_empty() {
        return Err(place.wrong("a member `path`"));
    }
    if is_exact {
        if rule.query.is_sorted() {
            return Err(place.error("`exact_url` keeps the order of parameters: remove `query.sort`"));
        }
        rule.query = rule.query.exact();
    }
    Ok(rule)
}

fn paths(rule: &mut Rule, place: &Place<'_>) -> Read<()> {
    for text in place.texts()? {
        if !(text.starts_with('/') || text.starts_with("**")) {
            return Err(place.wrong("a path that begins with `/`"));
        }
        rule.paths.push(Glob::new(text));
        rule.folded_paths.push(Glob::new(&folded_pattern(text)));
    }
    Ok(())
}

fn bypass(rule: &mut Rule, place: &Place<'_>) -> Read<()> {
    for (name, member) in place.members()? {
        match name {
            "cookies" => rule.bypass_cookies = member.globs()?,
            "headers" => rule.bypass_headers = member.field_names()?,
            _ => return Err(member.unknown()),
        }
    }
    Ok(())
}

fn query(place: &Place<'_>) -> Read<QueryRules> {
    let mut query = QueryRules::default();
    for (name, member) in place.members()? {
        query = match name {
            "keep" => query.keeping(member.texts()?).map_err(|error| member.rejected(&error))?,
            "drop" => query.dropping(member.texts()?).map_err(|error| member.rejected(&error))?,
            "sort" if member.boolean()? => query.sorted(),
            "sort" => query,
            _ => return Err(member.unknown()),
        };
    }
    Ok(query)
}

fn vary(place: &Place<'_>) -> Read<VaryRules> {
    let mut rules = VaryRules::default();
    for (name, member) in place.members()? {
        member.field_name(name)?;
        rules = rules.field(name, normaliser(&member)?);
    }
    Ok(rules)
}

fn normaliser(place: &Place<'_>) -> Read<Normaliser> {
    const EXPECTED: &str = "`verbatim`, `list`, `drop`, or one of `coding`, `language`, `media_type`, `cookies` with a list of values";
    match place.value {
        Json::Text(text) => match text.as_str() {
            "verbatim" => Ok(Normaliser::verbatim()),
            "list" => Ok(Normaliser::lower_case_list()),
            "drop" => Ok(Normaliser::dropped()),
            _ => Err(place.wrong(EXPECTED)),
        },
        _ => {
            let [(kind, values)] = &place.members()?[..] else { return Err(place.wrong(EXPECTED)) };
            let list = values.texts()?;
            let normaliser = match *kind {
                "coding" => Normaliser::coding(list),
                "language" => Normaliser::language(list),
                "media_type" => Normaliser::media_type(list),
                "cookies" => Normaliser::cookies(list),
                _ => return Err(place.wrong(EXPECTED)),
            };
            normaliser.map_err(|error| values.rejected(&error))
        }
    }
}

fn lifetime(rule: &mut Rule, place: &Place<'_>) -> Read<()> {
    for (name, member) in place.members()? {
        match name {
            "fresh" => rule.fresh = Some(member.seconds()?),
            "stale_while_revalidate" => rule.stale_while_revalidate = Some(member.seconds()?),
            "stale_if_error" => rule.stale_if_error = Some(member.seconds()?),
            "override" => rule.overrides_origin = member.boolean()?,
            _ => return Err(member.unknown()),
        }
    }
    Ok(())
}

fn errors(rule: &mut Rule, place: &Place<'_>) -> Read<()> {
    for (name, member) in place.members()? {
        let status = name.parse().ok().filter(|status: &StatusCode| (400..600).contains(&status.as_u16()));
        let status = status.ok_or_else(|| member.wrong("a status from 400 to 599 as the member's name"))?;
        rule.errors.push((status, member.seconds()?));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::place::MEND;
    use super::*;
    use crate::error::ErrorKind;
    use crate::json::testing::json;
    use crate::policy::Choices;

    #[test]
    fn an_error_states_the_location_and_the_actual_value() {
        for (text, location, detail) in [
            ("{}", "RULES: ", "expected an array, got an object of 0"),
            ("[7]", "RULES[0]: ", "expected an object, got 7"),
            ("[{}]", "RULES[0]: ", "`path`"),
            (r#"[{"path": "/a", "ttl": 1}]"#, "RULES[0].ttl: ", "no such member"),
            (r#"[{"path": []}]"#, "RULES[0]: ", "`path`"),
            (r#"[{"path": "img/*"}]"#, "RULES[0].path: ", "begins with `/`"),
            (r#"[{"path": "/a"}, {"path": ["/b", 3]}]"#, "RULES[1].path[1]: ", "expected a text, got 3"),
            (r#"[{"path": "/a", "methods": ["get"]}]"#, "RULES[0].methods: ", "capitals"),
            (r#"[{"path": "/a", "pass": "yes"}]"#, "RULES[0].pass: ", r#"true or false, got "yes""#),
            (r#"[{"path": "/a", "lifetime": {"fresh": -1}}]"#, "RULES[0].lifetime.fresh: ", "got -1"),
            (r#"[{"path": "/a", "lifetime": {"fresh": 1.5}}]"#, "RULES[0].lifetime.fresh: ", "got 1.5"),
            (r#"[{"path": "/a", "lifetime": {"fresh": 31536001}}]"#, "RULES[0].lifetime.fresh: ", "31536000"),
            (r#"[{"path": "/a", "errors": {"200": 1}}]"#, "RULES[0].errors.200: ", "400 to 599"),
            (r#"[{"path": "/a", "query": {"drop": ["*_x"]}}]"#, "RULES[0].query.drop: ", "parameter's name"),
            (
                r#"[{"path": "/a", "query": {"sort": true}, "exact_url": true}]"#,
                "RULES[0]: ",
                "remove `query.sort`",
            ),
            (r#"[{"path": "/a", "vary": {"a b": "drop"}}]"#, "RULES[0].vary.a b: ", "name of a field"),
            (r#"[{"path": "/a", "vary": {"accept": "best"}}]"#, "RULES[0].vary.accept: ", "`media_type`"),
            (r#"[{"path": "/a", "vary": {"accept": {}}}]"#, "RULES[0].vary.accept: ", "`media_type`"),
            (
                r#"[{"path": "/a", "vary": {"x": {"language": ["e n"]}}}]"#,
                "RULES[0].vary.x.language: ",
                "language tag",
            ),
            (r#"[{"path": "/a", "unkeyed": ["a b"]}]"#, "RULES[0].unkeyed: ", "name of a field"),
            (r#"[{"path": "/a", "when": {"hosts": "x"}}]"#, "RULES[0].when.hosts: ", "no such member"),
            (r#"[{"path": "/a", "when": {"host": "A.b"}}]"#, "RULES[0].when.host: ", "lower case"),
            (
                r#"[{"path": "/a", "when": {"host": "a.b:80"}}]"#,
                "RULES[0].when.host: ",
                "without scheme and port",
            ),
            (
                r#"[{"path": "/a", "when": {"headers": ["x"]}}]"#,
                "RULES[0].when.headers: ",
                "an object, got an array",
            ),
            (
                r#"[{"path": "/a", "when": {"headers": {"x": 1}}}]"#,
                "RULES[0].when.headers.x: ",
                "true (present)",
            ),
            (
                r#"[{"path": "/a", "when": {"headers": {"a b": true}}}]"#,
                "RULES[0].when.headers.a b: ",
                "name of a field",
            ),
            (
                r#"[{"path": "/a", "when": {"cookies": {"a=b": true}}}]"#,
                "RULES[0].when.cookies.a=b: ",
                "cookie's name",
            ),
            (
                r#"[{"path": "/a", "when": {"country": "de"}}]"#,
                "RULES[0].when.country: ",
                "in capitals, like `DE`, got",
            ),
            (
                r#"[{"path": "/a", "when": {"device": "phone"}}]"#,
                "RULES[0].when.device: ",
                "`mobile`, `tablet`",
            ),
            (r#"[{"path": "/a", "key": {"device": "mobile"}}]"#, "RULES[0].key.device: ", "true or false"),
            (r#"[{"path": "/a", "key": {"query": ["a"]}}]"#, "RULES[0].key.query: ", "no such member"),
            (
                r#"[{"path": "/a", "bypass": {"headers": ["a b"]}}]"#,
                "RULES[0].bypass.headers: ",
                "name of a field",
            ),
        ] {
            let error = Rules::read(&json(text)).unwrap_err();
            let message = error.to_string();
            assert!(
                error.kind() == ErrorKind::Config
                    && message.starts_with(location)
                    && message.contains(detail),
                "{message}"
            );
            assert!(message.ends_with(MEND), "{message}");
        }
    }

    #[test]
    fn every_member_is_read() {
        let rules = json(
            r#"[{
                "name": "all", "path": ["/a/*", "**.css"], "methods": ["GET", "HEAD"], "pass": true,
                "bypass": {"cookies": ["sid"], "headers": ["X-Preview"]},
                "unkeyed": ["X-Theme"],
                "when": {"host": "*.example", "headers": {"X-A": true, "X-B": ["1", "2*"]}, "cookies": {"a": false},
                    "country": ["DE"], "device": ["bot", "mobile"]},
                "key": {"headers": "X-C", "cookies": ["b"], "country": true, "device": true},
                "query": {"keep": ["page"], "drop": ["utm_*"], "sort": false}, "exact_url": true,
                "no_vary_search": false,
                "vary": {"Accept-Language": {"language": ["en"]}, "Cookie": {"cookies": ["group"]}, "X-A": "drop"},
                "lifetime": {"fresh": 1, "stale_while_revalidate": 2, "stale_if_error": 3, "override": true},
                "errors": {"404": 4}, "allow_stale": true, "strict_s_maxage": true, "check_extension": false,
                "store_set_cookie": true, "store_post": true, "rewrite_urls": false, "obey_requests": true,
                "ignore_credentials": true, "ignore_cookies": ["theme", "ab_*"]
            }]"#,
        );
        let rule = &Rules::read(&rules).unwrap().rules[0];
        assert_eq!(
            (&*rule.name, rule.paths.len(), rule.methods.len(), rule.bypass_always),
            ("all", 2, 2, true)
        );
        assert_eq!((rule.bypass_cookies.len(), rule.bypass_headers.len()), (1, 1));
        assert_eq!(rule.unkeyed, ["x-theme"]);
        let when = &rule.conditions;
        assert_eq!((when.hosts.len(), when.headers.len(), when.cookies.len()), (1, 2, 1));
        assert_eq!((when.countries.len(), when.devices.len()), (1, 2));
        assert_eq!((rule.key.headers.len(), rule.key.cookies.len()), (1, 1));
        assert!(rule.key.country && rule.key.device && when.id != Conditions::default().id);
        assert_eq!(
            rule.query,
            QueryRules::default().keeping(["page"]).unwrap().dropping(["utm_*"]).unwrap().exact()
        );
        assert!(!rule.obeys_no_vary_search);
        assert_eq!(rule.vary.normal("accept-language", Some("de")).as_deref(), Some("en"));
        assert_eq!(rule.vary.normal("x-a", Some("de")), None);
        let secs = |duration: Option<Duration>| duration.map(|duration| duration.as_secs());
        let parts = [rule.fresh, rule.stale_while_revalidate, rule.stale_if_error].map(secs);
        assert_eq!((parts, rule.overrides_origin), ([Some(1), Some(2), Some(3)], true));
        assert_eq!(rule.errors, [(StatusCode::NOT_FOUND, Duration::from_secs(4))]);
        assert!(rule.allow_stale && rule.strict_s_maxage && !rule.check_extension);
        assert!(rule.store_post && !rule.rewrite_urls && rule.ignore_credentials);
        assert_eq!(rule.ignored_cookies, ["theme".into(), "ab_*".into()]);
        assert_eq!(rule.choices, Choices { store_set_cookie: true, obey_requests: true });
    }

    proptest! {
        #[test]
        fn hostile_rules_never_panic(name in "[a-z_]{0,8}|path|query|vary|errors", value in "[a-z/*0-9]{0,6}", number: f64) {
            for value in [Json::Text(value.clone()), Json::Number(number), Json::List(vec![Json::Text(value), Json::Null])] {
                for value in [value.clone(), Json::Object(vec![(name.clone(), value)])] {
                    let members = vec![("path".to_owned(), Json::Text("/a".to_owned())), (name.clone(), value)];
                    let _ = Rules::read(&Json::List(vec![Json::Object(members)]));
                }
            }
        }
    }
}
