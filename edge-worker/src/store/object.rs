//! The form of an entry in a store of objects, such as a bucket: one sequence of bytes.
//!
//! ```text
//! strata-object 1 <expiry ms> <bytes of the fields>\n
//! <name>: <value>\n …                                  the fields of `metadata`
//! <body>
//! ```
//!
//! The first line is filled with spaces to [`PREFIX_BYTES`], so that a reader knows where the
//! fields begin before it has read anything.

use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::error::{Error, ErrorKind};
use crate::time::{parse_unix_ms, unix_ms};

/// The version of the layout. Objects of other versions are misses.
const VERSION: &str = "strata-object 1";

/// The bytes of the first line.
pub const PREFIX_BYTES: usize = 64;

/// The beginning of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix {
    /// When the object is no longer an entry.
    pub expires: SystemTime,
    /// Where the body begins, in bytes from the object's beginning.
    pub body_at: usize,
}

/// Returns everything of an object that precedes its body.
#[must_use]
pub fn head(fields: &HeaderMap, expires: SystemTime) -> Vec<u8> {
    let mut lines = Vec::new();
    for (name, value) in fields {
        lines.extend_from_slice(name.as_str().as_bytes());
        lines.extend_from_slice(b": ");
        lines.extend_from_slice(value.as_bytes());
        lines.push(b'\n');
    }
    let first = format!("{VERSION} {} {}", unix_ms(expires), lines.len());
    let mut head = format!("{first:<width$}\n", width = PREFIX_BYTES - 1).into_bytes();
    head.append(&mut lines);
    head
}

/// Reads the first [`PREFIX_BYTES`] of an object.
///
/// # Errors
/// [`ErrorKind::Store`] if they are not those of an object of this version.
pub fn prefix(bytes: &[u8]) -> Result<Prefix, Error> {
    let read = || {
        let line = std::str::from_utf8(bytes.get(..PREFIX_BYTES)?).ok()?;
        let mut parts = line.strip_prefix(VERSION)?.strip_prefix(' ')?.split_ascii_whitespace();
        let expires = parse_unix_ms(parts.next()?)?;
        let body_at = PREFIX_BYTES.checked_add(parts.next()?.parse().ok()?)?;
        Some(Prefix { expires, body_at })
    };
    read().ok_or_else(unreadable)
}

/// Reads the fields of an object: what lies between its first line and its body.
///
/// # Errors
/// [`ErrorKind::Store`] if a line is malformed.
pub fn fields(bytes: &[u8]) -> Result<HeaderMap, Error> {
    let mut fields = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let colon = line.windows(2).position(|pair| pair == b": ").ok_or_else(unreadable)?;
        let (name, value) = line.split_at(colon);
        let name = HeaderName::from_bytes(name).map_err(|_| unreadable())?;
        fields.append(name, HeaderValue::from_bytes(&value[2..]).map_err(|_| unreadable())?);
    }
    Ok(fields)
}

fn unreadable() -> Error {
    Error::new(ErrorKind::Store, "expected an object that this version has written")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{at, headers};

    /// Reads an object as a store does: prefix, fields, body.
    fn read(object: &[u8]) -> Result<(HeaderMap, SystemTime, Vec<u8>), Error> {
        let Prefix { expires, body_at } = prefix(object)?;
        let lines = object.get(PREFIX_BYTES..body_at).ok_or_else(unreadable)?;
        Ok((fields(lines)?, expires, object[body_at..].to_vec()))
    }

    #[test]
    fn an_object_is_read_as_it_was_written() {
        let mut written =
            headers(&[("strata-entry", "2 200 1 2 - - -"), ("a", "x: y"), ("a", ""), ("b", "é")]);
        written.append("c", HeaderValue::from_bytes(b"\xff").unwrap());
        let mut object = head(&written, at(7));
        object.extend_from_slice(b"body\n: \n");
        assert_eq!(read(&object).unwrap(), (written, at(7), b"body\n: \n".to_vec()));
        let empty = head(&HeaderMap::new(), at(0));
        assert_eq!(empty.len(), PREFIX_BYTES);
        assert_eq!(read(&empty).unwrap(), (HeaderMap::new(), at(0), Vec::new()));
    }

    #[test]
    fn anything_else_is_refused() {
        let object = head(&headers(&[("a", "b")]), at(7));
        for cut in 0..object.len() {
            assert!(read(&object[..cut]).is_err(), "{cut}");
        }
        let text = String::from_utf8(object).unwrap();
        for (from, to) in
            [("object 1", "object 2"), (" 5 ", " 99999999999999999999 "), (" 5 ", " -5 "), (": ", "  ")]
        {
            assert!(read(text.replace(from, to).as_bytes()).is_err(), "{from}: {to}");
        }
    }
}
