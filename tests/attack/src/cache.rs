//! The edge cache without its runtime: the worker's rules and policy over a store in memory.
//!
//! It runs a request through the same functions in the same order as the worker's pipeline, and is
//! many times as fast. The same pairs also run against the built worker.

use std::cell::RefCell;
use std::collections::HashMap;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use edge_worker::error::Error;
use edge_worker::headers::{is_ambiguous, remove_for_the_edge, remove_hop_by_hop};
use edge_worker::origin::request::{bypass_headers, fill_headers, is_loop, is_websocket};
use edge_worker::origin::response::{FetchContext, to_stored};
use edge_worker::policy::not_stored::NotStored;
use edge_worker::policy::range::{self, Part};
use edge_worker::policy::storable::{self, MAX_STORED_BYTES};
use edge_worker::policy::{
    Decision, ForwardReason, Hit, Request, StoredResponse, bypass_reason, decide, invalidate, validate,
};
use edge_worker::rules::{Client, Rule, Rules, Selection, is_reserved};
use edge_worker::store::variants::{self, Found, Selecting};
use edge_worker::store::{Entry, Store};
use http::{HeaderMap, Method, StatusCode, header};
use shared_keys::{Applied, Seq, TargetKey};
use url::Url;

use crate::message::{Message, Reply};
use crate::origin;

/// The country of every client: unknown, as outside Cloudflare.
const COUNTRY: &str = "XX";

/// The site's host, as the key and the origin see it.
pub const HOST: &str = "shop.example";

/// A defence that is left out, to show that the comparison finds what it prevents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Fields outside the key reach the origin.
    UnkeyedFields,
    /// Every response to a POST is stored for later GETs.
    StoredPosts,
    /// The response to the client's own spelling of a URL is stored under the key.
    StoredSpellings,
    /// A response to credentials gets a rule's lifetime.
    SharedCredentials,
    /// Rules match only the normalised path, not the readings that servers have of it.
    LiteralRules,
}

/// A cache in front of the model's origin.
#[derive(Debug)]
pub struct Cache<'a> {
    rules: &'a Rules,
    fault: Option<Fault>,
    store: MemoryStore,
    journal: Applied,
    clock: SystemTime,
    was_hit: bool,
}

/// One request and what belongs to it.
struct Exchange<'a> {
    client: &'a Message,
    url: Url,
    target: TargetKey,
    rule: &'a Rule,
    headers: HeaderMap,
    selection: Selection,
    now: SystemTime,
}

impl<'a> Cache<'a> {
    /// Creates an empty cache. `fault` leaves one of its defences out.
    #[must_use]
    pub fn new(rules: &'a Rules, fault: Option<Fault>) -> Self {
        let clock = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        Self { rules, fault, store: MemoryStore::default(), journal: Applied::new(10), clock, was_hit: false }
    }

    /// Returns whether the last request was answered from the store.
    #[must_use]
    pub fn was_hit(&self) -> bool {
        self.was_hit
    }

    /// Returns the response to a client's request.
    pub fn answer(&mut self, client: &Message) -> Reply {
        self.clock += Duration::from_millis(10);
        self.was_hit = false;
        let refusal = |status| Reply::new(status, &[], "");
        let Ok(url) = Url::parse(&format!("http://{HOST}{}", client.target)) else { return refusal(400) };
        let mut headers = client.headers.clone();
        if is_ambiguous(&headers) {
            return refusal(400);
        }
        if is_reserved(url.path()) {
            return refusal(404);
        }
        let Ok(plain) = TargetKey::parse(url.as_str()) else { return refusal(400) };
        let rules = self.rules;
        let websocket = is_websocket(&client.method, &headers);
        remove_hop_by_hop(&mut headers);
        let rule = rules.of(&client.method, &plain, Client { headers: &headers, country: COUNTRY });
        let selection = rules.select(&client.method, &plain, rule, COUNTRY, &mut headers);
        let Some(target) = rule.target(url.as_str(), plain) else { return refusal(400) };
        if is_loop(&headers, &url) {
            return refusal(508);
        }
        let exchange = Exchange { client, url, target, rule, headers, selection, now: self.clock };
        let request = exchange.request();
        let has_odd_body = matches!(client.method, Method::GET | Method::HEAD) && !client.body.is_empty();
        if bypass_reason(request, websocket).is_some() || has_odd_body || self.is_bypassed(&exchange) {
            return self.bypass(&exchange);
        }
        let found = ready(variants::lookup(&self.store, &exchange.target, exchange.selecting()));
        let found = found.unwrap_or_else(|_| Found::nothing());
        match decide(request, found.selected(), self.clock, &self.journal) {
            Decision::Serve(hit) => {
                self.was_hit = true;
                found.stored.map_or_else(
                    || refusal(500),
                    |stored| exchange.serve(&stored.response, &stored.body.unwrap_or_default(), hit),
                )
            }
            Decision::Forward(forward) => {
                let concerns = matches!(forward.reason, ForwardReason::Stale | ForwardReason::Request);
                let stored = found.stored.filter(|_| concerns).map(|stored| stored.key);
                self.fill(&exchange, stored)
            }
        }
    }

