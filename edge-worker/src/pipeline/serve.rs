//! What is stored: looked up, judged by the journal as it is now, and served.

use std::rc::Rc;
use std::time::SystemTime;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use shared_keys::Applied;
use worker::Context;

use super::{Answer, Exchange, Found, INVALIDATED, Stored};
use crate::background;
use crate::error::Error;
use crate::policy::directives::CDN_CACHE_CONTROL;
use crate::policy::range::{self, Part};
use crate::policy::select::VaryMarker;
use crate::policy::storable::MAX_STORED_BYTES;
use crate::policy::{Decision, Detail, Forward, Hit, Reuse, StoredResponse, decide, validate};
use crate::runtime::{Body, now};
use crate::status::CacheStatus;
use crate::store::variants;

impl Exchange {
    /// What the store has.
    pub(super) async fn lookup(&self) -> Found {
        self.found(variants::lookup(&self.store, &self.target, &self.rule.vary, &self.headers).await)
    }

    fn found(&self, looked_up: Result<Found, Error>) -> Found {
        match looked_up {
            Ok(found)
                if found.stored.as_ref().is_some_and(|stored| self.is_invalidated(stored.response.request_time)) =>
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

    /// Whether an unsafe request to this isolate has invalidated what was asked for then.
    pub(super) fn is_invalidated(&self, request_time: SystemTime) -> bool {
        INVALIDATED.with(|invalidated| invalidated.covers(self.target.as_str(), request_time))
    }

    /// What to do by the journal as it is now, which is asked for if what was waited for before took long.
    pub(super) async fn decide(&self, found: &Found) -> Decision {
        self.by_the_journal(|journal| decide(self.request(), found.selected(), now(), journal))
            .await
            .unwrap_or_else(|| Decision::Forward(Forward::refused(Detail::JournalUnreachable)))
    }

    /// What `judge` says of the records; `None` if they are not known well enough to serve by.
    pub(super) async fn by_the_journal<T>(&self, judge: impl FnOnce(&Applied) -> T) -> Option<T> {
        if let Err(error) = self.journal.ensure().await {
            worker::console_warn!("not served from the store: {error}");
            return None;
        }
        self.journal.read(|snapshot| judge(snapshot.applied()))
    }

    /// What is in memory and fresh. What is stale there may have been replaced in the store.
    pub(super) async fn serve_from_memory(self: &Rc<Self>) -> Option<Answer> {
        let looked_up = variants::lookup(&self.store.memory(), &self.target, &self.rule.vary, &self.headers).await;
        let found = self.found(looked_up);
        match (self.decide(&found).await, found.stored) {
            (Decision::Serve(hit), Some(stored)) if hit.reuse == Reuse::Fresh => {
                Some(self.reuse(stored.response, stored.body, hit, CacheStatus::Hit { hit, memory: true }).await)
            }
            _ => None,
        }
    }

    pub(super) async fn serve(
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

    pub(super) async fn reuse(
        &self,
        stored: StoredResponse,
        body: Option<Body>,
        hit: Hit,
        status: CacheStatus,
    ) -> Answer {
        let is_ours = stored.is_ours();
        let mut headers = stored.headers.clone();
        headers.insert(header::AGE, HeaderValue::from(hit.age.as_secs()));
        let (code, body) =
            if hit.not_modified { (stored.status, None) } else { cut(&stored, &mut headers, body, hit.part).await? };
        self.finish(code, headers, body, hit.not_modified, is_ours, status)
    }

    /// The stored response in place of a failed one, if it is allowed and still valid: a purge may have come meanwhile.
    pub(super) async fn stale_instead(
        &self,
        forward: Forward,
        found: &mut Found,
        disconnected: bool,
    ) -> Option<(Stored, Hit)> {
        let allowed = |forward: Forward| if disconnected { forward.on_disconnect } else { forward.on_error };
        allowed(forward)?;
        match self.decide(found).await {
            Decision::Forward(forward) => allowed(forward).zip(found.stored.take()).map(|(hit, stored)| (stored, hit)),
            Decision::Serve(_) => None,
        }
    }
}

/// What of a stored response is sent, with the fields that say so: all, a part (206), or that there is no such part (416).
pub(super) async fn cut(
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
            // It is not the stored response: how long that is fresh must not have others keep this.
            for name in [header::CACHE_CONTROL, CDN_CACHE_CONTROL, header::EXPIRES, header::AGE, header::ETAG] {
                headers.remove(name);
            }
            headers.insert(header::CONTENT_RANGE, range::unsatisfied(length));
            Ok((StatusCode::RANGE_NOT_SATISFIABLE, None))
        }
    }
}
