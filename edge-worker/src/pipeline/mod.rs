//! One request from end to end: key → lookup → decide → serve, validate or forward → store.
//!
//! The only place that orders these phases; each phase's rules are in `policy`. What is stored is served by `serve`, what is not
//! is asked for by `forward`, and what no store may answer goes by `pass`. Whatever fails on the way (the store, the journal),
//! the request goes to the origin.

mod forward;
mod pass;
mod serve;

use std::cell::OnceCell;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, Method, StatusCode, header};
use shared_keys::TargetKey;
use shared_keys::purge::PURGE_PATH;
use url::Url;
use worker::{Context, Env, web_sys};

use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::headers::{is_ambiguous, remove_for_the_edge, remove_hop_by_hop};
use crate::invalidated::Invalidated;
use crate::journal::Journal;
use crate::origin;
use crate::policy::range;
use crate::policy::storable::{self, MAX_STORED_BYTES};
use crate::policy::{Decision, Detail, Forward, Request, StoredResponse, passed_by, validate};
use crate::purge;
use crate::rules::{self, RULES, Rule};
use crate::runtime::{self, Body, now};
use crate::status::{CacheStatus, Forwarded};
use crate::store::tiered::{PATIENCE, Tiered};
use crate::store::{Store, variants};

/// Paths below it are this worker's own and never the origin's.
const RESERVED_PATH: &str = "/__strata/";
/// Answers that the worker is up, and whether it can use its configuration.
const HEALTH_PATH: &str = "/__strata/health";

thread_local! {
    static CONFIG: OnceCell<Result<Rc<Config>, Error>> = const { OnceCell::new() };
    static INVALIDATED: Invalidated = Invalidated::default();
}

/// The answer to a fetch event.
///
/// # Errors
/// If the runtime refuses to make a response.
pub(crate) async fn handle(request: web_sys::Request, env: Env, context: Context) -> Result<web_sys::Response, Error> {
    let started = now();
    let config = match config(&env) {
        Ok(config) => config,
        Err(error) => return refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    };
    let (Ok(method), Ok(url)) = (request.method().parse::<Method>(), Url::parse(&request.url())) else {
        return refuse(StatusCode::BAD_REQUEST, "expected a method and an absolute URL");
    };
    let mut headers = runtime::from_runtime(request.headers());
    if is_ambiguous(&headers) {
        return refuse(StatusCode::BAD_REQUEST, "expected one length of the body");
    }
    let journal = Journal::new(env.clone(), &url, &config);
    if url.path().starts_with(RESERVED_PATH) {
        return match url.path() {
            HEALTH_PATH => health(&config),
            PURGE_PATH => purge::handle(&method, &headers, request.body(), &config, &journal, &context).await,
            _ => refuse(StatusCode::NOT_FOUND, "this path is reserved for Strata"),
        };
    }
    let Ok(plain) = TargetKey::parse(url.as_str()) else {
        return refuse(StatusCode::BAD_REQUEST, "expected an http or https URL");
    };
    let rule = Rc::clone(config.rules.of(&method, &plain));
    let Some(target) = rule.target(url.as_str(), plain) else {
        return refuse(StatusCode::BAD_REQUEST, "expected an http or https URL");
    };
    let websocket = origin::is_websocket(&method, &headers);
    remove_hop_by_hop(&mut headers);
    let store = Tiered::new(config.journal_max_lag);
    let exchange = Rc::new(Exchange { method, url, target, rule, headers, websocket, config, store, journal });
    let (response, status) = exchange.answer(&request, &context).await?;
    exchange.tell(&env, &response, status, started);
    if exchange.config.log_requests {
        let line = runtime::json_text(&[
            ("method", exchange.method.as_str().into()),
            ("path", exchange.url.path().into()),
            ("status", response.status().into()),
            ("layer", status.layer().into()),
            ("ms", millis_since(started).into()),
        ]);
        worker::console_log!("{line}");
    }
    Ok(response)
}