    fn is_bypassed(&self, exchange: &Exchange<'_>) -> bool {
        let is_ambiguous = self.fault != Some(Fault::LiteralRules)
            && self.rules.is_ambiguous(&exchange.client.method, &exchange.target, exchange.client());
        is_ambiguous || exchange.selection.is_ambiguous || exchange.rule.bypasses_store(&exchange.headers)
    }

    /// Fetches the key's URL, stores the response if that is allowed, and returns it. `stored` is
    /// the key of the response that it is about.
    fn fill(&self, exchange: &Exchange<'_>, stored: Option<String>) -> Reply {
        let (client, rule) = (exchange.client, exchange.rule);
        let is_head = client.method == Method::HEAD;
        let mut headers = fill_headers(&exchange.headers, &rule.vary, &rule.unkeyed, &exchange.url);
        if self.fault == Some(Fault::UnkeyedFields) {
            for (name, value) in &exchange.headers {
                headers.entry(name).or_insert_with(|| value.clone());
            }
        }
        let has_range = !is_head && exchange.headers.contains_key(header::RANGE);
        let is_client = is_head
            || has_range
            || exchange.headers.contains_key(header::AUTHORIZATION)
            || validate::has_precondition(&exchange.headers);
        if is_client {
            validate::copy_conditions(&exchange.headers, &mut headers);
        }
        for name in [header::RANGE, header::IF_RANGE] {
            if let Some(value) = exchange.headers.get(&name).filter(|_| has_range) {
                headers.insert(name, value.clone());
            }
        }
        let keyed = Url::parse(exchange.target.as_str()).unwrap_or_else(|_| exchange.url.clone());
        let mut own = exchange.url.clone();
        own.set_query(rule.query.forwarded(own.query()).as_deref());
        let fetch = |url: &Url| {
            let method = if is_head { Method::HEAD } else { Method::GET };
            let answer = self.fetch(method, url, headers.clone(), "");
            let mut response = exchange.to_stored(answer.status, answer.headers);
            let is_personal = self.fault != Some(Fault::SharedCredentials)
                && rule.is_personal(&exchange.headers, &response);
            if answer.status != StatusCode::NOT_MODIFIED && !is_personal {
                rule.set_lifetime(&mut response);
            }
            if let Some(range) = headers.get(header::RANGE)
                && answer.status == StatusCode::PARTIAL_CONTENT
            {
                response.headers.insert(range::ANSWERED_RANGE, range.clone());
            }
            (response, answer.body)
        };
        let (mut response, mut body) = fetch(&keyed);
        let mut is_keyed = true;
        if keyed != own && self.is_self_redirect(exchange, &response) {
            (response, body) = fetch(&own);
            is_keyed = self.fault == Some(Fault::StoredSpellings);
        }
        let retention = match () {
            () if is_head => Err(NotStored::Request),
            () if !is_keyed => Err(NotStored::Spelling),
            () => self.retention(exchange, &response),
        };
        if let (Some(key), Err(reason)) = (stored, retention)
            && reason.supersedes_stored(response.status, rule.has_credentials(&exchange.headers))
        {
            let _ = ready(self.store.delete(&key));
        }
        let not_modified = match retention {
            Ok(_) if !is_client => validate::not_modified(&exchange.headers, &response),
            _ => validate::is_named(&exchange.headers, &response),
        };
        if retention.is_ok() {
            self.put(exchange, response.clone(), &body);
        }
        exchange.finish(response.status, response.headers, body, not_modified)
    }

    fn retention(&self, exchange: &Exchange<'_>, response: &StoredResponse) -> Result<Duration, NotStored> {
        if self.is_self_redirect(exchange, response) {
            return Err(NotStored::SelfRedirect);
        }
        if self.fault != Some(Fault::SharedCredentials)
            && exchange.rule.withholds(&exchange.headers, response)
        {
            return Err(NotStored::Credentials);
        }
        if exchange.rule.is_deceptive(exchange.target.path(), response) {
            return Err(NotStored::Deceptive);
        }
        storable::retention(exchange.request(), response, &self.journal)
    }

    fn put(&self, exchange: &Exchange<'_>, response: StoredResponse, body: &str) {
        if body.len() as u64 > MAX_STORED_BYTES {
            return;
        }
        let response = storable::without_unstorable_fields(response);
        let response = range::as_stored(response, Some(body.len() as u64));
        let entry = (response, Some(body.to_owned()));
        let (target, retention) = (&exchange.target, Duration::from_secs(600));
        let stored = variants::store(&self.store, target, exchange.selecting(), entry, retention, |_| 1);
        let _ = ready(stored);
    }

