//! One exchange: a client's request, what is needed to answer it, and the order of the phases.

use std::rc::Rc;

use http::{HeaderMap, Method, StatusCode, header};
use shared_keys::TargetKey;
use url::Url;
use worker::{Context, web_sys};

use super::query::Query;
use super::respond::own_response;
use super::{Answer, Found};
use crate::cache_status::CacheStatus;
use crate::config::{Config, Origin};
use crate::origin::location;
use crate::origin::request::{self, is_loop};
use crate::policy::{Decision, Detail, Forward, Request, bypass_reason};
use crate::rules::{Client, Rule, Selection};
use crate::runtime::after_response;
use crate::runtime::journal::Journal;
use crate::runtime::tiered::Tiered;

/// A client's request and what is needed to answer it.
pub(super) struct Exchange {
    pub(super) method: Method,
    /// The URL as the client spelled it. Requests that bypass the store are forwarded with it.
    pub(super) url: Url,
    /// The key of the stored response. Cacheable requests are forwarded with the spelling of
    /// [`resource`](Self::resource).
    pub(super) target: TargetKey,
    /// The content of a QUERY whose response may be stored.
    pub(super) query: Option<Query>,
    /// The deployment's rule for the request.
    pub(super) rule: Rc<Rule>,
    /// The client's fields, without hop-by-hop fields, and with those that rules select by.
    pub(super) headers: HeaderMap,
    /// Where the site's requests are forwarded.
    pub(super) origin: Origin,
    /// The client's country.
    pub(super) country: String,
    /// The fields that select responses because rules depend on them.
    pub(super) selection: Selection,
    pub(super) websocket: bool,
    /// Whether the request is a GET or HEAD with a body.
    pub(super) has_odd_body: bool,
    pub(super) config: Rc<Config>,
    pub(super) store: Tiered,
    pub(super) journal: Journal,
}

/// The extent of a representation that is requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of it.
    Whole,
    /// The client's range.
    Range,
    /// The fields only, as for HEAD.
    Fields,
}