/// The configuration, which is read once: the runtime starts another isolate for another.
fn config(env: &Env) -> Result<Rc<Config>, Error> {
    let read = || {
        let rules = runtime::json_variable(env, RULES);
        let config = Config::read(|name| runtime::variable(env, name), rules).map(Rc::new);
        if let Some(fault) = config.as_ref().map_or_else(Some, |config| config.fault.as_ref()) {
            worker::console_error!("nothing is served from the store: {fault}");
        }
        config
    };
    CONFIG.with(|config| config.get_or_init(read).clone())
}

fn health(config: &Config) -> Result<web_sys::Response, Error> {
    match &config.fault {
        None => runtime::json(StatusCode::OK, &[("ok", true.into())]),
        Some(fault) => runtime::json(StatusCode::OK, &[("ok", false.into()), ("error", fault.to_string().into())]),
    }
}

fn refuse(status: StatusCode, message: &str) -> Result<web_sys::Response, Error> {
    runtime::json(status, &[("error", message.into())])
}

type Found = variants::Found<Body>;
type Stored = variants::Stored<Body>;
type Answer = Result<(web_sys::Response, CacheStatus), Error>;

/// A client's request and what it takes to answer it.
pub(crate) struct Exchange {
    method: Method,
    /// As the client spelled it: what passes by goes to the origin so.
    url: Url,
    /// What the answer is stored under, and asked for by.
    target: TargetKey,
    /// What the deployment decided for such requests.
    rule: Rc<Rule>,
    /// Without hop-by-hop fields.
    headers: HeaderMap,
    websocket: bool,
    config: Rc<Config>,
    pub(crate) store: Tiered,
    journal: Journal,
}

/// What the origin answered.
pub(crate) struct Received {
    pub(crate) response: StoredResponse,
    pub(crate) body: Option<Body>,
    /// The origin had the client's conditions and answered all the same.
    pub(crate) evaluated: bool,
}

/// What of the target is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All of it.
    Whole,
    /// The range that the client names.
    Part,
    /// What a HEAD gets.
    Fields,
}

/// On what condition the origin is to answer with a representation.
#[derive(Clone, Copy)]
pub(crate) enum Condition<'a> {
    /// In any case.
    None,
    /// Unless it is the one that is stored.
    Stored(&'a StoredResponse),
    /// What the client said: the answer may be for this client alone.
    Client,
}

/// What became of a stored response that the origin was asked about.
pub(crate) enum Confirmed {
    /// It holds, and is as fresh as the answer that says so.
    Freshened(StoredResponse),
    /// Another has taken its place.
    Replaced(Received),
    /// The answer says nothing of it.
    Untold(Received),
}

impl Confirmed {
    /// What the origin has sent, or what is stored and was freshened, which has a body of its own.
    pub(crate) fn received(self) -> Received {
        match self {
            Self::Freshened(response) => Received { response, body: None, evaluated: false },
            Self::Replaced(received) | Self::Untold(received) => received,
        }
    }
}

/// What a request came to before its answer is delivered.
pub(crate) enum Before {
    /// Nothing that the answer is about was stored.
    Nothing,
    /// What is stored under this key was freshened, and is the answer.
    Freshened(String),
    /// The answer takes the place of what is stored under this key.
    Replaced(String),
}

