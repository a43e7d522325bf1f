//! The conditions of a rule besides path and method: on the host, the client's fields and cookies,
//! its country and its device.

use http::{HeaderMap, HeaderName, header};

use super::glob::Glob;
use super::place::{Place, Read};
use crate::client::{self, Device, UNKNOWN_COUNTRY};
use crate::json::Json;
use crate::policy::select::combined;

/// The properties that a request must have for a rule to apply.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    /// The patterns of the host, of which one must match; empty for all.
    pub(super) hosts: Vec<Glob>,
    /// The fields, each of which must be as wanted.
    pub(super) headers: Vec<(HeaderName, Wanted)>,
    /// The cookies, each of which must be as wanted.
    pub(super) cookies: Vec<(Box<str>, Wanted)>,
    /// The client's countries, of which one must match; empty for all.
    pub(super) countries: Vec<Box<str>>,
    /// The classes of device, of which one must match; empty for all.
    pub(super) devices: Vec<Device>,
    /// The hash of the conditions as they were written, which names them in keys.
    pub(super) id: u64,
}

/// The property that a condition wants of a field or cookie.
#[derive(Debug)]
pub(super) enum Wanted {
    /// It is present, with any value.
    Present,
    /// It is absent.
    Absent,
    /// It is present, and its value matches one of these patterns.
    Value(Vec<Glob>),
}

/// A request as conditions see it.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    /// The client's fields, without hop-by-hop fields.
    pub headers: &'a HeaderMap,
    /// Its country, as [`client::country`](crate::client::country) returns it.
    pub country: &'a str,
}

impl<'a> Client<'a> {
    /// Returns a client with these fields, whose country is not known.
    pub fn new(headers: &'a HeaderMap) -> Self {
        Self { headers, country: UNKNOWN_COUNTRY }
    }
}

impl Conditions {
    /// Parses the member `when` of a rule.
    pub(super) fn read(place: &Place<'_>) -> Read<Self> {
        let mut conditions = Self::default();
        for (name, member) in place.members()? {
            match name {
                "host" => {
                    for text in member.texts()? {
                        if text.contains(['/', ':']) || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
                            return Err(member.wrong("a host in lower case, without scheme and port"));
                        }
                        conditions.hosts.push(Glob::new(text));
                    }
                }
                "headers" => {
                    for (name, wanted) in member.members()? {
                        conditions.headers.push((wanted.field_name(name)?, Wanted::read(&wanted)?));
                    }
                }
                "cookies" => {
                    for (name, wanted) in member.members()? {
                        conditions.cookies.push((wanted.cookie_name(name)?, Wanted::read(&wanted)?));
                    }
                }
                "country" => {
                    for text in member.texts()? {
                        if !client::is_country(text) || client::country(Some(text)) != text {
                            return Err(member.wrong("countries of two letters in capitals, like `DE`"));
                        }
                        conditions.countries.push(text.into());
                    }
                }
                "device" => {
                    for text in member.texts()? {
                        let device = Device::ALL.into_iter().find(|device| device.as_str() == text);
                        const EXPECTED: &str = "`mobile`, `tablet`, `desktop` or `bot`";
                        conditions.devices.push(device.ok_or_else(|| member.wrong(EXPECTED))?);
                    }
                }
                _ => return Err(member.unknown()),
            }
        }
        conditions.id = place.hash();
        Ok(conditions)
    }

    /// Returns whether they depend on more than the URL.
    pub(super) fn depend_on_client(&self) -> bool {
        !(self.headers.is_empty()
            && self.cookies.is_empty()
            && self.countries.is_empty()
            && self.devices.is_empty())
    }

    pub(super) fn match_host(&self, host: &str) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|glob| glob.matches(host))
    }

    pub(super) fn match_client(&self, client: Client<'_>) -> bool {
        self.states(client.headers).all(|state| state == State::Wanted)
            && (self.countries.is_empty() || self.countries.iter().any(|code| **code == *client.country))
            && (self.devices.is_empty() || self.devices.contains(&Device::of(client.headers)))
    }

    /// Returns the state of each field and cookie that the conditions name.
    pub(super) fn states(&self, request: &HeaderMap) -> impl Iterator<Item = State> {
        let headers =
            self.headers.iter().map(|(name, wanted)| wanted.state(combined(request, name.as_str())));
        headers.chain(self.cookies.iter().map(|(name, wanted)| wanted.state(cookie(request, name))))
    }
}

/// The state of a field or cookie that a condition names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// As the condition wants it.
    Wanted,
    /// Absent, although the condition wants it.
    Missing,
    /// Present, but not as the condition wants it.
    Other,
}

impl State {
    /// Returns its letter in keys.
    pub(super) fn as_char(self) -> char {
        match self {
            Self::Wanted => 'w',
            Self::Missing => 'm',
            Self::Other => 'o',
        }
    }
}

impl Wanted {
    fn read(place: &Place<'_>) -> Read<Self> {
        match place.value {
            Json::Bool(true) => Ok(Self::Present),
            Json::Bool(false) => Ok(Self::Absent),
            Json::Text(_) | Json::List(_) => Ok(Self::Value(place.globs()?)),
            _ => Err(place.wrong("true (present), false (absent), or patterns of the value")),
        }
    }

