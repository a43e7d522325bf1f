//! What a shared HTTP cache may do, without doing it: `(request, stored response, now, journal) → decision`.
//!
//! One file per part of RFC 9111. Nothing here reads a clock, does I/O or knows the runtime, so every rule is tested
//! natively; the `pipeline` carries the decisions out. Time is `SystemTime` because dates on the wire are; it is
//! always an argument.
//!
//! Stance, where the RFC leaves room:
//! - Request directives are not obeyed (see [`directives`]).
//! - Stale is served only inside a window that the response declares, never merely because the origin is away.
//! - A journal record that removes a response also removes it for validation and for errors; one that expires it makes
//!   it as stale as it is old, since no clock says when it expired.
//! - A response to a request with `Range` is neither looked up nor stored; the origin answers such requests itself.

pub mod age;
pub mod directives;
pub mod invalidate;
pub mod lifetime;
pub mod select;
pub mod stale;
pub mod storable;
mod targeted;
#[cfg(test)]
pub(crate) mod testing;
pub mod validate;

use std::time::{Duration, SystemTime};

use http::{HeaderMap, Method, StatusCode, header};
use shared_keys::{Applied, ScopeHash, Stamp, Verdict};

use self::directives::Directives;
use self::lifetime::freshness_lifetime;
use self::select::Selected;

/// The part of a request that caching depends on.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The method as the client sent it.
    pub method: &'a Method,
    /// The client's fields.
    pub headers: &'a HeaderMap,
}

/// A response and all that is known of how it came.
#[derive(Debug, Clone)]
pub struct StoredResponse {
    /// The status as the origin sent it.
    pub status: StatusCode,
    /// The origin's fields, without hop-by-hop ones and without Strata's own.
    pub headers: HeaderMap,
    /// When the request for it, or for its last validation, was sent.
    pub request_time: SystemTime,
    /// When it, or the 304 that last freshened it, arrived.
    pub response_time: SystemTime,
    /// Where in the journal it stands: taken before the origin was asked.
    pub stamp: Stamp,
    /// What it was built from: its tags and its URL's path prefixes.
    pub scopes: Vec<ScopeHash>,
}

impl StoredResponse {
    /// The directives that hold for it.
    pub fn directives(&self) -> Directives {
        Directives::of(&self.headers)
    }

    /// Its age at `now` (4.2.3).
    pub fn current_age(&self, now: SystemTime) -> Duration {
        age::current_age(&self.headers, self.request_time, self.response_time, now)
    }

    /// What the journal says of it: valid, expired or removed.
    pub fn verdict(&self, journal: &Applied) -> Verdict {
        journal.verdict(self.scopes.iter().copied(), self.stamp)
    }
}

/// What to do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Answer from the stored response.
    Serve(Hit),
    /// Ask the origin.
    Forward(Forward),
}

/// How a stored response answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// On what ground it may be used.
    pub reuse: Reuse,
    /// For the `Age` field.
    pub age: Duration,
    /// Seconds of freshness left, negative once stale.
    pub ttl_secs: i64,
    /// The client's validators match: answer 304 without a body.
    pub not_modified: bool,
}

/// On what ground a stored response is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// It is fresh (4.2).
    Fresh,
    /// It is stale within `stale-while-revalidate`: refresh it in the background (RFC 5861 section 3).
    StaleWhileRevalidate,
    /// It is stale within `stale-if-error` and the origin failed (RFC 5861 section 4).
    StaleIfError,
}

/// How the origin is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// Why, in the words of RFC 9211.
    pub reason: ForwardReason,
    /// What the reason leaves open.
    pub detail: Option<Detail>,
    /// Ask whether the stored response still holds, by its validators (4.3.1).
    pub validate: bool,
    /// Answer with the stored response if the origin fails.
    pub on_error: Option<Hit>,
}

impl Forward {
    fn because(reason: ForwardReason, detail: Option<Detail>) -> Self {
        Self { reason, detail, validate: false, on_error: None }
    }

