//! The response message in the body of a `PUT`.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use bytes::Bytes;
use shared_keys::Directives;

/// The most fields of a message. A response with more is not stored.
const MAX_FIELDS: usize = 256;

/// A response to store.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StoredMessage {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Parses a message: the head in HTTP/1.1 syntax, then the body. Returns `None` if it is malformed
/// or shorter than its `Content-Length`.
///
/// The body has no chunks even if the head states `Transfer-Encoding: chunked`. That field and
/// `Content-Length` are about the message, and are removed.
pub(super) fn parse(message: &Bytes) -> Option<StoredMessage> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = head.parse(message).ok()? else { return None };
    let status = StatusCode::from_u16(head.code?).ok()?;
    let mut headers = HeaderMap::with_capacity(head.headers.len());
    for field in &*head.headers {
        headers.append(HeaderName::try_from(field.name).ok()?, HeaderValue::from_bytes(field.value).ok()?);
    }
    let body = message.slice(length..);
    let stated = headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::TRANSFER_ENCODING);
    if let Some(stated) = stated
        && stated.to_str().ok()?.parse() != Ok(body.len())
    {
        return None;
    }
    Some(StoredMessage { status, headers, body })
}

/// Returns how long a response is stored; `None` if it must not be: without a lifetime, or with a
/// cookie.
pub(super) fn lifetime(headers: &HeaderMap) -> Option<Duration> {
    let lines = headers.get_all(header::CACHE_CONTROL).iter().map(|line| line.as_bytes());
    let directives = Directives::from_cache_control(lines);
    let cookie = headers.contains_key(header::SET_COOKIE);
    if directives.no_store || directives.private || directives.no_cache || cookie {
        return None;
    }
    directives.s_maxage.or(directives.max_age).filter(|lifetime| !lifetime.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(message: &'static str) -> Option<StoredMessage> {
        parse(&Bytes::from_static(message.as_bytes()))
    }

    #[test]
    fn the_body_is_everything_after_the_head() {
        let message =
            parsed("HTTP/1.1 200 OK\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde").unwrap();
        assert_eq!((message.status.as_u16(), &*message.body), (200, &b"5\r\nabcde"[..]));
        assert_eq!(message.headers.iter().count(), 1);
    }

    #[test]
    fn a_body_of_another_length_than_stated_is_refused() {
        assert!(parsed("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc").is_some());
        assert_eq!(parsed("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc"), None);
        assert_eq!(parsed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc"), None);
    }

    #[test]
    fn a_message_without_a_whole_head_is_refused() {
        for message in ["", "HTTP/1.1 200 OK\r\n", "200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nA b\r\n\r\n"] {
            assert_eq!(parsed(message), None, "{message:?}");
        }
    }
    #[test]
    fn a_response_without_a_lifetime_or_with_a_cookie_is_not_stored() {
        for fields in [
            "",
            "Cache-Control: max-age=0\r\n",
            "Cache-Control: max-age=10, no-store\r\n",
            "Cache-Control: private, max-age=10\r\n",
            "Cache-Control: max-age=10\r\nSet-Cookie: a=b\r\n",
        ] {
            let message = Bytes::from(format!("HTTP/1.1 200 OK\r\n{fields}\r\n"));
            assert_eq!(lifetime(&parse(&message).unwrap().headers), None, "{fields}");
        }
        let message = parsed("HTTP/1.1 200 OK\r\nCache-Control: max-age=10\r\n\r\n").unwrap();
        assert_eq!(lifetime(&message.headers), Some(Duration::from_secs(10)));
    }
}
