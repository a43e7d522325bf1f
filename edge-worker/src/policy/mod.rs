//! The decisions of a shared HTTP cache, without their execution:
//! `(request, stored response, now, journal) → decision`.
//!
//! One file per part of RFC 9111. Nothing here reads a clock, does I/O or knows the runtime, so
//! every rule is tested natively; the `pipeline` carries the decisions out. Time is `SystemTime`
//! because dates on the wire are; it is always an argument.
//!
//! Stance, where the RFC leaves room:
//! - Request directives are obeyed only where a deployment chooses so (see [`request_directives`]).
//! - Stale is served inside a window that the response declares, and for ten minutes if the origin
//!   cannot be reached at all.
//! - A journal record that removes a response also removes it for validation and for errors; one
//!   that expires it makes it as stale as it is old, since no clock says when it expired.
//! - A request for a part that is not stored is forwarded as it is, and the part that comes is
//!   stored as one (see [`range`]): to ask for the whole in its place would fetch all of a film for
//!   its first seconds.

pub mod age;
pub mod date;
pub mod decision;
pub mod directives;
pub mod invalidate;
pub mod lifetime;
pub mod range;
pub mod request_directives;
pub mod response;
pub mod select;
pub mod stale;
pub mod storable;
#[cfg(test)]
pub(crate) mod testing;
pub mod validate;

use std::time::{Duration, SystemTime};

use http::{HeaderMap, Method, header};
use shared_keys::{Applied, Verdict};

pub use self::decision::{Decision, Detail, Forward, ForwardReason, Hit, Reuse};
use self::lifetime::freshness_lifetime;
use self::request_directives::RequestDirectives;
pub use self::response::StoredResponse;
use self::select::Selected;

/// The part of a request that caching depends on.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The method as the client sent it.
    pub method: &'a Method,
    /// The client's fields.
    pub headers: &'a HeaderMap,
    /// The deployment's choices for this request.
    pub choices: Choices,
}

impl Request<'_> {
    /// Returns whether the client forbids a fetch (`only-if-cached`): a miss is a 504 (5.2.1.7).
    pub fn is_only_if_cached(&self) -> bool {
        self.choices.obey_requests && RequestDirectives::parse(self.headers).only_if_cached
    }
}

/// The choices of a deployment where the RFC leaves room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Choices {
    /// Store responses with `Set-Cookie`, which RFC 9111 section 7.3 does not forbid; default
    /// `false`. Right only if no origin sets a cookie of one user on a response that its directives
    /// let be shared.
    pub store_set_cookie: bool,
    /// Obey what clients ask of caches (5.2.1); default `false`. Then any client can make the
    /// origin answer again.
    pub obey_requests: bool,
}

/// The reason to pass a request by without a lookup, or `None` if the store is to be asked;
/// `websocket` if it asks to go on as one.
pub fn bypass_reason(request: Request<'_>, websocket: bool) -> Option<Forward> {
    if !matches!(*request.method, Method::GET | Method::HEAD) {
        return Some(Forward::because(ForwardReason::Method, None));
    }
    if websocket {
        return Some(Forward::bypass(Detail::Upgrade));
    }
    None
}

/// Decides how to answer a GET or HEAD request, given the result of its lookup.
pub fn decide(request: Request<'_>, selected: Selected<'_>, now: SystemTime, journal: &Applied) -> Decision {
    let stored = match selected {
        Selected::Response(stored) => stored,
        Selected::UriMiss => return Decision::Forward(Forward::miss()),
        Selected::VaryMiss => return Decision::Forward(Forward::because(ForwardReason::VaryMiss, None)),
    };
    let verdict = stored.verdict(journal);
    if verdict == Verdict::Removed {
        return Decision::Forward(Forward::because(ForwardReason::UriMiss, Some(Detail::Purged)));
    }
    let directives = stored.directives();
    if request.headers.contains_key(header::AUTHORIZATION) && !directives.allows_authorized() {
        return Decision::Forward(Forward::because(ForwardReason::Bypass, Some(Detail::Authorization)));
    }

    let Some(part) = range::select(request, stored) else {
        return Decision::Forward(Forward::because(ForwardReason::Partial, None));
    };
    let mut asked = if request.choices.obey_requests {
        RequestDirectives::parse(request.headers)
    } else {
        RequestDirectives::default()
    };

    let age = stored.current_age(now);
    let lifetime = match verdict {
        // No clock says when the record was made, only that it was after the response: count its
        // whole age as stale.
        Verdict::Expired => Duration::ZERO,
        _ => freshness_lifetime(&directives, stored.status, &stored.headers, stored.response_time).duration,
    };
    let hit = |reuse| Hit {
        reuse,
        age,
        ttl_secs: seconds(lifetime).saturating_sub(seconds(age)),
        not_modified: validate::not_modified(request.headers, stored),
        part,
    };
    // Fresh means a lifetime strictly greater than the age (4.2).
    let is_fresh = lifetime > age && !directives.no_cache;
    let staleness = age.saturating_sub(lifetime);
    if directives.immutable && is_fresh {
        // A reload asks for a maximal age of 0. Only no-cache says that it must be validated (RFC
        // 8246 section 2.1).
        asked.max_age = None;
    }
    if !asked.refuses(age, lifetime.saturating_sub(age)) {
        if is_fresh {
            return Decision::Serve(hit(Reuse::Fresh));
        }
        if stale::while_revalidate(&directives, staleness) && !asked.refuses_stale() {
            return Decision::Serve(hit(Reuse::StaleWhileRevalidate));
        }
        if !directives.forbids_stale() && asked.max_stale.is_some_and(|max_stale| staleness <= max_stale) {
            return Decision::Serve(hit(Reuse::MaxStale));
        }
    }
    Decision::Forward(Forward {
        reason: if is_fresh { ForwardReason::Request } else { ForwardReason::Stale },
        detail: None,
        validate: validate::has_validator(&stored.headers),
        on_error: stale::if_error(&directives, staleness).then(|| hit(Reuse::StaleIfError)),
        on_disconnect: stale::if_disconnected(&directives, staleness).then(|| hit(Reuse::StaleIfError)),
    })
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
