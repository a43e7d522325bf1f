//! Normalisers: one value for all values of a request field that select the same response.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::field_lists::{not_a_token, split_outside_quotes};
use super::negotiate;
use crate::ParseError;

/// A rule that maps equivalent values of a request field to one. The fewer values a field has, the
/// more requests share a stored response.
///
/// The result is both the part of the variant key *and* the value sent to the origin, so a response
/// is stored under exactly the value that selected it. A value in normal form is unchanged.
///
/// ```
/// use shared_keys::Normaliser;
/// let languages = Normaliser::language(["en", "de", "pt-BR"])?;
/// assert_eq!(languages.normal(Some("fr, de-AT;q=0.9, en;q=0.5")).as_deref(), Some("de"));
/// # Ok::<_, shared_keys::ParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Normaliser(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Verbatim,
    Dropped,
    LowerCaseList,
    Coding(Box<[Box<str>]>),
    Language(Box<[Box<str>]>),
    MediaType(Box<[Box<str>]>),
    Cookies(Box<[Box<str>]>),
}

impl Normaliser {
    /// Returns the value without the white space around it, which is not part of it (RFC 9110
    /// section 5.5).
    ///
    /// ```
    /// let verbatim = shared_keys::Normaliser::verbatim();
    /// assert_eq!(verbatim.normal(Some(" Ann  B ")).as_deref(), Some("Ann  B"));
    /// assert_eq!(verbatim.normal(None), None);
    /// ```
    #[must_use]
    pub const fn verbatim() -> Self {
        Self(Kind::Verbatim)
    }

    /// Removes the field: it is neither keyed nor forwarded. This serves origins whose `Vary` names
    /// a field that need not matter.
    ///
    /// ```
    /// assert_eq!(shared_keys::Normaliser::dropped().normal(Some("Mozilla/5.0")), None);
    /// ```
    #[must_use]
    pub const fn dropped() -> Self {
        Self(Kind::Dropped)
    }

    /// Changes a list to lower case and removes optional spaces. Members stay in their order, since
    /// the cache does not know their meaning to the origin. Quoted strings are unchanged.
    ///
    /// ```
    /// let list = shared_keys::Normaliser::lower_case_list();
    /// assert_eq!(list.normal(Some("DE,, en; q=0.5")).as_deref(), Some("de,en;q=0.5"));
    /// ```
    #[must_use]
    pub const fn lower_case_list() -> Self {
        Self(Kind::LowerCaseList)
    }

    /// For `Accept-Encoding`: selects those of these content codings that the client accepts (RFC
    /// 9110 section 12.5.3), in the order of the list, or `identity` if it accepts none or prefers
    /// that to all. The origin chooses among them: one that cannot produce the first may be able to
    /// produce the next.
    ///
    /// `*` stands for all codings but `zstd` and those of a dictionary (`dcb` and `dcz`, RFC 9842),
    /// which a client that can decode them names.
    ///
    /// A client without the field gets `identity`: it accepts any coding formally, but most such
    /// clients cannot decode one.
    ///
    /// ```
    /// use shared_keys::Normaliser;
    /// let coding = Normaliser::coding(["br", "gzip"])?;
    /// assert_eq!(coding.normal(Some("gzip, deflate, br, zstd")).as_deref(), Some("br, gzip"));
    /// assert_eq!(coding.normal(Some("br;q=0, gzip")).as_deref(), Some("gzip"));
    /// assert_eq!(coding.normal(None).as_deref(), Some("identity"));
    /// # Ok::<_, shared_keys::ParseError>(())
    /// ```
    ///
    /// # Errors
    /// Fails if the list is empty, or if a member is not a coding's name or is repeated.
    pub fn coding(codings: impl IntoIterator<Item: AsRef<str>>) -> Result<Self, ParseError> {
        const EXPECTED: &str = "the name of a content coding, each once";
        let wrong = |name: &str| name.find('*').or_else(|| not_a_token(name));
        checked(codings, EXPECTED, wrong, negotiate::same_coding).map(Kind::Coding).map(Self)
    }

