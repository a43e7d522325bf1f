//! Forwards requests that bypass the store, and invalidates what they change.

use std::rc::Rc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use shared_keys::POSITION_HEADER;
use worker::{Context, web_sys};

use super::Answer;
use super::exchange::Exchange;
use super::fetch::undecoded;
use super::respond::{Message, own_response, tee, ttl_secs, unreachable};
use crate::cache_status::{CacheStatus, Forwarded};
use crate::error::Error;
use crate::headers::remove_hop_by_hop;
use crate::origin::request::{bypass_headers, max_forwards};
use crate::origin::response::{self, FetchContext};
use crate::policy::range::content_length;
use crate::policy::storable::MAX_STORED_BYTES;
use crate::policy::{Detail, Forward, StoredResponse, groups, invalidate, storable};
use crate::recent_invalidations::CLOCK_RESOLUTION;
use crate::runtime::body::{Body, Incoming};
use crate::runtime::{after_response, fetch, from_runtime, now};
use crate::store::{Entry, Store};
use crate::storing::Storing;
use crate::unkeyed::remove_unkeyed;

impl Exchange {
    /// Forwards the client's request with its body, and invalidates stored responses by the
    /// origin's answer.
    pub(super) async fn bypass(
        self: &Rc<Self>,
        request: &web_sys::Request,
        forward: Forward,
        context: &Context,
    ) -> Answer {
        let hops = max_forwards(&self.method, &self.headers);
        if hops == Some(0) {
            return own_response(StatusCode::OK, "Max-Forwards ends the request here", Detail::MaxForwards);
        }
        let (edge_seq, request_time) = (self.journal.seq(), now());
        let url = self.origin_url(&self.url);
        let mut headers = bypass_headers(&self.headers, &self.url);
        if let Some(hops) = hops {
            headers.insert(header::MAX_FORWARDS, HeaderValue::from(hops - 1));
        }
        let answer = if self.websocket {
            fetch::fetch_upgrade(request, &url, &headers).await
        } else if self.has_odd_body {
            fetch::fetch_with_odd_body(request, &url, &headers).await
        } else {
            fetch::fetch(&self.method, &url, &headers, request.body().as_ref().map(AsRef::as_ref)).await
        };
        let (answer, code) = match answer {
            Ok(answer) if self.websocket && answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
                return Ok((answer, CacheStatus::Forwarded(Forwarded::new(forward, None))));
            }
            Ok(answer) => match response::status(answer.status()) {
                Ok(code) => (answer, code),
                Err(error) => return unreachable(forward, &error),
            },
            Err(error) => return unreachable(forward, &error),
        };
        let mut headers = from_runtime(&answer.headers());
        let undecoded = undecoded(&answer, &headers);
        remove_hop_by_hop(&mut headers);
        self.rewrite_urls(&mut headers);
        let fetch_context = FetchContext { request_time, response_time: now(), edge_seq };
        response::set_date(&mut headers, fetch_context.response_time);
        let is_from_sdk = headers.contains_key(POSITION_HEADER);
        let answer_to_gets = self.answer_to_gets(code, &headers, fetch_context);
        let keys = invalidate::invalidated(&self.method, &self.url, code, &headers, |url| {
            self.config.rules.targets(url)
        });
        let invalidated_at = self.invalidate(&keys, answer_to_gets.is_some(), context).await;
        let scopes = groups::invalidated_scopes(&self.method, &headers, &self.target);
        if !scopes.is_empty() {
            self.invalidate_scopes(scopes, context).await;
        }
        let mut body = answer.body().map(Body::Stream);
        let mut forwarded = Forwarded::new(forward, Some(code));
        if let Some((mut response, retention)) = answer_to_gets {
            forwarded = forwarded.with_store_result(Ok(ttl_secs(&response)));
            let has_known_length = content_length(&response.headers).is_some();
            if !has_known_length {
                forwarded = forwarded.with_unknown_length();
            }
            // The response postdates the invalidation that its own request caused.
            response.request_time = invalidated_at.unwrap_or(request_time) + CLOCK_RESOLUTION;
            let copy = tee(&mut body, has_known_length)?;
            let storing = self.begin_storing(&response, None);
            // The body is read only once the journal has the invalidation.
            storing.receive(now());
            let exchange = Rc::clone(self);
            after_response(context, async move {
                if let Err(error) = exchange.store_answer(response, copy, retention, storing).await {
                    worker::console_warn!("not stored: {error}");
                }
            });
        }
        let message = Message { status: code, headers, undecoded, body };
        self.finish(message, false, is_from_sdk, CacheStatus::Forwarded(forwarded))
    }

    /// Returns the response to a POST as later GETs will get it, and for how long, if the rule
    /// allows that and the response states that it is one (RFC 9110 section 9.3.3).
    fn answer_to_gets(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        context: FetchContext,
    ) -> Option<(StoredResponse, Duration)> {
        let has_credentials =
            self.headers.contains_key(header::COOKIE) || self.headers.contains_key(header::AUTHORIZATION);
        // A spelling outside the key may have influenced the response, and a response that varies
        // was selected by fields that are not normalised.
        if self.method != Method::POST
            || !self.rule.store_post
            || has_credentials
            || self.configured_bypass().is_some()
            || self.keyed_url() != self.url
            || !(self.selection.is_empty()
                || self.config.rules.is_rule_of_gets(&self.rule, &self.target, self.client()))
            || headers.contains_key(header::VARY)
        {
            return None;
        }
        // Fields outside the key may have influenced the response. Those of the body do not count:
        // `store_post` accepts that the body is not in the key.
        let mut own = self.headers.clone();
        own.remove(header::CONTENT_LENGTH);
        own.remove(header::CONTENT_TYPE);
        let fields = own.len();
        remove_unkeyed(&mut own, &self.rule.unkeyed);
        if own.len() != fields {
            return None;
        }
        let response = response::to_stored(status, headers.clone(), &self.target, context);
        let retention = self.retention(&response).ok()?;
        storable::answers_gets(&self.url, &response).then_some((response, retention))
    }

    /// Stores the response to a POST for GETs, and brings the invalidation by the POST to the
    /// journal.
    async fn store_answer(
        &self,
        response: StoredResponse,
        body: Option<Incoming>,
        retention: Duration,
        storing: Storing,
    ) -> Result<(), Error> {
        if self.may_append() {
            if let Some(response) = self.append_own_target(response).await {
                self.store(response, body, retention, Some(storing)).await?;
            }
            return Ok(());
        }
        // The journal takes the invalidation only later. Until then, the response is stored as of
        // the records before.
        let claimed_at = self.claim_own_target();
        let body = match body {
            Some(body) => Some(Body::Whole(body.whole(MAX_STORED_BYTES, &|_| ()).await?)),
            None => None,
        };
        let copy = || body.clone().map(Incoming::from);
        self.store(response.clone(), copy(), retention, Some(storing)).await?;
        if !self.wait_to_append(claimed_at).await {
            return Ok(());
        }
        let storing = self.begin_storing(&response, Some(self.target.as_str()));
        storing.receive(now());
        let is_current = match self.pinned_store().get(self.target.as_str()).await {
            Ok(Some(Entry::Response { response: stored, .. })) => {
                stored.response_time == response.response_time
            }
            _ => false,
        };
        if let Some(response) = self.append_own_target(response).await.filter(|_| is_current) {
            self.store(response, copy(), retention, Some(storing)).await?;
        }
        Ok(())
    }
}
