//! The authentication of purge messages.
//!
//! A request without a recent signature is refused before its body is read. A message is parsed
//! only once its signature is verified, and applied only if all of it is well-formed. The journal
//! object then refuses a nonce that it has seen before.
//!
//! A signed purge from a system other than Strata's shipper reaches the edge's journal alone. It
//! does not invalidate the origin's memory and Redis.

use std::time::SystemTime;

use http::{HeaderMap, Method, StatusCode};
use shared_keys::purge::{
    CLOCK_WINDOW, MAX_BODY_BYTES, Nonce, PURGE_PATH, PurgeMessage, SIGNATURE_HEADER, Secret, SignatureError,
    SignedParts, check_head as check_head_of, verify,
};

use crate::config::PURGE_SECRET;
use crate::policy::range::content_length;
use crate::purge_bodies::BODY_TIMEOUT;
use crate::time::unix_ms;

/// Why a purge was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The method is not POST.
    Method,
    /// The worker has no secret.
    NoSecret,
    /// The body is larger than 1 MiB.
    TooLarge,
    /// The body was not complete within 10 s.
    Slow,
    /// The body gave way to newer ones. Nothing is lost, because the sender retries.
    Busy,
    /// The signature is missing or invalid.
    Signature(Option<SignatureError>),
    /// The nonce was accepted before.
    Replayed,
    /// The body is not a purge message; contains what was expected and where.
    Malformed(String),
    /// The journal object is unreachable. Nothing is lost, because the sender retries.
    Unreachable,
}

impl Refusal {
    /// Returns a stable name, for the log and the response.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::NoSecret => "no-secret",
            Self::TooLarge => "too-large",
            Self::Slow => "slow-body",
            Self::Busy => "busy",
            Self::Signature(Some(error)) => error.as_str(),
            Self::Signature(None) => "missing-signature",
            Self::Replayed => "replayed",
            Self::Malformed(_) => "malformed-message",
            Self::Unreachable => "journal-unreachable",
        }
    }

    /// Returns the status of the response.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoSecret | Self::Busy | Self::Unreachable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Signature(_) | Self::Replayed => StatusCode::UNAUTHORIZED,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
        }
    }

    /// Returns advice for the sender.
    pub fn advice(&self) -> String {
        match self {
            Self::Method => "expected POST".to_owned(),
            Self::NoSecret => {
                format!("this worker has no secret: set it with `npx wrangler secret put {PURGE_SECRET}`")
            }
            Self::TooLarge => {
                format!("expected at most {MAX_BODY_BYTES} bytes: send the records in several messages")
            }
            Self::Slow => format!("expected the whole body within {} s: try again", BODY_TIMEOUT.as_secs()),
            Self::Busy => "too many purges are being received: try again".to_owned(),
            Self::Signature(Some(error)) => error.to_string(),
            Self::Signature(None) => format!("expected a {SIGNATURE_HEADER} header"),
            Self::Replayed => {
                format!(
                    "this nonce was accepted in the last {} seconds: use a new one",
                    2 * CLOCK_WINDOW.as_secs()
                )
            }
            Self::Malformed(error) => error.clone(),
            Self::Unreachable => "the journal is unreachable: try again".to_owned(),
        }
    }
}

/// Checks what can be checked before the body is read: that there is a signature, of a recent time,
/// and that the body is not said to be too large.
///
/// # Errors
/// The reason of the refusal.
pub fn check_head(headers: &HeaderMap, now: SystemTime) -> Result<(), Refusal> {
    check_head_of(signature(headers)?, unix_ms(now) / 1000, CLOCK_WINDOW)
        .map_err(|error| Refusal::Signature(Some(error)))?;
    match content_length(headers) {
        Some(bytes) if bytes > MAX_BODY_BYTES as u64 => Err(Refusal::TooLarge),
        _ => Ok(()),
    }
}

fn signature(headers: &HeaderMap) -> Result<&str, Refusal> {
    let signature = headers.get(SIGNATURE_HEADER).and_then(|value| value.to_str().ok());
    signature.ok_or(Refusal::Signature(None))
}

