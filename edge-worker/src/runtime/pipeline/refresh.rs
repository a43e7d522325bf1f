//! Refreshes stale responses in the background, after the client is answered.
//!
//! A popular stale response would otherwise cause one refresh per request. A refresh is therefore
//! the leader of its key, as any other request to the origin: while it is in progress in the
//! isolate, no other begins. A lease in the data centre's store keeps other isolates from the same
//! refresh. After a refresh without a result the lease remains for a while, so that a failing
//! origin does not get one request per stale hit.

use std::rc::Rc;
use std::time::Duration;

use http::StatusCode;
use worker::Context;

use super::collapse::pending;
use super::exchange::{Exchange, Extent};
use super::fetch::{Condition, OriginResponse, Validation};
use crate::collapse::Role;
use crate::error::Error;
use crate::policy::stale::is_failure;
use crate::policy::{StoredResponse, storable, validate};
use crate::runtime::body::Incoming;
use crate::runtime::refresh_lease::RefreshLease;
use crate::runtime::{after_response, now, timeout};
use crate::store::{Entry, Store};

/// The timeout of a refresh. The runtime ends background work 30 s after the response.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(25);

/// How long a refresh is not retried after the origin returned nothing to store.
const RETRY_AFTER: Duration = Duration::from_secs(5);

impl Exchange {
    /// Refreshes the stored response under `key` after the client is answered, unless this isolate
    /// is refreshing it already.
    pub(super) fn refresh(self: &Rc<Self>, key: String, stored: StoredResponse, context: &Context) {
        let Role::Leader(leader) = pending().join(&key, now(), REFRESH_TIMEOUT) else { return };
        let exchange = Rc::clone(self);
        after_response(context, async move {
            let refresh = timeout(REFRESH_TIMEOUT, exchange.refresh_with_lease(&key, &stored));
            if let Err(error) = refresh.await {
                worker::console_warn!("not refreshed: {error}");
            }
            drop(leader);
        });
    }

    /// Refreshes the stored response unless another isolate of the data centre holds the lease.
    async fn refresh_with_lease(&self, key: &str, stored: &StoredResponse) -> Result<(), Error> {
        let lease = RefreshLease::new(key).await;
        if !lease.acquire(REFRESH_TIMEOUT).await? {
            return Ok(());
        }
        // The lease may have been free because another isolate has just refreshed the response.
        let is_refreshed = match self.store.get(key).await? {
            Some(Entry::Response { response, .. }) => response.response_time > stored.response_time,
            _ => false,
        };
        if is_refreshed {
            return lease.release().await;
        }
        match self.try_refresh(key, stored).await {
            Ok(true) => lease.release().await,
            result => {
                lease.renew(RETRY_AFTER).await?;
                result.map(|_| ())
            }
        }
    }

    /// Refreshes the stored response. Returns `false` if the origin returned nothing that updates
    /// it.
    async fn try_refresh(&self, key: &str, stored: &StoredResponse) -> Result<bool, Error> {
        let has_validator = validate::has_validator(&stored.headers);
        let condition = if has_validator { Condition::Stored(stored) } else { Condition::None };
        // A complete response is refreshed completely, whatever range the client requested.
        let extent = if stored.status == StatusCode::PARTIAL_CONTENT { Extent::Range } else { Extent::Whole };
        let received = self.fetch(extent, condition, REFRESH_TIMEOUT).await?;
        let received = match self.validate(stored, received, extent, REFRESH_TIMEOUT).await? {
            // An error does not update the resource. The stored response remains for
            // `stale-if-error`.
            Validation::Replaced(received) if is_failure(received.response.status) => return Ok(false),
            Validation::Replaced(received) | Validation::Outdated(received) if received.is_keyed => received,
            Validation::Replaced(_) | Validation::Outdated(_) | Validation::Unrelated(_) => return Ok(false),
            // The client has read the body. It is read again, if it is still the one that was
            // validated.
            Validation::Updated(mut response) => match self.pinned_store().get(key).await? {
                Some(Entry::Response { response: current, body, .. })
                    if validate::same_body(&current, stored) =>
                {
                    storable::remove_client_fields(&mut response, self.request().choices);
                    OriginResponse { response, body, undecoded: None, is_evaluated: false, is_keyed: true }
                }
                // A newer response has replaced it.
                _ => return Ok(true),
            },
        };
        match self.retention(&received.response) {
            Ok(retention) => {
                self.store(received.response, received.body.map(Incoming::from), retention, None).await?;
            }
            // The origin no longer permits storing, so the stored response must not be served stale
            // either.
            Err(reason) if self.supersedes_stored(reason, received.response.status) => {
                self.store.delete(key).await?;
            }
            Err(_) => return Ok(false),
        }
        Ok(true)
    }
}
