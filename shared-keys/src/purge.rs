//! The signed message that carries invalidations to the edge.
//!
//! ```text
//! POST /__strata/purge
//! Strata-Signature: t=1763900000,n=nonce-of-16-or-more,s=<64 hex digits>
//!
//! {"v":1,"records":[{"scope":"tag:category:7","mode":"remove","position":"1763900000000-0"}]}
//! ```
//!
//! The signature is HMAC-SHA-256 over `v1\n` method `\n` path `\n` time `\n` nonce `\n` body. A message is refused outside
//! [`CLOCK_WINDOW_SECS`] of the receiver's clock; within it the receiver remembers nonces, so that none is accepted twice.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::fmt::Write;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::{Mode, ParseError, Position, Scope};

/// Where the worker takes purge messages.
pub const PURGE_PATH: &str = "/__strata/purge";
/// The request header that carries the signature, in lower case.
pub const SIGNATURE_HEADER: &str = "strata-signature";
/// How far the sender's and the receiver's clocks may be apart, either way.
pub const CLOCK_WINDOW_SECS: u64 = 300;
/// The largest body that is accepted.
pub const MAX_BODY_BYTES: usize = 1 << 20;
/// The version of the message and of what is signed.
const VERSION: u32 = 1;

/// One invalidation in a [`PurgeMessage`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgeRecord {
    /// What it covers.
    pub scope: Scope,
    /// What it does.
    pub mode: Mode,
    /// Its place in the origin's journal; `None` from a system that has no journal.
    pub position: Option<Position>,
}

/// Invalidations on their way to the edge.
///
/// ```
/// use shared_keys::purge::PurgeMessage;
/// let body = br#"{"v":1,"records":[{"scope":"tag:news","mode":"expire"}]}"#;
/// let message = PurgeMessage::parse(body).unwrap();
/// assert_eq!(message.to_json().as_bytes(), body);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PurgeMessage {
    /// The invalidations, in the journal's order.
    pub records: Vec<PurgeRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireMessage {
    v: u32,
    records: Vec<WireRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireRecord {
    scope: String,
    mode: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    position: Option<String>,
}

impl PurgeMessage {
    /// The message as JSON, version 1.
    #[must_use]
    pub fn to_json(&self) -> String {
        let record = |record: &PurgeRecord| WireRecord {
            scope: record.scope.to_string(),
            mode: record.mode.as_str().to_string(),
            position: record.position.map(|position| position.to_string()),
        };
        let message = WireMessage { v: VERSION, records: self.records.iter().map(record).collect() };
        // Strings and numbers always serialise.
        serde_json::to_string(&message).unwrap_or_default()
    }

    /// The message that a body holds.
    ///
    /// # Errors
    /// If it is not a version 1 message, or a scope, mode or position in it is malformed. Nothing of it is taken then.
    pub fn parse(body: &[u8]) -> Result<Self, ParseError> {
        let text = core::str::from_utf8(body).map_err(|error| ParseError::new("UTF-8", error.valid_up_to(), ""))?;
        let message: WireMessage = serde_json::from_str(text)
            .map_err(|_| ParseError::new(r#"{"v":1,"records":[{"scope":…,"mode":…,"position"?:…}]}"#, 0, text))?;
        if message.v != VERSION {
            return Err(ParseError::new("message version 1", 0, text));
        }
        let record = |record: WireRecord| {
            let position = record.position.map(|position| position.parse()).transpose()?;
            Ok(PurgeRecord { scope: record.scope.parse()?, mode: record.mode.parse()?, position })
        };
        Ok(Self { records: message.records.into_iter().map(record).collect::<Result<_, ParseError>>()? })
    }
}

/// The secret that origin and edge share. It never shows in logs.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// A secret of these bytes; 32 random ones are a good choice.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    fn mac(&self, method: &str, path: &str, unix_secs: u64, nonce: &str, body: &[u8]) -> Hmac<Sha256> {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length (RFC 2104, 2)")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes any key");
        mac.update(alloc::format!("v{VERSION}\n{method}\n{path}\n{unix_secs}\n{nonce}\n").as_bytes());
        mac.update(body);
        mac
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What makes a message unique: 16 to 64 of `0-9 A-Z a-z _ -`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nonce(String);

impl Nonce {
    /// The nonce's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a signature was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignatureError {
    /// Not of the form `t=…,n=…,s=…`.
    Malformed,
    /// Signed too long ago, or too far ahead.
    OutsideWindow,
    /// Not made with this secret for this request.
    Mismatch,
}

impl SignatureError {
    /// A stable name, for logs and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed-signature",
            Self::OutsideWindow => "outside-clock-window",
            Self::Mismatch => "signature-mismatch",
        }
    }
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "expected a strata-signature header of the form t=<unix seconds>,n=<16 to 64 of 0-9A-Za-z_->,s=<64 hex digits>",
            Self::OutsideWindow => "the signature's time is more than 300 seconds from ours: check the sender's clock",
            Self::Mismatch => "the signature does not match: check that both sides have the same secret",
        })
    }
}

