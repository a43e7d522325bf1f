//! Signatures of purge messages: HMAC-SHA-256 with a time and a nonce, against forgery and replay.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::fmt::Write;
use core::str::FromStr;
use core::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use url::Url;

use crate::ParseError;
use crate::journal::decimal;

/// The secret that origin and edge share. Its `Debug` form does not contain it.
///
/// ```
/// use shared_keys::purge::Secret;
/// assert_eq!(format!("{:?}", Secret::new("correct horse battery").unwrap()), "Secret(…)");
/// assert!(Secret::new("hunter2").is_err());
/// ```
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// The fewest bytes of a secret.
    pub const MIN_BYTES: usize = 16;

    /// Creates a secret from at least [`MIN_BYTES`](Self::MIN_BYTES) bytes; 32 random ones are
    /// recommended.
    ///
    /// # Errors
    /// Fails if there are fewer bytes: a signed message shows whether a guess is right, so a short
    /// secret can be searched for. The error does not contain the bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, ParseError> {
        let bytes = bytes.into();
        if bytes.len() < Self::MIN_BYTES {
            return Err(ParseError::new(
                "a secret of at least 16 bytes, such as `openssl rand -hex 32`",
                0,
                "",
            ));
        }
        Ok(Self(bytes))
    }

    /// Returns whether the secret has fewer than the recommended 32 bytes. The place that reads it
    /// from the configuration should log a warning.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.0.len() < 32
    }

    fn mac(&self, version: Version, parts: SignedParts<'_>, unix_secs: u64, nonce: &Nonce) -> Hmac<Sha256> {
        let SignedParts { method, host, path, body } = parts;
        let head = match version {
            Version::WithoutHost => format!("v1\n{method}\n{path}\n{unix_secs}\n{nonce}\n"),
            Version::WithHost => format!("v2\n{method}\n{host}\n{path}\n{unix_secs}\n{nonce}\n"),
        };
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length (RFC 2104, 2)")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes any key");
        mac.update(head.as_bytes());
        mac.update(body);
        mac
    }
}

/// The versions of the signed text.
#[derive(Clone, Copy)]
enum Version {
    /// Version 1: good for every host with the same secret. Accepted, and no longer made.
    WithoutHost,
    /// Version 2.
    WithHost,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The signed parts of a request, besides the time and the nonce. [`sign`] has an example.
#[derive(Debug, Clone, Copy)]
pub struct SignedParts<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// The worker's host, with its port unless that is the scheme's default; see [`signed_host`].
    pub host: &'a str,
    /// The path, without query.
    pub path: &'a str,
    /// The whole body.
    pub body: &'a [u8],
}

/// Returns the host of a URL as it is signed: in the URL's normal form, with the port unless it is
/// the scheme's default.
///
/// ```
/// use shared_keys::purge::signed_host;
/// let host = |url: &str| signed_host(&url::Url::parse(url).unwrap());
/// assert_eq!(host("https://Shop.example:443/x"), "shop.example");
/// assert_eq!(host("http://localhost:8787"), "localhost:8787");
/// ```
#[must_use]
pub fn signed_host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_string(), |port| format!("{host}:{port}"))
}

/// A value that makes a message unique: 16 to 64 characters of `0-9 A-Z a-z _ -`.
///
/// ```
/// use shared_keys::purge::Nonce;
/// assert!("2026-11-25_000001".parse::<Nonce>().is_ok());
/// // A space is rejected before the length.
/// assert_eq!("too short".parse::<Nonce>().unwrap_err().at(), 3);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nonce(String);

impl Nonce {
    /// Creates a nonce from 16 random bytes, as 32 hexadecimal digits.
    ///
    /// ```
    /// let nonce = shared_keys::purge::Nonce::from_random([0xA5; 16]);
    /// assert_eq!(nonce.as_str(), "a5".repeat(16));
    /// ```
    #[must_use]
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(hex(&bytes))
    }

    /// Returns the nonce's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Nonce {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        let expected = |at| ParseError::new("a nonce of 16 to 64 of 0-9 A-Z a-z _ -", at, text);
        match text.bytes().position(|byte| !is_plain(byte)) {
            Some(at) => Err(expected(at)),
            None if (16..=64).contains(&text.len()) => Ok(Self(text.to_string())),
            None => Err(expected(text.len())),
        }
    }
}

