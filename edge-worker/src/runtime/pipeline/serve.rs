//! Answers from the store: looks a response up, checks it against the journal, and sends it.

use std::rc::Rc;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use shared_keys::Applied;
use worker::Context;

use super::exchange::Exchange;
use super::respond::Message;
use super::store::pending_stores;
use super::{Answer, Found, Stored};
use crate::cache_status::{CacheStatus, Forwarded};
use crate::error::Error;
use crate::policy::directives::CDN_CACHE_CONTROL;
use crate::policy::range::{self, Part};
use crate::policy::storable::MAX_STORED_BYTES;
use crate::policy::{Decision, Detail, Forward, Hit, Reuse, StoredResponse, decide, validate};
use crate::runtime::body::Body;
use crate::runtime::now;
use crate::store::variants::Selecting;
use crate::store::{Entry, Store, search, variants};

impl Exchange {
    /// Looks the request up in the store. An error counts as a miss.
    pub(super) async fn lookup(&self) -> Found {
        let store = self.pinned_store();
        self.unless_invalidated(self.look_up_in(&store).await)
    }

    async fn look_up_in<S: Store<Body = Body>>(&self, store: &S) -> Result<Found, Error> {
        let (target, selecting) = (&self.target, self.selecting());
        if self.shares_urls() {
            search::lookup(store, target, selecting).await
        } else {
            variants::lookup(store, target, selecting).await
        }
    }

    /// Replaces a stored response that does not answer the request by a later one of another data
    /// centre, and decides again.
    pub(super) async fn unless_newer(&self, decision: Decision, found: Found) -> (Decision, Found) {
        let (Decision::Forward(_), Some(stored)) = (&decision, &found.stored) else {
            return (decision, found);
        };
        let generation = found.marker.as_ref().map(|marker| marker.generation);
        match self.store.newer(&stored.key, stored.response.response_time).await {
            Some(Entry::Response { response, generation: of, body }) if of == generation => {
                let stored = Some(Stored { key: stored.key.clone(), response, body });
                let newer = self.unless_invalidated(Ok(Found { stored, ..found }));
                (self.decide(&newer).await, newer)
            }
            _ => (decision, found),
        }
    }

