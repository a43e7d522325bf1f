//! A validator from the body (RFC 9110, 8.8.3), and the question whether the client has it already.

use std::fmt::Write;

use http::HeaderValue;
use sha2::{Digest, Sha256};

/// Bytes of SHA-256 in a tag.
const HASH_BYTES: usize = 16;

/// The tag of a body.
pub(super) fn of(body: &[u8], weak: bool) -> HeaderValue {
    let mut tag = String::from(if weak { "W/\"" } else { "\"" });
    for byte in Sha256::digest(body).iter().take(HASH_BYTES) {
        // Writing to a String does not fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Whether the lines of `If-None-Match` name the tag, by weak comparison (RFC 9110, 13.1.2).
pub(super) fn matches(asked: &[HeaderValue], tag: &HeaderValue) -> bool {
    let lines = asked.iter().filter_map(|line| line.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .any(|candidate| candidate == "*" || opaque(candidate.as_bytes()) == opaque(tag.as_bytes()))
}

/// A tag without the mark of a weak one.
fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}