    /// For `Accept-Language`: selects the language that the lookup of RFC 4647 section 3.4 finds by
    /// descending weight; of equal weights the first in the list. The first is also the default,
    /// for clients that send no field and for those that accept none of the list.
    ///
    /// ```
    /// use shared_keys::Normaliser;
    /// let language = Normaliser::language(["en", "de"])?;
    /// assert_eq!(language.normal(Some("ja, de-CH;q=0.8, *;q=0.1")).as_deref(), Some("de"));
    /// assert_eq!(language.normal(Some("ja")).as_deref(), Some("en"));
    /// # Ok::<_, shared_keys::ParseError>(())
    /// ```
    ///
    /// # Errors
    /// Fails if the list is empty, or if a member is not a language tag or is repeated.
    pub fn language(tags: impl IntoIterator<Item: AsRef<str>>) -> Result<Self, ParseError> {
        const EXPECTED: &str = "a language tag like `pt-BR`, each once";
        checked(tags, EXPECTED, not_a_tag, |a, b| a.eq_ignore_ascii_case(b)).map(Kind::Language).map(Self)
    }

    /// For `Accept`: selects the media type with the highest weight, by the range that names it
    /// most specifically (RFC 9110 section 12.5.1). Media types may have parameters. The first is
    /// the default, for clients that send no field and for those that accept none of the list,
    /// which RFC 9110 section 12.1 prefers to an error.
    ///
    /// Of equal weights the more specifically named one is selected, then the first in the list.
    ///
    /// ```
    /// use shared_keys::Normaliser;
    /// let image = Normaliser::media_type(["image/jpeg", "image/avif", "image/webp"])?;
    /// let normal = image.normal(Some("image/avif,image/webp,image/*,*/*;q=0.8"));
    /// assert_eq!(normal.as_deref(), Some("image/avif"));
    /// assert_eq!(image.normal(Some("*/*")).as_deref(), Some("image/jpeg"));
    /// # Ok::<_, shared_keys::ParseError>(())
    /// ```
    ///
    /// # Errors
    /// Fails if the list is empty, or if a member is not a media type or is repeated.
    pub fn media_type(types: impl IntoIterator<Item: AsRef<str>>) -> Result<Self, ParseError> {
        const EXPECTED: &str = "a media type like `text/html` or `text/html;level=1`, each once";
        checked(types, EXPECTED, not_a_media_type, negotiate::same_media_type).map(Kind::MediaType).map(Self)
    }

    /// For `Cookie`: selects the cookies of these names, in this order, as `name=value` pairs. The
    /// origin receives no other cookie. The field is absent if none of them is present, which
    /// differs from a field without a value.
    ///
    /// Names are case-sensitive (RFC 6265 section 4.1.1). Of cookies with one name the first
    /// counts, as on most servers.
    ///
    /// ```
    /// use shared_keys::Normaliser;
    /// let group = Normaliser::cookies(["group"])?;
    /// assert_eq!(group.normal(Some("sid=31d4d96e; group=b; x=1")).as_deref(), Some("group=b"));
    /// assert_eq!(group.normal(Some("sid=31d4d96e")), None);
    /// # Ok::<_, shared_keys::ParseError>(())
    /// ```
    ///
    /// # Errors
    /// Fails if the list is empty, or if a member cannot be a cookie's name or is repeated.
    pub fn cookies(names: impl IntoIterator<Item: AsRef<str>>) -> Result<Self, ParseError> {
        const EXPECTED: &str = "a cookie's name, each once";
        // Wider than the RFC's token: browsers send such names.
        let has_a_place = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b';' | b'=');
        let wrong =
            |name: &str| name.bytes().position(|byte| !has_a_place(byte)).or(name.is_empty().then_some(0));
        checked(names, EXPECTED, wrong, |a, b| a == b).map(Kind::Cookies).map(Self)
    }

    /// Returns the normal form of a field's value, with all lines joined as in RFC 9110 section
    /// 5.3, and `None` for an absent field. Key the response by the result and send it to the
    /// origin; `None` means to send no such field.
    #[must_use]
    pub fn normal<'a>(&'a self, value: Option<&'a str>) -> Option<Cow<'a, str>> {
        match &self.0 {
            Kind::Verbatim => value.map(|value| value.trim_ascii().into()),
            Kind::Dropped => None,
            Kind::LowerCaseList => value.map(|value| lower_case_list(value).into()),
            Kind::Coding(codings) => Some(negotiate::codings(value, codings)),
            Kind::Language(tags) => Some(negotiate::language(value, tags).into()),
            Kind::MediaType(types) => Some(negotiate::media_type(value, types).into()),
            Kind::Cookies(names) => cookies(value?, names).map(Cow::Owned),
        }
    }
}

