//! Everything that exists only for wasm32: calls to the platform, and the path of a request.
//!
//! - [`event`] receives the fetch event, and [`pipeline`] runs its request until the response.
//! - [`tiered`] is the store: an isolate's memory in front of the [`cache_api`], and below that a
//!   [`persistent`] store, if one is bound. [`refresh_lease`] limits background refreshes to one
//!   per data centre.
//! - [`journal`] fetches the isolate's copy of the journal, [`journal_object`] is the Durable
//!   Object that holds it, and [`purge_endpoint`] appends to it.
//! - [`fetch`] sends requests to the origin; [`body`] and [`env`](self::env) convert the runtime's
//!   types.

mod body;
mod cache_api;
mod env;
mod event;
mod fetch;
mod journal;
mod journal_object;
mod persistent;
mod pipeline;
mod purge_endpoint;
mod refresh_lease;
mod tiered;

use std::pin::Pin;
use std::time::{Duration, SystemTime};

use futures_util::future::{Either, select};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use worker::js_sys::{self, Reflect};
use worker::{Context, Delay, web_sys};

use self::body::Body;
use crate::error::{Error, ErrorKind};

#[wasm_bindgen(module = "/fields.js")]
extern "C" {
    #[wasm_bindgen(js_name = fieldsText)]
    fn fields_text(headers: &web_sys::Headers) -> String;

    #[wasm_bindgen(js_name = headersOf)]
    fn headers_of(text: &str) -> web_sys::Headers;

    #[wasm_bindgen(js_name = clientCodings)]
    fn client_codings(request: &web_sys::Request) -> Option<String>;

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

/// Returns the runtime's time, which stands still between I/O.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(js_sys::Date::now() as u64)
}

/// Runs `work` after the response is sent. All work has one type, because the bindings are
/// generated per type and the module must stay small.
fn after_response(context: &Context, work: impl Future<Output = ()> + 'static) {
    let work: Pin<Box<dyn Future<Output = ()>>> = Box::pin(work);
    context.wait_until(work);
}

/// Returns the result of `work`, or an error of kind [`ErrorKind::Unreachable`] once `limit` has
/// passed; `work` is then dropped.
async fn timeout<T>(limit: Duration, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    // By reference, so that `first_of` is compiled once per result type and not once per future.
    first_of(limit, std::pin::pin!(work)).await
}

async fn first_of<T>(
    limit: Duration,
    work: Pin<&mut dyn Future<Output = Result<T, Error>>>,
) -> Result<T, Error> {
    match select(work, Delay::from(limit)).await {
        Either::Left((result, _)) => result,
        Either::Right(_) => Err(Error::new(
            ErrorKind::Unreachable,
            format!("expected an answer within {} s", limit.as_secs()),
        )),
    }
}

/// Returns the fields of a client's request, with its own `Accept-Encoding`.
///
/// The platform replaces that field by the codings that it can decode itself, and states the
/// client's value in `cf.clientAcceptEncoding`, which is empty for a client without the field.
fn request_headers(request: &web_sys::Request) -> HeaderMap {
    let mut headers = from_runtime(&request.headers());
    if let Some(own) = client_codings(request) {
        headers.remove(header::ACCEPT_ENCODING);
        headers.extend(
            HeaderValue::try_from(own)
                .ok()
                .filter(|own| !own.is_empty())
                .map(|own| (header::ACCEPT_ENCODING, own)),
        );
    }
    headers
}

/// Converts the runtime's fields. Invalid ones are omitted. The runtime decodes values as UTF-8 and
/// replaces invalid bytes by U+FFFD; the policy selects no variant by such a value.
fn from_runtime(headers: &web_sys::Headers) -> HeaderMap {
    let text = fields_text(headers);
    let mut parts = text.split('\n');
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
fn to_runtime(headers: &HeaderMap) -> worker::Headers {
    worker::Headers(headers_of(&to_text(headers)))
}

/// Returns the text of the fields, as `fields.js` describes it.
fn to_text(headers: &HeaderMap) -> String {
    let mut text = String::with_capacity(1024);
    for (name, value) in headers {
        text.extend([name.as_str(), "\n", &String::from_utf8_lossy(value.as_bytes()), "\n"]);
    }
    text
}

/// Creates a response whose body is sent as it is. Fields that the runtime refuses are omitted.
fn response(
    status: StatusCode,
    headers: &HeaderMap,
    body: Option<&Body>,
) -> Result<web_sys::Response, Error> {
    Ok(new_response(status.as_u16(), &to_text(headers), body_init(status, body))?)
}

/// As [`response`], with the runtime's fields.
fn response_with(
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

/// Creates a response of this worker's own: a JSON object with these members.
fn json_response(status: StatusCode, members: &[(&str, JsValue)]) -> Result<web_sys::Response, Error> {
    let init = web_sys::ResponseInit::new();
    init.set_status(status.as_u16());
    let headers = worker::Headers::new();
    headers.set("content-type", "application/json")?;
    headers.set("cache-control", "no-store")?;
    init.set_headers(&headers.0);
    Ok(web_sys::Response::new_with_opt_str_and_init(Some(&json_text(members)), &init)?)
}

/// Returns an object with these members.
fn json_object(members: &[(&str, JsValue)]) -> js_sys::Object {
    let object = js_sys::Object::new();
    for (name, value) in members {
        // Setting a member of a plain object does not fail.
        let _ = Reflect::set(&object, &(*name).into(), value);
    }
    object
}

/// Returns the text of a JSON object with these members.
fn json_text(members: &[(&str, JsValue)]) -> String {
    js_sys::JSON::stringify(&json_object(members)).ok().and_then(|text| text.as_string()).unwrap_or_default()
}