    fn state(&self, value: Option<String>) -> State {
        match (self, value) {
            (Self::Present, Some(_)) | (Self::Absent, None) => State::Wanted,
            (Self::Value(globs), Some(value)) if globs.iter().any(|glob| glob.matches(&value)) => {
                State::Wanted
            }
            (_, Some(_)) => State::Other,
            (_, None) => State::Missing,
        }
    }
}

/// Returns the value of the first cookie of this name.
pub(super) fn cookie(request: &HeaderMap, name: &str) -> Option<String> {
    cookies(request, name).into_iter().next()
}

/// Returns the values of the cookies of this name. Lines that the runtime has joined with a comma
/// are separate, as for `bypass.cookies`.
pub(super) fn cookies(request: &HeaderMap, name: &str) -> Vec<String> {
    let mut values = Vec::new();
    any_cookie(request, |own, value| {
        if own == name {
            values.push(value.to_owned());
        }
        false
    });
    values
}

/// Calls `is_found` with the name and value of each cookie until it returns `true`, and returns
/// whether it did.
pub(super) fn any_cookie(request: &HeaderMap, mut is_found: impl FnMut(&str, &str) -> bool) -> bool {
    request.get_all(header::COOKIE).iter().any(|line| {
        // Decode lossily: a value that is not UTF-8 must not hide the other cookies of its line.
        let line = String::from_utf8_lossy(line.as_bytes());
        // The runtime joins lines with a comma, which no cookie contains (RFC 6265 section 4.1.1).
        line.split([';', ',']).any(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            is_found(name.trim(), value.trim())
        })
    })
}

#[cfg(test)]
mod tests {
    use http::Method;
    use shared_keys::TargetKey;

    use super::*;
    use crate::json::testing::json;
    use crate::policy::testing::headers;
    use crate::rules::Rules;

    fn applies(when: &str, url: &str, fields: &[(&str, &str)], country: &str) -> bool {
        let rules =
            Rules::read(&json(&format!(r#"[{{"name": "own", "path": "/**", "when": {when}}}]"#))).unwrap();
        let headers = headers(fields);
        let client = Client { headers: &headers, country };
        &*rules.of(&Method::GET, &TargetKey::parse(url).unwrap(), client).name == "own"
    }

    #[test]
    fn a_rule_applies_if_all_of_its_conditions_hold() {
        const URL: &str = "https://shop.example/x";
        const PHONE: (&str, &str) = ("sec-ch-ua-mobile", "?1");
        for (when, fields, country, holds) in [
            (r#"{"headers": {"X-Beta": true}}"#, &[("x-beta", "")][..], "XX", true),
            (r#"{"headers": {"X-Beta": true}}"#, &[][..], "XX", false),
            (r#"{"headers": {"X-Beta": false}}"#, &[][..], "XX", true),
            (r#"{"headers": {"X-Beta": false}}"#, &[("x-beta", "1")][..], "XX", false),
            (r#"{"headers": {"X-Beta": "1"}}"#, &[("x-beta", "1")][..], "XX", true),
            (r#"{"headers": {"X-Beta": "1"}}"#, &[("x-beta", "12")][..], "XX", false),
            (r#"{"headers": {"X-Beta": ["a", "1*"]}}"#, &[("x-beta", "12")][..], "XX", true),
            (r#"{"headers": {"X-A": true, "X-B": true}}"#, &[("x-a", "1")][..], "XX", false),
            (r#"{"cookies": {"group": "b"}}"#, &[("cookie", "a=1; group=b")][..], "XX", true),
            (r#"{"cookies": {"group": "b"}}"#, &[("cookie", "a=1, group=b")][..], "XX", true),
            (r#"{"cookies": {"group": "b"}}"#, &[("cookie", "group=c")][..], "XX", false),
            (r#"{"cookies": {"group": "b"}}"#, &[("cookie", "Group=b")][..], "XX", false),
            (r#"{"cookies": {"sid": false}}"#, &[("cookie", "a=sid")][..], "XX", true),
            (r#"{"cookies": {"sid": false}}"#, &[("cookie", "sid")][..], "XX", false),
            (r#"{"country": ["DE", "AT"]}"#, &[][..], "AT", true),
            (r#"{"country": ["DE", "AT"]}"#, &[][..], "XX", false),
            (r#"{"device": ["mobile", "tablet"]}"#, &[PHONE][..], "XX", true),
            (r#"{"device": "desktop"}"#, &[PHONE][..], "XX", false),
            (r#"{"country": "DE", "device": "mobile"}"#, &[PHONE][..], "XX", false),
            (r#"{"host": ["*.example"]}"#, &[][..], "XX", true),
            (r#"{"host": "shop.example"}"#, &[][..], "XX", true),
            (r#"{"host": "example"}"#, &[][..], "XX", false),
        ] {
            assert_eq!(applies(when, URL, fields, country), holds, "{when} {fields:?} {country}");
        }
        assert!(applies(r#"{"host": "shop.example"}"#, "http://shop.example:8080/", &[], "XX"));
    }
}
