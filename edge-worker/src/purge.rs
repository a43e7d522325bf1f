//! The purge endpoint: message → authenticate → append to the journal.
//!
//! Nothing of a message is read before its signature holds, and nothing of it is applied unless all of it is well-formed.
//! The journal object has the last word: it refuses a nonce that it has seen.

use std::time::SystemTime;

use http::{HeaderMap, Method, StatusCode};
use shared_keys::purge::{
    CLOCK_WINDOW, MAX_BODY_BYTES, Nonce, PURGE_PATH, PurgeMessage, SIGNATURE_HEADER, Secret, SignatureError,
    SignedParts, verify,
};

use crate::config::PURGE_SECRET;
use crate::time::unix_ms;

/// Why a purge was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Only POST is taken.
    Method,
    /// The worker has no secret to check against.
    NoSecret,
    /// The body is larger than 1 MiB.
    TooLarge,
    /// There is no signature, or it does not hold.
    Signature(Option<SignatureError>),
    /// The message was accepted before.
    Replayed,
    /// The body is not a purge message; says what was expected and where.
    Malformed(String),
    /// The journal object could not be reached: nothing is lost, since the sender tries again.
    Unreachable,
}

impl Refusal {
    /// A stable name, for the log and the answer.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::NoSecret => "no-secret",
            Self::TooLarge => "too-large",
            Self::Signature(Some(error)) => error.as_str(),
            Self::Signature(None) => "missing-signature",
            Self::Replayed => "replayed",
            Self::Malformed(_) => "malformed-message",
            Self::Unreachable => "journal-unreachable",
        }
    }

    /// The answer's status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoSecret | Self::Unreachable => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Signature(_) | Self::Replayed => StatusCode::UNAUTHORIZED,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
        }
    }

    /// What to do about it, for the sender.
    pub fn advice(&self) -> String {
        match self {
            Self::Method => "expected POST".to_owned(),
            Self::NoSecret => {
                format!("this worker has no secret: set it with `npx wrangler secret put {PURGE_SECRET}`")
            }
            Self::TooLarge => format!("expected at most {MAX_BODY_BYTES} bytes: send the records in several messages"),
            Self::Signature(Some(error)) => error.to_string(),
            Self::Signature(None) => format!("expected a {SIGNATURE_HEADER} header"),
            Self::Replayed => {
                format!("this nonce was accepted in the last {} seconds: use a new one", 2 * CLOCK_WINDOW.as_secs())
            }
            Self::Malformed(error) => error.clone(),
            Self::Unreachable => "the journal cannot be reached: try again".to_owned(),
        }
    }
}

/// The message of a request whose signature holds, and the nonce that makes it unique.
///
/// # Errors
/// Why it is refused; the nonce is not checked for replay here.
pub fn authenticate(
    secret: &Secret,
    headers: &HeaderMap,
    body: &[u8],
    now: SystemTime,
) -> Result<(Nonce, PurgeMessage), Refusal> {
    let signature =
        headers.get(SIGNATURE_HEADER).and_then(|value| value.to_str().ok()).ok_or(Refusal::Signature(None))?;
    let parts = SignedParts { method: Method::POST.as_str(), path: PURGE_PATH, body };
    // The journal object knows which nonces were used; an isolate does not.
    let nonce = verify(secret, signature, parts, unix_ms(now) / 1000, CLOCK_WINDOW, |_| false)
        .map_err(|error| Refusal::Signature(Some(error)))?;
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

    fn signed(secret: &str, body: &[u8]) -> HeaderMap {
        let parts = SignedParts { method: "POST", path: PURGE_PATH, body };
        let signature = sign(&Secret::new(secret).unwrap(), parts, 1000, &NONCE.parse().unwrap());
        HeaderMap::from_iter([(SIGNATURE_HEADER.parse().unwrap(), HeaderValue::try_from(signature).unwrap())])
    }

    fn refusal(headers: &HeaderMap, body: &[u8], now: u64) -> (u16, &'static str) {
        let refusal = authenticate(&Secret::new("s").unwrap(), headers, body, at(now)).unwrap_err();
        (refusal.status().as_u16(), refusal.as_str())
    }

    #[test]
    fn a_signed_message_is_taken() {
        let (nonce, message) = authenticate(&Secret::new("s").unwrap(), &signed("s", BODY), BODY, at(1001)).unwrap();
        assert_eq!((nonce.as_str(), message.records.len()), (NONCE, 1));
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
