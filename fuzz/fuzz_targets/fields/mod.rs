//! Header sections for the targets of the edge.

use std::time::SystemTime;

use edge_worker::headers::remove_internal;
use edge_worker::policy::StoredResponse;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use shared_keys::Stamp;

/// A line is a field; what is none is left out. `None` if nothing is left.
pub fn fields(text: &[u8]) -> Option<HeaderMap> {
    let field = |line: &[u8]| {
        let at = line.iter().position(|byte| *byte == b':')?;
        Some((HeaderName::from_bytes(&line[..at]).ok()?, HeaderValue::from_bytes(line[at + 1..].trim_ascii()).ok()?))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in text.split(|byte| *byte == b'\n').filter_map(field) {
        headers.append(name, value);
    }
    (!headers.is_empty()).then_some(headers)
}

/// A 200 that came at once, with these fields but for Strata's own.
pub fn stored(mut headers: HeaderMap) -> StoredResponse {
    remove_internal(&mut headers);
    let time = SystemTime::UNIX_EPOCH;
    let stamp = Stamp::default();
    StoredResponse { status: StatusCode::OK, headers, request_time: time, response_time: time, stamp, scopes: Vec::new() }
}
