//! Everything that exists only for wasm32: calls to the platform, and the path of a request.
//!
//! - [`event`] receives the fetch event, and [`pipeline`] runs its request until the response.
//! - [`tiered`] is the store: an isolate's memory in front of the [`cache_api`]. [`refresh_lease`]
//!   limits background refreshes to one per data centre.
//! - [`journal`] fetches the isolate's copy of the journal, [`journal_object`] is the Durable
//!   Object that holds it, and [`purge_endpoint`] appends to it.
//! - [`fetch`] sends requests to the origin; [`message`], [`body`] and [`env`](self::env) convert
//!   the runtime's types.

mod body;
mod cache_api;
mod env;
mod event;
mod fetch;
mod journal;
mod journal_object;
mod message;
mod pipeline;
mod purge_endpoint;
mod refresh_lease;
mod tiered;

use std::pin::Pin;
use std::time::{Duration, SystemTime};

use futures_util::future::{Either, select};
use http::StatusCode;
use wasm_bindgen::JsValue;
use worker::js_sys::{self, Reflect};
use worker::{Context, Delay, web_sys};

use self::message::{RequestHead, from_runtime, response, response_with, to_runtime};
use crate::error::{Error, ErrorKind};

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
