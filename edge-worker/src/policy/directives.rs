//! The cache directives of a response (RFC 9111 section 5.2.2) and the field they are taken from.
//!
//! In: a response's header section. Out: one [`Directives`], already merged: a targeted field (RFC 9213) replaces
//! `Cache-Control` and `Expires` as a whole, it never mixes with them.
//!
//! Where the RFCs leave room:
//! - A freshness value that is not a number makes the response stale (4.2.1), a stale window that is not one is no window.
//! - Of a directive that is repeated, the first counts (4.2.1); in a targeted field the last, as structured fields say.
//! - `private="field"` and `no-cache="field"` count as the unqualified forms, as 5.2.2.4 and 5.2.2.7 allow.
//!
//! Request directives (5.2.1) are not read at all. They are advisory, and a shared cache that obeys `no-cache` lets any
//! client take the origin down by reloading; the large CDNs ignore them for the same reason.

use std::time::Duration;

use http::{HeaderMap, HeaderName, header};

use super::targeted::{Member, parse_dictionary};

/// The targeted field that only this kind of edge reads; wins over [`CDN_CACHE_CONTROL`].
pub const CLOUDFLARE_CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cloudflare-cdn-cache-control");

/// The targeted field for every CDN (RFC 9213 section 3); wins over `Cache-Control`.
pub const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

/// The longest duration that a field can name, 2^31 seconds: what does not fit is this (RFC 9111 section 1.2.2).
pub const MAX_DELTA: Duration = Duration::from_secs(1 << 31);

/// What the origin said about caching one response; absent directives are `None` or `false`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directives {
    /// `max-age`; zero if it was not a number.
    pub max_age: Option<Duration>,
    /// `s-maxage`; zero if it was not a number. Implies `proxy_revalidate` (5.2.2.10).
    pub s_maxage: Option<Duration>,
    /// `stale-while-revalidate` (RFC 5861 section 3).
    pub stale_while_revalidate: Option<Duration>,
    /// `stale-if-error` (RFC 5861 section 4).
    pub stale_if_error: Option<Duration>,
    /// `no-store`.
    pub no_store: bool,
    /// `no-cache`, qualified or not.
    pub no_cache: bool,
    /// `private`, qualified or not.
    pub private: bool,
    /// `public`.
    pub public: bool,
    /// `must-revalidate`.
    pub must_revalidate: bool,
    /// `proxy-revalidate`.
    pub proxy_revalidate: bool,
    /// `must-understand`.
    pub must_understand: bool,
    /// The directives come from a targeted field, so `Expires` does not count either (RFC 9213 section 2.2).
    pub targeted: bool,
    /// Any directive that this cache knows was there.
    pub explicit: bool,
}

impl Directives {
    /// The directives that hold for this cache: of the first targeted field that parses and is not empty, else of `Cache-Control`.
    pub fn of(headers: &HeaderMap) -> Self {
        for name in [CLOUDFLARE_CDN_CACHE_CONTROL, CDN_CACHE_CONTROL] {
            let value = joined(headers, &name);
            match parse_dictionary(&value) {
                Some(members) if !members.is_empty() => return Self::from_dictionary(&members),
                _ => {}
            }
        }
        let mut directives = Self::default();
        for value in headers.get_all(header::CACHE_CONTROL) {
            for (name, argument) in list(value.as_bytes()) {
                directives.set(&name, argument.as_deref().map(delta_seconds));
            }
        }
        directives
    }

    /// Stale is forbidden whatever the windows say (4.2.4): the response is to be validated before each use after its lifetime.
    pub fn forbids_stale(&self) -> bool {
        self.must_revalidate || self.proxy_revalidate || self.no_cache || self.s_maxage.is_some()
    }

    /// The origin allows a shared cache to use the response for requests with `Authorization` (3.5).
    pub fn allows_authorized(&self) -> bool {
        self.public || self.must_revalidate || self.s_maxage.is_some()
    }

