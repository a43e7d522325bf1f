//! Percent-encoding (RFC 3986 sections 2.1 and 6.2.2): decoding and normal form.

use alloc::string::String;

/// Decodes a text into bytes, each with whether it was escaped. A `%` without two hexadecimal
/// digits behind it is read as it is.
pub(crate) fn bytes(text: &str) -> impl Iterator<Item = (u8, bool)> {
    let mut rest = text.as_bytes();
    core::iter::from_fn(move || {
        let (&byte, tail) = rest.split_first()?;
        if byte == b'%'
            && let Some(([high, low], tail)) = tail.split_first_chunk()
            && let (Some(high), Some(low)) = (hex_digit(*high), hex_digit(*low))
        {
            rest = tail;
            return Some((high << 4 | low, true));
        }
        rest = tail;
        Some((byte, false))
    })
}

/// Decodes the name or value of a form parameter: like [`bytes`], with `+` as a space.
pub(crate) fn form_bytes(text: &str) -> impl Iterator<Item = u8> {
    bytes(text).map(|byte| if byte == (b'+', false) { b' ' } else { byte.0 })
}

/// Appends `text` in normal form: unreserved bytes are unescaped, other escapes are in capitals,
/// and every byte that is not allowed in a URL is escaped.
pub(crate) fn push_normal(text: &str, out: &mut String) {
    for (byte, escaped) in bytes(text) {
        // A stray `%` is escaped, so that it does not form an escape with what follows it.
        let plain = if escaped { is_unreserved(byte) } else { byte != b'%' && byte.is_ascii_graphic() };
        if plain { out.push(char::from(byte)) } else { push_escaped(byte, out) }
    }
}

/// Returns whether a byte means the same escaped and unescaped (RFC 3986 section 2.3).
pub(crate) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Appends `%` and two hexadecimal digits in capitals.
pub(crate) fn push_escaped(byte: u8, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 15)]));
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;
    use proptest::prelude::*;

    use super::*;

    fn normal(text: &str) -> String {
        let mut out = String::new();
        push_normal(text, &mut out);
        out
    }

    #[test]
    fn rfc3986_6_2_2_normal_form() {
        for (text, expected) in [
            ("%7Eann", "~ann"),
            ("%2f%2F", "%2F%2F"),
            ("a+b%20c%2B", "a+b%20c%2B"),
            ("%", "%25"),
            ("%2", "%252"),
            ("%zz%4", "%25zz%254"),
            ("%+1%-1", "%25+1%25-1"),
            ("%2541", "%2541"),
            ("%%41", "%25A"),
            ("é \n", "%C3%A9%20%0A"),
        ] {
            assert_eq!(normal(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_normal_form_is_idempotent_and_means_the_same(text in "([a-c%+/é]|%[0-9a-fA-F]{2}){0,12}") {
            let once = normal(&text);
            prop_assert_eq!(normal(&once), once.as_str());
            prop_assert!(form_bytes(&once).eq(form_bytes(&text)));
        }

        #[test]
        fn every_byte_survives(wanted in any::<Vec<u8>>()) {
            let mut escaped = String::new();
            wanted.iter().for_each(|byte| push_escaped(*byte, &mut escaped));
            prop_assert_eq!(form_bytes(&normal(&escaped)).collect::<Vec<_>>(), wanted);
        }
    }
}
