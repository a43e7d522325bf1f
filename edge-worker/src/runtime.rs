//! The runtime's types ↔ ours: time, fields, responses.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use wasm_bindgen::JsCast;
use worker::js_sys::futures::JsFuture;
use worker::js_sys::{self, Reflect, Uint8Array};
use worker::web_sys;

use crate::error::{Error, ErrorKind};

/// The runtime's time. It stands still between I/O.
pub(crate) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(worker::Date::now().as_millis())
}

/// The runtime's fields as ours; what is no field is left out. The runtime decodes values as UTF-8, and what is not becomes
/// U+FFFD: the policy selects nothing by such a value.
pub(crate) fn from_runtime(headers: web_sys::Headers) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in worker::Headers(headers).entries() {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_bytes(value.as_bytes())) {
            map.append(name, value);
        }
    }
    map
}

/// Our fields as the runtime's; one that the runtime refuses is left out.
pub(crate) fn to_runtime(headers: &HeaderMap) -> worker::Headers {
    let target = worker::Headers::new();
    for (name, value) in headers {
        let _ = target.append(name.as_str(), &String::from_utf8_lossy(value.as_bytes()));
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

/// The same body once all of it is there. It stays on the runtime's side, as the chunks that it came in.
///
/// # Errors
/// If it breaks off, or is longer than `max_bytes`.
pub(crate) async fn whole(body: &web_sys::ReadableStream, max_bytes: u64) -> Result<web_sys::ReadableStream, Error> {
    let reader: web_sys::ReadableStreamDefaultReader = body.get_reader().unchecked_into();
    let chunks = js_sys::Array::new();
    let mut length = 0;
    loop {
        let step = JsFuture::from(reader.read()).await?;
        if Reflect::get(&step, &"done".into())?.is_truthy() {
            return Ok(web_sys::Blob::new_with_u8_array_sequence(&chunks)?.stream());
        }
        let chunk: Uint8Array = Reflect::get(&step, &"value".into())?.unchecked_into();
        length += u64::from(chunk.byte_length());
        if length > max_bytes {
            // Nothing more is held for this half. Not waited for: it is over only once the other half is.
            drop(reader.cancel());
            let text = format!("expected a body of at most {max_bytes} bytes, got more");
            return Err(Error::new(ErrorKind::Origin, text));
        }
        chunks.push(&chunk);
    }
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
