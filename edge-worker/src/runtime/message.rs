//! Converts the runtime's requests, responses and fields. `fields.js` has the other half.

use std::str::Split;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use url::Url;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use worker::web_sys;

use super::body::Body;
use crate::error::Error;

#[wasm_bindgen(module = "/fields.js")]
extern "C" {
    #[wasm_bindgen(js_name = requestText)]
    fn request_text(request: &web_sys::Request) -> String;

    #[wasm_bindgen(js_name = fieldsText)]
    fn fields_text(headers: &web_sys::Headers) -> String;

    #[wasm_bindgen(js_name = headersOf)]
    fn headers_of(text: &str) -> web_sys::Headers;

    #[wasm_bindgen(catch, js_name = newResponse)]
    fn new_response(
        status: u16,
        fields: &str,
        body: Option<&web_sys::ReadableStream>,
    ) -> Result<web_sys::Response, JsValue>;

    #[wasm_bindgen(catch, js_name = newResponseWith)]
    fn new_response_with(
        status: u16,
        headers: &web_sys::Headers,
        body: Option<&web_sys::ReadableStream>,
    ) -> Result<web_sys::Response, JsValue>;
}

/// A client's request, without its body.
pub(super) struct RequestHead {
    /// `None` if it is no method.
    pub(super) method: Option<Method>,
    /// `None` if it is no absolute URL.
    pub(super) url: Option<Url>,
    /// The fields, with the client's own `Accept-Encoding`.
    pub(super) headers: HeaderMap,
    /// The runtime has no body if the length is zero.
    pub(super) has_body: bool,
    /// Whether the platform received the request, and not a runtime of another operator. Only the
    /// platform ensures that the host of a request is one of the zone's.
    ///
    /// The platform names its data centre. workerd by itself has a `cf` object too, with the
    /// client's address alone.
    pub(super) is_on_the_platform: bool,
}

impl RequestHead {
    /// Reads the head of a request.
    ///
    /// The platform replaces `Accept-Encoding` by the codings that it can decode itself, and states
    /// the client's value in `cf.clientAcceptEncoding`, which is empty for a client without the
    /// field.
    pub(super) fn read(request: &web_sys::Request) -> Self {
        let text = request_text(request);
        let mut parts = text.split('\n');
        let mut next = || parts.next().unwrap_or_default();
        let (method, url) = (next().parse().ok(), Url::parse(next()).ok());
        let (has_body, is_on_the_platform) = (!next().is_empty(), !next().is_empty());
        let own_codings = next().strip_prefix('1');
        let mut headers = from_text(&mut parts);
        if let Some(own) = own_codings {
            headers.remove(header::ACCEPT_ENCODING);
            let value = HeaderValue::try_from(own).ok().filter(|own| !own.is_empty());
            headers.extend(value.map(|own| (header::ACCEPT_ENCODING, own)));
        }
        Self { method, url, headers, has_body, is_on_the_platform }
    }
}

/// Converts the runtime's fields. Invalid ones are omitted. The runtime decodes values as UTF-8 and
/// replaces invalid bytes by U+FFFD; the policy selects no variant by such a value.
pub(super) fn from_runtime(headers: &web_sys::Headers) -> HeaderMap {
    from_text(&mut fields_text(headers).split('\n'))
}

/// Returns the fields of a text, as `fields.js` describes it.
fn from_text(parts: &mut Split<'_, char>) -> HeaderMap {
    let mut map = HeaderMap::new();
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_bytes(value.as_bytes()))
        {
            map.append(name, value);
        }
    }
    map
}

/// Converts fields to the runtime's type. Fields that the runtime refuses are omitted.
pub(super) fn to_runtime(headers: &HeaderMap) -> worker::Headers {
    worker::Headers(headers_of(&to_text(headers)))
}

/// Returns the text of the fields.
fn to_text(headers: &HeaderMap) -> String {
    let mut text = String::with_capacity(1024);
    for (name, value) in headers {
        text.extend([name.as_str(), "\n", &String::from_utf8_lossy(value.as_bytes()), "\n"]);
    }
    text
}

/// Creates a response whose body is sent as it is. Fields that the runtime refuses are omitted.
pub(super) fn response(
    status: StatusCode,
    headers: &HeaderMap,
    body: Option<&Body>,
) -> Result<web_sys::Response, Error> {
    Ok(new_response(status.as_u16(), &to_text(headers), body_init(status, body))?)
}

/// As [`response`], with the runtime's fields.
pub(super) fn response_with(
    status: StatusCode,
    headers: &worker::Headers,
    body: Option<&Body>,
) -> Result<web_sys::Response, Error> {
    Ok(new_response_with(status.as_u16(), &headers.0, body_init(status, body))?)
}

/// Returns the body that the runtime accepts: it refuses one, even an empty one, with a null body
/// status (Fetch standard).
fn body_init(status: StatusCode, body: Option<&Body>) -> Option<&web_sys::ReadableStream> {
    body.filter(|_| !matches!(status.as_u16(), 101 | 204 | 205 | 304)).map(Body::as_init)
}
