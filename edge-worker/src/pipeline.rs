//! One request from end to end: key → lookup → decide → serve, validate or forward → store.
//!
//! The only place that orders these phases; each phase's rules are in `policy`. Whatever fails on the way (the store, the
//! journal), the request goes to the origin.

use std::cell::OnceCell;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use shared_keys::purge::PURGE_PATH;
use shared_keys::{Applied, TargetKey, Verdict};
use url::Url;
use worker::{Context, Env, web_sys};

use crate::background;
use crate::collapse::{self, FOLLOW_LIMIT, LEAD_LIMIT, Lead, Role};
use crate::config::Config;
use crate::error::Error;
use crate::headers::{is_ambiguous, remove_for_the_edge, remove_hop_by_hop, remove_unkeyed};
use crate::invalidated::{Invalidated, TICK};
use crate::journal::Journal;
use crate::origin::{self, Journey};
use crate::policy::range::{self, Part};
use crate::policy::select::{VaryMarker, variant_key, vary_fields};
use crate::policy::storable::{self, MAX_STORED_BYTES, NotStored, keep_for};
use crate::policy::{
    Decision, Detail, Forward, ForwardReason, Hit, Request, Reuse, StoredResponse, decide, invalidate, passed_by,
    validate,
};
use crate::purge;
use crate::rules::{self, RULES, Rule};
use crate::runtime::{self, Body, now};
use crate::status::{CacheStatus, Forwarded};
use crate::store::tiered::Tiered;
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
    let (Ok(method), Ok(mut url)) = (request.method().parse::<Method>(), Url::parse(&request.url())) else {
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
    // From here on, what is keyed is what is forwarded: nothing that the key leaves out, or that ends at this hop, is left.
    let query = rule.query.forwarded(url.query());
    url.set_query(query.as_deref());
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
    url: Url,
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

/// What became of a stored response that the origin was asked about.
pub(crate) enum Confirmed {
    /// It holds, and is as fresh as the 304 that says so.
    Freshened(StoredResponse),
    /// Another has taken its place.
    Replaced(Received),
}

impl Exchange {
    fn request(&self) -> Request<'_> {
        Request { method: &self.method, headers: &self.headers, choices: self.config.choices }
    }

    /// What of the target the client asks for.
    fn wanted(&self) -> Wanted {
        match self.method {
            Method::HEAD => Wanted::Fields,
            _ if self.headers.contains_key(header::RANGE) => Wanted::Part,
            _ => Wanted::Whole,
        }
    }

    async fn answer(self: &Rc<Self>, request: &web_sys::Request, context: &Context) -> Answer {
        if origin::is_loop(&self.headers) {
            return failed(
                StatusCode::LOOP_DETECTED,
                "ORIGIN leads back to this worker: set it to the origin's own URL",
                Forwarded::new(Forward::refused(Detail::Loop), None),
            );
        }
        if let Some(forward) = passed_by(self.request(), self.websocket).or_else(|| self.passed_by_choice()) {
            return self.pass(request, forward, context).await;
        }
        if let Err(error) = self.journal.ensure().await {
            worker::console_warn!("not served from the store: {error}");
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
            (Decision::Forward(forward), _) if self.request().is_only_if_cached() => {
                let forward = Forward { detail: Some(Detail::OnlyIfCached), ..forward };
                failed(StatusCode::GATEWAY_TIMEOUT, "nothing is stored for this", Forwarded::new(forward, None))
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
        } else {
            self.rule.passes(&self.headers).then(|| Forward::refused(Detail::Rule))
        }
    }

    // Lookup.

    async fn lookup(&self) -> Found {
        self.lookup_in(&self.store).await
    }

    async fn lookup_in(&self, store: &impl Store<Body = Body>) -> Found {
        match variants::lookup(store, &self.target, &self.rule.vary, &self.headers).await {
            Ok(found) if found.stored.as_ref().is_some_and(|stored| self.is_invalidated(&stored.response)) => {
                Found::nothing()
            }
            Ok(found) => found,
            Err(error) => {
                worker::console_warn!("counted as a miss: {error}");
                Found::nothing()
            }
        }
    }

    /// Whether an unsafe request to this isolate has invalidated what was asked for then.
    fn is_invalidated(&self, response: &StoredResponse) -> bool {
        INVALIDATED.with(|invalidated| invalidated.covers(self.target.as_str(), response.request_time))
    }

    /// What to do by the journal as it is now, which is asked for if what was waited for before took long.
    async fn decide(&self, found: &Found) -> Decision {
        self.by_the_journal(|journal| decide(self.request(), found.selected(), now(), journal))
            .await
            .unwrap_or_else(|| Decision::Forward(Forward::refused(Detail::JournalUnreachable)))
    }

    /// What `judge` says of the records; `None` if they are not known well enough to serve by.
    async fn by_the_journal<T>(&self, judge: impl FnOnce(&Applied) -> T) -> Option<T> {
        if let Err(error) = self.journal.ensure().await {
            worker::console_warn!("not served from the store: {error}");
            return None;
        }
        self.journal.read(|snapshot| judge(snapshot.applied()))
    }

    // Serve from the store.

    /// What is in memory and fresh. What is stale there may have been replaced in the store.
    async fn serve_from_memory(self: &Rc<Self>) -> Option<Answer> {
        let found = self.lookup_in(&self.store.memory()).await;
        match (self.decide(&found).await, found.stored) {
            (Decision::Serve(hit), Some(stored)) if hit.reuse == Reuse::Fresh => {
                Some(self.reuse(stored.response, stored.body, hit, CacheStatus::Hit { hit, memory: true }).await)
            }
            _ => None,
        }
    }

    async fn serve(
        self: &Rc<Self>,
        stored: Stored,
        marker: Option<VaryMarker>,
        hit: Hit,
        status: CacheStatus,
        context: &Context,
    ) -> Answer {
        if hit.reuse == Reuse::StaleWhileRevalidate {
            let (exchange, response) = (Rc::clone(self), stored.response.clone());
            background::refresh(exchange, stored.key, response, marker, context);
        }
        self.reuse(stored.response, stored.body, hit, status).await
    }

    async fn reuse(&self, stored: StoredResponse, body: Option<Body>, hit: Hit, status: CacheStatus) -> Answer {
        let mut headers = stored.headers.clone();
        headers.insert(header::AGE, HeaderValue::from(hit.age.as_secs()));
        let (code, body) =
            if hit.not_modified { (stored.status, None) } else { cut(&stored, &mut headers, body, hit.part).await? };
        self.finish(code, headers, body, hit.not_modified, status)
    }

    /// The stored response in place of a failed one, if it is allowed and still valid: a purge may have come meanwhile.
    async fn stale_instead(&self, forward: Forward, found: &mut Found, disconnected: bool) -> Option<(Stored, Hit)> {
        let allowed = |forward: Forward| if disconnected { forward.on_disconnect } else { forward.on_error };
        allowed(forward)?;
        match self.decide(found).await {
            Decision::Forward(forward) => allowed(forward).zip(found.stored.take()).map(|(hit, stored)| (stored, hit)),
            Decision::Serve(_) => None,
        }
    }

    // Forward.

    /// Asks the origin, unless another request of this isolate is at it: then what that one stores is the answer.
    async fn collapse(self: &Rc<Self>, mut forward: Forward, mut found: Found, context: &Context) -> Answer {
        let deadline = now() + FOLLOW_LIMIT;
        // What answers a request with credentials is mostly for that client alone, and a part for those who want the same: nobody waits
        // for it.
        while forward.reason != ForwardReason::Bypass
            && self.wanted() == Wanted::Whole
            && !self.headers.contains_key(header::AUTHORIZATION)
            && let Some(key) = self.stored_under(&found)
        {
            match collapse::forwards().join(&key, now(), LEAD_LIMIT) {
                Role::Lead(lead) => return self.fill(forward, found, Some(lead), context).await,
                Role::Follow if now() < deadline => collapse::over(&key, deadline).await,
                Role::Follow | Role::Pass => break,
            }
            found = self.lookup().await;
            match (self.decide(&found).await, found.stored.take()) {
                (Decision::Serve(hit), Some(stored)) => {
                    let forwarded = Forwarded { collapsed: true, ..Forwarded::new(forward, None) }.served(hit);
                    return self.serve(stored, found.marker, hit, CacheStatus::Forwarded(forwarded), context).await;
                }
                (Decision::Forward(next), stored) => (forward, found.stored) = (next, stored),
                (Decision::Serve(_), None) => break,
            }
        }
        self.fill(forward, found, None, context).await
    }

    /// The key that the answer to this request will be found under, as far as is known; `None` if it cannot be told apart.
    fn stored_under(&self, found: &Found) -> Option<String> {
        match &found.marker {
            Some(marker) => {
                let key = variant_key(&self.target, &marker.fields, &self.rule.vary, &self.headers)?;
                Some(key.as_str().to_owned())
            }
            None => Some(self.target.as_str().to_owned()),
        }
    }

    /// Asks the origin for a response that may be stored, and stores it while the client reads it. Until then `lead` is held.
    async fn fill(
        self: &Rc<Self>,
        forward: Forward,
        mut found: Found,
        lead: Option<Lead>,
        context: &Context,
    ) -> Answer {
        let wanted = self.wanted();
        let condition = found.stored.as_ref().filter(|_| forward.validate).map(|stored| &stored.response);
        let asked = self.ask(wanted, condition);
        // Where something can be served in its place, the origin is not waited for as long as the platform lets it.
        let asked = match forward.on_error {
            Some(_) => runtime::within(self.config.origin_timeout, asked).await,
            None => asked.await,
        };
        let received = match asked {
            Ok(received) if !is_failure(received.response.status) => received,
            outcome => {
                let disconnected = outcome.as_ref().map_or(true, |received| is_disconnected(received.response.status));
                match (self.stale_instead(forward, &mut found, disconnected).await, outcome) {
                    (Some((stored, hit)), outcome) => {
                        let status = outcome.ok().map(|received| received.response.status);
                        let status = CacheStatus::Forwarded(Forwarded::new(forward, status).served(hit));
                        return self.reuse(stored.response, stored.body, hit, status).await;
                    }
                    (None, Ok(received)) => received,
                    (None, Err(error)) => return unreachable(forward, &error),
                }
            }
        };
        let mut forwarded = Forwarded::new(forward, Some(received.response.status));
        let Found { stored, marker } = found;
        let (received, freshened) = match stored {
            Some(stored) if forward.validate || wanted == Wanted::Fields => {
                match self.confirm(&stored.response, received, wanted).await {
                    Ok(Confirmed::Freshened(response)) => (Received { response, body: stored.body }, true),
                    Ok(Confirmed::Replaced(received)) => {
                        forwarded.status = Some(received.response.status);
                        // A HEAD that describes another representation: what is stored is outdated (4.3.5).
                        if wanted == Wanted::Fields
                            && received.response.status == StatusCode::OK
                            && let Err(error) = self.store.delete(&stored.key).await
                        {
                            worker::console_warn!("not dropped: {error}");
                        }
                        (received, false)
                    }
                    Err(error) => return unreachable(forward, &error),
                }
            }
            _ => (received, false),
        };
        self.deliver(forwarded, received, freshened, marker, lead, context).await
    }

    /// Sends what came, or what is stored and was `freshened` by it, and stores it if it may be.
    async fn deliver(
        self: &Rc<Self>,
        forwarded: Forwarded,
        received: Received,
        freshened: bool,
        marker: Option<VaryMarker>,
        lead: Option<Lead>,
        context: &Context,
    ) -> Answer {
        let Received { response, mut body } = received;
        let is_head = self.method == Method::HEAD;
        let storable =
            if is_head && !freshened { Err(NotStored::Request) } else { self.storable(&response, marker.as_ref()) };
        // A 304 made here drops what the stored response does not have, such as a cookie; so only what is shared is compared.
        let shared = (storable.is_ok() || freshened || is_head) && !response.headers.contains_key(header::SET_COOKIE);
        let not_modified = shared && validate::not_modified(&self.headers, &response);
        let status = CacheStatus::Forwarded(forwarded.filled(storable.map(|_| ttl_secs(&response))));
        let mut headers = response.headers.clone();
        if freshened {
            headers.insert(header::AGE, HeaderValue::from(response.current_age(now()).as_secs()));
        }
        let kept = match storable {
            Ok(_) if not_modified || is_head => body.take(),
            Ok(_) => tee(&mut body),
            Err(_) => None,
        };
        // What the origin sends is the part that was asked for already.
        let part = if freshened { range::select(self.request(), &response) } else { None };
        let (code, body) = match part {
            Some(part) if !not_modified => cut(&response, &mut headers, body, part).await?,
            _ => (response.status, body),
        };
        match (storable, lead) {
            (Ok(keep_for), lead) => {
                let exchange = Rc::clone(self);
                runtime::afterwards(context, async move {
                    let kept = exchange.keep(Received { response, body: kept }, keep_for, marker).await;
                    match (kept, lead) {
                        // Those that waited find it.
                        (Ok(()), lead) => drop(lead),
                        (Err(error), lead) => {
                            worker::console_warn!("not stored: {error}");
                            if let Some(lead) = lead {
                                lead.pass(now());
                            }
                        }
                    }
                });
            }
            (Err(_), Some(lead)) => lead.pass(now()),
            (Err(_), None) => {}
        }
        self.finish(code, headers, body, not_modified, status)
    }

    /// How long to keep a response to a GET for this target, or why not.
    pub(crate) fn storable(
        &self,
        response: &StoredResponse,
        marker: Option<&VaryMarker>,
    ) -> Result<Duration, NotStored> {
        if self.is_invalidated(response) {
            return Err(NotStored::Outdated);
        }
        if self.rule.is_deceptive(rules::path_of(&self.target), response) {
            return Err(NotStored::Deceptive);
        }
        if let Some((marker, fields)) = marker.zip(vary_fields(&response.headers))
            && !variants::has_room(&self.target, &self.rule.vary, &self.headers, marker, fields)
        {
            return Err(NotStored::TooManyVariants);
        }
        self.journal
            .read(|snapshot| keep_for(self.request(), response, snapshot.applied()))
            .unwrap_or(Err(NotStored::Outdated))
    }

    /// What the origin has for the target now, stamped with what of the journal was known before it was asked.
    pub(crate) async fn ask(&self, wanted: Wanted, condition: Option<&StoredResponse>) -> Result<Received, Error> {
        let (edge_seq, request_time) = (self.journal.seq(), now());
        let mut headers = origin::fill_headers(&self.headers, &self.rule.vary, &self.url);
        if let Some(stored) = condition {
            validate::set_condition(&mut headers, stored);
        }
        if wanted == Wanted::Part {
            for name in [header::RANGE, header::IF_RANGE] {
                if let Some(value) = self.headers.get(&name) {
                    headers.insert(name, value.clone());
                }
            }
        }
        let method = if wanted == Wanted::Fields { Method::HEAD } else { Method::GET };
        let url = origin::origin_url(self.config.origin.as_ref(), &self.url);
        let answer = origin::fetch(&method, &url, &headers, None).await?;
        let journey = Journey { request_time, response_time: now(), edge_seq };
        let status = origin::status(answer.status())?;
        let mut response = origin::received(status, runtime::from_runtime(answer.headers()), &self.target, journey);
        if status != StatusCode::NOT_MODIFIED {
            self.rule.set_lifetime(&mut response);
        }
        Ok(Received { response, body: answer.body().map(Body::Stream) })
    }

    /// What the answer to a question about `stored` makes of it. A 304 for another representation, or for one that was purged
    /// while the origin was asked, confirms nothing: the origin is then asked without a condition.
    pub(crate) async fn confirm(
        &self,
        stored: &StoredResponse,
        answer: Received,
        wanted: Wanted,
    ) -> Result<Confirmed, Error> {
        let freshened = match answer.response.status {
            StatusCode::NOT_MODIFIED => validate::freshen(stored, answer.response.clone()),
            StatusCode::OK if wanted == Wanted::Fields => validate::freshen_by_head(stored, answer.response.clone()),
            _ => None,
        };
        if let Some(mut response) = freshened {
            self.rule.set_lifetime(&mut response);
            let verdict = self.by_the_journal(|journal| stored.verdict(journal)).await;
            if verdict.is_some_and(|verdict| verdict != Verdict::Removed) {
                return Ok(Confirmed::Freshened(response));
            }
        }
        if answer.response.status == StatusCode::NOT_MODIFIED {
            return Ok(Confirmed::Replaced(self.ask(wanted, None).await?));
        }
        Ok(Confirmed::Replaced(answer))
    }

    /// Forwards the client's request with its body, and drops what its answer invalidates.
    async fn pass(self: &Rc<Self>, request: &web_sys::Request, forward: Forward, context: &Context) -> Answer {
        let (edge_seq, request_time) = (self.journal.seq(), now());
        let url = origin::origin_url(self.config.origin.as_ref(), &self.url);
        let answer = if self.websocket {
            origin::fetch_as_is(request, &url).await
        } else {
            let headers = origin::passed_headers(&self.headers, &self.url);
            let body = request.body().filter(|_| !matches!(self.method, Method::GET | Method::HEAD));
            origin::fetch(&self.method, &url, &headers, body.as_ref()).await
        };
        let (answer, code) = match answer {
            Ok(answer) if self.websocket && answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
                return Ok((answer, CacheStatus::Forwarded(Forwarded::new(forward, None))));
            }
            Ok(answer) => match origin::status(answer.status()) {
                Ok(code) => (answer, code),
                Err(error) => return unreachable(forward, &error),
            },
            Err(error) => return unreachable(forward, &error),
        };
        let mut headers = runtime::from_runtime(answer.headers());
        remove_hop_by_hop(&mut headers);
        let journey = Journey { request_time, response_time: now(), edge_seq };
        let for_gets = self.as_answer_to_gets(code, &headers, journey);
        let mut invalidated_at = request_time;
        for key in invalidate::invalidated(&self.method, &self.url, code, &headers, |url| self.config.rules.target(url))
        {
            invalidated_at = INVALIDATED.with(|invalidated| invalidated.add(key.as_str(), now())).max(invalidated_at);
            collapse::forwards().forget(key.as_str());
            if let Err(error) = self.store.delete(key.as_str()).await {
                worker::console_warn!("not invalidated: {error}");
            }
        }
        let mut body = answer.body().map(Body::Stream);
        let mut forwarded = Forwarded::new(forward, Some(code));
        if let Some((mut response, keep_for)) = for_gets {
            forwarded = forwarded.filled(Ok(ttl_secs(&response)));
            // What it has itself invalidated is from before it.
            response.request_time = invalidated_at + TICK;
            let (exchange, received) = (Rc::clone(self), Received { response, body: tee(&mut body) });
            context.wait_until(async move {
                if let Err(error) = exchange.keep(received, keep_for, None).await {
                    worker::console_warn!("not stored: {error}");
                }
            });
        }
        self.finish(code, headers, body, false, CacheStatus::Forwarded(forwarded))
    }

    /// The answer to a POST as GETs that follow will get it, and for how long, if it says that it is that.
    fn as_answer_to_gets(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        journey: Journey,
    ) -> Option<(StoredResponse, Duration)> {
        let mut keyed = self.headers.clone();
        remove_unkeyed(&mut keyed);
        // Fields that no key holds may have made it what it is; and what varies was asked for in the client's own words.
        if self.method != Method::POST || keyed.len() != self.headers.len() || headers.contains_key(header::VARY) {
            return None;
        }
        let response = origin::received(status, headers.clone(), &self.target, journey);
        let keep_for = self.storable(&response, None).ok()?;
        storable::answers_gets(&self.url, &response).then_some((response, keep_for))
    }

    // Store.

    /// Puts a response where a later request will look for it; `marker` is what stands under the target key now.
    pub(crate) async fn keep(
        &self,
        received: Received,
        keep_for: Duration,
        marker: Option<VaryMarker>,
    ) -> Result<(), Error> {
        let Received { mut response, body } = received;
        // The runtime's store keeps what came of a body that broke off, as if that were all.
        let body = match body {
            Some(body) => Some(body.whole(MAX_STORED_BYTES).await?),
            None => None,
        };
        if let Some(body) = &body {
            response.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.length()));
        }
        if self.is_invalidated(&response) {
            return Ok(());
        }
        let Some(response) = range::as_stored(storable::without_unshared(response)) else { return Ok(()) };
        let body = body.map(Body::Whole);
        let (target, rules) = (&self.target, &self.rule.vary);
        variants::keep(&self.store, target, rules, &self.headers, marker, (response, body), keep_for).await
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

    // Answer the client.

    fn finish(
        &self,
        status: StatusCode,
        mut headers: HeaderMap,
        body: Option<Body>,
        not_modified: bool,
        cache_status: CacheStatus,
    ) -> Answer {
        remove_for_the_edge(&mut headers);
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

/// Statuses that stand for "the origin failed" (RFC 5861 section 4).
pub(crate) fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504) || is_disconnected(status)
}

