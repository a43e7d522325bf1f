//! The cache directives of a response (RFC 9111 section 5.2.2).
//!
//! In: the lines of a `Cache-Control` field, or the value of a targeted field (RFC 9213). Out: one
//! [`Directives`]. Which field applies depends on the cache, so the caller chooses it.
//!
//! Decisions where the RFCs leave room:
//! - A freshness value that is not a number makes the response stale (4.2.1). A stale window that
//!   is not a number is no window.
//! - Of a repeated directive the first counts (4.2.1); in a targeted field the last counts, as in
//!   every structured field.
//! - `private="field"` and `no-cache="field"` keep the named fields out of the store and do not
//!   affect the rest (5.2.2.4 and 5.2.2.7). With an argument that names no fields they are the
//!   unqualified forms.
//! - White space beside `=` is not allowed. A freshness directive with it has no number, and so is
//!   stale.
//! - An unterminated quoted string hides nothing: the line is then split at every comma.
//! - A member that is not well-formed never widens what is shared: it counts for the forbidding
//!   words in it (see `misplaced`), and the response is stale unless another member states its
//!   freshness.
//! - `s-maxage` forbids stale responses (5.2.2.10), unless the same field declares a window for
//!   them: an origin that sends `s-maxage=60, stale-while-revalidate=600`, as most frameworks do,
//!   wants stale responses.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::field_lists::{not_a_token, split_list};
use super::structured_fields::{Member, parse_dictionary};
use crate::Lifetime;

/// The longest duration that a field can name, 2^31 seconds. A larger number is read as this one
/// (RFC 9111 section 1.2.2).
pub const MAX_DELTA: Duration = Duration::from_secs(1 << 31);

/// The cache directives of one response. Absent directives are `None` or `false`.
///
/// ```
/// use shared_keys::Directives;
/// let lines = [&b"public, max-age=60"[..], b"stale-if-error=600"];
/// let directives = Directives::from_cache_control(lines);
/// assert!(directives.public);
/// assert_eq!(directives.lifetime().unwrap().to_directives(), "max-age=60, stale-if-error=600");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directives {
    /// `max-age`; zero if its argument is not a number.
    pub max_age: Option<Duration>,
    /// `s-maxage`; zero if its argument is not a number. It implies `proxy_revalidate` (5.2.2.10)
    /// unless the field also declares a stale window.
    pub s_maxage: Option<Duration>,
    /// `stale-while-revalidate` (RFC 5861 section 3).
    pub stale_while_revalidate: Option<Duration>,
    /// `stale-if-error` (RFC 5861 section 4).
    pub stale_if_error: Option<Duration>,
    /// Whether one of these two is declared: with more than zero seconds, or without a number.
    pub accepts_stale: bool,
    /// `no-store`.
    pub no_store: bool,
    /// `no-cache`, unqualified.
    pub no_cache: bool,
    /// `private`, unqualified.
    pub private: bool,
    /// The fields that a qualified `no-cache` or `private` names, in lower case. They must not be
    /// stored.
    pub not_stored: Vec<Box<str>>,
    /// `public`.
    pub public: bool,
    /// `must-revalidate`.
    pub must_revalidate: bool,
    /// `proxy-revalidate`.
    pub proxy_revalidate: bool,
    /// `must-understand`.
    pub must_understand: bool,
    /// `immutable` (RFC 8246). An argument is ignored.
    pub immutable: bool,
    /// Whether the directives come from a targeted field. If so, `Expires` is ignored as well (RFC
    /// 9213 section 2.2).
    pub targeted: bool,
    /// Whether any directive that this cache knows was present.
    pub explicit: bool,
}

