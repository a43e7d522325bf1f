//! Lists in header fields (RFC 9110 section 5.6): members, parameters and weights.

/// Splits a comma-separated list into its trimmed members. Commas inside quoted strings do not
/// separate (RFC 9110 section 5.6.4). If the last quoted string is unterminated, every comma
/// separates, so that it hides nothing.
///
/// ```
/// let members: Vec<&[u8]> = shared_keys::split_list(br#""a,b" , W/"c""#).collect();
/// assert_eq!(members, [&br#""a,b""#[..], br#"W/"c""#]);
/// ```
pub fn split_list(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    parts(line, b',').map(|(_, part)| part)
}

/// Splits a text at a separator into trimmed parts, each with the byte at which it begins.
/// Separators inside quoted strings do not separate.
pub(crate) fn split_outside_quotes(text: &str, separator: u8) -> impl Iterator<Item = (usize, &str)> {
    // The separator and the trimmed bytes are ASCII, so every part lies on character boundaries.
    parts(text.as_bytes(), separator)
        .map(|(at, part)| (at, text.get(at..at + part.len()).unwrap_or_default()))
}

/// Splits a text before the first separator outside quoted strings. The first part is trimmed.
pub(crate) fn split_at_first(text: &[u8], separator: u8) -> (&[u8], &[u8]) {
    let mut all = parts(text, separator).map(|(at, part)| at + part.len());
    let (head, rest) = text.split_at(all.next().unwrap_or_default());
    (head.trim_ascii_start(), rest)
}

fn parts(text: &[u8], separator: u8) -> impl Iterator<Item = (usize, &[u8])> {
    let mut whole = Quotes::default();
    text.iter().for_each(|byte| whole.pass(*byte));
    let mut next = Some(0);
    core::iter::from_fn(move || {
        let start = next?;
        let rest = text.get(start..)?;
        let mut quotes = Quotes::default();
        let end = rest.iter().position(|byte| {
            let separates = *byte == separator && (whole.open || !quotes.open);
            quotes.pass(*byte);
            separates
        });
        next = end.map(|end| start + end + 1);
        let part = rest.get(..end.unwrap_or(rest.len()))?.trim_ascii_end();
        let trimmed = part.trim_ascii_start();
        Some((start + part.len() - trimmed.len(), trimmed))
    })
}

/// The state of a scan of quoted strings (RFC 9110 section 5.6.4).
#[derive(Debug, Default)]
struct Quotes {
    open: bool,
    escaped: bool,
}

impl Quotes {
    fn pass(&mut self, byte: u8) {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.open => self.escaped = true,
            b'"' => self.open = !self.open,
            _ => {}
        }
    }
}

/// A member of a list of preferences.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member<'a> {
    /// The member up to its weight.
    pub(crate) text: &'a str,
    /// The weight in thousandths: 1,000 if the member has none, zero if the weight is malformed.
    pub(crate) weight: u16,
}

impl<'a> Member<'a> {
    /// Returns the member without its parameters.
    pub(crate) fn name(&self) -> &'a str {
        self.text.split(';').next().unwrap_or_default().trim_ascii()
    }
}

/// Returns the members of a list of preferences, in their order.
pub(crate) fn members(list: &str) -> impl Iterator<Item = Member<'_>> {
    split_outside_quotes(list, b',').filter(|(_, text)| !text.is_empty()).map(|(_, text)| {
        let weight = |part: &str| part.strip_prefix(['q', 'Q'])?.strip_prefix('=').map(thousandths);
        let mut parameters = split_outside_quotes(text, b';').skip(1);
        match parameters.find_map(|(at, part)| Some((at, weight(part)?))) {
            Some((at, weight)) => Member { text: text.get(..at).unwrap_or(text), weight },
            None => Member { text, weight: 1000 },
        }
    })
}

/// Parses a weight into thousandths (RFC 9110 section 12.4.2); zero if it is malformed.
fn thousandths(weight: &str) -> u16 {
    let (whole, fraction) = weight.split_once('.').unwrap_or((weight, ""));
    let digits = fraction.bytes().chain(*b"000").take(3.max(fraction.len()));
    match whole {
        "0" | "1" if fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit()) => {}
        _ => return 0,
    }
    let thousandths = digits.fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    match (whole, thousandths) {
        ("1", 0) => 1000,
        ("1", _) => 0,
        _ => thousandths,
    }
}

/// Returns whether a byte is allowed in a token (RFC 9110 section 5.6.2).
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Returns the position of the first byte that is not allowed in a token (RFC 9110 section 5.6.2),
/// and 0 for an empty text.
pub(crate) fn not_a_token(text: &str) -> Option<usize> {
    text.bytes().position(|byte| !is_token_byte(byte)).or(text.is_empty().then_some(0))
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rfc9110_5_6_4_separators_inside_quotes_do_not_separate() {
        let parts = |text| split_outside_quotes(text, b',').collect::<Vec<_>>();
        assert_eq!(parts("a ,\tb"), [(0, "a"), (4, "b")]);
        assert_eq!(parts(r#" "a,\",b", c"#), [(1, r#""a,\",b""#), (11, "c")]);
        assert_eq!(parts(r#"a\,"b,c"#), [(0, r"a\"), (3, r#""b"#), (6, "c")]);
        assert_eq!(parts(""), [(0, "")]);
        assert_eq!(parts(",é,"), [(0, ""), (1, "é"), (4, "")]);
    }

    #[test]
    fn rfc9110_12_4_2_a_weight_ends_a_members_parameters() {
        let all = |list| members(list).map(|member| (member.text, member.weight)).collect::<Vec<_>>();
        assert_eq!(all("a;b=1 ; q=0.5;c, d"), [("a;b=1 ; ", 500), ("d", 1000)]);
        assert_eq!(all("q=0.1, , ;q=0.2, a;q=0.12;q=1"), [("q=0.1", 1000), (";", 200), ("a;", 120)]);
        assert_eq!(all(r#"a;b=";q=0""#), [(r#"a;b=";q=0""#, 1000)]);
    }

    proptest! {
        #[test]
        fn parts_stand_where_it_is_said(text in any::<String>(), quoted in "[a,;=\"\\\\ é]{0,20}") {
            for text in [text, quoted] {
                for (at, part) in split_outside_quotes(&text, b',') {
                    prop_assert_eq!(text.get(at..at + part.len()), Some(part));
                }
                members(&text).for_each(|member| assert!(member.weight <= 1000));
            }
        }
    }
}