    fn from_dictionary(members: &[(String, Member)]) -> Self {
        let mut directives = Self { targeted: true, ..Self::default() };
        for (name, member) in members {
            match member {
                // A flag that says "false" is a flag that is not set.
                Member::Boolean(false) => {}
                Member::Boolean(true) => directives.set(name, None),
                Member::Integer(seconds) => {
                    let seconds = u64::try_from(*seconds).ok();
                    directives.set(name, Some(seconds.map(|s| Duration::from_secs(s).min(MAX_DELTA))));
                }
                Member::Other => directives.set(name, Some(None)),
            }
        }
        directives
    }

    /// Sets one directive unless it is set already; `argument` is `Some(None)` if there is one that is not a number.
    fn set(&mut self, name: &str, argument: Option<Option<Duration>>) {
        let freshness = || Some(argument.flatten().unwrap_or(Duration::ZERO));
        match name {
            "max-age" => self.max_age = self.max_age.or_else(freshness),
            "s-maxage" => self.s_maxage = self.s_maxage.or_else(freshness),
            "stale-while-revalidate" => {
                self.stale_while_revalidate = self.stale_while_revalidate.or(argument.flatten());
            }
            "stale-if-error" => self.stale_if_error = self.stale_if_error.or(argument.flatten()),
            "no-store" => self.no_store = true,
            "no-cache" => self.no_cache = true,
            "private" => self.private = true,
            "public" => self.public = true,
            "must-revalidate" => self.must_revalidate = true,
            "proxy-revalidate" => self.proxy_revalidate = true,
            "must-understand" => self.must_understand = true,
            _ => return,
        }
        self.explicit = true;
    }
}

/// All lines of a field as one value; empty if the field is absent (RFC 9110 section 5.3).
fn joined(headers: &HeaderMap, name: &HeaderName) -> Vec<u8> {
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(http::HeaderValue::as_bytes).collect();
    lines.join(&b", "[..])
}

/// Non-negative whole seconds, at most [`MAX_DELTA`]; `None` if the text is anything else.
pub(super) fn delta_seconds(text: &[u8]) -> Option<Duration> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds = text.iter().fold(0u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    Some(Duration::from_secs(seconds).min(MAX_DELTA))
}

/// The directives of one `Cache-Control` line: lower-case name and unquoted argument.
fn list(line: &[u8]) -> Vec<(String, Option<Vec<u8>>)> {
    split_outside_quotes(line)
        .into_iter()
        .filter_map(|member| {
            let (name, argument) = match member.iter().position(|byte| *byte == b'=') {
                Some(at) => (&member[..at], Some(unquote(member[at + 1..].trim_ascii()))),
                None => (member, None),
            };
            let name = str::from_utf8(name).ok()?.trim().to_ascii_lowercase();
            (!name.is_empty()).then_some((name, argument))
        })
        .collect()
}

/// The comma-separated members of a list; commas inside quoted strings do not separate (RFC 9110 section 5.6.4).
pub(super) fn split_outside_quotes(line: &[u8]) -> Vec<&[u8]> {
    let mut members = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (at, byte) in line.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                members.push(line[start..at].trim_ascii());
                start = at + 1;
            }
            _ => {}
        }
    }
    members.push(line[start..].trim_ascii());
    members
}