impl Directives {
    /// Parses the `Cache-Control` lines of a response.
    #[must_use]
    pub fn from_cache_control<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut directives = Self::default();
        let mut is_well_formed = true;
        for member in lines.into_iter().flat_map(split_list) {
            is_well_formed &= directives.restrict_by_member(member);
            if let Some((name, argument)) = cache_directive(member)
                && !argument.as_deref().is_some_and(|argument| directives.qualify(&name, argument))
            {
                directives.set(&name, argument.as_deref().map(delta_seconds));
            }
        }
        if !is_well_formed {
            directives.distrust();
        }
        directives
    }

    /// Parses a targeted field such as `CDN-Cache-Control`, with all its lines joined. Returns
    /// `None` if the field is to be ignored, because it is empty or not a dictionary (RFC 9213
    /// section 2.1).
    ///
    /// ```
    /// use shared_keys::Directives;
    /// assert!(Directives::from_targeted(b"no-store").unwrap().no_store);
    /// assert_eq!(Directives::from_targeted(b"max-age=60,"), None);
    /// ```
    #[must_use]
    pub fn from_targeted(value: &[u8]) -> Option<Self> {
        let members = parse_dictionary(value)?;
        let mut directives = Self { targeted: true, ..Self::default() };
        for (name, member) in &members {
            match member {
                // A boolean that is false is a directive that is absent.
                Member::Boolean(false) => {}
                Member::Boolean(true) => directives.set(name, None),
                Member::Integer(seconds) => {
                    let seconds = u64::try_from(*seconds).ok();
                    directives.set(name, Some(seconds.map(|s| Duration::from_secs(s).min(MAX_DELTA))));
                }
                Member::String(text) if directives.qualify(name, text) => {}
                Member::String(_) | Member::Strings(_) | Member::Other => directives.set(name, Some(None)),
            }
        }
        directives.restrict_by_dictionary(value);
        (!members.is_empty()).then_some(directives)
    }

    /// Returns the lifetime of a stored response in a shared cache, where `s-maxage` precedes
    /// `max-age`.
    ///
    /// Returns `None` if there is neither, or if `no-store` or `private` forbid to store the
    /// response or some of its fields, which a lifetime cannot express. With `no-cache` the
    /// response is never fresh. If stale responses are forbidden
    /// ([`forbids_stale`](Self::forbids_stale)), the lifetime has no stale windows.
    ///
    /// ```
    /// use shared_keys::Directives;
    /// let lifetime = |line: &str| {
    ///     let directives = Directives::from_cache_control([line.as_bytes()]);
    ///     directives.lifetime().map(|lifetime| lifetime.to_directives())
    /// };
    /// let line = "max-age=9, s-maxage=5, stale-if-error=7";
    /// assert_eq!(lifetime(line).as_deref(), Some("max-age=5, stale-if-error=7"));
    /// assert_eq!(lifetime(&format!("{line}, must-revalidate")).as_deref(), Some("max-age=5"));
    /// assert_eq!(lifetime("max-age=9, no-cache").as_deref(), Some("max-age=0"));
    /// assert_eq!(lifetime("max-age=9, private"), None);
    /// assert_eq!(lifetime("public"), None);
    /// ```
    #[must_use]
    pub fn lifetime(&self) -> Option<Lifetime> {
        // must-understand makes a cache that implements the status ignore no-store (5.2.2.3).
        // Whether it does is for the caller to check.
        if self.private || !self.not_stored.is_empty() || (self.no_store && !self.must_understand) {
            return None;
        }
        let fresh = self.s_maxage.or(self.max_age)?;
        let lifetime = Lifetime::fresh(if self.no_cache { Duration::ZERO } else { fresh });
        if self.forbids_stale() {
            return Some(lifetime);
        }
        let (swr, sie) = (self.stale_while_revalidate, self.stale_if_error);
        Some(lifetime.stale_while_revalidate(swr.unwrap_or_default()).stale_if_error(sie.unwrap_or_default()))
    }

    /// Returns whether stale responses are forbidden despite any stale windows (4.2.4): once its
    /// lifetime is over, the response must be validated before each use.
    #[must_use]
    pub fn forbids_stale(&self) -> bool {
        self.must_revalidate || self.proxy_revalidate || self.no_cache || self.s_maxage_forbids_stale()
    }

    /// Returns whether `s-maxage` forbids stale responses: the field declares no window for them.
    #[must_use]
    pub fn s_maxage_forbids_stale(&self) -> bool {
        self.s_maxage.is_some() && !self.accepts_stale
    }

    /// Returns whether a shared cache may use the response for requests with `Authorization` (3.5).
    #[must_use]
    pub fn allows_authorized(&self) -> bool {
        self.public || self.must_revalidate || self.s_maxage.is_some()
    }

    /// Removes what a field that is not well-formed must not allow: a guessed lifetime, and the
    /// exception of `must-understand` from `no-store`.
    fn distrust(&mut self) {
        if self.max_age.or(self.s_maxage).is_none() {
            (self.max_age, self.explicit) = (Some(Duration::ZERO), true);
        }
        self.must_understand &= !self.no_store;
    }

    /// Reads the argument of a qualified `no-cache` or `private` as field names. Returns whether
    /// the directive is one (RFC 9111 sections 5.2.2.4 and 5.2.2.7, RFC 9213 section 2.1).
    fn qualify(&mut self, name: &str, argument: &[u8]) -> bool {
        let fields = field_names(argument).filter(|_| matches!(name, "no-cache" | "private"));
        let Some(fields) = fields else { return false };
        self.not_stored.extend(fields);
        self.explicit = true;
        true
    }

    /// Sets one directive unless it is already set. `argument` is `Some(None)` for an argument that
    /// is not a number.
    fn set(&mut self, name: &str, argument: Option<Option<Duration>>) {
        let freshness = || Some(argument.flatten().unwrap_or(Duration::ZERO));
        match name {
            "max-age" => self.max_age = self.max_age.or_else(freshness),
            "s-maxage" => self.s_maxage = self.s_maxage.or_else(freshness),
            "stale-while-revalidate" | "stale-if-error" => {
                self.accepts_stale |=
                    argument.is_none_or(|seconds| seconds.is_some_and(|window| !window.is_zero()));
                let window = if name == "stale-if-error" {
                    &mut self.stale_if_error
                } else {
                    &mut self.stale_while_revalidate
                };
                *window = window.or(argument.flatten());
            }
            "no-store" => self.no_store = true,
            "no-cache" => self.no_cache = true,
            "private" => self.private = true,
            "public" => self.public = true,
            "must-revalidate" => self.must_revalidate = true,
            "proxy-revalidate" => self.proxy_revalidate = true,
            "must-understand" => self.must_understand = true,
            "immutable" => self.immutable = true,
            _ => return,
        }
        self.explicit = true;
    }
}

