//! A JSON parser for purge messages only (RFC 8259).
//!
//! A JSON library for this one form would make up a twelfth of the worker's module, most of it
//! floating-point numbers and error texts that are not shown. Errors are byte positions in the
//! text.

use alloc::string::String;
use alloc::vec::Vec;

use super::message::WireRecord;

/// The deepest nesting accepted, since each level is a call.
const MAX_DEPTH: usize = 64;

/// A text, and the position up to which it has been read.
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
}

/// The parsed value, or the byte at which parsing failed.
type Read<T> = Result<T, usize>;

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Parses the version and the records of a message that is the whole text.
    pub(super) fn message(mut self) -> Read<(u32, Vec<WireRecord>)> {
        let (mut version, mut records) = (None, None);
        self.object(&mut |reader, name| {
            match name {
                "v" if version.is_none() => version = Some(reader.number()?),
                "records" if records.is_none() => records = Some(reader.records()?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let message = version.zip(records).ok_or(self.at - 1)?;
        self.end()?;
        Ok(message)
    }

    /// Parses the version of a message whose other members are unknown: its member `v`.
    pub(super) fn version(mut self) -> Read<u32> {
        let mut version = None;
        self.object(&mut |reader, name| {
            match name {
                "v" if version.is_none() => version = Some(reader.number()?),
                "v" => return Ok(false),
                _ => reader.skip(MAX_DEPTH)?,
            }
            Ok(true)
        })?;
        self.end()?;
        version.ok_or(self.at)
    }

    fn records(&mut self) -> Read<Vec<WireRecord>> {
        let mut records = Vec::new();
        self.list(b'[', b']', &mut |reader| {
            records.push(reader.record()?);
            Ok(())
        })?;
        Ok(records)
    }

    fn record(&mut self) -> Read<WireRecord> {
        let (mut scope, mut mode, mut position) = (None, None, None);
        self.object(&mut |reader, name| {
            match name {
                "scope" if scope.is_none() => scope = Some(reader.string()?),
                "mode" if mode.is_none() => mode = Some(reader.string()?),
                "position" if position.is_none() => {
                    position = Some(if reader.literal("null") { None } else { Some(reader.string()?) });
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let (scope, mode) = scope.zip(mode).ok_or(self.at - 1)?;
        Ok(WireRecord { scope, mode, position: position.flatten() })
    }

    /// Parses an object. `member` parses the value of a member, or returns `false` if the name is
    /// not allowed.
    fn object(&mut self, member: &mut dyn FnMut(&mut Self, &str) -> Read<bool>) -> Read<()> {
        self.list(b'{', b'}', &mut |reader| {
            let name = reader.string()?;
            let name_end = reader.at - 1;
            reader.expect(b':')?;
            if member(reader, &name)? { Ok(()) } else { Err(name_end) }
        })
    }

    /// Parses items between commas.
    fn list(&mut self, open: u8, close: u8, item: &mut dyn FnMut(&mut Self) -> Read<()>) -> Read<()> {
        self.expect(open)?;
        if self.peek() == Some(close) {
            return self.expect(close);
        }
        loop {
            item(self)?;
            if self.peek() != Some(b',') {
                return self.expect(close);
            }
            self.at += 1;
        }
    }

    fn skip(&mut self, depth: usize) -> Read<()> {
        let depth = depth.checked_sub(1).ok_or(self.at)?;
        match self.peek() {
            Some(b'{') => self.object(&mut |reader, _| reader.skip(depth).map(|()| true)),
            Some(b'[') => self.list(b'[', b']', &mut |reader| reader.skip(depth)),
            Some(b'"') => self.string().map(drop),
            _ => {
                let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
                let length = self.rest().bytes().take_while(is_part).count();
                self.at += length;
                if length == 0 { Err(self.at) } else { Ok(()) }
            }
        }
    }

    /// Parses digits without leading zeros.
    fn number(&mut self) -> Read<u32> {
        self.peek();
        let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        let text = &self.rest()[..digits];
        let number = text.parse().ok().filter(|_| text == "0" || !text.starts_with('0')).ok_or(self.at)?;
        self.at += digits;
        Ok(number)
    }

    fn string(&mut self) -> Read<String> {
        self.expect(b'"')?;
        let mut string = String::new();
        loop {
            let rest = self.rest();
            let plain =
                rest.find(|char| matches!(char, '"' | '\\' | '\0'..='\u{1f}')).ok_or(self.text.len())?;
            string.push_str(&rest[..plain]);
            self.at += plain;
            match self.text.as_bytes()[self.at] {
                b'"' => {
                    self.at += 1;
                    return Ok(string);
                }
                b'\\' => string.push(self.escape()?),
                _ => return Err(self.at),
            }
        }
    }

    fn escape(&mut self) -> Read<char> {
        let at = self.at;
        let short = self.text.as_bytes().get(at + 1).ok_or(at)?;
        self.at += 2;
        Ok(match short {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.unit()?;
                let is_high = (0xD800..0xDC00).contains(&first);
                let code = if is_high && self.rest().starts_with("\\u") {
                    self.at += 2;
                    let second = self.unit()?;
                    0x1_0000
                        + ((first - 0xD800) << 10)
                        + second.checked_sub(0xDC00).filter(|low| *low < 0x400).ok_or(at)?
                } else {
                    first
                };
                // Half of a surrogate pair is not a character.
                char::from_u32(code).ok_or(at)?
            }
            _ => return Err(at),
        })
    }

    /// Parses four hexadecimal digits.
    fn unit(&mut self) -> Read<u32> {
        let digits =
            self.rest().get(..4).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let unit = u32::from_str_radix(digits.ok_or(self.at)?, 16).map_err(|_| self.at)?;
        self.at += 4;
        Ok(unit)
    }

    fn literal(&mut self, text: &str) -> bool {
        self.peek();
        let is_next = self.rest().starts_with(text);
        self.at += if is_next { text.len() } else { 0 };
        is_next
    }

    fn expect(&mut self, byte: u8) -> Read<()> {
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        Err(self.at)
    }

    fn end(&mut self) -> Read<()> {
        if self.peek().is_none() { Ok(()) } else { Err(self.at) }
    }

    /// Skips white space and returns the next byte.
    fn peek(&mut self) -> Option<u8> {
        let space =
            self.rest().bytes().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
        self.at += space;
        self.rest().bytes().next()
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn scope(json_string: &str) -> Read<String> {
        let text = format!(r#"{{"v":1,"records":[{{"mode":"remove","scope":{json_string}}}]}}"#);
        Reader::new(&text)
            .message()
            .map(|(_, records)| records.into_iter().map(|record| record.scope).collect())
    }

    #[test]
    fn rfc8259_7_escapes() {
        for (json, text) in
            [(r#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"), (r#""\u00e4\u20AC\ud83d\ude00""#, "ä€😀")]
        {
            assert_eq!(scope(json).as_deref(), Ok(text));
        }
        for json in [
            r#""\x""#,
            r#""\u12""#,
            r#""\u+123""#,
            r#""\ud83d""#,
            r#""\ud83dx""#,
            r#""\ud83d\u0041""#,
            r#""\ude00""#,
            "\"\n\"",
            r#""\"#,
        ] {
            assert!(scope(json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_deep_value_is_refused() {
        let deep = |depth: usize| format!(r#"{{"x":{}{},"v":2}}"#, "[".repeat(depth), "]".repeat(depth));
        assert_eq!(Reader::new(&deep(MAX_DEPTH)).version(), Ok(2));
        assert!(Reader::new(&deep(100_000)).version().is_err());
    }

    #[test]
    fn a_position_may_be_null() {
        let text = r#"{"v":1,"records":[{"scope":"all","mode":"remove","position":null}]}"#;
        assert!(Reader::new(text).message().is_ok_and(|(_, records)| records[0].position.is_none()));
    }

    proptest! {
        #[test]
        fn what_a_json_library_writes_is_read_as_it_was(texts in prop::collection::vec(any::<(String, String, Option<String>)>(), 0..5)) {
            let record = |(scope, mode, position): &(String, String, Option<String>)| json!({ "scope": scope, "mode": mode, "position": position });
            let message = json!({ "records": texts.iter().map(record).collect::<Vec<Value>>(), "v": 7 });
            for text in [format!("{message}"), format!("{message:#}")] {
                let (version, records) = Reader::new(&text).message().unwrap();
                let read: Vec<_> = records.into_iter().map(|record| (record.scope, record.mode, record.position)).collect();
                prop_assert_eq!((version, &read), (7, &texts));
            }
        }

        #[test]
        fn what_a_json_library_refuses_is_refused(text in r#"[{}\[\]",:\\a-fu0-9 \n]{0,40}|\{"v":[0-9.]{1,4},"records":\[[{}\[\]",:a-z0-9 ]{0,20}\]\}"#) {
            if Reader::new(&text).message().is_ok() {
                prop_assert!(serde_json::from_str::<Value>(&text).is_ok(), "{}", text);
            }
        }
    }
}