impl Exchange {
    /// Returns the request as the policy sees it.
    pub(super) fn request(&self) -> Request<'_> {
        Request { method: &self.method, headers: &self.headers, choices: self.rule.choices }
    }

    /// Returns the client as the conditions of rules see it.
    pub(super) fn client(&self) -> Client<'_> {
        Client { headers: &self.headers, country: &self.country }
    }

    /// Returns the URL at the origin.
    pub(super) fn origin_url(&self, url: &Url) -> Url {
        request::origin_url(self.origin.url(), url)
    }

    /// Rewrites the origin's own URLs in the fields of its response to the site's.
    pub(super) fn rewrite_urls(&self, headers: &mut HeaderMap) {
        if let Some(origin) = self.origin.url().filter(|_| self.rule.rewrite_urls) {
            location::rewrite(headers, origin, &self.url);
        }
    }

    /// Returns the URL of the key. All spellings that share the key are forwarded as this one;
    /// otherwise one client's spelling could decide what all clients get.
    pub(super) fn keyed_url(&self) -> Url {
        Url::parse(self.resource().as_str()).unwrap_or_else(|_| self.url.clone())
    }

    /// Returns the key of the URL, without the content of a QUERY.
    pub(super) fn resource(&self) -> &TargetKey {
        self.query.as_ref().map_or(&self.target, |query| &query.resource)
    }

    /// Returns the client's own spelling of the URL, without the parameters that the key omits.
    pub(super) fn client_url(&self) -> Url {
        let mut url = self.url.clone();
        url.set_query(self.rule.query.forwarded(self.url.query()).as_deref());
        url
    }

    /// Returns the extent that the client requests.
    pub(super) fn extent(&self) -> Extent {
        match self.method {
            Method::HEAD => Extent::Fields,
            // A server may ignore `Range` (RFC 9110 section 14.2).
            _ if self.query.is_some() => Extent::Whole,
            _ if self.headers.contains_key(header::RANGE) => Extent::Range,
            _ => Extent::Whole,
        }
    }

    /// Returns the answer. If a stored response turns out to be broken while it is read, the origin
    /// answers.
    pub(super) async fn answer(self: &Rc<Self>, request: &web_sys::Request, context: &Context) -> Answer {
        match self.try_answer(request, context).await {
            Err(error) if self.bypass_reason().is_none() && !self.request().is_only_if_cached() => {
                worker::console_warn!("counted as a miss: {error}");
                self.fill(Forward::miss(), Found::nothing(), None, context).await
            }
            answer => answer,
        }
    }

    async fn try_answer(self: &Rc<Self>, request: &web_sys::Request, context: &Context) -> Answer {
        if is_loop(&self.headers, &self.url) {
            let message = "ORIGIN is the URL of this worker: set it to the origin's own";
            return own_response(StatusCode::LOOP_DETECTED, message, Detail::Loop);
        }
        if matches!(self.method, Method::TRACE | Method::CONNECT) {
            return own_response(StatusCode::NOT_IMPLEMENTED, "expected another method", Detail::Method);
        }
        self.send_invalidations(context);
        if let Some(forward) = self.bypass_reason() {
            return self.bypass(request, forward, context).await;
        }
        if let Err(error) = self.journal.ensure_recent().await {
            worker::console_warn!("the store is not used: {error}");
            if self.request().is_only_if_cached() {
                let message = "the journal is unreachable, so no stored response can be used";
                return own_response(StatusCode::GATEWAY_TIMEOUT, message, Detail::OnlyIfCached);
            }
            return self.bypass(request, Forward::bypass(Detail::JournalUnreachable), context).await;
        }
        self.refresh_journal(context);
        self.refill(context);
        if let Some(answer) = self.serve_from_memory(context).await {
            return answer;
        }
        if self.wait_for_received().await
            && let Some(answer) = self.serve_from_memory(context).await
        {
            return answer;
        }
        let found = self.lookup().await;
        self.count_request(&found, context);
        let (decision, found) = self.unless_newer(self.decide(&found).await, found).await;
        match (decision, found) {
            (Decision::Serve(hit), Found { stored: Some(stored), marker, .. }) => {
                self.count_hit(&stored.key, marker.as_ref());
                self.serve(stored, hit, CacheStatus::Hit { hit, memory: false }, context).await
            }
            (Decision::Forward(_), _) if self.request().is_only_if_cached() => own_response(
                StatusCode::GATEWAY_TIMEOUT,
                "nothing is stored for this request",
                Detail::OnlyIfCached,
            ),
            (Decision::Forward(forward), found) => self.collapse(forward, found, context).await,
            // The policy serves only what was found. If that ever fails to hold, the origin
            // answers.
            (Decision::Serve(_), found) => self.fill(Forward::miss(), found, None, context).await,
        }
    }

    /// Returns why the request bypasses the store; `None` if it does not.
    pub(super) fn bypass_reason(&self) -> Option<Forward> {
        bypass_reason(self.request(), self.websocket)
            .filter(|_| self.query.is_none())
            .or_else(|| self.has_odd_body.then(|| Forward::bypass(Detail::Body)))
            .or_else(|| self.configured_bypass())
    }

    /// Returns why the deployment's configuration keeps the request from the store.
    pub(super) fn configured_bypass(&self) -> Option<Forward> {
        if self.config.fault.is_some() {
            Some(Forward::bypass(Detail::Misconfigured))
        } else if self.config.rules.is_ambiguous(&self.method, &self.target, self.client()) {
            Some(Forward::bypass(Detail::Path))
        } else {
            let is_bypassed = self.selection.is_ambiguous || self.rule.bypasses_store(&self.headers);
            is_bypassed.then(|| Forward::bypass(Detail::Rule))
        }
    }

    /// Refreshes the journal's snapshot in the background, if it is time to.
    fn refresh_journal(&self, context: &Context) {
        if self.journal.needs_refresh() {
            let journal = self.journal.clone();
            after_response(context, async move {
                if let Err(error) = journal.refresh().await {
                    worker::console_warn!("{error}");
                }
            });
        }
    }
}