/// Splits one `Cache-Control` line of a request or response into directives: the name in lower
/// case, and the argument without its quotes.
///
/// An argument with white space beside the `=` begins with a space, so that it is never read as a
/// number.
///
/// ```
/// let line = b"No-Cache, max-stale=\"6\\0\"";
/// let directives: Vec<_> = shared_keys::cache_directives(line).collect();
/// assert_eq!(directives[0], ("no-cache".to_string(), None));
/// assert_eq!(directives[1], ("max-stale".to_string(), Some(b"60".to_vec())));
/// assert_eq!(directives.len(), 2);
/// ```
pub fn cache_directives(line: &[u8]) -> impl Iterator<Item = (String, Option<Vec<u8>>)> {
    split_list(line).filter_map(cache_directive)
}

fn cache_directive(member: &[u8]) -> Option<(String, Option<Vec<u8>>)> {
    let (name, argument) = match member.iter().position(|byte| *byte == b'=') {
        Some(at) if member[..at].trim_ascii_end().len() < at => (&member[..at], Some(b" ".to_vec())),
        Some(at) => (&member[..at], Some(unquote(&member[at + 1..]))),
        None => (member, None),
    };
    let name = core::str::from_utf8(name).ok()?.trim_ascii().to_ascii_lowercase();
    (!name.is_empty()).then_some((name, argument))
}