fn unquote(argument: &[u8]) -> Vec<u8> {
    match argument {
        [b'"', inner @ .., b'"'] => {
            let mut escaped = false;
            inner
                .iter()
                .filter(|byte| {
                    escaped = **byte == b'\\' && !escaped;
                    !escaped
                })
                .copied()
                .collect()
        }
        bare => bare.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::testing::headers;

    fn cache_control(value: &str) -> Directives {
        Directives::of(&headers(&[("cache-control", value)]))
    }

    fn seconds(directive: Option<Duration>) -> Option<u64> {
        directive.map(|d| d.as_secs())
    }

    #[test]
    fn rfc9111_5_2_names_are_case_insensitive_and_unknown_ones_ignored() {
        let directives = cache_control("MAX-AGE=60, Must-Revalidate, x-new=\"1, no-store\", community=\"UCI\"");
        assert_eq!(seconds(directives.max_age), Some(60));
        assert!(directives.must_revalidate);
        assert!(!directives.no_store);
    }

    #[test]
    fn rfc9111_5_2_arguments_may_be_quoted() {
        assert_eq!(seconds(cache_control("max-age=\"60\"").max_age), Some(60));
        assert_eq!(seconds(cache_control("max-age=\"6\\0\"").max_age), Some(60));
    }

    #[test]
    fn rfc9111_4_2_1_invalid_freshness_is_stale() {
        for value in ["abc", "-1", "1.5", "", "60s", "6 0", "0x10"] {
            let directives = cache_control(&format!("max-age={value}, s-maxage={value}"));
            assert_eq!(seconds(directives.max_age), Some(0), "{value}");
            assert_eq!(seconds(directives.s_maxage), Some(0), "{value}");
        }
        assert_eq!(seconds(cache_control("max-age").max_age), Some(0));
    }

    #[test]
    fn rfc9111_4_2_1_of_duplicates_the_first_counts() {
        assert_eq!(seconds(cache_control("max-age=1, max-age=3600").max_age), Some(1));
        let two_lines = headers(&[("cache-control", "max-age=1"), ("cache-control", "max-age=3600")]);
        assert_eq!(seconds(Directives::of(&two_lines).max_age), Some(1));
    }

    #[test]
    fn rfc9111_1_2_2_overflow_is_two_to_the_31() {
        for value in ["2147483649", "99999999999", "99999999999999999999999999999999"] {
            assert_eq!(cache_control(&format!("max-age={value}")).max_age, Some(MAX_DELTA));
        }
    }

    #[test]
    fn rfc9111_5_2_2_qualified_forms_count_as_unqualified() {
        assert!(cache_control("private=\"set-cookie\"").private);
        assert!(cache_control("no-cache=\"set-cookie, x\", max-age=5").no_cache);
    }

    #[test]
    fn rfc5861_an_invalid_window_is_no_window() {
        let directives = cache_control("max-age=1, stale-while-revalidate=x, stale-if-error");
        assert_eq!(directives.stale_while_revalidate, None);
        assert_eq!(directives.stale_if_error, None);
    }

    #[test]
    fn rfc9213_2_2_a_targeted_field_replaces_cache_control_whole() {
        let all = [
            ("cache-control", "no-store, max-age=1"),
            ("cdn-cache-control", "max-age=2, stale-if-error=9"),
            ("cloudflare-cdn-cache-control", "max-age=3"),
        ];
        let directives = Directives::of(&headers(&all));
        assert_eq!(seconds(directives.max_age), Some(3));
        assert!(!directives.no_store && directives.targeted);
        assert_eq!(directives.stale_if_error, None);
        assert_eq!(seconds(Directives::of(&headers(&all[..2])).max_age), Some(2));
        assert_eq!(seconds(Directives::of(&headers(&all[..1])).max_age), Some(1));
    }

    #[test]
    fn rfc9213_2_1_a_field_that_does_not_parse_or_is_empty_is_ignored() {
        for bad in ["", "max-age=60,", "MAX-AGE=60", "max-age=60 no-store", "max-age=\"6", "max-age=06é"] {
            let directives = Directives::of(&headers(&[("cdn-cache-control", bad), ("cache-control", "max-age=1")]));
            assert_eq!(seconds(directives.max_age), Some(1), "{bad}");
            assert!(!directives.targeted);
        }
    }

    #[test]
    fn rfc9213_2_1_a_value_of_another_type_is_not_coerced() {
        for other in ["60.5", "\"60\"", "sixty", "(60)", "-60"] {
            let directives = Directives::of(&headers(&[("cdn-cache-control", &format!("max-age={other}"))]));
            assert_eq!(seconds(directives.max_age), Some(0), "{other}");
        }
        assert!(!Directives::of(&headers(&[("cdn-cache-control", "no-store=?0")])).no_store);
    }

    proptest! {
        #[test]
        fn hostile_fields_never_panic(value in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(value) = http::HeaderValue::from_bytes(&value) {
                for name in [CDN_CACHE_CONTROL, header::CACHE_CONTROL] {
                    let mut headers = HeaderMap::new();
                    headers.insert(name, value.clone());
                    Directives::of(&headers);
                }
            }
        }

        #[test]
        fn numbers_come_back(seconds in 0u64..=1 << 31) {
            prop_assert_eq!(cache_control(&format!("max-age={seconds}")).max_age, Some(Duration::from_secs(seconds)));
        }
    }
}
