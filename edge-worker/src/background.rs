//! Refreshes of stale responses that run after the client has its answer.
//!
//! A stale hit on a popular key would start one refresh per request. A refresh therefore leads its key as any other request to the
//! origin does (see `collapse`): while one is under way in the isolate, no other begins. A short entry in the data centre's store, the
//! *lease*, keeps other isolates from it. Two may still take it at once, which costs a request. Of a refresh that brought nothing the lease
//! stays for a while, so that an origin which fails is not asked once for every stale hit.

use std::rc::Rc;
use std::time::Duration;

use http::StatusCode;
use worker::Context;

use crate::collapse::{self, Role};
use crate::error::Error;
use crate::pipeline::{Condition, Confirmed, Exchange, Received, Wanted};
use crate::policy::select::VaryMarker;
use crate::policy::stale::is_failure;
use crate::policy::{StoredResponse, storable, validate};
use crate::runtime::{self, now};
use crate::store::{Entry, Store};

/// The runtime ends what still runs 30 s after the response; a refresh gives up before.
const REFRESH_LIMIT: Duration = Duration::from_secs(25);

/// How soon the origin is asked again after it had nothing to store.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Refreshes what is stored under `key` after the client has its answer, unless this isolate is asking for it.
pub(crate) fn refresh(
    exchange: Rc<Exchange>,
    key: String,
    stored: StoredResponse,
    marker: Option<VaryMarker>,
    context: &Context,
) {
    let Role::Lead(lead) = collapse::forwards().join(&key, now(), REFRESH_LIMIT) else { return };
    runtime::afterwards(context, async move {
        let refreshed = runtime::within(REFRESH_LIMIT, async {
            // Another isolate of the data centre may be at it.
            if !exchange.store.lease(&key, REFRESH_LIMIT).await? {
                return Ok(());
            }
            match try_refresh(&exchange, &key, &stored, marker).await {
                Ok(true) => exchange.store.release(&key).await,
                in_vain => {
                    exchange.store.extend_lease(&key, RETRY_AFTER).await?;
                    in_vain.map(|_| ())
                }
            }
        });
        if let Err(error) = refreshed.await {
            worker::console_warn!("not refreshed: {error}");
        }
        drop(lead);
    });
}

/// Whether the origin had news of the resource.
async fn try_refresh(
    exchange: &Exchange,
    key: &str,
    stored: &StoredResponse,
    marker: Option<VaryMarker>,
) -> Result<bool, Error> {
    let has_validator = validate::has_validator(&stored.headers);
    let condition = if has_validator { Condition::Stored(stored) } else { Condition::None };
    // The client's range is of no interest to what is stored whole.
    let wanted = if stored.status == StatusCode::PARTIAL_CONTENT { Wanted::Part } else { Wanted::Whole };
    let received = exchange.ask(wanted, condition, REFRESH_LIMIT).await?;
    let received = match exchange.confirm(stored, received, wanted, REFRESH_LIMIT).await? {
        // An error is no news of the resource: what is stored stays for `stale-if-error`.
        Confirmed::Replaced(received) if is_failure(received.response.status) => return Ok(false),
        Confirmed::Replaced(received) | Confirmed::Untold(received) => received,
        // The client took the body that was read with `stored`: read it again, if it is still the one confirmed.
        Confirmed::Freshened(mut response) => match exchange.store.get(key).await? {
            Some(Entry::Response { response: current, body, .. }) if validate::same_body(&current, stored) => {
                storable::remove_the_clients(&mut response, exchange.request().choices);
                Received { response, body, evaluated: false }
            }
            // Something newer has taken its place.
            _ => return Ok(true),
        },
    };
    match exchange.storable(&received.response, marker.as_ref()) {
        Ok(keep_for) => exchange.keep(received, keep_for).await?,
        // The origin no longer lets it be stored: then it must not be served stale either.
        Err(reason) if reason.withdraws(received.response.status) => exchange.store.delete(key).await?,
        Err(_) => return Ok(false),
    }
    Ok(true)
}