/// Verifies the signature of a request to `host` by one of the secrets, and returns its nonce and
/// its message. During a rotation there are two secrets.
///
/// # Errors
/// The reason of the refusal. Replays are not detected here: only the journal object knows the used
/// nonces.
pub fn authenticate(
    secrets: &[Secret],
    headers: &HeaderMap,
    host: &str,
    body: &[u8],
    now: SystemTime,
) -> Result<(Nonce, PurgeMessage), Refusal> {
    let signature = signature(headers)?;
    let parts = SignedParts { method: Method::POST.as_str(), host, path: PURGE_PATH, body };
    // An isolate does not know which nonces were used; the journal object checks them.
    let by = |secret| verify(secret, signature, parts, unix_ms(now) / 1000, CLOCK_WINDOW, |_| false);
    let mut nonce = Err(SignatureError::Mismatch);
    for secret in secrets {
        nonce = by(secret);
        if nonce != Err(SignatureError::Mismatch) {
            break;
        }
    }
    let nonce = nonce.map_err(|error| Refusal::Signature(Some(error)))?;
    let message = PurgeMessage::parse(body).map_err(|error| Refusal::Malformed(error.to_string()))?;
    Ok((nonce, message))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use shared_keys::purge::sign;

    use super::*;
    use crate::policy::testing::at;

    const BODY: &[u8] = br#"{"v":1,"records":[{"scope":"tag:a","mode":"remove"}]}"#;
    const NONCE: &str = "0123456789abcdef";
    const HOST: &str = "shop.example";

    fn secret(text: &str) -> Secret {
        Secret::new(format!("{text:*<16}")).unwrap()
    }

    fn signed(by: &str, body: &[u8]) -> HeaderMap {
        let parts = SignedParts { method: "POST", host: HOST, path: PURGE_PATH, body };
        let signature = sign(&secret(by), parts, 1000, &NONCE.parse().unwrap());
        HeaderMap::from_iter([(SIGNATURE_HEADER.parse().unwrap(), HeaderValue::try_from(signature).unwrap())])
    }

    fn refusal(headers: &HeaderMap, body: &[u8], now: u64) -> (u16, &'static str) {
        let refusal = authenticate(&[secret("s")], headers, HOST, body, at(now)).unwrap_err();
        (refusal.status().as_u16(), refusal.as_str())
    }

    #[test]
    fn a_signed_message_is_accepted() {
        let (nonce, message) =
            authenticate(&[secret("s")], &signed("s", BODY), HOST, BODY, at(1001)).unwrap();
        assert_eq!((nonce.as_str(), message.records.len()), (NONCE, 1));
    }

    #[test]
    fn during_a_rotation_both_secrets_are_accepted_and_no_other() {
        let secrets = [secret("new"), secret("old")];
        let by =
            |name| authenticate(&secrets, &signed(name, BODY), HOST, BODY, at(1000)).map_err(|r| r.as_str());
        assert!(by("new").is_ok() && by("old").is_ok());
        assert_eq!(by("other").unwrap_err(), "signature-mismatch");
    }

    #[test]
    fn what_is_wrong_without_the_body_is_refused_before_it_is_read() {
        let check = |headers: &HeaderMap, now| check_head(headers, at(now)).map_err(|r| r.as_str());
        let with = |name: &'static str, value: &str| {
            let mut headers = signed("s", BODY);
            headers.insert(name, value.parse().unwrap());
            headers
        };
        assert_eq!(check(&signed("s", BODY), 1001), Ok(()));
        assert_eq!(check(&with("content-length", "1048576"), 1001), Ok(()));
        for (headers, now, reason) in [
            (HeaderMap::new(), 1001, "missing-signature"),
            (signed("s", BODY), 1301, "outside-clock-window"),
            (signed("s", BODY), 699, "outside-clock-window"),
            (with(SIGNATURE_HEADER, "x"), 1001, "malformed-signature"),
            (with(SIGNATURE_HEADER, "v=2,t=1000,n=short,s=00"), 1001, "malformed-signature"),
            (with("content-length", "1048577"), 1001, "too-large"),
            (with("content-length", "99999999999999999999"), 1001, "too-large"),
        ] {
            assert_eq!(check(&headers, now), Err(reason));
        }
    }

    #[test]
    fn a_message_for_another_deployment_with_the_same_secret_is_refused() {
        let refused = authenticate(&[secret("s")], &signed("s", BODY), "other.example", BODY, at(1000));
        assert_eq!(refused.unwrap_err().as_str(), "signature-mismatch");
    }

    #[test]
    fn g6_attacks_are_refused_with_their_status() {
        assert_eq!(refusal(&HeaderMap::new(), BODY, 1000), (401, "missing-signature"));
        assert_eq!(refusal(&signed("other", BODY), BODY, 1000), (401, "signature-mismatch"));
        assert_eq!(refusal(&signed("s", BODY), b"{}", 1000), (401, "signature-mismatch"));
        assert_eq!(refusal(&signed("s", BODY), BODY, 1301), (401, "outside-clock-window"));
        let malformed = br#"{"v":1,"records":[{"scope":"nonsense","mode":"remove"}]}"#;
        assert_eq!(refusal(&signed("s", malformed), malformed, 1000), (400, "malformed-message"));
    }
}
