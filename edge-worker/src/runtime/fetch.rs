//! Sends requests to the origin.

use std::time::Duration;

use http::{HeaderMap, Method};
use url::Url;
use wasm_bindgen::{JsCast, JsValue};
use worker::js_sys::futures::JsFuture;
use worker::js_sys::{Promise, Reflect, Uint8Array};
use worker::web_sys;

use super::{now, to_runtime};
use crate::error::{Error, ErrorKind};
use crate::headers::{ENDS_AT_AN_UPGRADE, INTERNAL_PREFIX};
use crate::origin::request::SET_BY_THIS_HOP;
use crate::policy::query;

/// How soon a request must fail to be repeated: within a few round trips. An origin that breaks off
/// later has worked on the request, and would do that work twice.
const REPEATED_WITHIN: Duration = Duration::from_millis(500);

/// Returns the origin's response. Its body is a stream in the origin's content coding. Redirects
/// are left to the client.
///
/// The origin may close an idle connection while the runtime reuses it. The runtime then repeats a
/// request without content. A QUERY is as safe, and is repeated here, once (RFC 9110 section
/// 9.2.2).
///
/// # Errors
/// [`ErrorKind::Unreachable`] if the origin does not respond.
pub(super) async fn fetch(
    method: &Method,
    url: &Url,
    headers: &HeaderMap,
    body: Option<&JsValue>,
) -> Result<web_sys::Response, Error> {
    let until = now() + REPEATED_WITHIN;
    let mut may_repeat = is_repeatable(method, body);
    loop {
        match try_fetch(method, url, headers, body).await {
            Err(error) if may_repeat && now() < until => {
                worker::console_warn!("{method} is repeated: {error}");
                may_repeat = false;
            }
            result => return result,
        }
    }
}

/// Returns whether a request may be sent twice: its method is safe, and its content is still there.
fn is_repeatable(method: &Method, body: Option<&JsValue>) -> bool {
    method.as_str() == query::METHOD && body.is_some_and(JsCast::is_instance_of::<Uint8Array>)
}

async fn try_fetch(
    method: &Method,
    url: &Url,
    headers: &HeaderMap,
    body: Option<&JsValue>,
) -> Result<web_sys::Response, Error> {
    let init = web_sys::RequestInit::new();
    init.set_method(method.as_str());
    init.set_headers(&to_runtime(headers).0);
    init.set_redirect(web_sys::RequestRedirect::Manual);
    bypass_network_cache(&init)?;
    if let Some(body) = body {
        init.set_body(body);
    }
    let mut abort = AbortOnDrop(Some(web_sys::AbortController::new()?));
    if let Some(controller) = &abort.0 {
        init.set_signal(Some(&controller.signal()));
    }
    let response = response_of(global_scope().fetch_with_str_and_init(url.as_str(), &init)).await;
    abort.0 = None;
    response
}

/// Aborts a fetch whose future is dropped, which frees its connection: a request has six.
struct AbortOnDrop(Option<web_sys::AbortController>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(controller) = &self.0 {
            controller.abort();
        }
    }
}

/// Returns the origin's response to the client's own request object, sent to another URL.
///
/// Protocol upgrades need this, because the runtime ties their connection to the request object. Of
/// `headers` only the fields that this hop sets are used.
///
/// # Errors
/// [`ErrorKind::Unreachable`] if the origin does not respond.
pub(super) async fn fetch_upgrade(
    request: &web_sys::Request,
    url: &Url,
    headers: &HeaderMap,
) -> Result<web_sys::Response, Error> {
    let init: &web_sys::RequestInit = request.unchecked_ref();
    let forwarded = web_sys::Request::new_with_str_and_init(url.as_str(), init)?;
    let fields = worker::Headers(forwarded.headers());
    let ends_here =
        |name: &String| name.starts_with(INTERNAL_PREFIX) || ENDS_AT_AN_UPGRADE.contains(&name.as_str());
    for name in fields.keys().filter(ends_here).collect::<Vec<_>>() {
        fields.delete(&name)?;
    }
    for name in SET_BY_THIS_HOP {
        if let Some(value) = headers.get(&name).and_then(|value| value.to_str().ok()) {
            fields.set(name.as_str(), value)?;
        }
    }
    let init = web_sys::RequestInit::new();
    bypass_network_cache(&init)?;
    response_of(global_scope().fetch_with_request_and_init(&forwarded, &init)).await
}

/// Returns the origin's response to a GET or HEAD with the client's body.
///
/// The runtime gives no new request of these methods a body, but a copy of a request keeps it.
///
/// # Errors
/// [`ErrorKind::Unreachable`] if the origin does not respond.
pub(super) async fn fetch_with_odd_body(
    request: &web_sys::Request,
    url: &Url,
    headers: &HeaderMap,
) -> Result<web_sys::Response, Error> {
    let copy = web_sys::Request::new_with_str_and_init(url.as_str(), request.unchecked_ref())?;
    let init = web_sys::RequestInit::new();
    init.set_headers(&to_runtime(headers).0);
    init.set_redirect(web_sys::RequestRedirect::Manual);
    bypass_network_cache(&init)?;
    response_of(global_scope().fetch_with_request_and_init(&copy, &init)).await
}

/// Bypasses the network's own cache in front of the origin, which no journal reaches.
///
/// The runtime adds `no-cache` to `Cache-Control` and `Pragma` if the request lacks them. The body
/// stays in the origin's content coding: otherwise the runtime would decode it for each reader, and
/// the Cache API, which understands gzip, would encode it again.
fn bypass_network_cache(init: &web_sys::RequestInit) -> Result<(), Error> {
    init.set_cache(web_sys::RequestCache::NoStore);
    Reflect::set(init, &"encodeResponseBody".into(), &"manual".into())?;
    Ok(())
}

fn global_scope() -> web_sys::WorkerGlobalScope {
    worker::js_sys::global().unchecked_into()
}

async fn response_of(promise: Promise) -> Result<web_sys::Response, Error> {
    let response = JsFuture::from(promise).await;
    let response = response
        .map_err(|cause| Error::new(ErrorKind::Unreachable, worker::Error::from(cause).to_string()))?;
    Ok(response.unchecked_into())
}
