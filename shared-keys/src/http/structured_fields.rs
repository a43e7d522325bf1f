//! Dictionaries and lists of structured fields (RFC 9651 section 4.2), as far as caches need them:
//! targeted cache control (RFC 9213), No-Vary-Search and cache groups (RFC 9875).
//!
//! In: a field value. Out: its members in order, in a dictionary each key once with its last value,
//! or `None` if any part of the value does not parse, since the whole field is then ignored.
//! Integers, booleans, strings and inner lists of strings are read; other types are only
//! recognised.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use super::field_lists::is_token_byte;

/// The value of a dictionary's member. Parameters are checked and dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Member {
    /// An integer of at most 15 digits.
    Integer(i64),
    /// A boolean, or a key without a value (which is true).
    Boolean(bool),
    /// A string without its quotes and escapes.
    String(Vec<u8>),
    /// An inner list whose items are all strings, without their quotes and escapes.
    Strings(Vec<Vec<u8>>),
    /// A decimal, token, byte sequence, date, display string or other inner list.
    Other,
}

/// The largest number of members, which RFC 9651 section 3.2 requires to support. Each member is
/// compared with those before it.
const MAX_MEMBERS: usize = 1024;

/// Parses a dictionary. Returns `None` if the value is not one or has more than 1,024 members; an
/// empty value is an empty dictionary.
pub(crate) fn parse_dictionary(value: &[u8]) -> Option<Vec<(String, Member)>> {
    let mut input = Input { rest: value };
    let mut members: Vec<(String, Member)> = Vec::new();
    input.skip(|byte| byte == b' ');
    while !input.rest.is_empty() {
        let key = input.key()?;
        let member = if input.eat(b'=') { input.item_or_inner_list()? } else { Member::Boolean(true) };
        input.parameters()?;
        members.retain(|(earlier, _)| *earlier != key);
        members.push((key, member));
        if members.len() > MAX_MEMBERS {
            return None;
        }
        input.next_member()?;
    }
    Some(members)
}

/// Parses a list (RFC 9651 section 4.2.1). Returns `None` if the value is not one or has more
/// than 1,024 members; an empty value is an empty list.
pub(crate) fn parse_list(value: &[u8]) -> Option<Vec<Member>> {
    let mut input = Input { rest: value };
    let mut members = Vec::new();
    input.skip(|byte| byte == b' ');
    while !input.rest.is_empty() {
        members.push(input.item_or_inner_list()?);
        input.parameters()?;
        if members.len() > MAX_MEMBERS {
            return None;
        }
        input.next_member()?;
    }
    Some(members)
}

struct Input<'a> {
    rest: &'a [u8],
}

impl Input<'_> {
    fn skip(&mut self, matches: impl Fn(u8) -> bool) -> usize {
        let length = self.rest.iter().take_while(|byte| matches(**byte)).count();
        self.rest = &self.rest[length..];
        length
    }

    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.eat(byte).then_some(())
    }

    /// Skips to the next member, or to the end. Returns `None` if the value ends with a comma.
    fn next_member(&mut self) -> Option<()> {
        self.skip(is_ows);
        if self.rest.is_empty() {
            return Some(());
        }
        self.expect(b',')?;
        self.skip(is_ows);
        (!self.rest.is_empty()).then_some(())
    }

    fn key(&mut self) -> Option<String> {
        let start = self.rest;
        match self.peek()? {
            b'a'..=b'z' | b'*' => {}
            _ => return None,
        }
        let length = self.skip(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'*'));
        core::str::from_utf8(&start[..length]).ok().map(str::to_owned)
    }

    fn parameters(&mut self) -> Option<()> {
        while self.eat(b';') {
            self.skip(|byte| byte == b' ');
            self.key()?;
            if self.eat(b'=') {
                self.bare_item()?;
            }
        }
        Some(())
    }

    fn item_or_inner_list(&mut self) -> Option<Member> {
        if !self.eat(b'(') {
            return self.bare_item();
        }
        let mut strings = Some(Vec::new());
        loop {
            self.skip(|byte| byte == b' ');
            if self.eat(b')') {
                return Some(strings.map_or(Member::Other, Member::Strings));
            }
            match (self.bare_item()?, &mut strings) {
                (Member::String(text), Some(strings)) => strings.push(text),
                _ => strings = None,
            }
            self.parameters()?;
            if !matches!(self.peek()?, b' ' | b')') {
                return None;
            }
        }
    }

    fn bare_item(&mut self) -> Option<Member> {
        match self.peek()? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.string(),
            b'*' | b'a'..=b'z' | b'A'..=b'Z' => {
                self.skip(|byte| is_token_byte(byte) || matches!(byte, b':' | b'/'));
                Some(Member::Other)
            }
            b':' => {
                self.next();
                self.skip(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='));
                self.expect(b':')?;
                Some(Member::Other)
            }
            b'?' => {
                self.next();
                match self.next()? {
                    b'0' => Some(Member::Boolean(false)),
                    b'1' => Some(Member::Boolean(true)),
                    _ => None,
                }
            }
            b'@' => {
                self.next();
                matches!(self.number()?, Member::Integer(_)).then_some(Member::Other)
            }
            b'%' => {
                self.next();
                self.string().map(|_| Member::Other)
            }
            _ => None,
        }
    }

    fn number(&mut self) -> Option<Member> {
        let negative = self.eat(b'-');
        let start = self.rest;
        let whole = self.skip(|byte| byte.is_ascii_digit());
        if whole == 0 {
            return None;
        }
        if self.eat(b'.') {
            let fraction = self.skip(|byte| byte.is_ascii_digit());
            return (whole <= 12 && (1..=3).contains(&fraction)).then_some(Member::Other);
        }
        if whole > 15 {
            return None;
        }
        let integer: i64 = core::str::from_utf8(&start[..whole]).ok()?.parse().ok()?;
        Some(Member::Integer(if negative { -integer } else { integer }))
    }

    fn string(&mut self) -> Option<Member> {
        self.expect(b'"')?;
        let mut text = Vec::new();
        loop {
            match self.next()? {
                b'"' => return Some(Member::String(text)),
                b'\\' => text.push(self.next().filter(|byte| matches!(byte, b'"' | b'\\'))?),
                byte @ b' '..=b'~' => text.push(byte),
                _ => return None,
            }
        }
    }
}