impl Exchange {
    pub(crate) fn request(&self) -> Request<'_> {
        Request { method: &self.method, headers: &self.headers, choices: self.rule.choices }
    }

    fn origin_url(&self, url: &Url) -> Url {
        origin::origin_url(self.config.origin.as_ref(), url)
    }

    /// What of the target the client asks for.
    fn wanted(&self) -> Wanted {
        match self.method {
            Method::HEAD => Wanted::Fields,
            _ if self.headers.contains_key(header::RANGE) => Wanted::Part,
            _ => Wanted::Whole,
        }
    }

    /// The answer; from the origin if what is stored turns out to be broken while it is read.
    async fn answer(self: &Rc<Self>, request: &web_sys::Request, context: &Context) -> Answer {
        match self.try_answer(request, context).await {
            Err(error) if self.passed_because().is_none() && !self.request().is_only_if_cached() => {
                worker::console_warn!("counted as a miss: {error}");
                self.fill(Forward::miss(), Found::nothing(), None, context).await
            }
            answer => answer,
        }
    }

    /// Why the request, or the configuration, keeps it from the store.
    fn passed_because(&self) -> Option<Forward> {
        passed_by(self.request(), self.websocket).or_else(|| self.passed_by_choice())
    }

    async fn try_answer(self: &Rc<Self>, request: &web_sys::Request, context: &Context) -> Answer {
        if origin::is_loop(&self.headers, &self.url) {
            let message = "ORIGIN leads back to this worker: set it to the origin's own URL";
            return own(StatusCode::LOOP_DETECTED, message, Detail::Loop);
        }
        if matches!(self.method, Method::TRACE | Method::CONNECT) {
            return own(StatusCode::NOT_IMPLEMENTED, "expected another method", Detail::Method);
        }
        if let Some(forward) = self.passed_because() {
            return self.pass(request, forward, context).await;
        }
        if let Err(error) = self.journal.ensure().await {
            worker::console_warn!("not served from the store: {error}");
            if self.request().is_only_if_cached() {
                return own(StatusCode::GATEWAY_TIMEOUT, "nothing is known of what is stored", Detail::OnlyIfCached);
            }
            return self.pass(request, Forward::refused(Detail::JournalUnreachable), context).await;
        }
        if self.journal.wants_refresh() {
            let journal = self.journal.clone();
            runtime::afterwards(context, async move {
                if let Err(error) = journal.refresh().await {
                    worker::console_warn!("{error}");
                }
            });
        }
        if let Some(answer) = self.serve_from_memory().await {
            return answer;
        }
        let found = self.lookup().await;
        match (self.decide(&found).await, found) {
            (Decision::Serve(hit), Found { stored: Some(stored), marker }) => {
                self.serve(stored, marker, hit, CacheStatus::Hit { hit, memory: false }, context).await
            }
            (Decision::Forward(_), _) if self.request().is_only_if_cached() => {
                own(StatusCode::GATEWAY_TIMEOUT, "nothing is stored for this", Detail::OnlyIfCached)
            }
            (Decision::Forward(forward), found) => self.collapse(forward, found, context).await,
            // Only what was found is decided to be served; should that ever not hold, the origin answers.
            (Decision::Serve(_), found) => self.fill(Forward::miss(), found, None, context).await,
        }
    }

    /// Why the deployment's configuration keeps the request from the store.
    fn passed_by_choice(&self) -> Option<Forward> {
        if self.config.fault.is_some() {
            Some(Forward::refused(Detail::Misconfigured))
        } else if rules::is_ambiguous(rules::path_of(&self.target)) {
            Some(Forward::refused(Detail::Path))
        } else {
            self.rule.passes(&self.headers).then(|| Forward::refused(Detail::Rule))
        }
    }

    /// Puts a response where a later request will look for it.
    pub(crate) async fn keep(&self, received: Received, keep_for: Duration) -> Result<(), Error> {
        let Received { response, body, .. } = received;
        // The runtime's store keeps what came of a body that broke off, as if that were all.
        let body = match body {
            Some(body) => Some(body.whole(MAX_STORED_BYTES).await?),
            None => None,
        };
        let asked_at = response.request_time;
        if self.is_invalidated(asked_at) {
            return Ok(());
        }
        let length = body.as_ref().map(|body| u64::from(body.length()));
        let response = range::as_stored(storable::without_unshared(response), length);
        let body = body.map(Body::Whole);
        let (target, rules) = (&self.target, &self.rule.vary);
        variants::keep(&self.store, target, rules, &self.headers, (response, body), keep_for).await?;
        // An unsafe request that came while it was put has dropped a marker that this may have brought back, with all it leads to.
        if self.is_invalidated(asked_at) {
            self.store.delete(target.as_str()).await?;
        }
        Ok(())
    }

    /// Drops what is stored under `key` before the client has its answer, or after it if the store takes long.
    async fn withdraw(self: &Rc<Self>, key: String, context: &Context) {
        if let Err(error) = runtime::within(PATIENCE, self.store.delete(&key)).await {
            worker::console_warn!("not dropped yet: {error}");
            let exchange = Rc::clone(self);
            runtime::afterwards(context, async move {
                if let Err(error) = exchange.store.delete(&key).await {
                    worker::console_warn!("not dropped: {error}");
                }
            });
        }
    }

    /// Says how long it took, to the client and to Workers Analytics Engine, where that is wanted.
    fn tell(&self, env: &Env, response: &web_sys::Response, status: CacheStatus, started: SystemTime) {
        let ms = millis_since(started);
        if self.config.server_timing {
            // The fields of an upgrade's response cannot be added to.
            let _ = response.headers().append("server-timing", &format!("edge;desc={};dur={ms}", status.layer()));
        }
        runtime::write_data_point(
            env,
            &[&self.rule.name],
            &[status.layer(), self.method.as_str()],
            &[runtime::content_length(response), ms],
        );
    }

    fn finish(
        &self,
        status: StatusCode,
        mut headers: HeaderMap,
        body: Option<Body>,
        not_modified: bool,
        is_ours: bool,
        cache_status: CacheStatus,
    ) -> Answer {
        remove_for_the_edge(&mut headers, is_ours);
        cache_status.append_to(&mut headers, Some(&self.target));
        let (status, body) = if not_modified {
            validate::retain_not_modified_fields(&mut headers);
            (StatusCode::NOT_MODIFIED, None)
        } else {
            (status, body.filter(|_| self.method != Method::HEAD))
        };
        Ok((runtime::response(status, &headers, body.as_ref())?, cache_status))
    }
}