/// Returns the fields that a qualified directive names, or `None` if the argument is not a list of
/// field names.
fn field_names(argument: &[u8]) -> Option<Vec<Box<str>>> {
    let name = |name: &[u8]| {
        let name = core::str::from_utf8(name.trim_ascii()).ok()?;
        not_a_token(name).is_none().then(|| name.to_ascii_lowercase().into_boxed_str())
    };
    argument.split(|byte| *byte == b',').map(name).collect()
}

/// Parses non-negative whole seconds, at most [`MAX_DELTA`]. Returns `None` for any other text (RFC
/// 9111 section 1.2.2).
///
/// ```
/// use shared_keys::{MAX_DELTA, delta_seconds};
/// assert_eq!(delta_seconds(b"99999999999999999999"), Some(MAX_DELTA));
/// assert_eq!(delta_seconds(b"-1"), None);
/// ```
#[must_use]
pub fn delta_seconds(text: &[u8]) -> Option<Duration> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds =
        text.iter().fold(0u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    Some(Duration::from_secs(seconds).min(MAX_DELTA))
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
    use alloc::format;
    use proptest::prelude::*;

    use super::*;

    fn cache_control(value: &str) -> Directives {
        Directives::from_cache_control([value.as_bytes()])
    }

    fn targeted(value: &str) -> Option<Directives> {
        Directives::from_targeted(value.as_bytes())
    }

    fn seconds(directive: Option<Duration>) -> Option<u64> {
        directive.map(|d| d.as_secs())
    }

    #[test]
    fn rfc9111_5_2_names_are_case_insensitive_and_unknown_ones_ignored() {
        let directives =
            cache_control("MAX-AGE=60, Must-Revalidate, x-new=\"1, no-store\", community=\"UCI\"");
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
        let two_lines = Directives::from_cache_control([&b"max-age=1"[..], b"max-age=3600"]);
        assert_eq!(seconds(two_lines.max_age), Some(1));
        assert_eq!(seconds(targeted("max-age=1, max-age=3600").unwrap().max_age), Some(3600));
    }

    #[test]
    fn rfc9111_1_2_2_overflow_is_two_to_the_31() {
        for value in ["2147483649", "99999999999", "99999999999999999999999999999999"] {
            assert_eq!(cache_control(&format!("max-age={value}")).max_age, Some(MAX_DELTA));
        }
    }

    #[test]
    fn rfc9111_5_2_2_4_and_7_qualified_forms_name_fields_and_spare_the_rest() {
        let directives = cache_control("private=\"Set-Cookie\", no-cache=\"x , y\", no-cache=z, max-age=5");
        assert!(!directives.private && !directives.no_cache && directives.explicit);
        assert_eq!(directives.not_stored, ["set-cookie", "x", "y", "z"].map(Box::from));
        for no_fields in ["", "a b", "a,,b", "ä", "="] {
            let directives = cache_control(&format!("private=\"{no_fields}\", no-cache=\"{no_fields}\""));
            assert!(directives.private && directives.no_cache, "{no_fields}");
        }
        let both = cache_control("private=\"x\", private, no-cache, no-cache=\"x\"");
        assert!(both.private && both.no_cache);
        let qualified = targeted("no-cache=\"x , Y\", private=\"z\", max-age=5").unwrap();
        assert!(!qualified.private && !qualified.no_cache && qualified.explicit);
        assert_eq!(qualified.not_stored, ["x", "y", "z"].map(Box::from));
        let other = targeted("no-cache=\"\", private=x").unwrap();
        assert!(
            other.private && other.no_cache,
            "a string of names, and nothing else, is the qualified form"
        );
    }

    #[test]
    fn rfc9111_5_2_white_space_around_the_equals_sign_is_no_number() {
        for value in ["max-age =60", "max-age= 60", "max-age = 60", "max-age=\" 60\"", "max-age\t=60"] {
            assert_eq!(seconds(cache_control(value).max_age), Some(0), "{value}");
        }
        assert!(cache_control("no-store =x").no_store);
        assert!(cache_control("private =\"x\"").private);
    }

    #[test]
    fn rfc9110_5_6_4_a_string_without_an_end_hides_nothing() {
        let directives = cache_control("max-age=60, x=\"a, no-store, private");
        assert!(directives.no_store && directives.private);
    }

    #[test]
    fn rfc5861_an_invalid_window_is_no_window() {
        let directives = cache_control("max-age=1, stale-while-revalidate=x, stale-if-error");
        assert_eq!(directives.stale_while_revalidate, None);
        assert_eq!(directives.stale_if_error, None);
    }

    #[test]
    fn rfc9213_2_1_a_field_that_does_not_parse_or_is_empty_is_ignored() {
        for bad in ["", "max-age=60,", "MAX-AGE=60", "max-age=60 no-store", "max-age=\"6", "max-age=06é"] {
            assert_eq!(targeted(bad), None, "{bad}");
        }
    }

    #[test]
    fn rfc9213_2_1_a_value_of_another_type_is_not_coerced() {
        for other in ["60.5", "\"60\"", "sixty", "(60)", "-60"] {
            assert_eq!(seconds(targeted(&format!("max-age={other}")).unwrap().max_age), Some(0), "{other}");
        }
        assert!(!targeted("no-store=?0").unwrap().no_store);
    }

    #[test]
    fn rfc9111_5_2_2_10_s_maxage_is_the_lifetime_in_a_shared_cache_and_windows_beside_it_hold() {
        let windows = "stale-while-revalidate=7, stale-if-error=8";
        for (directives, expected) in [
            ("max-age=9", Some([9, 7, 8])),
            ("max-age=9, s-maxage=5", Some([5, 7, 8])),
            ("s-maxage=x, max-age=9", Some([0, 7, 8])),
            ("s-maxage=5, must-revalidate", Some([5, 0, 0])),
            ("s-maxage=5, no-cache", Some([0, 0, 0])),
            ("max-age=9, must-revalidate", Some([9, 0, 0])),
            ("max-age=9, proxy-revalidate", Some([9, 0, 0])),
            ("max-age=9, no-cache", Some([0, 0, 0])),
            ("max-age=9, no-store", None),
            ("max-age=9, no-store, must-understand", Some([9, 7, 8])),
            ("max-age=9, private", None),
            ("max-age=9, private=x", None),
            ("public", None),
            ("no-cache", None),
        ] {
            let seconds = |directives: Directives| {
                let lifetime = directives.lifetime()?;
                Some(
                    [lifetime.fresh_for(), lifetime.swr_for(), lifetime.sie_for()].map(|part| part.as_secs()),
                )
            };
            let text = format!("{directives}, {windows}");
            assert_eq!(seconds(cache_control(&text)), expected, "{directives}");
            assert_eq!(seconds(targeted(&text).unwrap()), expected, "{directives}");
        }
    }

    #[test]
    fn rfc9111_5_2_2_10_s_maxage_forbids_stale_unless_the_field_declares_a_window() {
        for (window, forbidden) in [
            ("public", true),
            ("stale-while-revalidate=9", false),
            ("stale-if-error=9", false),
            ("stale-while-revalidate", false),
            ("stale-while-revalidate=0, stale-if-error=0", true),
            ("stale-while-revalidate=x", true),
            ("stale-while-revalidate=9, proxy-revalidate", true),
        ] {
            let text = format!("s-maxage=5, {window}");
            assert_eq!(cache_control(&text).forbids_stale(), forbidden, "{text}");
            assert_eq!(targeted(&text).unwrap().forbids_stale(), forbidden, "{text}");
        }
    }

    proptest! {
        #[test]
        fn hostile_fields_never_panic(value in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Directives::from_cache_control([&value[..]]).lifetime();
            let _ = Directives::from_targeted(&value).map(|directives| directives.lifetime());
        }

        #[test]
        fn numbers_come_back(seconds in 0u64..=1 << 31) {
            let directive = format!("max-age={seconds}");
            prop_assert_eq!(cache_control(&directive).max_age, Some(Duration::from_secs(seconds)));
            prop_assert_eq!(targeted(&directive).unwrap().max_age, Some(Duration::from_secs(seconds)));
        }
    }
}
