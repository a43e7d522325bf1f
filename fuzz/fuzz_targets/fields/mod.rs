//! Header sections for the targets of the edge.

use std::time::SystemTime;

use edge_worker::headers::remove_internal;
use edge_worker::policy::StoredResponse;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use shared_keys::Stamp;

/// Parses a field per line and skips other lines. Returns `None` if no field is left.
pub fn fields(text: &[u8]) -> Option<HeaderMap> {
    let field = |line: &[u8]| {
        let at = line.iter().position(|byte| *byte == b':')?;
        Some((
            HeaderName::from_bytes(&line[..at]).ok()?,
            HeaderValue::from_bytes(line[at + 1..].trim_ascii()).ok()?,
        ))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in text.split(|byte| *byte == b'\n').filter_map(field) {
        headers.append(name, value);
    }
    (!headers.is_empty()).then_some(headers)
}

/// Returns a 200 that arrived at once, with these fields except Strata's own.
pub fn stored(mut headers: HeaderMap) -> StoredResponse {
    remove_internal(&mut headers);
    let time = SystemTime::UNIX_EPOCH;
    let stamp = Stamp::default();
    StoredResponse {
        status: StatusCode::OK,
        headers,
        request_time: time,
        response_time: time,
        stamp,
        scopes: Vec::new(),
    }
}