    /// Returns what selects among the responses of a URL.
    pub(super) fn selecting(&self) -> Selecting<'_> {
        Selecting { rules: &self.rule.vary, required: &self.selection.fields, request: &self.headers }
    }

    fn unless_invalidated(&self, looked_up: Result<Found, Error>) -> Found {
        match looked_up {
            Ok(found)
                if found.stored.as_ref().is_some_and(|stored| {
                    self.is_invalidated(found.shared_key.as_ref(), stored.response.request_time)
                }) =>
            {
                Found::nothing()
            }
            Ok(found) => found,
            Err(error) => {
                worker::console_warn!("counted as a miss: {error}");
                Found::nothing()
            }
        }
    }

    /// Decides by the current journal. If earlier steps took long, the journal is refreshed first.
    pub(super) async fn decide(&self, found: &Found) -> Decision {
        self.with_journal(|journal| decide(self.request(), found.selected(), now(), journal))
            .await
            .unwrap_or_else(|| Decision::Forward(Forward::bypass(Detail::JournalUnreachable)))
    }

    /// Returns what `judge` makes of the journal; `None` if the snapshot is too old to serve by.
    pub(super) async fn with_journal<T>(&self, judge: impl FnOnce(&Applied) -> T) -> Option<T> {
        if let Err(error) = self.journal.ensure_recent().await {
            worker::console_warn!("the store is not used: {error}");
            return None;
        }
        self.journal.read(|snapshot| judge(snapshot.applied()))
    }

    /// Serves a fresh response from memory. A stale one may have been replaced in the Cache API,
    /// and one whose successor a client has received is being replaced.
    pub(super) async fn serve_from_memory(self: &Rc<Self>, context: &Context) -> Option<Answer> {
        let found = self.unless_invalidated(self.look_up_in(&self.store.memory()).await);
        let decision = self.decide(&found).await;
        match decision {
            Decision::Serve(hit) if hit.reuse == Reuse::Fresh => {
                let is_replaced = |stored: &Stored| pending_stores().is_replacing(&stored.key, now());
                if found.stored.as_ref().is_some_and(is_replaced) {
                    return None;
                }
                self.count_request(&found, context);
                let stored = found.stored?;
                self.count_hit(&stored.key, found.marker.as_ref());
                Some(
                    self.reuse(stored.response, stored.body, hit, CacheStatus::Hit { hit, memory: true })
                        .await,
                )
            }
            _ => None,
        }
    }

    /// Serves a stored response, and refreshes it in the background if it is stale.
    pub(super) async fn serve(
        self: &Rc<Self>,
        stored: Stored,
        hit: Hit,
        status: CacheStatus,
        context: &Context,
    ) -> Answer {
        if hit.reuse == Reuse::StaleWhileRevalidate {
            self.refresh(stored.key, stored.response.clone(), context);
        }
        self.reuse(stored.response, stored.body, hit, status).await
    }

    async fn reuse(
        &self,
        stored: StoredResponse,
        body: Option<Body>,
        hit: Hit,
        status: CacheStatus,
    ) -> Answer {
        let is_from_sdk = stored.is_from_sdk();
        let StoredResponse { status: code, mut headers, .. } = stored;
        headers.insert(header::AGE, HeaderValue::from(hit.age.as_secs()));
        let (code, body) =
            if hit.not_modified { (code, None) } else { cut(code, &mut headers, body, hit.part).await? };
        let message = Message { status: code, headers, undecoded: None, body };
        self.finish(message, hit.not_modified, is_from_sdk, status)
    }

    /// Returns the stored response that may replace a failure. The decision is repeated, because a
    /// purge may have arrived meanwhile.
    pub(super) async fn stale_response(
        &self,
        forward: Forward,
        found: &mut Found,
        is_disconnected: bool,
    ) -> Option<(Stored, Hit)> {
        let allowed =
            |forward: Forward| if is_disconnected { forward.on_disconnect } else { forward.on_error };
        allowed(forward)?;
        match self.decide(found).await {
            Decision::Forward(forward) => {
                allowed(forward).zip(found.stored.take()).map(|(hit, stored)| (stored, hit))
            }
            Decision::Serve(_) => None,
        }
    }

    /// Serves a stored response in place of a failure with `status`; `None` if another request met
    /// the failure, or the origin sent no status.
    pub(super) async fn reuse_stale(
        &self,
        forward: Forward,
        (stored, hit): (Stored, Hit),
        status: Option<StatusCode>,
    ) -> Answer {
        let status = CacheStatus::Forwarded(Forwarded::new(forward, status).with_reuse(hit));
        self.reuse(stored.response, stored.body, hit, status).await
    }
}

/// Cuts the requested part out of a stored response: the whole, octets (206), or no octets (416).
/// Sets the fields that state it.
pub(super) async fn cut(
    status: StatusCode,
    headers: &mut HeaderMap,
    body: Option<Body>,
    part: Part,
) -> Result<(StatusCode, Option<Body>), Error> {
    match part {
        Part::Whole => Ok((status, body)),
        Part::Octets(octets) => {
            let offset = range::held_octets(status, headers).map_or(0, |held| held.first);
            let (first, end) = (octets.first - offset, octets.last + 1 - offset);
            headers.insert(header::CONTENT_RANGE, octets.content_range());
            for name in [validate::CONTENT_DIGEST, validate::CONTENT_MD5] {
                headers.remove(name);
            }
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(octets.count()));
            let body = match body {
                Some(body) => Some(body.slice(first, end, MAX_STORED_BYTES).await?),
                None => None,
            };
            Ok((StatusCode::PARTIAL_CONTENT, body))
        }
        Part::Unsatisfiable { length } => {
            validate::retain_not_modified_fields(headers);
            // A 416 is not the stored response, so the stored response's lifetime must not let
            // caches store it.
            for name in [header::CACHE_CONTROL, CDN_CACHE_CONTROL, header::EXPIRES, header::AGE, header::ETAG]
            {
                headers.remove(name);
            }
            headers.insert(header::CONTENT_RANGE, range::unsatisfied(length));
            Ok((StatusCode::RANGE_NOT_SATISFIABLE, None))
        }
    }
}
