//! Entity tags computed from a body (RFC 9110, 8.8.3), and their comparison with `If-None-Match`.

use std::fmt::Write;

use http::HeaderValue;
use sha2::{Digest, Sha256};
use shared_keys::{EntityTag, lists_entity_tag};

/// The number of bytes of the SHA-256 digest in a tag.
const HASH_BYTES: usize = 16;

/// Returns the entity tag of a body: the truncated SHA-256 digest in hexadecimal digits.
pub(super) fn of(body: &[u8], weak: bool) -> HeaderValue {
    let mut tag = String::from(if weak { "W/\"" } else { "\"" });
    for byte in Sha256::digest(body).iter().take(HASH_BYTES) {
        // Writing to a String does not fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Returns whether the lines of `If-None-Match` contain the tag or `*`, by weak comparison
/// (RFC 9110, 13.1.2).
pub(super) fn matches(if_none_match: &[HeaderValue], tag: &HeaderValue) -> bool {
    let tag = EntityTag::new(tag.as_bytes());
    if_none_match.iter().any(|line| lists_entity_tag(line.as_bytes(), Some(tag)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_inside_a_tag_does_not_separate() {
        let tag = HeaderValue::from_static(r#""a,b""#);
        let matches = |line: &'static str| matches(&[HeaderValue::from_static(line)], &tag);
        assert!(matches(r#""a,b""#) && matches(r#""x", W/"a,b""#) && matches("*"));
        assert!(!matches(r#""a", "b""#) && !matches(r#""a,b,c""#));
    }
}