fn lower_case_list(value: &str) -> String {
    let mut list = String::with_capacity(value.len());
    for (_, member) in split_outside_quotes(value, b',') {
        let before = list.len();
        if before > 0 {
            list.push(',');
        }
        let start = list.len();
        let (mut quoted, mut escaped) = (false, false);
        for char in member.chars() {
            if char == '"' && !escaped {
                quoted = !quoted;
            }
            escaped = quoted && char == '\\' && !escaped;
            if quoted {
                list.push(char);
            } else if !char.is_ascii_whitespace() {
                list.push(char.to_ascii_lowercase());
            }
        }
        if list.len() == start {
            list.truncate(before);
        }
    }
    list
}

fn cookies(value: &str, names: &[Box<str>]) -> Option<String> {
    let mut picked = String::new();
    for name in names {
        // Some servers join lines with a comma and a space, which no cookie contains (RFC 6265
        // section 4.1.1).
        let parts = value.split(';').flat_map(|part| part.split(", "));
        let mut pairs = parts.filter_map(|pair| pair.split_once('='));
        if let Some((_, value)) = pairs.find(|(given, _)| given.trim_ascii() == &**name) {
            for text in [if picked.is_empty() { "" } else { "; " }, name, "=", value.trim_ascii()] {
                picked.push_str(text);
            }
        }
    }
    (!picked.is_empty()).then_some(picked)
}

/// Checks a list: it has a member, each member is well-formed, and none is repeated.
fn checked(
    list: impl IntoIterator<Item: AsRef<str>>,
    expected: &'static str,
    wrong_at: impl Fn(&str) -> Option<usize>,
    same: impl Fn(&str, &str) -> bool,
) -> Result<Box<[Box<str>]>, ParseError> {
    let mut members: Vec<Box<str>> = Vec::new();
    for member in list {
        let member = member.as_ref();
        let twice = members.iter().any(|known| same(known, member)).then_some(0);
        if let Some(at) = wrong_at(member).or(twice) {
            return Err(ParseError::new(expected, at, member));
        }
        members.push(member.into());
    }
    if members.is_empty() {
        return Err(ParseError::new(expected, 0, ""));
    }
    Ok(members.into())
}

/// Returns the position at which a text is not a language tag: letters and digits in parts of up to
/// eight, the last of which has at least two (RFC 5646 section 2.1).
fn not_a_tag(text: &str) -> Option<usize> {
    let mut at = 0;
    for part in text.split('-') {
        let wrong = part.bytes().take(9).position(|byte| !byte.is_ascii_alphanumeric());
        if let Some(offset) = wrong.or((part.is_empty() || part.len() > 8).then_some(0)) {
            return Some(at + offset);
        }
        at += part.len() + 1;
    }
    let last = text.rsplit_once('-').map_or(0, |(head, _)| head.len() + 1);
    (text.len() - last < 2).then_some(last)
}

