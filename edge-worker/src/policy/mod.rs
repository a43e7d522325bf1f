//! The decisions of a shared HTTP cache, without their execution:
//! `(request, stored response, now, journal) → decision`.
//!
//! There is one file per part of RFC 9111. No file reads a clock, does I/O or depends on the
//! runtime, so every rule is tested natively. The `pipeline` executes the decisions. Times are
//! `SystemTime`, like dates on the wire, and are always arguments.
//!
//! Choices where the RFC leaves room:
//! - Request directives are obeyed only if the deployment chooses so (see [`request_directives`]).
//! - A stale response is served within a window that it declares, and for ten minutes while the
//!   origin is disconnected.
//! - A journal record that removes a response also excludes it from validation and from use on
//!   errors. A record that expires a response counts its whole age as staleness, since the time of
//!   the record is unknown.
//! - A request for a part that is not stored is forwarded unchanged, and the received part is
//!   stored as a part (see [`range`]). A request for the whole would fetch an entire film for its
//!   first seconds.

pub mod age;
pub mod date;
pub mod decision;
pub mod directives;
pub mod endless;
pub mod groups;
pub mod invalidate;
pub mod lifetime;
pub mod not_stored;
pub mod query;
pub mod range;
pub mod request_directives;
pub mod response;
pub mod search;
pub mod select;
pub mod stale;
pub mod storable;
pub mod surrogate;
#[cfg(test)]
pub(crate) mod testing;
pub mod usage;
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
    /// Returns whether the client forbids a fetch with `only-if-cached`, so that a miss is answered
    /// with a 504 (RFC 9111 section 5.2.1.7).
    pub fn is_only_if_cached(&self) -> bool {
        self.choices.obey_requests && RequestDirectives::parse(self.headers).only_if_cached
    }
}

/// The choices of a deployment where the RFC leaves room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Choices {
    /// Store responses with `Set-Cookie`, which RFC 9111 section 7.3 does not forbid. Default:
    /// `false`. Safe only if no origin sets a user's cookie on a response whose directives allow
    /// sharing.
    pub store_set_cookie: bool,
    /// Obey the cache directives of requests (RFC 9111 section 5.2.1). Default: `false`. If `true`,
    /// any client can force requests to the origin.
    pub obey_requests: bool,
}

/// Returns why a request bypasses the store, or `None` if the store is looked up. `websocket` is
/// whether the request upgrades to a WebSocket.
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
    // A request with credentials needs a response that explicitly allows sharing (RFC 9111 section
    // 3.5).
    if request.headers.contains_key(header::AUTHORIZATION) && !directives.allows_authorized() {
        return Decision::Forward(Forward::because(ForwardReason::Bypass, Some(Detail::Authorization)));
    }

    let Some(part) = range::select(request, stored) else {
        return Decision::Forward(Forward::because(ForwardReason::Partial, None));
    };
    let mut request_directives = if request.choices.obey_requests {
        RequestDirectives::parse(request.headers)
    } else {
        RequestDirectives::default()
    };

    let age = stored.current_age(now);
    let lifetime = match verdict {
        // The time of the record is unknown, except that it is after the response: count the whole
        // age as staleness.
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
    // A response is fresh while its lifetime is strictly greater than its age (RFC 9111 section
    // 4.2). `no-cache` requires validation before each use (section 5.2.2.4).
    let is_fresh = lifetime > age && !directives.no_cache;
    let staleness = age.saturating_sub(lifetime);
    if directives.immutable && is_fresh {
        // A reload sends `max-age=0`. Only `no-cache` forces the validation of an immutable
        // response (RFC 8246 section 2.1).
        request_directives.max_age = None;
    }
    if !request_directives.refuses(age, lifetime.saturating_sub(age)) {
        if is_fresh {
            return Decision::Serve(hit(Reuse::Fresh));
        }
        // RFC 5861 section 3.
        if stale::while_revalidate(&directives, staleness) && !request_directives.refuses_stale() {
            return Decision::Serve(hit(Reuse::StaleWhileRevalidate));
        }
        // RFC 9111 section 5.2.1.2.
        let accepts_stale = request_directives.max_stale.is_some_and(|max_stale| staleness <= max_stale);
        if accepts_stale && !directives.forbids_stale() {
            return Decision::Serve(hit(Reuse::MaxStale));
        }
    }
    let detail = stale::is_window_refused(&directives, staleness).then_some(Detail::WindowRefused);
    Decision::Forward(Forward {
        reason: if is_fresh { ForwardReason::Request } else { ForwardReason::Stale },
        detail: detail.filter(|_| !is_fresh),
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
