//! The path of one request: key → lookup → decide → serve, validate or forward → store.
//!
//! [`exchange`] orders these phases; `policy` holds the rules of each. [`query`] reads a QUERY and
//! forms its key. [`serve`] answers from the store. [`collapse`] makes one request to the origin of
//! many, [`fetch`] sends it, [`store`] stores the response, and [`respond`] sends it to the client.
//! [`bypass`] forwards what the store must not answer, [`invalidate`] ends what an unsafe request
//! has changed, [`invalidations`] is the isolate's memory of that, and [`groups`] invalidates cache
//! groups. In the background, [`refresh`] updates stale responses, and [`refill`] fetches purged
//! ones. If the store or the journal fails, the request goes to the origin.

mod bypass;
mod collapse;
mod exchange;
mod fetch;
mod groups;
mod invalidate;
mod invalidations;
mod query;
mod refill;
mod refresh;
mod respond;
mod serve;
mod store;

use std::cell::OnceCell;
use std::rc::Rc;

use http::{Method, StatusCode};
use shared_keys::TargetKey;
use shared_keys::purge::{PURGE_PATH, Secret};
use worker::{Context, Env, web_sys};

use self::exchange::Exchange;
use self::query::Query;
use super::body::Body;
use super::journal::Journal;
use super::tiered::Tiered;
use super::{RequestHead, env, json_response, now, purge_endpoint};
use crate::cache_status::CacheStatus;
use crate::client::UNKNOWN_COUNTRY;
use crate::config::{Config, Origin, PURGE_SECRET, SITES};
use crate::error::Error;
use crate::headers::{is_ambiguous, remove_hop_by_hop};
use crate::origin::request::is_websocket;
use crate::policy::query::is_keyed;
use crate::rules::{Client, RULES, host_of, is_reserved};
use crate::store::variants;

/// The path that reports that the worker is up, and whether its configuration is valid. The log
/// says what is wrong with it.
const HEALTH_PATH: &str = "/__strata/health";

/// The longest URL, which is also the platform's. Other runtimes take longer ones, whose keys cost
/// more time than a stranger should be able to cause.
const MAX_URL_BYTES: usize = 16 << 10;

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
pub(super) async fn handle(
    request: web_sys::Request,
    env: Env,
    context: Context,
) -> Result<web_sys::Response, Error> {
    let started = now();
    let RequestHead { method, url, mut headers, has_body, is_on_the_platform } = RequestHead::read(&request);
    let config = match config(&env, is_on_the_platform) {
        Ok(config) => config,
        // The client is not told why: a value of the configuration may contain a password.
        Err(_) => {
            return refuse(StatusCode::INTERNAL_SERVER_ERROR, "the worker is misconfigured: see its log");
        }
    };
    let (Some(method), Some(url)) = (method, url) else {
        return refuse(StatusCode::BAD_REQUEST, "expected a method and an absolute URL");
    };
    if url.as_str().len() > MAX_URL_BYTES {
        return refuse(StatusCode::URI_TOO_LONG, "expected a URL of at most 16 KiB");
    }
    if is_ambiguous(&headers) {
        return refuse(StatusCode::BAD_REQUEST, "expected one length of the body");
    }
    let journal = Journal::new(env.clone(), &url, &config);
    if is_reserved(url.path()) {
        return match url.path() {
            HEALTH_PATH => health(&config),
            PURGE_PATH => {
                purge_endpoint::handle(&method, &url, &headers, request.body(), &config, &journal, &context)
                    .await
            }
            _ => refuse(StatusCode::NOT_FOUND, "this path is reserved for Strata"),
        };
    }
    let Ok(default_target) = TargetKey::parse(url.as_str()) else {
        return refuse(StatusCode::BAD_REQUEST, "expected an http or https URL");
    };
    let Some(origin) = config.origin_of(host_of(&default_target)).cloned() else {
        let message = "this host is none of the worker's sites: add it to SITES, or set ORIGIN";
        return refuse(StatusCode::MISDIRECTED_REQUEST, message);
    };
    if origin == Origin::Zone && !is_on_the_platform {
        worker::console_error!("{}", Config::zone_refusal());
        return refuse(StatusCode::INTERNAL_SERVER_ERROR, "the worker is misconfigured: see its log");
    }
    let websocket = is_websocket(&method, &headers);
    let has_odd_body = has_body && matches!(method, Method::GET | Method::HEAD);
    // Before the rule is chosen: the origin does not get them, so no rule may depend on them.
    remove_hop_by_hop(&mut headers);
    let country = if config.rules.depend_on_client() {
        env::country(&request, &headers, config.country_field.as_ref())
    } else {
        UNKNOWN_COUNTRY.to_owned()
    };
    let client = Client { headers: &headers, country: &country };
    let rule = Rc::clone(config.rules.of(&method, &default_target, client));
    let selection = config.rules.select(&method, &default_target, &rule, &country, &mut headers);
    let Some(target) = rule.target(url.as_str(), default_target) else {
        return refuse(StatusCode::BAD_REQUEST, "expected an http or https URL");
    };
    let store = Tiered::new(config.journal_max_lag);
    let mut exchange = Exchange {
        method,
        url,
        target,
        query: None,
        rule,
        headers,
        country,
        origin,
        selection,
        websocket,
        has_odd_body,
        config,
        store,
        journal,
    };
    if is_keyed(&exchange.method, &exchange.headers) && exchange.configured_bypass().is_none() {
        match Query::read(&request, &exchange.headers, exchange.target.clone(), &exchange.store).await {
            Ok((query, target)) => (exchange.query, exchange.target) = (Some(query), target),
            Err(error) => worker::console_warn!("a QUERY is forwarded without the store: {error}"),
        }
    }
    let exchange = Rc::new(exchange);
    let (response, status) = exchange.answer(&request, &context).await?;
    exchange.record_metrics(&env, &response, status, started);
    Ok(response)
}

/// Returns the configuration. It is read once, because the runtime starts new isolates for a new
/// one.
fn config(env: &Env, is_on_the_platform: bool) -> Result<Rc<Config>, Error> {
    let read = || {
        let rules = env::json_variable(env, RULES);
        let sites = env::json_variable(env, SITES);
        let mut config = Config::read(|name| env::text_variable(env, name), rules, sites.as_ref());
        match &mut config {
            Err(error) => worker::console_error!("every request is refused: {error}"),
            Ok(config) => {
                if !is_on_the_platform {
                    config.rules.distrust_platform_fields();
                }
                if let Some(fault) = &config.fault {
                    worker::console_error!("the store is not used: {fault}");
                }
                if config.purge_secrets.iter().any(Secret::is_short) {
                    worker::console_warn!(
                        "{PURGE_SECRET}: 32 random bytes are recommended, as of `openssl rand -hex 32`"
                    );
                }
            }
        }
        config.map(Rc::new)
    };
    CONFIG.with(|config| config.get_or_init(read).clone())
}

fn health(config: &Config) -> Result<web_sys::Response, Error> {
    json_response(StatusCode::OK, &[("ok", config.fault.is_none().into())])
}

fn refuse(status: StatusCode, message: &str) -> Result<web_sys::Response, Error> {
    json_response(status, &[("error", message.into())])
}
