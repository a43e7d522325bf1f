//! Entity tags computed from a body (RFC 9110, 8.8.3), and their comparison with `If-None-Match`.

use std::fmt::Write;

use http::HeaderValue;
use sha2::{Digest, Sha256};

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
    let lines = if_none_match.iter().filter_map(|line| line.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .any(|candidate| candidate == "*" || opaque(candidate.as_bytes()) == opaque(tag.as_bytes()))
}

/// Returns the opaque tag: the entity tag without its weakness indicator `W/`.
fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}
