//! Stores the origin's responses, and deletes stored ones that they replace.

use std::rc::Rc;
use std::time::Duration;

use http::StatusCode;
use shared_keys::{Applied, NoVarySearch, TargetKey};
use worker::{Context, Delay};

use super::Found;
use super::exchange::Exchange;
use super::invalidations::{self, is_too_old_to_store};
use crate::error::Error;
use crate::policy::not_stored::NotStored;
use crate::policy::search::variation;
use crate::policy::select::{Selected, can_select};
use crate::policy::storable::{self, MAX_STORED_BYTES, retention};
use crate::policy::{Choices, Decision, Request, StoredResponse, decide, query, range};
use crate::runtime::body::{Body, Incoming, Progress};
use crate::runtime::tiered::CACHE_TIMEOUT;
use crate::runtime::{after_response, now, timeout};
use crate::store::memory::MAX_BODY_BYTES;
use crate::store::{Store, search, variants};
use crate::storing::{PendingStores, Storing};
use crate::variant_requests::VariantRequests;

/// The milliseconds between the first two polls for a response that is being stored.
const FIRST_POLL_MS: u64 = 1;

thread_local! {
    static REQUESTS: VariantRequests = VariantRequests::default();
    static PENDING: PendingStores = PendingStores::default();
}

/// Returns the responses that this isolate is storing.
pub(super) fn pending_stores() -> PendingStores {
    PENDING.with(Clone::clone)
}

