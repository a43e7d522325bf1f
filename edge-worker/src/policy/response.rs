//! The stored response: its status and fields, the times of its exchange, and its place in the
//! journal.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};
use shared_keys::{Applied, Directives, ScopeHash, Stamp, Verdict};

use super::age;
use super::directives::directives;
use super::lifetime::{FreshnessLifetime, freshness_lifetime};

/// A response without its body, and the context in which it was received.
#[derive(Debug, Clone)]
pub struct StoredResponse {
    /// The status as the origin sent it.
    pub status: StatusCode,
    /// The origin's fields, without hop-by-hop fields and without Strata's own.
    pub headers: HeaderMap,
    /// When the request for it, or for its last validation, was sent.
    pub request_time: SystemTime,
    /// When the response, or the 304 that last updated it, was received.
    pub response_time: SystemTime,
    /// The journal positions that the response reflects at least, captured before the request was
    /// sent.
    pub stamp: Stamp,
    /// The scopes that invalidate it: its tags, its URL, and the path prefixes of its URL.
    pub scopes: Vec<ScopeHash>,
}

impl StoredResponse {
    /// Returns whether a Strata origin generated it. Only such an origin states a journal position.
    pub fn is_from_sdk(&self) -> bool {
        self.stamp.origin.is_some()
    }

    /// Returns the cache directives that apply to it.
    pub fn directives(&self) -> Directives {
        directives(&self.headers)
    }

    /// Returns its freshness lifetime (RFC 9111 section 4.2.1).
    pub fn freshness_lifetime(&self) -> FreshnessLifetime {
        freshness_lifetime(&self.directives(), self.status, &self.headers, self.response_time)
    }

    /// Returns its age at `now` (RFC 9111 section 4.2.3).
    pub fn current_age(&self, now: SystemTime) -> Duration {
        age::current_age(&self.headers, self.request_time, self.response_time, now)
    }

    /// Returns the journal's verdict: valid, expired or removed.
    pub fn verdict(&self, journal: &Applied) -> Verdict {
        journal.verdict(self.scopes.iter().copied(), self.stamp)
    }
}
