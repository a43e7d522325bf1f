//! What goes past the store: forwarded as it is, and what it changes is invalidated.

use std::rc::Rc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use shared_keys::POSITION_HEADER;
use worker::{Context, web_sys};

use super::{Answer, Exchange, INVALIDATED, Received, own, tee, ttl_secs, unreachable};
use crate::collapse;
use crate::headers::{remove_hop_by_hop, remove_unkeyed};
use crate::invalidated::TICK;
use crate::origin::{self, Journey};
use crate::policy::{Detail, Forward, StoredResponse, invalidate, storable};
use crate::runtime::{self, Body, now};
use crate::status::{CacheStatus, Forwarded};

impl Exchange {
    /// Forwards the client's request with its body, and drops what its answer invalidates.
    pub(super) async fn pass(
        self: &Rc<Self>,
        request: &web_sys::Request,
        forward: Forward,
        context: &Context,
    ) -> Answer {
        let hops = origin::max_forwards(&self.method, &self.headers);
        if hops == Some(0) {
            return own(StatusCode::OK, "this is as far as the request was to go", Detail::MaxForwards);
        }
        let (edge_seq, request_time) = (self.journal.seq(), now());
        let url = self.origin_url(&self.url);
        let mut headers = origin::passed_headers(&self.headers, &self.url);
        if let Some(hops) = hops {
            headers.insert(header::MAX_FORWARDS, HeaderValue::from(hops - 1));
        }
        let answer = if self.websocket {
            origin::fetch_as_is(request, &url, &headers).await
        } else {
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
        origin::date(&mut headers, journey.response_time);
        let is_ours = headers.contains_key(POSITION_HEADER);
        let for_gets = self.as_answer_to_gets(code, &headers, journey);
        let mut invalidated_at = request_time;
        for key in invalidate::invalidated(&self.method, &self.url, code, &headers, |url| self.config.rules.target(url))
        {
            invalidated_at = INVALIDATED.with(|invalidated| invalidated.add(key.as_str(), now())).max(invalidated_at);
            collapse::forwards().forget(key.as_str());
            self.withdraw(key.as_str().to_owned(), context).await;
        }
        let mut body = answer.body().map(Body::Stream);
        let mut forwarded = Forwarded::new(forward, Some(code));
        if let Some((mut response, keep_for)) = for_gets {
            forwarded = forwarded.filled(Ok(ttl_secs(&response)));
            // What it has itself invalidated is from before it.
            response.request_time = invalidated_at + TICK;
            let (exchange, received) = (Rc::clone(self), Received { response, body: tee(&mut body), evaluated: false });
            context.wait_until(async move {
                if let Err(error) = exchange.keep(received, keep_for).await {
                    worker::console_warn!("not stored: {error}");
                }
            });
        }
        self.finish(code, headers, body, false, is_ours, CacheStatus::Forwarded(forwarded))
    }

    /// The answer to a POST as GETs that follow will get it, and for how long, if it says that it is that.
    pub(super) fn as_answer_to_gets(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        journey: Journey,
    ) -> Option<(StoredResponse, Duration)> {
        let mut keyed = self.headers.clone();
        remove_unkeyed(&mut keyed);
        // Fields and parameters that no key holds may have made it what it is; and what varies was asked for in the client's own words.
        if self.method != Method::POST
            || self.passed_by_choice().is_some()
            || keyed.len() != self.headers.len()
            || self.forwarded_url() != self.url
            || headers.contains_key(header::VARY)
        {
            return None;
        }
        let response = origin::received(status, headers.clone(), &self.target, journey);
        let keep_for = self.storable(&response, None).ok()?;
        storable::answers_gets(&self.url, &response).then_some((response, keep_for))
    }
}
