//! The result of the policy: serve a stored response, or forward the request; each with its reason.

use std::time::Duration;

use super::range::Part;

/// The decision on a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Serve the stored response.
    Serve(Hit),
    /// Forward the request to the origin.
    Forward(Forward),
}

/// How a stored response is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// The condition that permits the reuse.
    pub reuse: Reuse,
    /// The value of the `Age` field.
    pub age: Duration,
    /// Seconds of freshness left, negative once stale.
    pub ttl_secs: i64,
    /// Whether the client's validators match, so that a 304 without a body is sent.
    pub not_modified: bool,
    /// The part of the body to send unless `not_modified`.
    pub part: Part,
}

/// The condition that permits the reuse of a stored response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// It is fresh (RFC 9111 section 4.2).
    Fresh,
    /// It is stale within `stale-while-revalidate`; it is refreshed in the background (RFC 5861
    /// section 3).
    StaleWhileRevalidate,
    /// It is stale, and either within `stale-if-error` while the origin fails (RFC 5861 section 4),
    /// or the origin is disconnected (RFC 9111 section 4.2.4).
    StaleIfError,
    /// It is stale, and the request accepts that with `max-stale` (RFC 9111 section 5.2.1.2).
    MaxStale,
}

/// How a request is forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// The reason, as RFC 9211 names it.
    pub reason: ForwardReason,
    /// More about the reason.
    pub detail: Option<Detail>,
    /// Whether to validate the stored response with its validators (RFC 9111 section 4.3.1).
    pub validate: bool,
    /// How to serve the stored response if the origin fails; `None` if it must not be served.
    pub on_error: Option<Hit>,
    /// How to serve the stored response if the origin is disconnected; `None` if it must not be
    /// served.
    pub on_disconnect: Option<Hit>,
}

impl Forward {
    pub(super) fn because(reason: ForwardReason, detail: Option<Detail>) -> Self {
        Self { reason, detail, validate: false, on_error: None, on_disconnect: None }
    }

    /// Bypasses the store for a reason that lies outside the request.
    pub fn bypass(detail: Detail) -> Self {
        Self::because(ForwardReason::Bypass, Some(detail))
    }

    /// Forwards because nothing is stored for the URI.
    pub fn miss() -> Self {
        Self::because(ForwardReason::UriMiss, None)
    }
}

/// Why a request was forwarded: the `fwd` values of RFC 9211 section 2.2 that occur here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardReason {
    /// The cache is configured not to handle such requests or responses.
    Bypass,
    /// The method's semantics require forwarding.
    Method,
    /// Nothing is stored for the URI.
    UriMiss,
    /// A response is stored for the URI, but not for these selecting fields.
    VaryMiss,
    /// The stored response is stale.
    Stale,
    /// The stored response is fresh, but the request's directives refuse it.
    Request,
    /// The stored response is a part that does not contain the requested one.
    Partial,
}

impl ForwardReason {
    /// Returns the value of the `fwd` parameter.
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

/// The `detail` values of `Cache-Status` that explain a decision; also used in logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// A journal record removed the stored response.
    Purged,
    /// The stored response must not be used for a request with credentials (RFC 9111 section 3.5).
    Authorization,
    /// The request upgrades the connection to another protocol.
    Upgrade,
    /// The request is a GET or HEAD with a body, which could change the response.
    Body,
    /// A rule of the deployment bypasses the store.
    Rule,
    /// The origin could resolve the URL's path differently from the rules.
    Path,
    /// A variable of the deployment is invalid, so the store is not used.
    Misconfigured,
    /// The journal's state is too old, or unknown, to serve or store.
    JournalUnreachable,
    /// Stale, and refreshed in the background.
    StaleWhileRevalidate,
    /// Stale, and the origin failed.
    StaleIfError,
    /// Stale, and the request accepts it.
    MaxStale,
    /// Stale within a declared window, but another directive forbids stale responses.
    WindowRefused,
    /// The request forbids forwarding, and no stored response can be used (RFC 9111 section
    /// 5.2.1.7).
    OnlyIfCached,
    /// The origin is disconnected, and no stored response can be used.
    OriginUnreachable,
    /// The request has passed through this cache before (RFC 8586).
    Loop,
    /// `Max-Forwards` ends the request here (RFC 9110 section 7.6.2).
    MaxForwards,
    /// The runtime cannot forward this method.
    Method,
}

impl Detail {
    /// Returns the value of the `detail` parameter.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Purged => "purged",
            Self::Authorization => "authorization",
            Self::Upgrade => "upgrade",
            Self::Body => "body",
            Self::Rule => "rule",
            Self::Path => "path",
            Self::Misconfigured => "misconfigured",
            Self::JournalUnreachable => "journal-unreachable",
            Self::StaleWhileRevalidate => "stale-while-revalidate",
            Self::StaleIfError => "stale-if-error",
            Self::MaxStale => "max-stale",
            Self::WindowRefused => "window-refused",
            Self::OnlyIfCached => "only-if-cached",
            Self::OriginUnreachable => "origin-unreachable",
            Self::Loop => "loop",
            Self::MaxForwards => "max-forwards",
            Self::Method => "method",
        }
    }
}
