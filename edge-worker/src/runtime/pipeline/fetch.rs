//! Fetches a response from the origin, and validates a stored one by it.

use std::rc::Rc;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, header};
use shared_keys::{TargetKey, Verdict};
use url::Url;
use worker::{Context, web_sys};

use super::exchange::{Exchange, Extent};
use super::respond::unreachable;
use super::{Answer, Found, Stored};
use crate::cache_status::Forwarded;
use crate::collapse::Leader;
use crate::error::{Error, ErrorKind};
use crate::origin::request::fill_headers;
use crate::origin::response::{self, FetchContext};
use crate::policy::stale::{is_disconnected, is_failure};
use crate::policy::validate::Head;
use crate::policy::{Forward, ForwardReason, StoredResponse, range, storable, validate};
use crate::runtime::body::Body;
use crate::runtime::{fetch, from_runtime, now, timeout};

/// Longer than the platform lets a request take.
const UNLIMITED: Duration = Duration::from_secs(24 * 60 * 60);

/// A response from the origin.
pub(super) struct OriginResponse {
    pub(super) response: StoredResponse,
    pub(super) body: Option<Body>,
    /// The fields as the runtime holds them, if one of them could not be decoded.
    pub(super) undecoded: Option<web_sys::Headers>,
    /// The request carried the client's conditions, and the origin sent this response all the same.
    pub(super) is_evaluated: bool,
    /// The request had the key's spelling of the URL. Another spelling could make the origin answer
    /// with something else, which must not be stored under the key.
    pub(super) is_keyed: bool,
}

/// The condition of a request to the origin.
#[derive(Clone, Copy)]
pub(super) enum Condition<'a> {
    /// No condition.
    None,
    /// The stored response has changed (RFC 9111 section 4.3.1).
    Stored(&'a StoredResponse),
    /// The client's own conditions. The response may be for this client alone.
    Client,
}

/// The effect of the origin's response on a stored response that it validates.
pub(super) enum Validation {
    /// The stored response is still valid, and is updated (RFC 9111 section 4.3.4).
    Updated(StoredResponse),
    /// The origin's response replaces it.
    Replaced(OriginResponse),
    /// It is stale from now on, by the origin's response to HEAD (RFC 9111 section 4.3.5).
    Outdated(OriginResponse),
    /// The origin's response says nothing about it.
    Unrelated(OriginResponse),
}

impl Validation {
    /// Returns the response that answers the client. An updated stored response has a body of its
    /// own.
    fn into_response(self) -> OriginResponse {
        match self {
            Self::Updated(response) => {
                OriginResponse { response, body: None, undecoded: None, is_evaluated: false, is_keyed: true }
            }
            Self::Replaced(received) | Self::Outdated(received) | Self::Unrelated(received) => received,
        }
    }
}

/// The effect of the delivered response on the stored response that the request selected.
pub(super) enum StoredEffect {
    /// The request selected none, or the response says nothing about it.
    None,
    /// The stored response under this key is updated, and is the response.
    Updated(String),
    /// The response replaces the stored response under this key.
    Replaced(String),
    /// The stored response is stale from now on.
    Outdated(Stored),
}

impl StoredEffect {
    /// Returns the key of the stored response.
    pub(super) fn key(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Updated(key) | Self::Replaced(key) => Some(key),
            Self::Outdated(stored) => Some(&stored.key),
        }
    }
}

impl Exchange {
    /// Fetches a response, stores it if that is allowed, and sends it. `leader` ends once the
    /// response is stored.
    pub(super) async fn fill(
        self: &Rc<Self>,
        forward: Forward,
        mut found: Found,
        mut leader: Option<Leader>,
        context: &Context,
    ) -> Answer {
        let extent = self.extent();
        let condition = self.condition(forward, &found, leader.is_some());
        let is_validation = matches!(condition, Condition::Stored(_));
        // If a stored response can replace a failure, the origin has less time than the platform
        // allows.
        let limit = forward.on_error.map_or(UNLIMITED, |_| self.config.origin_timeout);
        let received = match self.fetch(extent, condition, limit).await {
            Ok(received) if !is_failure(received.response.status) => received,
            result => match self.replace_failure(forward, &mut found, result, &mut leader).await {
                Ok(answer) => return answer,
                Err(received) => received,
            },
        };
        let mut forwarded = Forwarded::new(forward, Some(received.response.status));
        let stored = found.stored;
        // The response is about the stored response that the request selected (RFC 9111 sections
        // 4.3.3 and 4.3.5).
        let selected =
            stored.filter(|_| matches!(forward.reason, ForwardReason::Stale | ForwardReason::Request));
        let is_head = extent == Extent::Fields && received.response.status != StatusCode::NOT_MODIFIED;
        let (received, effect) = match selected {
            Some(stored) if is_validation || is_head => {
                match self.apply_validation(forward, stored, received, limit, &mut leader).await {
                    Ok(outcome) => outcome,
                    Err(answer) => return answer,
                }
            }
            Some(stored) => (received, StoredEffect::Replaced(stored.key)),
            None => (received, StoredEffect::None),
        };
        if !matches!(effect, StoredEffect::Updated(_)) {
            forwarded.status = Some(received.response.status);
        }
        self.deliver(forwarded, received, effect, leader, context).await
    }