impl Exchange {
    /// Returns how long to store a response to a GET or QUERY for this target.
    ///
    /// # Errors
    /// The reason not to store it.
    pub(super) fn retention(&self, response: &StoredResponse) -> Result<Duration, NotStored> {
        if is_too_old_to_store(self.target.as_str(), response.request_time) {
            return Err(NotStored::Outdated);
        }
        if self.is_self_redirect(response) || self.redirects_to_equivalent(response) {
            return Err(NotStored::SelfRedirect);
        }
        if self.query.is_some() && !query::is_storable(response) {
            return Err(NotStored::NoLifetime);
        }
        if !can_select(&self.selection.fields, &self.headers) {
            return Err(NotStored::VaryUnreadable);
        }
        if self.rule.withholds(&self.headers, response) {
            return Err(NotStored::Credentials);
        }
        if self.rule.is_deceptive(self.target.path(), response) {
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
    /// request has invalidated it meanwhile. `storing` is that of a response that went out to a
    /// client.
    ///
    /// # Errors
    /// If the body breaks off, or the store fails.
    pub(super) async fn store(
        &self,
        response: StoredResponse,
        body: Option<Incoming>,
        retention: Duration,
        storing: Option<Storing>,
    ) -> Result<bool, Error> {
        // The client has the whole body with its last byte, before the runtime reports the end.
        let length = range::content_length(&response.headers);
        let is_received = |progress: Progress| match progress {
            Progress::Bytes(bytes) => length.is_some_and(|length| u64::from(bytes) >= length),
            Progress::End => true,
        };
        let on_progress = |progress: Progress| {
            if let Some(storing) = storing.as_ref().filter(|_| is_received(progress)) {
                storing.receive(now());
            }
        };
        // The Cache API would store the beginning of a body that breaks off as if it were complete.
        let body = match body {
            Some(body) => Some(body.whole(MAX_STORED_BYTES, &on_progress).await?),
            None => None,
        };
        let request_time = response.request_time;
        let store = self.pinned_store();
        store.pin(self.target.as_str());
        let shared = match self.no_vary_search(&response) {
            Some(variation) => search::shared_key(&store, &self.target, variation, now()).await?,
            None => None,
        };
        // An unsafe request has invalidated all keys of its URL that the path's marker knew.
        let was_unknown = shared.as_ref().is_some_and(|shared| shared.is_new);
        let shared_key = shared.map(|shared| shared.key);
        let target = shared_key.as_ref().unwrap_or(&self.target);
        store.pin(target.as_str());
        let is_outdated = |key: &str| is_too_old_to_store(key, request_time);
        if is_outdated(self.target.as_str())
            || is_outdated(target.as_str())
            || (was_unknown && is_outdated(&self.target.search_marker()))
        {
            return Ok(false);
        }
        let length = body.as_ref().map(|body| u64::from(body.length()));
        let response = range::as_stored(storable::without_unstorable_fields(response), length);
        let body = body.map(Body::Whole);
        let magnitude_of = |key: &str| REQUESTS.with(|requests| requests.magnitude(key));
        variants::store(&store, target, self.selecting(), (response, body), retention, magnitude_of).await?;
        // An unsafe request during the write has deleted a marker. The write may have restored it,
        // with all variants that it refers to.
        if self.is_invalidated(shared_key.as_ref(), request_time) {
            store.delete(target.as_str()).await?;
            return Ok(false);
        }
        if shared_key.is_some() {
            // A response under the URL's own key would be found first, and never be replaced.
            store.delete(self.target.as_str()).await?;
        }
        Ok(true)
    }

    /// Records that a response to this request is being stored, in place of the one under the key
    /// `replaced`.
    pub(super) fn begin_storing(&self, response: &StoredResponse, replaced: Option<&str>) -> Storing {
        let is_short = range::content_length(&response.headers).is_some_and(|bytes| bytes <= MAX_BODY_BYTES);
        let marker = self.no_vary_search(response).map(|_| self.target.search_marker());
        let keys = std::iter::once(self.target.as_str()).chain(marker.as_deref());
        pending_stores().begin(keys, replaced, is_short, now())
    }

    /// Waits until the responses for this URL are stored that clients have received already, but
    /// not for long. Returns whether there were any.
    pub(super) async fn wait_for_received(&self) -> bool {
        let pending = pending_stores();
        if pending.is_empty() {
            return false;
        }
        let marker = self.shares_urls().then(|| self.target.search_marker());
        let keys = std::iter::once(self.target.as_str()).chain(marker.as_deref());
        let received = pending.received(keys, now());
        let mut interval = FIRST_POLL_MS;
        while pending.is_any_pending(&received, now()) {
            Delay::from(Duration::from_millis(interval)).await;
            interval *= 2;
        }
        !received.is_empty()
    }

    /// Returns the statement of a response that other URLs share it, if the rule obeys it.
    pub(super) fn no_vary_search(&self, response: &StoredResponse) -> Option<NoVarySearch> {
        self.shares_urls().then(|| variation(&response.headers)).flatten()
    }

    /// Returns whether a response may answer other URLs that the origin declares equivalent. One to
    /// a QUERY may not: its key contains the content.
    pub(super) fn shares_urls(&self) -> bool {
        self.rule.obeys_no_vary_search && self.query.is_none()
    }

    /// Returns the keys under which responses for the URL of `key` may be stored.
    pub(super) async fn keys_of(&self, key: TargetKey) -> Vec<TargetKey> {
        let shared = match timeout(CACHE_TIMEOUT, search::shared_keys(&self.store, &key)).await {
            Ok(shared) => shared,
            Err(error) => {
                worker::console_warn!("responses that several URLs share are not invalidated: {error}");
                Vec::new()
            }
        };
        std::iter::once(key).chain(shared).collect()
    }

    /// Counts a request for a variant, and records its use from time to time, so that it does not
    /// give way to variants that are used less.
    pub(super) fn count_request(self: &Rc<Self>, found: &Found, context: &Context) {
        if found.marker.is_none() {
            return;
        }
        let key = match &found.stored {
            Some(stored) => Some(stored.key.clone()),
            None => self.storage_key(found),
        };
        let Some(key) = key else { return };
        let magnitude = REQUESTS.with(|requests| requests.count(&key, now()));
        if let Some(magnitude) = magnitude.filter(|_| found.stored.is_some()) {
            let exchange = Rc::clone(self);
            let target = found.shared_key.clone().unwrap_or_else(|| self.target.clone());
            after_response(context, async move {
                if let Err(error) = exchange.record_use(&target, &key, magnitude).await {
                    worker::console_warn!("the use of a variant is not recorded: {error}");
                }
            });
        }
    }

    async fn record_use(&self, target: &TargetKey, key: &str, magnitude: u8) -> Result<(), Error> {
        let (store, since) = (self.pinned_store(), now());
        store.pin(self.target.as_str());
        variants::record_use(&store, target, key, magnitude, since).await?;
        // The write may have restored a marker that an unsafe request has deleted meanwhile.
        if [&self.target, target].iter().any(|key| is_too_old_to_store(key.as_str(), since)) {
            store.delete(target.as_str()).await?;
        }
        Ok(())
    }

    /// Deletes the entry under `key` before the client is answered, or afterwards if the store
    /// takes long.
    pub(super) async fn delete(self: &Rc<Self>, key: String, context: &Context) {
        let pin = invalidations::pin(&key);
        if let Err(error) = timeout(CACHE_TIMEOUT, self.store.delete(&key)).await {
            worker::console_warn!("not deleted yet: {error}");
            let exchange = Rc::clone(self);
            after_response(context, async move {
                let _pin = pin;
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