/// The reason why a signature was rejected.
///
/// ```
/// use shared_keys::purge::SignatureError;
/// assert_eq!(SignatureError::Replayed.as_str(), "replayed");
/// assert!(SignatureError::OutsideWindow.to_string().ends_with("check the sender's clock"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignatureError {
    /// The header is not of the form `v=2,t=…,n=…,s=…`, or without `v=2`.
    Malformed,
    /// The signature is too old, or too far in the future.
    OutsideWindow,
    /// The signature was not made with this secret for this request.
    Mismatch,
    /// The nonce was accepted before.
    Replayed,
}

impl SignatureError {
    /// Returns a stable name, for logs and responses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed-signature",
            Self::OutsideWindow => "outside-clock-window",
            Self::Mismatch => "signature-mismatch",
            Self::Replayed => "replayed",
        }
    }
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "expected a strata-signature header of the form v=2,t=<unix seconds>,n=<16 to 64 of 0-9A-Za-z_->,s=<64 hex digits>",
            Self::OutsideWindow => "the signature's time is too far from ours: check the sender's clock",
            Self::Mismatch => "the signature does not match: check that both sides have the same secret, and that the sender signs the host that it sends to",
            Self::Replayed => "this nonce was accepted before: sign each message with a new one",
        })
    }
}

impl core::error::Error for SignatureError {}

/// Returns the value of the signature header for a request.
///
/// ```
/// use shared_keys::purge::{CLOCK_WINDOW, Nonce, PURGE_PATH, Secret, SignedParts, sign, verify};
/// let secret = Secret::new("correct horse battery staple").unwrap();
/// let nonce: Nonce = "0123456789abcdef".parse().unwrap();
/// let parts = |body| SignedParts { method: "POST", host: "shop.example", path: PURGE_PATH, body };
///
/// let header = sign(&secret, parts(b"{}"), 1_763_900_000, &nonce);
/// let now = 1_763_900_010;
/// let check = |body, seen| verify(&secret, &header, parts(body), now, CLOCK_WINDOW, |_| seen);
/// assert_eq!(check(b"{}", false), Ok(nonce.clone()));
/// assert!(check(b"{}", true).is_err());
/// assert!(check(b"{ }", false).is_err());
/// ```
#[must_use]
pub fn sign(secret: &Secret, parts: SignedParts<'_>, unix_secs: u64, nonce: &Nonce) -> String {
    let tag = secret.mac(Version::WithHost, parts, unix_secs, nonce).finalize().into_bytes();
    format!("v=2,t={unix_secs},n={nonce},s={}", hex(&tag))
}

/// Returns the value of the header in version 1, which does not sign the host. Only for tests of
/// receivers: they accept it for one more version.
#[doc(hidden)]
#[must_use]
pub fn sign_without_host(secret: &Secret, parts: SignedParts<'_>, unix_secs: u64, nonce: &Nonce) -> String {
    let tag = secret.mac(Version::WithoutHost, parts, unix_secs, nonce).finalize().into_bytes();
    format!("t={unix_secs},n={nonce},s={}", hex(&tag))
}

/// Verifies a signature and returns the request's nonce. Accepts both versions, until all senders
/// sign the host.
///
/// `now_unix_secs` is the receiver's time, and `window` the largest difference of the sender's time
/// from it, usually [`CLOCK_WINDOW`](super::CLOCK_WINDOW). `seen` returns whether a nonce was
/// accepted before. It is called only after the MAC has been verified, so a sender without the
/// secret can neither fill nor probe the receiver's memory.
///
/// A receiver must remember a nonce for twice the window. If its memory is elsewhere, `seen`
/// returns `false`, and the receiver must check the returned nonce there.
///
/// ```
/// use std::collections::HashSet;
/// use shared_keys::purge::{CLOCK_WINDOW, Secret, SignatureError, SignedParts, sign, verify};
/// let secret = Secret::new("correct horse battery staple").unwrap();
/// let parts = SignedParts { method: "POST", host: "shop.example", path: "/purge", body: b"{}" };
/// let header = sign(&secret, parts, 1_763_900_000, &"0123456789abcdef".parse().unwrap());
///
/// let mut accepted = HashSet::new();
/// let mut check = || {
///     let seen = |nonce: &_| !accepted.insert(ToString::to_string(nonce));
///     verify(&secret, &header, parts, 1_763_900_005, CLOCK_WINDOW, seen)
/// };
/// assert!(check().is_ok());
/// assert_eq!(check(), Err(SignatureError::Replayed));
/// ```
///
/// # Errors
/// Fails with the reason, see [`SignatureError`]. The MAC is compared in constant time.
pub fn verify(
    secret: &Secret,
    header: &str,
    parts: SignedParts<'_>,
    now_unix_secs: u64,
    window: Duration,
    seen: impl FnOnce(&Nonce) -> bool,
) -> Result<Nonce, SignatureError> {
    let (version, unix_secs, nonce, tag) = parse_recent(header, now_unix_secs, window)?;
    secret.mac(version, parts, unix_secs, &nonce).verify_slice(&tag).map_err(|_| SignatureError::Mismatch)?;
    if seen(&nonce) {
        return Err(SignatureError::Replayed);
    }
    Ok(nonce)
}