    /// Forwards the request unchanged, and invalidates what it changes.
    fn bypass(&self, exchange: &Exchange<'_>) -> Reply {
        let client = exchange.client;
        let headers = bypass_headers(&exchange.headers, &exchange.url);
        let answer = self.fetch(client.method.clone(), &exchange.url, headers, &client.body);
        let key = |url: &str| self.rules.targets(url);
        for key in invalidate::invalidated(&client.method, &exchange.url, answer.status, &answer.headers, key)
        {
            let _ = ready(self.store.delete(key.as_str()));
        }
        let response = exchange.to_stored(answer.status, answer.headers.clone());
        let stores_post = self.fault == Some(Fault::StoredPosts) || exchange.rule.store_post;
        if client.method == Method::POST
            && stores_post
            && self.retention(exchange, &response).is_ok()
            && storable::answers_gets(&exchange.url, &response)
        {
            self.put(exchange, response, &answer.body);
        }
        let mut headers = answer.headers;
        remove_hop_by_hop(&mut headers);
        exchange.finish(answer.status, headers, answer.body, false)
    }

    fn is_self_redirect(&self, exchange: &Exchange<'_>, response: &StoredResponse) -> bool {
        let key = |url: &Url| self.rules.target(&exchange.client.method, url.as_str(), exchange.client());
        storable::redirects_to(&exchange.target, &exchange.url, response, key)
    }

    fn fetch(&self, method: Method, url: &Url, headers: HeaderMap, body: &str) -> Reply {
        let target = url[url::Position::BeforePath..url::Position::AfterQuery].to_owned();
        origin::answer(&Message { method, target, headers, body: body.to_owned() })
    }
}

impl Exchange<'_> {
    fn request(&self) -> Request<'_> {
        Request { method: &self.client.method, headers: &self.headers, choices: self.rule.choices }
    }

    /// Returns the client as the conditions of rules see it.
    fn client(&self) -> Client<'_> {
        Client { headers: &self.headers, country: COUNTRY }
    }

    fn selecting(&self) -> Selecting<'_> {
        Selecting { rules: &self.rule.vary, required: &self.selection.fields, request: &self.headers }
    }

    fn to_stored(&self, status: StatusCode, headers: HeaderMap) -> StoredResponse {
        let context = FetchContext { request_time: self.now, response_time: self.now, edge_seq: Seq(1) };
        to_stored(status, headers, &self.target, context)
    }

    fn serve(&self, stored: &StoredResponse, body: &str, hit: Hit) -> Reply {
        let mut headers = stored.headers.clone();
        let (status, body) = match hit.part {
            Part::Whole => (stored.status, body.to_owned()),
            Part::Octets(octets) => {
                let offset = range::stored_octets(stored).map_or(0, |held| held.first);
                let at = |octet: u64| usize::try_from(octet - offset).unwrap_or_default();
                headers.insert(header::CONTENT_RANGE, octets.content_range());
                let part = body.get(at(octets.first)..=at(octets.last)).unwrap_or_default();
                (StatusCode::PARTIAL_CONTENT, part.to_owned())
            }
            Part::Unsatisfiable { length } => {
                validate::retain_not_modified_fields(&mut headers);
                headers.insert(header::CONTENT_RANGE, range::unsatisfied(length));
                (StatusCode::RANGE_NOT_SATISFIABLE, String::new())
            }
        };
        self.finish(status, headers, body, hit.not_modified)
    }

    fn finish(&self, status: StatusCode, mut headers: HeaderMap, body: String, not_modified: bool) -> Reply {
        remove_for_the_edge(&mut headers, false);
        if not_modified {
            validate::retain_not_modified_fields(&mut headers);
            return Reply { status: StatusCode::NOT_MODIFIED, headers, body: String::new() };
        }
        let is_head = self.client.method == Method::HEAD;
        Reply { status, headers, body: if is_head { String::new() } else { body } }
    }
}

/// A store without loss or expiry.
#[derive(Debug, Default)]
struct MemoryStore(RefCell<HashMap<String, Entry<String>>>);

impl Store for MemoryStore {
    type Body = String;

    async fn get(&self, key: &str) -> Result<Option<Entry<String>>, Error> {
        Ok(self.0.borrow().get(key).cloned())
    }

    async fn put(&self, key: &str, entry: Entry<String>, _retention: Duration) -> Result<(), Error> {
        self.0.borrow_mut().insert(key.to_owned(), entry);
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        self.0.borrow_mut().remove(key);
        Ok(())
    }
}

/// Returns the value of a future that is ready at once, as those of the store in memory are.
fn ready<T>(future: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => unreachable!("the store in memory never waits"),
    }
}
