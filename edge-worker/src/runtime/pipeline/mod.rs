//! The path of one request: key → lookup → decide → serve, validate or forward → store.
//!
//! [`exchange`] orders these phases; `policy` holds the rules of each. [`serve`] answers from the
//! store. [`collapse`] makes one request to the origin of many, [`fetch`] sends it, [`store`]
//! stores the response, and [`respond`] sends it to the client. [`bypass`] forwards what the store
//! must not answer, and [`refresh`] updates stale responses in the background. If the store or the
//! journal fails, the request goes to the origin.

mod bypass;
mod collapse;
mod exchange;
mod fetch;
mod refresh;
mod respond;
mod serve;
mod store;

use std::cell::OnceCell;
use std::rc::Rc;

use http::{Method, StatusCode};
use shared_keys::TargetKey;
use shared_keys::purge::PURGE_PATH;
use url::Url;
use worker::{Context, Env, web_sys};

use self::exchange::Exchange;
use super::body::Body;
use super::journal::Journal;
use super::tiered::Tiered;
use super::{env, json_response, now, purge_endpoint, request_headers};
use crate::cache_status::CacheStatus;
use crate::config::Config;
use crate::error::Error;
use crate::headers::{is_ambiguous, remove_hop_by_hop};
use crate::origin::request::is_websocket;
use crate::rules::RULES;
use crate::store::variants;

/// The paths that belong to this worker and are never forwarded.
const RESERVED_PATH: &str = "/__strata/";
/// The path that reports that the worker is up, and whether its configuration is valid.
const HEALTH_PATH: &str = "/__strata/health";

type Found = variants::Found<Body>;
type Stored = variants::Stored<Body>;
/// A response, and how it came about.
type Answer = Result<(web_sys::Response, CacheStatus), Error>;

thread_local! {
    static CONFIG: OnceCell<Result<Rc<Config>, Error>> = const { OnceCell::new() };
}

/// Returns the response to a fetch event.
///
/// # Errors
/// If the runtime refuses to create a response.
pub(super) async fn handle(request: web_sys::Request, env: Env, context: Context) -> Result<web_sys::Response, Error> {
    let started = now();
    let config = match config(&env) {
        Ok(config) => config,
        Err(error) => return refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    };
    let (Ok(method), Ok(url)) = (request.method().parse::<Method>(), Url::parse(&request.url())) else {
        return refuse(StatusCode::BAD_REQUEST, "expected a method and an absolute URL");
    };
    let mut headers = request_headers(&request);
    if is_ambiguous(&headers) {
        return refuse(StatusCode::BAD_REQUEST, "expected one length of the body");
    }
    let journal = Journal::new(env.clone(), &url, &config);
    if url.path().starts_with(RESERVED_PATH) {
        return match url.path() {
            HEALTH_PATH => health(&config),
            PURGE_PATH => purge_endpoint::handle(&method, &headers, request.body(), &config, &journal, &context).await,
            _ => refuse(StatusCode::NOT_FOUND, "this path is reserved for Strata"),
        };
    }
    let Ok(default_target) = TargetKey::parse(url.as_str()) else {
        return refuse(StatusCode::BAD_REQUEST, "expected an http or https URL");
    };
    let rule = Rc::clone(config.rules.of(&method, &default_target));
    let Some(target) = rule.target(url.as_str(), default_target) else {
        return refuse(StatusCode::BAD_REQUEST, "expected an http or https URL");
    };
    let websocket = is_websocket(&method, &headers);
    // The runtime has no body if the length is zero.
    let has_odd_body = matches!(method, Method::GET | Method::HEAD) && request.body().is_some();
    remove_hop_by_hop(&mut headers);
    let store = Tiered::new(config.journal_max_lag);
    let exchange =
        Rc::new(Exchange { method, url, target, rule, headers, websocket, has_odd_body, config, store, journal });
    let (response, status) = exchange.answer(&request, &context).await?;
    exchange.record_metrics(&env, &response, status, started);
    Ok(response)
}

/// Returns the configuration. It is read once, because the runtime starts new isolates for a new
/// one.
fn config(env: &Env) -> Result<Rc<Config>, Error> {
    let read = || {
        let rules = env::json_variable(env, RULES);
        let config = Config::read(|name| env::text_variable(env, name), rules).map(Rc::new);
        if let Some(fault) = config.as_ref().map_or_else(Some, |config| config.fault.as_ref()) {
            worker::console_error!("the store is not used: {fault}");
        }
        config
    };
    CONFIG.with(|config| config.get_or_init(read).clone())
}

fn health(config: &Config) -> Result<web_sys::Response, Error> {
    match &config.fault {
        None => json_response(StatusCode::OK, &[("ok", true.into())]),
        Some(fault) => json_response(StatusCode::OK, &[("ok", false.into()), ("error", fault.to_string().into())]),
    }
}

fn refuse(status: StatusCode, message: &str) -> Result<web_sys::Response, Error> {
    json_response(status, &[("error", message.into())])
}