/// Checks the form and the time of a signature, for which the body is not needed. A receiver can
/// so refuse most requests without the secret before it reads their bodies; the signature itself is
/// checked by [`verify`] alone.
///
/// ```
/// use shared_keys::purge::{CLOCK_WINDOW, SignatureError, check_head};
/// let header = format!("v=2,t=1763900000,n=0123456789abcdef,s={}", "0".repeat(64));
/// assert_eq!(check_head(&header, 1_763_900_005, CLOCK_WINDOW), Ok(()));
/// let late = check_head(&header, 1_763_900_301, CLOCK_WINDOW);
/// assert_eq!(late, Err(SignatureError::OutsideWindow));
/// ```
///
/// # Errors
/// [`SignatureError::Malformed`] or [`SignatureError::OutsideWindow`].
pub fn check_head(header: &str, now_unix_secs: u64, window: Duration) -> Result<(), SignatureError> {
    parse_recent(header, now_unix_secs, window).map(drop)
}

fn parse_recent(
    header: &str,
    now_unix_secs: u64,
    window: Duration,
) -> Result<(Version, u64, Nonce, [u8; 32]), SignatureError> {
    let parts = parse_header(header).ok_or(SignatureError::Malformed)?;
    if parts.1.abs_diff(now_unix_secs) > window.as_secs() {
        return Err(SignatureError::OutsideWindow);
    }
    Ok(parts)
}

