//! What a shared HTTP cache may do, without doing it: `(request, stored response, now, journal) → decision`.
//!
//! One file per part of RFC 9111. Nothing here reads a clock, does I/O or knows the runtime, so every rule is tested
//! natively; the `pipeline` carries the decisions out. Time is `SystemTime` because dates on the wire are; it is
//! always an argument.
//!
//! Stance, where the RFC leaves room:
//! - Request directives are obeyed only where a deployment chooses so (see [`asked`]).
//! - Stale is served inside a window that the response declares, and for ten minutes if the origin cannot be reached at all.
//! - A journal record that removes a response also removes it for validation and for errors; one that expires it makes
//!   it as stale as it is old, since no clock says when it expired.
//! - A request for a part that is not stored is forwarded as it is, and the part that comes is stored as one (see [`range`]): to ask
//!   for the whole in its place would fetch all of a film for its first seconds.

pub mod age;
pub mod asked;
pub mod date;
pub mod directives;
pub mod invalidate;
pub mod lifetime;
pub mod range;
pub mod select;
pub mod stale;
pub mod storable;
#[cfg(test)]
mod strictness;
#[cfg(test)]
pub(crate) mod testing;
pub mod validate;

use std::time::{Duration, SystemTime};

use http::{HeaderMap, Method, StatusCode, header};
use shared_keys::{Applied, Directives, ScopeHash, Stamp, Verdict};

use self::asked::Asked;
use self::directives::directives;
use self::lifetime::{FreshnessLifetime, freshness_lifetime};
use self::range::Part;
use self::select::Selected;

/// The part of a request that caching depends on.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The method as the client sent it.
    pub method: &'a Method,
    /// The client's fields.
    pub headers: &'a HeaderMap,
    /// What the deployment chose for such requests.
    pub choices: Choices,
}

impl Request<'_> {
    /// What is not stored is not to be asked for: the answer is a 504 (5.2.1.7).
    pub fn is_only_if_cached(&self) -> bool {
        self.choices.obey_requests && Asked::by(self.headers).only_if_cached
    }
}

/// What a deployment may choose where the RFC leaves room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Choices {
    /// Store responses with `Set-Cookie`, which RFC 9111 section 7.3 does not forbid; default `false`. Right only if no origin sets
    /// a cookie of one user on a response that its directives let be shared.
    pub store_set_cookie: bool,
    /// Obey what clients ask of caches (5.2.1); default `false`. Then any client can make the origin answer again.
    pub obey_requests: bool,
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
    /// Whether a service of ours made it: it says at which place of the journal.
    pub fn is_ours(&self) -> bool {
        self.stamp.origin.is_some()
    }

    /// The directives that hold for it.
    pub fn directives(&self) -> Directives {
        directives(&self.headers)
    }

    /// How long it is fresh (4.2.1).
    pub fn freshness_lifetime(&self) -> FreshnessLifetime {
        freshness_lifetime(&self.directives(), self.status, &self.headers, self.response_time)
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
    /// What of it is sent otherwise.
    pub part: Part,
}

/// On what ground a stored response is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// It is fresh (4.2).
    Fresh,
    /// It is stale within `stale-while-revalidate`: refresh it in the background (RFC 5861 section 3).
    StaleWhileRevalidate,
    /// It is stale within `stale-if-error` and the origin failed (RFC 5861 section 4), or the origin cannot be reached (4.2.4).
    StaleIfError,
    /// It is stale, and the client takes it so (5.2.1.2).
    MaxStale,
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
    /// Answer with the stored response if the origin cannot be reached.
    pub on_disconnect: Option<Hit>,
}

impl Forward {
    fn because(reason: ForwardReason, detail: Option<Detail>) -> Self {
        Self { reason, detail, validate: false, on_error: None, on_disconnect: None }
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
    /// What is stored is fresh, and the request's directives do not take it.
    Request,
    /// What is stored is a part, and not the one that is asked for.
    Partial,
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
            Self::Request => "request",
            Self::Partial => "partial",
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
    /// The request asks for another protocol.
    Upgrade,
    /// A rule of the deployment sends such requests to the origin.
    Rule,
    /// The origin could take the URL's path for another than the rules do.
    Path,
    /// A variable of the deployment cannot be used, so nothing is served from the store.
    Misconfigured,
    /// The journal's state is not known well enough to serve or store.
    JournalUnreachable,
    /// Stale, and being refreshed in the background.
    StaleWhileRevalidate,
    /// Stale, and the origin failed.
    StaleIfError,
    /// Stale, and the client takes it so.
    MaxStale,
    /// The client asks not to forward, and what is stored does not answer (5.2.1.7).
    OnlyIfCached,
    /// No connection to the origin, and nothing to serve in its place.
    OriginUnreachable,
    /// The request came through this cache before (RFC 8586).
    Loop,
    /// The request was to go no further than here (RFC 9110 section 7.6.2).
    MaxForwards,
    /// The runtime cannot forward such a request.
    Method,
}

impl Detail {
    /// The value of the `detail` parameter.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Purged => "purged",
            Self::Authorization => "authorization",
            Self::Upgrade => "upgrade",
            Self::Rule => "rule",
            Self::Path => "path",
            Self::Misconfigured => "misconfigured",
            Self::JournalUnreachable => "journal-unreachable",
            Self::StaleWhileRevalidate => "stale-while-revalidate",
            Self::StaleIfError => "stale-if-error",
            Self::MaxStale => "max-stale",
            Self::OnlyIfCached => "only-if-cached",
            Self::OriginUnreachable => "origin-unreachable",
            Self::Loop => "loop",
            Self::MaxForwards => "max-forwards",
            Self::Method => "method",
        }
    }
}

/// The reason to pass a request by without a lookup, or `None` if the store is to be asked; `websocket` if it asks to go on
/// as one.
pub fn passed_by(request: Request<'_>, websocket: bool) -> Option<Forward> {
    if !matches!(*request.method, Method::GET | Method::HEAD) {
        return Some(Forward::because(ForwardReason::Method, None));
    }
    if websocket {
        return Some(Forward::refused(Detail::Upgrade));
    }
    None
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

    let Some(part) = range::select(request, stored) else {
        return Decision::Forward(Forward::because(ForwardReason::Partial, None));
    };
    let mut asked = if request.choices.obey_requests { Asked::by(request.headers) } else { Asked::default() };

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
        part,
    };
    // Fresh means a lifetime strictly greater than the age (4.2).
    let is_fresh = lifetime > age && !directives.no_cache;
    let staleness = age.saturating_sub(lifetime);
    if directives.immutable && is_fresh {
        // A reload asks for a maximal age of 0. Only no-cache says that it must be validated (RFC 8246 section 2.1).
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