fn is_ows(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn parse(value: &str) -> Option<Vec<(String, Member)>> {
        parse_dictionary(value.as_bytes())
    }

    /// Each member is compared with those before it.
    #[test]
    fn rfc9651_3_2_a_dictionary_has_a_largest_number_of_members() {
        let members = |count: usize| {
            let members: Vec<String> = (0..count).map(|number| alloc::format!("a{number}=1")).collect();
            parse(&members.join(","))
        };
        assert_eq!(members(1024).map(|members| members.len()), Some(1024));
        assert_eq!(members(1025), None);
        assert_eq!(parse(&["a"; 5000].join(",")).map(|members| members.len()), Some(1));
    }

    #[test]
    fn rfc9651_4_2_2_dictionaries() {
        let member = |key: &str, member| (key.to_owned(), member);
        let rows = [
            ("", Some(vec![])),
            (
                "  a=1 ,\tb;x=\"y\", c=?0",
                Some(vec![
                    member("a", Member::Integer(1)),
                    member("b", Member::Boolean(true)),
                    member("c", Member::Boolean(false)),
                ]),
            ),
            ("a=1, b=2, a=3", Some(vec![member("b", Member::Integer(2)), member("a", Member::Integer(3))])),
            (
                "a=(1 \"x\";q 2);p=tok, b=:aGk=:",
                Some(vec![member("a", Member::Other), member("b", Member::Other)]),
            ),
            (
                "a=(\"x\" \"y\\\"\";q), b=()",
                Some(vec![
                    member("a", Member::Strings(vec![b"x".to_vec(), b"y\"".to_vec()])),
                    member("b", Member::Strings(vec![])),
                ]),
            ),
            (
                "a=-5, b=1.250, c=@165, d=%\"x\"",
                Some(vec![
                    member("a", Member::Integer(-5)),
                    member("b", Member::Other),
                    member("c", Member::Other),
                    member("d", Member::Other),
                ]),
            ),
            ("a,", None),
            ("A=1", None),
            ("a=", None),
            ("a = 1", None),
            ("a=1 b=2", None),
            ("a=\"x", None),
            ("a=(1", None),
            ("a=1234567890123456", None),
            ("a=1.2345", None),
            ("a=?2", None),
        ];
        for (value, expected) in rows {
            assert_eq!(parse(value), expected, "{value}");
        }
    }

    #[test]
    fn rfc9651_4_2_1_lists() {
        let string = |text: &str| Member::String(text.as_bytes().to_vec());
        for (value, expected) in [
            ("", Some(vec![])),
            (" \"a\" ,\t\"b\";x=1;y", Some(vec![string("a"), string("b")])),
            (
                "tok, 1, (\"a\")",
                Some(vec![Member::Other, Member::Integer(1), Member::Strings(vec![b"a".to_vec()])]),
            ),
            ("\"a\",", None),
            (",\"a\"", None),
            ("\"a\" \"b\"", None),
            ("\"a", None),
            ("\"é\"", None),
        ] {
            assert_eq!(parse_list(value.as_bytes()), expected, "{value}");
        }
    }
}
