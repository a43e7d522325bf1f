//! A purge message's body, and the header that signs it.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use shared_keys::purge::{Nonce, PurgeMessage, Secret, SignedParts, sign, sign_without_host, verify};

// The first line is a signature header, the rest a body.
fuzz_target!(|data: &[u8]| {
    let (header, body) = data.split_at(data.iter().position(|&byte| byte == b'\n').unwrap_or(data.len()));
    let body = body.get(1..).unwrap_or_default();
    match PurgeMessage::parse(body) {
        Ok(message) => {
            assert_eq!(
                PurgeMessage::parse(message.to_json().as_bytes()).as_ref(),
                Ok(&message),
                "JSON parses back"
            );
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }

    let Ok(header) = std::str::from_utf8(header) else { return };
    let parts = SignedParts { method: "POST", host: "a.example", path: "/p", body };
    let Ok(secret) = Secret::new("a secret of the tests") else { return };
    // Signing the parts of a verified header again gives the same header, except for the case of
    // its digits.
    if let Ok(nonce) = verify(&secret, header, parts, u64::MAX / 2, Duration::MAX, |_| false) {
        let (sign, time_at): (fn(_, _, _, _) -> String, _) =
            if header.starts_with("v=2,") { (sign, 3) } else { (sign_without_host, 1) };
        let time =
            header.split([',', '=']).nth(time_at).and_then(|time| time.parse().ok()).expect("it has a time");
        assert_eq!(
            sign(&secret, parts, time, &nonce),
            header.to_ascii_lowercase().replace(&nonce.as_str().to_ascii_lowercase(), nonce.as_str())
        );
    }
    if let Ok(nonce) = header.parse::<Nonce>() {
        let signed = sign(&secret, parts, 7, &nonce);
        assert_eq!(verify(&secret, &signed, parts, 7, Duration::ZERO, |_| false), Ok(nonce.clone()));
        for other in [SignedParts { path: "/q", ..parts }, SignedParts { host: "b.example", ..parts }] {
            assert!(verify(&secret, &signed, other, 7, Duration::ZERO, |_| false).is_err());
        }
    }
});