    /// Returns the condition of a request that may be stored.
    fn condition<'a>(&self, forward: Forward, found: &'a Found, is_leader: bool) -> Condition<'a> {
        match &found.stored {
            _ if validate::has_precondition(&self.headers) => Condition::Client,
            Some(stored) if forward.validate => Condition::Stored(&stored.response),
            // No request waits for the response, so it need not be storable.
            _ if !is_leader => Condition::Client,
            _ => Condition::None,
        }
    }

    /// Applies the origin's response to the stored response that it is about.
    ///
    /// # Errors
    /// The answer in place of a failure.
    async fn apply_validation(
        &self,
        forward: Forward,
        stored: Stored,
        received: OriginResponse,
        limit: Duration,
        leader: &mut Option<Leader>,
    ) -> Result<(OriginResponse, StoredEffect), Answer> {
        match self.validate(&stored.response, received, self.extent(), limit).await {
            Ok(Validation::Updated(response)) => {
                let updated = OriginResponse {
                    response,
                    body: stored.body,
                    undecoded: None,
                    is_evaluated: false,
                    is_keyed: true,
                };
                Ok((updated, StoredEffect::Updated(stored.key)))
            }
            Ok(Validation::Unrelated(received)) => Ok((received, StoredEffect::None)),
            Ok(Validation::Outdated(received)) => Ok((received, StoredEffect::Outdated(stored))),
            Ok(Validation::Replaced(received)) if !is_failure(received.response.status) => {
                Ok((received, StoredEffect::Replaced(stored.key)))
            }
            result => {
                let result = result.map(Validation::into_response);
                let mut found = Found { stored: Some(stored), ..Found::nothing() };
                match self.replace_failure(forward, &mut found, result, leader).await {
                    Ok(answer) => Err(answer),
                    Err(received) => Ok((received, StoredEffect::None)),
                }
            }
        }
    }

    /// Returns the answer in place of a failure: a stale response if that is allowed, or an error
    /// response if the origin sent none.
    ///
    /// # Errors
    /// The origin's own response, if that is the answer.
    async fn replace_failure(
        &self,
        forward: Forward,
        found: &mut Found,
        result: Result<OriginResponse, Error>,
        leader: &mut Option<Leader>,
    ) -> Result<Answer, OriginResponse> {
        let is_disconnected = match &result {
            Ok(received) => is_disconnected(received.response.status),
            Err(error) => error.kind() != ErrorKind::Origin,
        };
        let Some(stale) = self.stale_response(forward, found, is_disconnected).await else {
            return match result {
                Ok(received) => Err(received),
                Err(error) => {
                    fail(leader.take(), is_disconnected);
                    Ok(unreachable(forward, &error))
                }
            };
        };
        fail(leader.take(), is_disconnected);
        let status = result.ok().map(|received| received.response.status);
        Ok(self.reuse_stale(forward, stale, status).await)
    }

    /// Fetches the target from the origin. The response is stamped with the journal's state before
    /// the request.
    ///
    /// # Errors
    /// If the origin does not respond within `limit`, or its response cannot be passed on.
    pub(super) async fn fetch(
        &self,
        extent: Extent,
        condition: Condition<'_>,
        limit: Duration,
    ) -> Result<OriginResponse, Error> {
        let (edge_seq, request_time) = (self.journal.seq(), now());
        let mut headers = fill_headers(&self.headers, &self.rule.vary, &self.rule.unkeyed, &self.url);
        match condition {
            Condition::None => {}
            Condition::Stored(stored) => validate::set_condition(&mut headers, stored),
            Condition::Client => validate::copy_conditions(&self.headers, &mut headers),
        }
        if extent == Extent::Range {
            for name in [header::RANGE, header::IF_RANGE] {
                if let Some(value) = self.headers.get(&name) {
                    headers.insert(name, value.clone());
                }
            }
        }
        let method = match extent {
            Extent::Fields => Method::HEAD,
            _ if self.query.is_some() => self.method.clone(),
            _ => Method::GET,
        };
        let content = self.query.as_ref().map(|query| query.content.as_ref());
        let (keyed, own) = (self.origin_url(&self.keyed_url()), self.origin_url(&self.client_url()));
        let is_evaluated = matches!(condition, Condition::Client);
        let fetch = async |url: &Url, headers: &HeaderMap| {
            let answer = timeout(limit, fetch::fetch(&method, url, headers, content)).await?;
            let context = FetchContext { request_time, response_time: now(), edge_seq };
            let status = response::status(answer.status())?;
            let mut fields = from_runtime(&answer.headers());
            self.rewrite_urls(&mut fields);
            let mut response = response::to_stored(status, fields, &self.target, context);
            if status != StatusCode::NOT_MODIFIED && !self.rule.is_personal(&self.headers, &response) {
                self.rule.set_lifetime(&mut response);
            }
            if status == StatusCode::PARTIAL_CONTENT
                && let Some(range) = headers.get(header::RANGE)
            {
                response.headers.insert(range::ANSWERED_RANGE, range.clone());
            }
            let undecoded = undecoded(&answer, &response.headers);
            let (body, is_keyed) = (answer.body().map(Body::Stream), *url == keyed);
            Ok(OriginResponse { response, body, undecoded, is_evaluated, is_keyed })
        };
        let received = fetch(&keyed, &headers).await?;
        // An origin that prefers another spelling, or another order of parameters, redirects to it.
        // The key's spelling would then loop, so the client's own spelling is tried, for this
        // client alone.
        if keyed != own && self.is_self_redirect(&received.response) {
            if matches!(condition, Condition::Stored(_)) {
                headers.remove(header::IF_NONE_MATCH);
                headers.remove(header::IF_MODIFIED_SINCE);
            }
            return fetch(&own, &headers).await;
        }
        Ok(received)
    }

    /// Returns whether a response redirects to a URL with the same key. Stored, it would redirect
    /// its client to itself.
    pub(super) fn is_self_redirect(&self, response: &StoredResponse) -> bool {
        let key_of = |url: &Url| self.config.rules.target(&self.method, url.as_str(), self.client());
        storable::redirects_to(self.resource(), &self.url, response, key_of)
    }

    /// Returns whether a response redirects to a URL that it would be stored for itself, because it
    /// states that the two are equivalent.
    pub(super) fn redirects_to_equivalent(&self, response: &StoredResponse) -> bool {
        let Some(variation) = self.no_vary_search(response) else { return false };
        let shared = |target: TargetKey| target.equivalent(&variation, 0).unwrap_or(target);
        let key_of =
            |url: &Url| self.config.rules.target(&self.method, url.as_str(), self.client()).map(shared);
        storable::redirects_to(&shared(self.target.clone()), &self.url, response, key_of)
    }

    /// Returns what the origin's response makes of `stored`.
    ///
    /// A 304 for another representation, or for one that was purged during the request, validates
    /// nothing: the request is then repeated without a condition. Of the responses to HEAD only a
    /// 200 says anything, and a response to another spelling of the URL says nothing.
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch).
    pub(super) async fn validate(
        &self,
        stored: &StoredResponse,
        answer: OriginResponse,
        extent: Extent,
        limit: Duration,
    ) -> Result<Validation, Error> {
        if !answer.is_keyed {
            return Ok(Validation::Unrelated(answer));
        }
        let updated = match answer.response.status {
            StatusCode::NOT_MODIFIED => validate::freshen(stored, answer.response.clone()),
            StatusCode::OK if extent == Extent::Fields => {
                match validate::by_head(stored, answer.response.clone()) {
                    Head::Updates(updated) => Some(updated),
                    Head::Outdates => return Ok(Validation::Outdated(answer)),
                    Head::Unrelated => return Ok(Validation::Unrelated(answer)),
                }
            }
            _ if extent == Extent::Fields => return Ok(Validation::Unrelated(answer)),
            _ => None,
        };
        if let Some(mut response) = updated {
            self.rule.set_lifetime(&mut response);
            let verdict = self.with_journal(|journal| stored.verdict(journal)).await;
            if verdict.is_some_and(|verdict| verdict != Verdict::Removed) {
                return Ok(Validation::Updated(response));
            }
        }
        if answer.response.status == StatusCode::NOT_MODIFIED {
            return Ok(Validation::Replaced(self.fetch(extent, Condition::None, limit).await?));
        }
        Ok(Validation::Replaced(answer))
    }
}

/// Returns the fields of the origin's response as the runtime holds them, if one of them could not
/// be decoded.
pub(super) fn undecoded(answer: &web_sys::Response, decoded: &HeaderMap) -> Option<web_sys::Headers> {
    validate::has_undecodable_value(decoded).then(|| answer.headers())
}

/// Releases the waiters of a leader whose request failed.
fn fail(leader: Option<Leader>, is_disconnected: bool) {
    if let Some(leader) = leader {
        leader.fail(is_disconnected, now());
    }
}
