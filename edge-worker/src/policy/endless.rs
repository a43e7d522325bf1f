//! Bodies that do not end, as their media types say.

use http::{HeaderMap, header};

/// Returns whether the media type says that the body does not end: Server-Sent Events (HTML
/// standard), or the frames of a camera.
pub fn is_endless(headers: &HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = media_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    ["text/event-stream", "multipart/x-mixed-replace"].iter().any(|known| essence.eq_ignore_ascii_case(known))
}

/// Returns whether the client asks for an event stream, as `EventSource` does (HTML standard). Some
/// servers send the header section of a stream with its first event.
pub fn requests_event_stream(request: &HeaderMap) -> bool {
    let mut accepted =
        request.get_all(header::ACCEPT).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    accepted.any(|range| {
        let essence = range.split(|byte| *byte == b';').next().unwrap_or_default();
        essence.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::headers;

    #[test]
    fn an_event_source_is_known_by_its_accept() {
        for (accept, expected) in [
            ("text/event-stream", true),
            ("text/html, Text/Event-Stream;q=0.5", true),
            ("text/html, */*", false),
            ("application/x; a=\"text/event-stream\"", false),
        ] {
            assert_eq!(requests_event_stream(&headers(&[("accept", accept)])), expected, "{accept}");
        }
    }
}