impl core::error::Error for SignatureError {}

/// The signature header's value for a request.
///
/// ```
/// use shared_keys::purge::{PURGE_PATH, Secret, sign, verify};
/// let secret = Secret::new("correct horse battery staple");
/// let header = sign(&secret, "POST", PURGE_PATH, 1_763_900_000, "0123456789abcdef", b"{}");
/// assert!(verify(&secret, &header, "POST", PURGE_PATH, b"{}", 1_763_900_010).is_ok());
/// assert!(verify(&secret, &header, "POST", PURGE_PATH, b"{ }", 1_763_900_010).is_err());
/// ```
#[must_use]
pub fn sign(secret: &Secret, method: &str, path: &str, unix_secs: u64, nonce: &str, body: &[u8]) -> String {
    let tag = secret.mac(method, path, unix_secs, nonce, body).finalize().into_bytes();
    let mut header = alloc::format!("t={unix_secs},n={nonce},s=");
    for byte in tag {
        // Writing to a String does not fail.
        let _ = write!(header, "{byte:02x}");
    }
    header
}

/// The nonce of a request whose signature holds. The caller must refuse a nonce that it has seen within the window.
///
/// # Errors
/// See [`SignatureError`]. The MAC is compared in constant time.
pub fn verify(
    secret: &Secret,
    header: &str,
    method: &str,
    path: &str,
    body: &[u8],
    now_unix_secs: u64,
) -> Result<Nonce, SignatureError> {
    let (unix_secs, nonce, tag) = parse_header(header).ok_or(SignatureError::Malformed)?;
    if unix_secs.abs_diff(now_unix_secs) > CLOCK_WINDOW_SECS {
        return Err(SignatureError::OutsideWindow);
    }
    secret.mac(method, path, unix_secs, nonce, body).verify_slice(&tag).map_err(|_| SignatureError::Mismatch)?;
    Ok(Nonce(nonce.to_string()))
}

fn parse_header(header: &str) -> Option<(u64, &str, [u8; 32])> {
    let mut parts = header.split(',');
    let time = parts.next()?.strip_prefix("t=")?.parse().ok()?;
    let nonce = parts.next()?.strip_prefix("n=")?;
    let hex = parts.next()?.strip_prefix("s=")?;
    let nonce_is_safe = (16..=64).contains(&nonce.len())
        && nonce.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    let hex_is_safe = hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit());
    if parts.next().is_some() || !nonce_is_safe || !hex_is_safe {
        return None;
    }
    let mut tag = [0; 32];
    for (at, byte) in tag.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
    }
    Some((time, nonce, tag))
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use proptest::prelude::*;

    use super::*;

    const NONCE: &str = "0123456789abcdef";

    fn check(header: &str, secret: &str, method: &str, path: &str, now: u64) -> Result<Nonce, SignatureError> {
        verify(&Secret::new(secret), header, method, path, b"body", now)
    }

    #[test]
    fn a_signature_holds_for_its_own_request_only() {
        let header = sign(&Secret::new("s"), "POST", "/p", 1000, NONCE, b"body");
        assert!(check(&header, "s", "POST", "/p", 1000).is_ok());
        assert_eq!(check(&header, "other", "POST", "/p", 1000), Err(SignatureError::Mismatch));
        assert_eq!(check(&header, "s", "PUT", "/p", 1000), Err(SignatureError::Mismatch));
        assert_eq!(check(&header, "s", "POST", "/q", 1000), Err(SignatureError::Mismatch));
        let moved = header.replace("t=1000", "t=1001");
        assert_eq!(check(&moved, "s", "POST", "/p", 1000), Err(SignatureError::Mismatch));
    }

    #[test]
    fn a_signature_outside_the_clock_window_is_refused() {
        let header = sign(&Secret::new("s"), "POST", "/p", 1000, NONCE, b"body");
        assert!(check(&header, "s", "POST", "/p", 1300).is_ok());
        assert_eq!(check(&header, "s", "POST", "/p", 1301), Err(SignatureError::OutsideWindow));
        assert_eq!(check(&header, "s", "POST", "/p", 699), Err(SignatureError::OutsideWindow));
    }

    #[test]
    fn a_truncated_mac_is_refused() {
        let header = sign(&Secret::new("s"), "POST", "/p", 1000, NONCE, b"body");
        assert_eq!(check(&header[..header.len() - 2], "s", "POST", "/p", 1000), Err(SignatureError::Malformed));
    }

    #[test]
    fn a_secret_does_not_show_in_debug() {
        assert_eq!(alloc::format!("{:?}", Secret::new("hunter2")), "Secret(…)");
    }

    proptest! {
        #[test]
        fn hostile_headers_and_bodies_never_panic(header in any::<String>(), body in any::<Vec<u8>>()) {
            prop_assert!(check(&header, "s", "POST", "/p", 0).is_err());
            let _ = PurgeMessage::parse(&body);
        }
    }
}
