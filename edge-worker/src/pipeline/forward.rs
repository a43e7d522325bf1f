//! What is not stored, or no longer holds: asked for, by one request for all that want it, and delivered while it is stored.

use std::rc::Rc;
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, header};
use shared_keys::{Applied, Verdict};
use url::Url;
use worker::Context;

use super::serve::cut;
use super::{
    Answer, Before, Condition, Confirmed, Exchange, Found, Received, Stored, Wanted, tee, ttl_secs, unreachable,
};
use crate::collapse::{self, FOLLOW_LIMIT, LEAD_LIMIT, Lead, Role};
use crate::error::{Error, ErrorKind};
use crate::origin::{self, Journey};
use crate::policy::range;
use crate::policy::select::{Selected, VaryMarker, variant_key, vary_fields};
use crate::policy::stale::{is_disconnected, is_failure};
use crate::policy::storable::{self, NotStored, keep_for};
use crate::policy::validate::Head;
use crate::policy::{Choices, Decision, Forward, ForwardReason, Hit, Request, StoredResponse, decide, validate};
use crate::rules;
use crate::runtime::{self, Body, now};
use crate::status::{CacheStatus, Forwarded};
use crate::store::variants;

/// Longer than the platform lets a request take.
const UNLIMITED: Duration = Duration::from_secs(24 * 60 * 60);

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
                Role::Failed { disconnected } => match self.stale_instead(forward, &mut found, disconnected).await {
                    Some(instead) => return self.reuse_instead(forward, instead, None).await,
                    None => break,
                },
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
        mut lead: Option<Lead>,
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
        // Where something can be served in its place, the origin is not waited for as long as the platform lets it.
        let limit = forward.on_error.map_or(UNLIMITED, |_| self.config.origin_timeout);
        let received = match self.ask(wanted, condition, limit).await {
            Ok(received) if !is_failure(received.response.status) => received,
            outcome => match self.instead(forward, &mut found, outcome, &mut lead).await {
                Ok(answer) => return answer,
                Err(received) => received,
            },
        };
        let mut forwarded = Forwarded::new(forward, Some(received.response.status));
        let Found { stored, marker } = found;
        // The answer is about what this request could have been answered with (4.3.3, 4.3.5), and about nothing else.
        let selected = stored.filter(|_| matches!(forward.reason, ForwardReason::Stale | ForwardReason::Request));
        let (received, before) = match selected {
            Some(stored)
                if validates || (wanted == Wanted::Fields && received.response.status != StatusCode::NOT_MODIFIED) =>
            {
                match self.confirm(&stored.response, received, wanted, limit).await {
                    Ok(Confirmed::Freshened(response)) => {
                        (Received { response, body: stored.body, evaluated: false }, Before::Freshened(stored.key))
                    }
                    Ok(Confirmed::Untold(received)) => (received, Before::Nothing),
                    Ok(Confirmed::Replaced(received)) if !is_failure(received.response.status) => {
                        forwarded.status = Some(received.response.status);
                        (received, Before::Replaced(stored.key))
                    }
                    outcome => {
                        let outcome = outcome.map(Confirmed::received);
                        let mut found = Found { stored: Some(stored), marker: None };
                        match self.instead(forward, &mut found, outcome, &mut lead).await {
                            Ok(answer) => return answer,
                            Err(received) => {
                                forwarded.status = Some(received.response.status);
                                (received, Before::Nothing)
                            }
                        }
                    }
                }
            }
            Some(stored) => (received, Before::Replaced(stored.key)),
            None => (received, Before::Nothing),
        };
        self.deliver(forwarded, received, before, marker, lead, context).await
    }

    /// The answer in the place of a failure: what is stored, if it is allowed, or that the origin cannot be reached.
    ///
    /// # Errors
    /// What the origin answered, if that is the answer.
    async fn instead(
        &self,
        forward: Forward,
        found: &mut Found,
        outcome: Result<Received, Error>,
        lead: &mut Option<Lead>,
    ) -> Result<Answer, Received> {
        let disconnected = match &outcome {
            Ok(received) => is_disconnected(received.response.status),
            Err(error) => error.kind() != ErrorKind::Origin,
        };
        let Some(instead) = self.stale_instead(forward, found, disconnected).await else {
            return match outcome {
                Ok(received) => Err(received),
                Err(error) => Ok(unreachable(forward, &error)),
            };
        };
        if let Some(lead) = lead.take() {
            lead.fail(disconnected, now());
        }
        let status = outcome.ok().map(|received| received.response.status);
        Ok(self.reuse_instead(forward, instead, status).await)
    }

    /// What is stored in the place of a failure, which this request or, if there is no status, another may have met.
    async fn reuse_instead(
        &self,
        forward: Forward,
        (stored, hit): (Stored, Hit),
        status: Option<StatusCode>,
    ) -> Answer {
        let status = CacheStatus::Forwarded(Forwarded::new(forward, status).served(hit));
        self.reuse(stored.response, stored.body, hit, status).await
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
        let freshened = matches!(before, Before::Freshened(_));
        let mut headers = response.headers.clone();
        if freshened {
            headers.insert(header::AGE, HeaderValue::from(response.current_age(now()).as_secs()));
            storable::remove_the_clients(&mut response, self.rule.choices);
        }
        let storable =
            if is_head && !freshened { Err(NotStored::Request) } else { self.storable(&response, marker.as_ref()) };
        if let (Before::Replaced(key) | Before::Freshened(key), Err(reason)) = (before, storable)
            && ((is_head && !freshened && response.status == StatusCode::OK) || reason.withdraws(response.status))
        {
            self.withdraw(key, context).await;
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
        match storable {
            Ok(keep_for) => {
                let exchange = Rc::clone(self);
                runtime::afterwards(context, async move {
                    let again = lead.is_some().then(|| response.clone());
                    let kept = exchange.keep(Received { response, body: kept, evaluated }, keep_for).await;
                    if let Err(error) = &kept {
                        worker::console_warn!("not stored: {error}");
                    }
                    match again {
                        // Those that waited find it.
                        Some(response) if kept.is_ok() && exchange.is_answered_by(&response) => drop(lead),
                        _ => let_go(lead),
                    }
                });
            }
            Err(_) => let_go(lead),
        }
        self.finish(code, headers, body, not_modified, is_ours, status)
    }

    /// Whether a response answers requests for the same now, without the origin. What is validated each time does not.
    fn is_answered_by(&self, response: &StoredResponse) -> bool {
        // What this client said of caches, others did not.
        let request = Request { choices: Choices::default(), ..self.request() };
        let decided = |journal: &Applied| decide(request, Selected::Response(response), now(), journal);
        self.journal.read(|snapshot| matches!(decided(snapshot.applied()), Decision::Serve(_))).unwrap_or(false)
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
    ///
    /// # Errors
    /// If the origin cannot be reached within `limit`, or sends what cannot be passed on.
    pub(crate) async fn ask(
        &self,
        wanted: Wanted,
        condition: Condition<'_>,
        limit: Duration,
    ) -> Result<Received, Error> {
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
        let (keyed, own) = (self.origin_url(&self.keyed_url()), self.origin_url(&self.forwarded_url()));
        let evaluated = matches!(condition, Condition::Client);
        let fetch = async |url: &Url| {
            let answer = runtime::within(limit, origin::fetch(&method, url, &headers, None)).await?;
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
        let received = fetch(&keyed).await?;
        // An origin with a spelling, or an order of parameters, of its own leads there what comes in another; as the client has it, it may
        // be answered.
        if keyed != own && self.leads_back(&received.response) {
            return fetch(&own).await;
        }
        Ok(received)
    }

    /// What the key stands for. Of all URLs that share it, this one is asked for: else one client's spelling could decide what all get.
    fn keyed_url(&self) -> Url {
        Url::parse(self.target.as_str()).unwrap_or_else(|_| self.url.clone())
    }

    /// The client's own spelling, without what the key leaves out.
    pub(super) fn forwarded_url(&self) -> Url {
        let mut url = self.url.clone();
        url.set_query(self.rule.query.forwarded(self.url.query()).as_deref());
        url
    }

    /// Whether a redirect leads to what has the same key. Stored, it would lead the client that follows it to itself.
    fn leads_back(&self, response: &StoredResponse) -> bool {
        let key_of = |url: &Url| self.config.rules.target(url.as_str());
        storable::redirects_to(&self.target, &self.url, response, key_of)
    }

    /// What the answer to a question about `stored` makes of it. A 304 for another representation, or for one that was purged
    /// while the origin was asked, confirms nothing: the origin is then asked without a condition. Of a HEAD only a 200 says anything.
    pub(crate) async fn confirm(
        &self,
        stored: &StoredResponse,
        answer: Received,
        wanted: Wanted,
        limit: Duration,
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
            return Ok(Confirmed::Replaced(self.ask(wanted, Condition::None, limit).await?));
        }
        Ok(Confirmed::Replaced(answer))
    }
}

/// What came is of no use to those that waited for it: each asks for itself.
fn let_go(lead: Option<Lead>) {
    if let Some(lead) = lead {
        lead.pass(now());
    }
}