fn parse_header(header: &str) -> Option<(Version, u64, Nonce, [u8; 32])> {
    let (version, rest) = match header.strip_prefix("v=2,") {
        Some(rest) => (Version::WithHost, rest),
        None => (Version::WithoutHost, header),
    };
    let mut parts = rest.split(',');
    let time = decimal(parts.next()?.strip_prefix("t=")?)?;
    let nonce = parts.next()?.strip_prefix("n=")?.parse().ok()?;
    let tag = unhex(parts.next()?.strip_prefix("s=")?)?;
    parts.next().is_none().then_some((version, time, nonce, tag))
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let is_hex = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    is_hex.then_some(bytes)
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use proptest::prelude::*;

    use super::*;
    use crate::purge::CLOCK_WINDOW;

    const PARTS: SignedParts<'_> =
        SignedParts { method: "POST", host: "a.example", path: "/p", body: b"body" };

    /// Returns a secret that begins with `text`.
    fn secret(text: &str) -> Secret {
        Secret::new(format!("{text:*<16}")).unwrap()
    }

    fn header() -> String {
        sign(&secret("s"), PARTS, 1000, &"0123456789abcdef".parse().unwrap())
    }

    fn check(header: &str, by: &str, parts: SignedParts<'_>, now: u64) -> Result<Nonce, SignatureError> {
        verify(&secret(by), header, parts, now, CLOCK_WINDOW, |_| false)
    }

    #[test]
    fn a_signature_holds_for_its_own_request_only() {
        let header = header();
        assert!(check(&header, "s", PARTS, 1000).is_ok());
        assert_eq!(check(&header, "other", PARTS, 1000), Err(SignatureError::Mismatch));
        for other in [
            SignedParts { method: "PUT", ..PARTS },
            SignedParts { host: "b.example", ..PARTS },
            SignedParts { path: "/q", ..PARTS },
            SignedParts { body: b"bodY", ..PARTS },
        ] {
            assert_eq!(check(&header, "s", other, 1000), Err(SignatureError::Mismatch), "{other:?}");
        }
        for (part, other) in [("t=1000", "t=1001"), ("n=0", "n=1")] {
            assert_eq!(check(&header.replace(part, other), "s", PARTS, 1000), Err(SignatureError::Mismatch));
        }
    }

    #[test]
    fn a_signature_of_version_1_is_accepted_for_every_host() {
        let header = sign_without_host(&secret("s"), PARTS, 1000, &"0123456789abcdef".parse().unwrap());
        assert!(check(&header, "s", SignedParts { host: "b.example", ..PARTS }, 1000).is_ok());
        assert_eq!(check(&format!("v=2,{header}"), "s", PARTS, 1000), Err(SignatureError::Mismatch));
        let of_version_2 = self::header();
        let without_version = of_version_2.strip_prefix("v=2,").unwrap();
        assert_eq!(check(without_version, "s", PARTS, 1000), Err(SignatureError::Mismatch));
    }

    #[test]
    fn a_signature_outside_the_given_window_is_refused_and_its_edges_are_inside() {
        let within =
            |now, secs| verify(&secret("s"), &header(), PARTS, now, Duration::from_secs(secs), |_| false);
        for (now, secs) in [(1300, 300), (700, 300), (1000, 0), (1010, 10)] {
            assert!(within(now, secs).is_ok(), "{now} {secs}");
        }
        for (now, secs) in [(1301, 300), (699, 300), (1001, 0), (1011, 10)] {
            assert_eq!(within(now, secs), Err(SignatureError::OutsideWindow), "{now} {secs}");
        }
    }

    #[test]
    fn a_repeated_nonce_is_refused_and_an_unverified_one_is_not_looked_up() {
        let lookups = Cell::new(0);
        let seen = |nonce: &Nonce| {
            lookups.set(lookups.get() + 1);
            nonce.as_str() == "0123456789abcdef"
        };
        let check = |by: &str| verify(&secret(by), &header(), PARTS, 1000, CLOCK_WINDOW, seen);
        assert_eq!((check("other"), lookups.get()), (Err(SignatureError::Mismatch), 0));
        assert_eq!((check("s"), lookups.get()), (Err(SignatureError::Replayed), 1));
    }

    #[test]
    fn a_header_has_one_form() {
        let header = header();
        let (short, long) = (&header[..header.len() - 2], format!("{header}00"));
        let mac_at = header.len() - 64;
        let nonce = |nonce: &str| header.replace("0123456789abcdef", nonce);
        for malformed in [
            "",
            short,
            &long,
            &header.replace("t=", "t=+"),
            &header.replace("t=", "t=0"),
            &header.replace(",n=", ", n="),
            &format!("{}+{}", &header[..mac_at], &header[mac_at + 1..]),
            &format!("{header},x=1"),
            &format!("v=2,{header}"),
            &header.replace("v=2,", "v=1,"),
            &header.replace("v=2,", "v=3,"),
            &nonce("0123456789abcde"),
            &nonce(&"n".repeat(65)),
            &nonce("0123456789abcde\n"),
        ] {
            assert_eq!(check(malformed, "s", PARTS, 1000), Err(SignatureError::Malformed), "{malformed}");
        }
    }

    #[test]
    fn a_secret_has_at_least_16_bytes_and_does_not_show() {
        for text in ["", "s", "hunter2", "fifteen bytes.."] {
            let error = Secret::new(text).unwrap_err().to_string();
            assert!(
                error.contains("16 bytes") && !["hunter2", "fifteen"].iter().any(|part| error.contains(part)),
                "{error}"
            );
        }
        assert!(
            Secret::new("s".repeat(16)).unwrap().is_short()
                && Secret::new("s".repeat(31)).unwrap().is_short()
        );
        assert!(!Secret::new("s".repeat(32)).unwrap().is_short());
        assert_eq!(format!("{:?}", secret("hunter2")), "Secret(…)");
    }

    proptest! {
        #[test]
        fn what_is_signed_verifies_and_hostile_headers_never_panic(
            key in "[^\0]{16,100}", body: Vec<u8>, time: u64, random: [u8; 16], header: String,
        ) {
            let (key, nonce) = (secret(&key), Nonce::from_random(random));
            let parts = SignedParts { body: &body, ..PARTS };
            let signed = sign(&key, parts, time, &nonce);
            prop_assert_eq!(verify(&key, &signed, parts, time, Duration::ZERO, |_| false), Ok(nonce));
            prop_assert!(verify(&key, &header, parts, 0, CLOCK_WINDOW, |_| false).is_err());
        }
    }
}