    /// Passed by, not looked up, for a reason that is not the request's.
    pub fn refused(detail: Detail) -> Self {
        Self::because(ForwardReason::Bypass, Some(detail))
    }

    /// Nothing is stored for the URI.
    pub fn miss() -> Self {
        Self::because(ForwardReason::UriMiss, None)
    }
}

/// Why a request went to the origin: the `fwd` values of RFC 9211 section 2.2 that occur here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardReason {
    /// This cache does not handle such requests or responses.
    Bypass,
    /// The method's semantics need the origin.
    Method,
    /// Nothing is stored for the URI.
    UriMiss,
    /// Something is stored for the URI, but not for these selecting fields.
    VaryMiss,
    /// What is stored is stale.
    Stale,
}

impl ForwardReason {
    /// The value of the `fwd` parameter.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Stale => "stale",
        }
    }
}

/// What a decision's main reason leaves open: the `detail` values of `Cache-Status`, also for logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// A journal record removed what was stored.
    Purged,
    /// The stored response may not be used for a request with credentials (3.5).
    Authorization,
    /// The request asks for a part.
    Range,
    /// The request asks for another protocol.
    Upgrade,
    /// The journal's state is not known well enough to serve or store.
    JournalUnreachable,
    /// Stale, and being refreshed in the background.
    StaleWhileRevalidate,
    /// Stale, and the origin failed.
    StaleIfError,
    /// No connection to the origin, and nothing to serve in its place.
    OriginUnreachable,
    /// The request came through this cache before (RFC 8586).
    Loop,
}

impl Detail {
    /// The value of the `detail` parameter.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Purged => "purged",
            Self::Authorization => "authorization",
            Self::Range => "range",
            Self::Upgrade => "upgrade",
            Self::JournalUnreachable => "journal-unreachable",
            Self::StaleWhileRevalidate => "stale-while-revalidate",
            Self::StaleIfError => "stale-if-error",
            Self::OriginUnreachable => "origin-unreachable",
            Self::Loop => "loop",
        }
    }
}

/// The reason to pass a request by without a lookup, or `None` if the store is to be asked; `websocket` if it asks to go on
/// as one.
pub fn passed_by(request: Request<'_>, websocket: bool) -> Option<Forward> {
    let detail = if !matches!(*request.method, Method::GET | Method::HEAD) {
        return Some(Forward::because(ForwardReason::Method, None));
    } else if websocket {
        Detail::Upgrade
    } else if request.headers.contains_key(header::RANGE) {
        Detail::Range
    } else {
        return None;
    };
    Some(Forward::because(ForwardReason::Bypass, Some(detail)))
}

/// What to do with a GET or HEAD request, given what was found for it.
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

    let age = stored.current_age(now);
    let lifetime = match verdict {
        // No clock says when the record was made, only that it was after the response: count its whole age as stale.
        Verdict::Expired => Duration::ZERO,
        _ => freshness_lifetime(&directives, stored.status, &stored.headers, stored.response_time).duration,
    };
    let hit = |reuse| Hit {
        reuse,
        age,
        ttl_secs: seconds(lifetime).saturating_sub(seconds(age)),
        not_modified: validate::not_modified(request.headers, stored),
    };
    // Fresh means a lifetime strictly greater than the age (4.2).
    if lifetime > age && !directives.no_cache {
        return Decision::Serve(hit(Reuse::Fresh));
    }
    let staleness = age.saturating_sub(lifetime);
    if stale::while_revalidate(&directives, staleness) {
        return Decision::Serve(hit(Reuse::StaleWhileRevalidate));
    }
    Decision::Forward(Forward {
        reason: ForwardReason::Stale,
        detail: None,
        validate: validate::has_validator(&stored.headers),
        on_error: stale::if_error(&directives, staleness).then(|| hit(Reuse::StaleIfError)),
    })
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
