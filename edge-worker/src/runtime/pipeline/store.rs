//! Stores the origin's responses, and deletes stored ones that they replace.

use std::rc::Rc;
use std::time::Duration;

use http::StatusCode;
use shared_keys::Applied;
use worker::Context;

use super::Found;
use super::exchange::Exchange;
use super::fetch::OriginResponse;
use crate::error::Error;
use crate::policy::select::Selected;
use crate::policy::storable::{self, MAX_STORED_BYTES, NotStored, retention};
use crate::policy::{Choices, Decision, Request, StoredResponse, decide, range};
use crate::rules;
use crate::runtime::body::Body;
use crate::runtime::tiered::CACHE_TIMEOUT;
use crate::runtime::{after_response, now, timeout};
use crate::store::{Store, variants};
use crate::variant_requests::VariantRequests;

thread_local! {
    static REQUESTS: VariantRequests = VariantRequests::default();
}

impl Exchange {
    /// Returns how long to store a response to a GET for this target.
    ///
    /// # Errors
    /// The reason not to store it.
    pub(super) fn retention(&self, response: &StoredResponse) -> Result<Duration, NotStored> {
        if self.is_invalidated(response.request_time) {
            return Err(NotStored::Outdated);
        }
        if self.is_self_redirect(response) {
            return Err(NotStored::SelfRedirect);
        }
        if self.rule.withholds(&self.headers, response) {
            return Err(NotStored::Credentials);
        }
        if self.rule.is_deceptive(rules::path_of(&self.target), response) {
            return Err(NotStored::Deceptive);
        }
        let result = self.journal.read(|snapshot| retention(self.request(), response, snapshot.applied()));
        match result.unwrap_or(Err(NotStored::Outdated)) {
            // The rule's lifetime was withheld from it, and not from the one for everyone.
            Err(NotStored::NoLifetime) if self.rule.is_personal(&self.headers, response) => {
                Err(NotStored::Credentials)
            }
            result => result,
        }
    }

    /// Returns whether a response that is not stored for this reason outdates the stored one.
    pub(super) fn supersedes_stored(&self, reason: NotStored, status: StatusCode) -> bool {
        reason.supersedes_stored(status, self.rule.has_credentials(&self.headers))
    }

    /// Stores a response where a later request will look it up. Returns `false` if an unsafe
    /// request has invalidated it meanwhile.
    ///
    /// # Errors
    /// If the body breaks off, or the store fails.
    pub(super) async fn store(&self, received: OriginResponse, retention: Duration) -> Result<bool, Error> {
        let OriginResponse { response, body, .. } = received;
        // The Cache API would store the beginning of a body that breaks off as if it were complete.
        let body = match body {
            Some(body) => Some(body.whole(MAX_STORED_BYTES).await?),
            None => None,
        };
        let request_time = response.request_time;
        if self.is_invalidated(request_time) {
            return Ok(false);
        }
        let length = body.as_ref().map(|body| u64::from(body.length()));
        let response = range::as_stored(storable::without_unstorable_fields(response), length);
        let body = body.map(Body::Whole);
        let (target, rules) = (&self.target, &self.rule.vary);
        let magnitude_of = |key: &str| REQUESTS.with(|requests| requests.magnitude(key));
        variants::store(&self.store, target, rules, &self.headers, (response, body), retention, magnitude_of)
            .await?;
        // An unsafe request during the write has deleted a marker. The write may have restored it,
        // with all variants that it refers to.
        if self.is_invalidated(request_time) {
            self.store.delete(target.as_str()).await?;
            return Ok(false);
        }
        Ok(true)
    }

    /// Counts a request for a variant, and records its use from time to time, so that it does not
    /// give way to variants that are used less.
    pub(super) fn count_request(self: &Rc<Self>, found: &Found, context: &Context) {
        if found.marker.is_none() {
            return;
        }
        let Some(key) = self.storage_key(found) else { return };
        let magnitude = REQUESTS.with(|requests| requests.count(&key, now()));
        if let Some(magnitude) = magnitude.filter(|_| found.stored.is_some()) {
            let exchange = Rc::clone(self);
            after_response(context, async move {
                if let Err(error) = exchange.record_use(&key, magnitude).await {
                    worker::console_warn!("the use of a variant is not recorded: {error}");
                }
            });
        }
    }

    async fn record_use(&self, key: &str, magnitude: u8) -> Result<(), Error> {
        let since = now();
        variants::record_use(&self.store, &self.target, key, magnitude, since).await?;
        // The write may have restored a marker that an unsafe request has deleted meanwhile.
        if self.is_invalidated(since) {
            self.store.delete(self.target.as_str()).await?;
        }
        Ok(())
    }

    /// Deletes the entry under `key` before the client is answered, or afterwards if the store
    /// takes long.
    pub(super) async fn delete(self: &Rc<Self>, key: String, context: &Context) {
        if let Err(error) = timeout(CACHE_TIMEOUT, self.store.delete(&key)).await {
            worker::console_warn!("not deleted yet: {error}");
            let exchange = Rc::clone(self);
            after_response(context, async move {
                if let Err(error) = exchange.store.delete(&key).await {
                    worker::console_warn!("not deleted: {error}");
                }
            });
        }
    }

    /// Returns whether the stored response answers the same request now, without the origin. One
    /// that must be validated before each use does not.
    pub(super) fn answers_waiters(&self, response: &StoredResponse) -> bool {
        // The waiters have not sent this client's cache directives.
        let request = Request { choices: Choices::default(), ..self.request() };
        let decided = |journal: &Applied| decide(request, Selected::Response(response), now(), journal);
        self.journal
            .read(|snapshot| matches!(decided(snapshot.applied()), Decision::Serve(_)))
            .unwrap_or(false)
    }
}
