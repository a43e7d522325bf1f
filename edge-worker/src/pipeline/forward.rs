//! What is not stored, or no longer holds: asked for, by one request for all that want it, and delivered while it is stored.

use std::rc::Rc;
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, header};
use shared_keys::Verdict;
use url::Url;
use worker::Context;

use super::serve::cut;
use super::{Answer, Before, Condition, Confirmed, Exchange, Found, Received, Wanted, tee, ttl_secs, unreachable};
use crate::collapse::{self, FOLLOW_LIMIT, LEAD_LIMIT, Lead, Role};
use crate::error::Error;
use crate::origin::{self, Journey};
use crate::policy::range;
use crate::policy::select::{VaryMarker, variant_key, vary_fields};
use crate::policy::stale::{is_disconnected, is_failure};
use crate::policy::storable::{self, NotStored, keep_for};
use crate::policy::validate::Head;
use crate::policy::{Decision, Forward, ForwardReason, StoredResponse, invalidate, validate};
use crate::rules;
use crate::runtime::{self, Body, now};
use crate::status::{CacheStatus, Forwarded};
use crate::store::{Store, variants};

impl Exchange {
    /// Asks the origin, unless another request of this isolate is at it: then what that one stores is the answer.
    pub(super) async fn collapse(self: &Rc<Self>, mut forward: Forward, mut found: Found, context: &Context) -> Answer {
        let deadline = now() + FOLLOW_LIMIT;
        // What answers a request with credentials or a precondition is mostly for that client alone, and a part for those who want the
        // same: nobody waits for it.
        while forward.reason != ForwardReason::Bypass
            && self.wanted() == Wanted::Whole
            && !self.headers.contains_key(header::AUTHORIZATION)
            && !validate::has_precondition(&self.headers)
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
    pub(super) fn stored_under(&self, found: &Found) -> Option<String> {
        match &found.marker {
            Some(marker) => {
                let key = variant_key(&self.target, &marker.fields, &self.rule.vary, &self.headers)?;
                Some(key.as_str().to_owned())
            }
            None => Some(self.target.as_str().to_owned()),
        }
    }

    /// Asks the origin for a response that may be stored, and stores it while the client reads it. Until then `lead` is held.
    pub(super) async fn fill(
        self: &Rc<Self>,
        forward: Forward,
        mut found: Found,
        lead: Option<Lead>,
        context: &Context,
    ) -> Answer {
        let wanted = self.wanted();
        let condition = match &found.stored {
            _ if validate::has_precondition(&self.headers) => Condition::Client,
            Some(stored) if forward.validate => Condition::Stored(&stored.response),
            // Nobody waits for the answer, so it need not be one that can be stored.
            _ if lead.is_none() => Condition::Client,
            _ => Condition::None,
        };
        let validates = matches!(condition, Condition::Stored(_));
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
        // The answer is about what this request could have been answered with (4.3.3, 4.3.5), and about nothing else.
        let selected = stored.filter(|_| matches!(forward.reason, ForwardReason::Stale | ForwardReason::Request));
        let (received, before) = match selected {
            Some(stored)
                if validates || (wanted == Wanted::Fields && received.response.status != StatusCode::NOT_MODIFIED) =>
            {
                let confirmed = match self.confirm(&stored.response, received, wanted).await {
                    Ok(confirmed) => confirmed,
                    Err(error) => return unreachable(forward, &error),
                };
                match confirmed {
                    Confirmed::Freshened(response) => {
                        (Received { response, body: stored.body, evaluated: false }, Before::Freshened)
                    }
                    Confirmed::Untold(received) => (received, Before::Nothing),
                    Confirmed::Replaced(received) => {
                        forwarded.status = Some(received.response.status);
                        (received, Before::Replaced(stored.key))
                    }
                }
            }
            Some(stored) => (received, Before::Replaced(stored.key)),
            None => (received, Before::Nothing),
        };
        self.deliver(forwarded, received, before, marker, lead, context).await
    }

    /// Sends what came, or what is stored and was freshened by it, and stores it if it may be.
    pub(super) async fn deliver(
        self: &Rc<Self>,
        forwarded: Forwarded,
        received: Received,
        before: Before,
        marker: Option<VaryMarker>,
        lead: Option<Lead>,
        context: &Context,
    ) -> Answer {
        let Received { mut response, mut body, evaluated } = received;
        let (is_head, is_ours) = (self.method == Method::HEAD, response.is_ours());
        let freshened = matches!(before, Before::Freshened);
        let mut headers = response.headers.clone();
        if freshened {
            headers.insert(header::AGE, HeaderValue::from(response.current_age(now()).as_secs()));
            storable::remove_the_clients(&mut response, self.rule.choices);
        }
        let storable =
            if is_head && !freshened { Err(NotStored::Request) } else { self.storable(&response, marker.as_ref()) };
        if let (Before::Replaced(key), Err(reason)) = (&before, storable)
            && ((is_head && response.status == StatusCode::OK) || reason.withdraws(response.status))
            && let Err(error) = self.store.delete(key).await
        {
            worker::console_warn!("not dropped: {error}");
        }
        let not_modified = match storable {
            _ if freshened => validate::not_modified(&self.headers, &response),
            Ok(_) if !evaluated => validate::not_modified(&self.headers, &response),
            _ => validate::is_named(&self.headers, &response),
        };
        let status = CacheStatus::Forwarded(forwarded.filled(storable.map(|_| ttl_secs(&response))));
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
                    let kept = exchange.keep(Received { response, body: kept, evaluated }, keep_for).await;
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
        self.finish(code, headers, body, not_modified, is_ours, status)
    }

    /// How long to keep a response to a GET for this target, or why not.
    pub(crate) fn storable(
        &self,
        response: &StoredResponse,
        marker: Option<&VaryMarker>,
    ) -> Result<Duration, NotStored> {
        if self.is_invalidated(response.request_time) {
            return Err(NotStored::Outdated);
        }
        if self.leads_back(response) {
            return Err(NotStored::SelfRedirect);
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
    pub(crate) async fn ask(&self, wanted: Wanted, condition: Condition<'_>) -> Result<Received, Error> {
        let (edge_seq, request_time) = (self.journal.seq(), now());
        let mut headers = origin::fill_headers(&self.headers, &self.rule.vary, &self.url);
        match condition {
            Condition::None => {}
            Condition::Stored(stored) => validate::set_condition(&mut headers, stored),
            Condition::Client => validate::copy_conditions(&self.headers, &mut headers),
        }
        if wanted == Wanted::Part {
            for name in [header::RANGE, header::IF_RANGE] {
                if let Some(value) = self.headers.get(&name) {
                    headers.insert(name, value.clone());
                }
            }
        }
        let method = if wanted == Wanted::Fields { Method::HEAD } else { Method::GET };
        let own = origin::origin_url(self.config.origin.as_ref(), &self.url);
        let mut sorted = own.clone();
        sorted.set_query(self.rule.query.sorted(own.query()).as_deref());
        let evaluated = matches!(condition, Condition::Client);
        let fetch = async |url: &Url| {
            let answer = origin::fetch(&method, url, &headers, None).await?;
            let journey = Journey { request_time, response_time: now(), edge_seq };
            let status = origin::status(answer.status())?;
            let mut response = origin::received(status, runtime::from_runtime(answer.headers()), &self.target, journey);
            if status != StatusCode::NOT_MODIFIED {
                self.rule.set_lifetime(&mut response);
            }
            if status == StatusCode::PARTIAL_CONTENT
                && let Some(range) = headers.get(header::RANGE)
            {
                response.headers.insert(range::ANSWERED_RANGE, range.clone());
            }
            Ok(Received { response, body: answer.body().map(Body::Stream), evaluated })
        };
        let received = fetch(&sorted).await?;
        // An origin with an order of its own leads there what comes in another; as the client has it, it may be answered.
        if sorted != own && self.leads_back(&received.response) {
            return fetch(&own).await;
        }
        Ok(received)
    }

    /// Whether a redirect leads to what has the same key. Stored, it would lead the client that follows it to itself.
    fn leads_back(&self, response: &StoredResponse) -> bool {
        let key_of = |url: &Url| self.config.rules.target(url.as_str());
        invalidate::is_redirect_to(&self.target, &self.url, response.status, &response.headers, key_of)
    }

    /// What the answer to a question about `stored` makes of it. A 304 for another representation, or for one that was purged
    /// while the origin was asked, confirms nothing: the origin is then asked without a condition. Of a HEAD only a 200 says anything.
    pub(crate) async fn confirm(
        &self,
        stored: &StoredResponse,
        answer: Received,
        wanted: Wanted,
    ) -> Result<Confirmed, Error> {
        let freshened = match answer.response.status {
            StatusCode::NOT_MODIFIED => validate::freshen(stored, answer.response.clone()),
            StatusCode::OK if wanted == Wanted::Fields => match validate::by_head(stored, answer.response.clone()) {
                Head::Updates(updated) => Some(updated),
                Head::Outdates => None,
                Head::Silent => return Ok(Confirmed::Untold(answer)),
            },
            _ if wanted == Wanted::Fields => return Ok(Confirmed::Untold(answer)),
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
            return Ok(Confirmed::Replaced(self.ask(wanted, Condition::None).await?));
        }
        Ok(Confirmed::Replaced(answer))
    }
}