fn unreachable(forward: Forward, error: &Error) -> Answer {
    worker::console_error!("the origin cannot be reached: {error}");
    let forward = Forward { detail: Some(Detail::OriginUnreachable), ..forward };
    let (status, message) = match error.kind() {
        ErrorKind::Origin => (StatusCode::BAD_GATEWAY, "the origin's answer cannot be passed on"),
        // RFC 9110 section 15.6.5, and RFC 9111 section 5.2.2.2 of a cache that is cut off.
        _ => (StatusCode::GATEWAY_TIMEOUT, "the origin cannot be reached"),
    };
    made_here(status, message, CacheStatus::Forwarded(Forwarded::new(forward, None)))
}

/// An answer without the origin.
fn own(status: StatusCode, message: &str, detail: Detail) -> Answer {
    made_here(status, message, CacheStatus::Own(detail))
}

fn made_here(status: StatusCode, message: &str, cache_status: CacheStatus) -> Answer {
    let response = refuse(status, message)?;
    response.headers().set("cache-status", &cache_status.to_string())?;
    Ok((response, cache_status))
}

fn millis_since(started: SystemTime) -> f64 {
    now().duration_since(started).unwrap_or_default().as_secs_f64() * 1000.0
}

/// Seconds of freshness that a response has left when it is stored.
fn ttl_secs(response: &StoredResponse) -> i64 {
    let lifetime = response.freshness_lifetime();
    let secs = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    secs(lifetime.duration).saturating_sub(secs(response.current_age(now())))
}

/// Splits a body in two: one for the store, one that stays.
fn tee(body: &mut Option<Body>) -> Option<Body> {
    let (one, other) = body.take()?.tee();
    *body = Some(one);
    Some(other)
}
