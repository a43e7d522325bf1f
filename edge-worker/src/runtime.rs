//! The runtime's types ↔ ours: time, fields, responses.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use worker::js_sys::Reflect;
use worker::web_sys;

use crate::error::Error;

/// The runtime's time. It stands still between I/O.
pub(crate) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(worker::Date::now().as_millis())
}

/// The runtime's fields as ours. Values are byte strings there, one character per byte; what is no field is left out.
pub(crate) fn from_runtime(headers: web_sys::Headers) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in worker::Headers(headers).entries() {
        let bytes: Vec<u8> = value.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect();
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_bytes(&bytes)) {
            map.append(name, value);
        }
    }
    map
}

/// Our fields as the runtime's; one that the runtime refuses is left out.
pub(crate) fn to_runtime(headers: &HeaderMap) -> worker::Headers {
    let target = worker::Headers::new();
    for (name, value) in headers {
        let value: String = value.as_bytes().iter().map(|byte| char::from(*byte)).collect();
        let _ = target.append(name.as_str(), &value);
    }
    target
}

/// A response whose body is sent as it is: [`origin::fetch`](crate::origin) and the store hand out bodies as the origin encoded
/// them, and the runtime is told not to encode them for their `Content-Encoding` once more.
pub(crate) fn response(
    status: StatusCode,
    headers: &HeaderMap,
    body: Option<&web_sys::ReadableStream>,
) -> Result<web_sys::Response, Error> {
    let init = web_sys::ResponseInit::new();
    init.set_status(status.as_u16());
    init.set_headers(&to_runtime(headers).0);
    Reflect::set(&init, &"encodeBody".into(), &"manual".into())?;
    // The runtime refuses a body, even an empty one, where there can be none (Fetch standard, null body status).
    let body = body.filter(|_| !matches!(status.as_u16(), 101 | 204 | 205 | 304));
    Ok(web_sys::Response::new_with_opt_readable_stream_and_init(body, &init)?)
}

/// A response of this worker's own, as JSON.
pub(crate) fn json(status: StatusCode, value: &serde_json::Value) -> Result<web_sys::Response, Error> {
    let init = web_sys::ResponseInit::new();
    init.set_status(status.as_u16());
    let headers = worker::Headers::new();
    headers.set("content-type", "application/json")?;
    headers.set("cache-control", "no-store")?;
    init.set_headers(&headers.0);
    Ok(web_sys::Response::new_with_opt_str_and_init(Some(&value.to_string()), &init)?)
}