/// Returns the position at which a text is not a media type without a weight (RFC 9110 section
/// 8.3.1).
fn not_a_media_type(text: &str) -> Option<usize> {
    let is_name = |text: &str| not_a_token(text).is_none() && !text.contains('*');
    let is_value = |text: &str| {
        let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        let plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
        inner.map_or_else(|| not_a_token(text).is_none(), |inner| inner.bytes().all(plain))
    };
    let end = text.trim_ascii_end().len();
    if end < text.len() {
        return Some(end);
    }
    let mut parts = split_outside_quotes(text, b';');
    let media_type = parts.next().filter(|(at, part)| {
        *at > 0 || !part.split_once('/').is_some_and(|(family, subtype)| is_name(family) && is_name(subtype))
    });
    let mut parameters = parts.filter(|(_, part)| {
        !part
            .split_once('=')
            .is_some_and(|(name, value)| is_name(name) && !name.eq_ignore_ascii_case("q") && is_value(value))
    });
    media_type.or_else(|| parameters.next()).map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rfc9110_5_5_spaces_at_the_ends_are_no_part_of_a_value() {
        let verbatim = Normaliser::verbatim();
        for (value, normal) in [(" a b\t", "a b"), ("a  b", "a  b"), ("", ""), (" ", ""), ("Ä", "Ä")] {
            assert_eq!(verbatim.normal(Some(value)).as_deref(), Some(normal));
        }
        assert_eq!(verbatim.normal(None), None);
    }

    #[test]
    fn rfc9110_5_6_1_lists_lose_case_spaces_and_empty_members() {
        let list = Normaliser::lower_case_list();
        for (value, normal) in
            [("DE , en; q=0.5", "de,en;q=0.5"), (",, a,\t,b,", "a,b"), ("", ""), (" , ", ""), ("É", "É")]
        {
            assert_eq!(list.normal(Some(value)).as_deref(), Some(normal), "{value}");
        }
        assert_eq!(list.normal(None), None);
    }

    #[test]
    fn rfc6265_4_2_1_cookies_are_picked_by_name() {
        let picked = Normaliser::cookies(["group", "lang"]).unwrap();
        for (value, normal) in [
            ("group=b", Some("group=b")),
            ("sid=1; lang=de;group = b ", Some("group=b; lang=de")),
            ("group=b; group=c", Some("group=b")),
            ("group=", Some("group=")),
            ("group=a=b", Some("group=a=b")),
            ("group=\"a b\"; lang=é", Some("group=\"a b\"; lang=é")),
            ("Group=b", None),
            ("xgroup=b; groupx=b", None),
            ("group", None),
            ("x=group=b", None),
            ("", None),
        ] {
            assert_eq!(picked.normal(Some(value)).as_deref(), normal, "{value}");
        }
        assert_eq!(picked.normal(None), None);
    }

    #[test]
    fn a_list_is_refused_with_what_was_expected_and_where() {
        type Make = fn(&[&str]) -> Result<Normaliser, ParseError>;
        let coding: Make = |list| Normaliser::coding(list);
        let language: Make = |list| Normaliser::language(list);
        let media_type: Make = |list| Normaliser::media_type(list);
        let cookies: Make = |list| Normaliser::cookies(list);
        for (make, list, message) in [
            (coding, &["br", "*"][..], "the name of a content coding, each once at byte 0 of \"*\""),
            (coding, &["br, gzip"], "the name of a content coding, each once at byte 2 of \"br, gzip\""),
            (coding, &["br", "BR"], "the name of a content coding, each once at byte 0 of \"BR\""),
            (coding, &[], "the name of a content coding, each once at byte 0 of \"\""),
            (language, &["en_US"], "a language tag like `pt-BR`, each once at byte 2 of \"en_US\""),
            (language, &["en-*"], "a language tag like `pt-BR`, each once at byte 3 of \"en-*\""),
            (language, &["en-"], "a language tag like `pt-BR`, each once at byte 3 of \"en-\""),
            (
                language,
                &["de-languages"],
                "a language tag like `pt-BR`, each once at byte 3 of \"de-languages\"",
            ),
            (language, &["zh-x"], "a language tag like `pt-BR`, each once at byte 3 of \"zh-x\""),
            (language, &[""], "a language tag like `pt-BR`, each once at byte 0 of \"\""),
            (coding, &["gzip", "X-Gzip"], "the name of a content coding, each once at byte 0 of \"X-Gzip\""),
            (language, &["de", "De"], "a language tag like `pt-BR`, each once at byte 0 of \"De\""),
            (
                media_type,
                &["text"],
                "a media type like `text/html` or `text/html;level=1`, each once at byte 0 of \"text\"",
            ),
            (
                media_type,
                &["a/*"],
                "a media type like `text/html` or `text/html;level=1`, each once at byte 0 of \"a/*\"",
            ),
            (
                media_type,
                &["a/b; q=1"],
                "a media type like `text/html` or `text/html;level=1`, each once at byte 5 of \"a/b; q=1\"",
            ),
            (
                media_type,
                &["a/b;c=d e"],
                "a media type like `text/html` or `text/html;level=1`, each once at byte 4 of \"a/b;c=d e\"",
            ),
            (
                media_type,
                &["a/b "],
                "a media type like `text/html` or `text/html;level=1`, each once at byte 3 of \"a/b \"",
            ),
            (
                media_type,
                &["a/b;c=d", "A/B;C=\"d\""],
                "a media type like `text/html` or `text/html;level=1`, each once at byte 0 of \"A/B;C=\\\"d\\\"\"",
            ),
            (cookies, &["a b"], "a cookie's name, each once at byte 1 of \"a b\""),
            (cookies, &["a;"], "a cookie's name, each once at byte 1 of \"a;\""),
            (cookies, &["a", "a"], "a cookie's name, each once at byte 0 of \"a\""),
        ] {
            assert_eq!(make(list).unwrap_err().to_string(), alloc::format!("expected {message}"));
        }
        assert!(Normaliser::cookies(["a", "A", "f[x]"]).is_ok(), "case counts in the names of cookies");
        assert!(Normaliser::media_type(["a/b;c=\"x, y;z\"", "a/b"]).is_ok());
    }

    fn normaliser() -> impl Strategy<Value = Normaliser> {
        let some_of =
            |all: &'static [&'static str]| proptest::sample::subsequence(all, 1..=all.len()).prop_shuffle();
        prop_oneof![
            Just(Normaliser::verbatim()),
            Just(Normaliser::dropped()),
            Just(Normaliser::lower_case_list()),
            some_of(&["br", "zstd", "identity", "x-gzip"]).prop_map(|list| Normaliser::coding(list).unwrap()),
            some_of(&["en", "de", "de-CH", "zh-Hant", "x-ab"])
                .prop_map(|list| Normaliser::language(list).unwrap()),
            some_of(&[
                "text/html",
                "text/html;level=1",
                "text/html;level=1;x=\"a,b\"",
                "text/plain",
                "image/avif"
            ])
            .prop_map(|list| Normaliser::media_type(list).unwrap()),
            some_of(&["a", "b", "A", "f[x]"]).prop_map(|list| Normaliser::cookies(list).unwrap()),
        ]
    }

    proptest! {
        #[test]
        fn a_normal_value_stays_itself(
            normaliser in normaliser(),
            value in prop_oneof![
                proptest::option::of(any::<String>()),
                "((text/|\\*|html|plain|;level=1|;x=\"a,b\"|de|-CH|br|x-gzip|a=|f\\[x\\]|b|,|;|;q=0|;q=0\\.5| |=|\"){0,3}[,;]?){0,4}".prop_map(Some),
            ],
        ) {
            let once = normaliser.normal(value.as_deref());
            prop_assert_eq!(normaliser.normal(once.as_deref()), once.clone());
        }
    }
}
