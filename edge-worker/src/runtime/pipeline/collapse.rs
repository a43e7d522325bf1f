//! Request collapsing: of several requests for the same response, one is sent to the origin.

use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use futures_util::future::{Either, select};
use http::header;
use worker::{Context, Delay};

use super::exchange::{Exchange, Extent};
use super::store::pending_stores;
use super::{Answer, Found};
use crate::cache_status::{CacheStatus, Forwarded};
use crate::collapse::{LEADER_TIMEOUT, LeaderId, PendingFetches, Role, WAIT_TIMEOUT};
use crate::policy::select::variant_key;
use crate::policy::{Decision, Forward, ForwardReason, endless, validate};
use crate::runtime::now;
use crate::storing::STORING_TIMEOUT;

/// The milliseconds between two polls of a waiter: short at first, for origins that answer quickly.
const POLL_MS: std::ops::RangeInclusive<u64> = 4..=64;

thread_local! {
    static PENDING: PendingFetches = PendingFetches::default();
}

/// Returns the requests to the origin that this isolate has in progress.
pub(super) fn pending() -> PendingFetches {
    PENDING.with(Clone::clone)
}

/// Waits until the wait for a leader's key has ended otherwise.
async fn superseded(leader: LeaderId) {
    while !PENDING.with(|pending| pending.is_superseded(leader)) {
        Delay::from(Duration::from_millis(*POLL_MS.end())).await;
    }
}

impl Exchange {
    /// Answers from the origin. If another request of this isolate is in progress for the same
    /// response, waits for it and answers from the store.
    pub(super) async fn collapse(
        self: &Rc<Self>,
        mut forward: Forward,
        mut found: Found,
        context: &Context,
    ) -> Answer {
        let deadline = now() + if self.is_collapsible() { WAIT_TIMEOUT } else { STORING_TIMEOUT };
        let mut has_waited = false;
        while forward.reason != ForwardReason::Bypass
            && let Some(key) = self.storage_key(&found)
        {
            match self.role(&key) {
                Role::Leader(leader) if has_waited => {
                    // The leader that this request replaces may have been slow, and not lost.
                    let replaced = superseded(leader.id());
                    let fill = self.fill(forward, found, Some(leader), context);
                    match select(pin!(fill), pin!(replaced)).await {
                        Either::Left((answer, _)) => return answer,
                        Either::Right(_) => {}
                    }
                }
                Role::Leader(leader) => {
                    // A leader may have stored its response, and ended, since the store was read.
                    if let Some(answer) = self.serve_from_memory(context).await {
                        return answer;
                    }
                    return self.fill(forward, found, Some(leader), context).await;
                }
                Role::Waiter if now() < deadline => self.wait(&key, deadline).await,
                Role::OriginFailed { is_disconnected } => {
                    match self.stale_response(forward, &mut found, is_disconnected).await {
                        Some(stale) => return self.reuse_stale(forward, stale, None).await,
                        None => break,
                    }
                }
                Role::Waiter | Role::Uncollapsed => break,
            }
            has_waited = true;
            found = self.lookup().await;
            match (self.decide(&found).await, found.stored.take()) {
                (Decision::Serve(hit), Some(stored)) => {
                    let forwarded =
                        Forwarded { collapsed: true, ..Forwarded::new(forward, None) }.with_reuse(hit);
                    return self.serve(stored, hit, CacheStatus::Forwarded(forwarded), context).await;
                }
                (Decision::Forward(next), stored) => {
                    (forward, found.stored) = (next, stored);
                    // The response that was waited for may be for its own URL alone. Waiting again
                    // would let the URLs that might have shared it fetch one after the other.
                    if found.shared_key.is_some() {
                        break;
                    }
                }
                (Decision::Serve(_), None) => break,
            }
        }
        self.fill(forward, found, None, context).await
    }

    /// Returns the role of this request for `key`. One that is not collapsible never leads. It
    /// waits only while a response is being stored, from which a part or a 304 can follow.
    fn role(&self, key: &str) -> Role {
        if self.is_collapsible() {
            pending().join(key, now(), LEADER_TIMEOUT)
        } else if self.is_pending(key) {
            Role::Waiter
        } else {
            Role::Uncollapsed
        }
    }

    /// Waits while the response that this request waits for is pending, or until `deadline`.
    async fn wait(&self, key: &str, deadline: SystemTime) {
        let mut interval = *POLL_MS.start();
        while now() < deadline && self.is_pending(key) {
            Delay::from(Duration::from_millis(interval)).await;
            interval = (interval * 2).min(*POLL_MS.end());
        }
    }

    fn is_pending(&self, key: &str) -> bool {
        if self.is_collapsible() {
            pending().has_leader(key, now())
        } else {
            pending_stores().is_storing_short(self.target.as_str(), now())
        }
    }

    /// Returns whether the response can answer other requests. The response to a request with
    /// credentials or a precondition is mostly for one client, a part only for requests for the
    /// same part, and an event stream is never stored.
    fn is_collapsible(&self) -> bool {
        self.extent() == Extent::Whole
            && !self.headers.contains_key(header::AUTHORIZATION)
            && !validate::has_precondition(&self.headers)
            && !endless::requests_event_stream(&self.headers)
    }

    /// Returns the key that the response will be stored under, by the marker that was found. `None`
    /// if a selecting field cannot be read.
    pub(super) fn storage_key(&self, found: &Found) -> Option<String> {
        let target = found.shared_key.as_ref().unwrap_or(&self.target);
        let required = &self.selection.fields;
        match &found.marker {
            None if required.is_empty() => Some(target.as_str().to_owned()),
            marker => {
                let fields = marker.as_ref().map_or(required, |marker| &marker.fields);
                let key = variant_key(target, fields, &self.rule.vary, &self.headers)?;
                Some(key.as_str().to_owned())
            }
        }
    }
}