/// Statuses by which Cloudflare says that it did not reach the origin.
fn is_disconnected(status: StatusCode) -> bool {
    matches!(status.as_u16(), 520..=527 | 530)
}

/// What of a stored response is sent, with the fields that say so: all, a part (206), or that there is no such part (416).
async fn cut(
    stored: &StoredResponse,
    headers: &mut HeaderMap,
    body: Option<Body>,
    part: Part,
) -> Result<(StatusCode, Option<Body>), Error> {
    match part {
        Part::Whole => Ok((stored.status, body)),
        Part::Octets(octets) => {
            let before = range::held(stored).map_or(0, |held| held.first);
            let (first, end) = (octets.first - before, octets.last + 1 - before);
            headers.insert(header::CONTENT_RANGE, octets.content_range());
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(octets.count()));
            let body = match body {
                Some(body) => Some(body.slice(first, end, MAX_STORED_BYTES).await?),
                None => None,
            };
            Ok((StatusCode::PARTIAL_CONTENT, body))
        }
        Part::Unsatisfiable { length } => {
            validate::retain_not_modified_fields(headers);
            headers.insert(header::CONTENT_RANGE, range::unsatisfied(length));
            Ok((StatusCode::RANGE_NOT_SATISFIABLE, None))
        }
    }
}

fn unreachable(forward: Forward, error: &Error) -> Answer {
    worker::console_error!("the origin cannot be reached: {error}");
    let forward = Forward { detail: Some(Detail::OriginUnreachable), ..forward };
    failed(StatusCode::BAD_GATEWAY, "the origin cannot be reached", Forwarded::new(forward, None))
}

fn failed(status: StatusCode, message: &str, forwarded: Forwarded) -> Answer {
    let cache_status = CacheStatus::Forwarded(forwarded);
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
