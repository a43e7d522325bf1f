//! Requests and responses as the generator, the origin and the cache exchange them.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

/// A request, with the path and query exactly as they are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The method.
    pub method: Method,
    /// The path and query.
    pub target: String,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body; empty for a request without one.
    pub body: String,
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: String,
}

/// The response fields that are compared. The others are about the path of a response, not about
/// its content.
const COMPARED: [&str; 7] = [
    "content-encoding",
    "content-range",
    "content-type",
    "location",
    "set-cookie",
    "vary",
    "www-authenticate",
];

impl Message {
    /// Returns a GET without fields.
    #[must_use]
    pub fn get(target: &str) -> Self {
        let headers = HeaderMap::new();
        Self { method: Method::GET, target: target.to_owned(), headers, body: String::new() }
    }

    /// Appends a field.
    pub fn append(&mut self, name: &str, value: &str) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            self.headers.append(name, value);
        }
    }
}

impl Reply {
    /// Returns a response with these fields.
    #[must_use]
    pub fn new(status: u16, fields: &[(&'static str, &str)], body: impl Into<String>) -> Self {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            if let Ok(value) = HeaderValue::try_from(*value) {
                headers.append(HeaderName::from_static(name), value);
            }
        }
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, headers, body: body.into() }
    }

    /// Returns whether a client cannot tell the responses apart by status, content and the fields
    /// about the content.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        let is_same =
            |name: &&str| self.headers.get_all(*name).iter().eq(other.headers.get_all(*name).iter());
        self.status == other.status && self.body == other.body && COMPARED.iter().all(is_same)
    }
}
