//! Decision → this cache's member of `Cache-Status` (RFC 9211).
//!
//! Members stand in the order of the caches from the origin to the client, so this one is appended behind whatever the
//! origin said.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::policy::storable::NotStored;
use crate::policy::{Detail, Forward, ForwardReason, Hit, Reuse};

/// The field (RFC 9211 section 2).
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// The name of this cache in the field.
const CACHE_NAME: &str = "strata-edge";

/// How a response came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheStatus {
    /// From the store.
    Hit(Hit),
    /// From the origin.
    Forwarded {
        /// Why it was asked.
        reason: ForwardReason,
        /// The origin answered 304, and the client sees the stored response.
        validated: bool,
        /// Whether the answer is being stored.
        stored: bool,
        /// More, as a token.
        detail: Option<&'static str>,
    },
}

impl CacheStatus {
    /// Of a request that went by the store.
    pub fn passed(forward: Forward) -> Self {
        let detail = forward.detail.map(Detail::as_str);
        Self::Forwarded { reason: forward.reason, validated: false, stored: false, detail }
    }

    /// Of a request whose answer is being stored, or is not for the reason given.
    pub fn filled(forward: Forward, validated: bool, not_stored: Option<NotStored>) -> Self {
        Self::Forwarded {
            reason: forward.reason,
            validated,
            stored: not_stored.is_none(),
            detail: not_stored.map(NotStored::as_str).or(forward.detail.map(Detail::as_str)),
        }
    }

    /// The layer to name in the log: `edge`, `edge-stale` or `origin`.
    pub fn layer(&self) -> &'static str {
        match self {
            Self::Hit(Hit { reuse: Reuse::Fresh, .. }) => "edge",
            Self::Hit(_) => "edge-stale",
            Self::Forwarded { .. } => "origin",
        }
    }

    /// Adds the member behind those that are there.
    pub fn append_to(&self, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::from_str(&self.to_string()) {
            headers.append(CACHE_STATUS, value);
        }
    }
}

impl fmt::Display for CacheStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(CACHE_NAME)?;
        let detail = match self {
            Self::Hit(hit) => {
                write!(f, "; hit; ttl={}", hit.ttl_secs)?;
                match hit.reuse {
                    Reuse::Fresh => None,
                    Reuse::StaleWhileRevalidate => Some(Detail::StaleWhileRevalidate.as_str()),
                    Reuse::StaleIfError => Some(Detail::StaleIfError.as_str()),
                }
            }
            Self::Forwarded { reason, validated, stored, detail } => {
                write!(f, "; fwd={}", reason.as_str())?;
                if *validated {
                    f.write_str("; fwd-status=304")?;
                }
                if *stored {
                    f.write_str("; stored")?;
                }
                *detail
            }
        };
        detail.map_or(Ok(()), |detail| write!(f, "; detail={detail}"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn hit(reuse: Reuse, ttl_secs: i64) -> CacheStatus {
        CacheStatus::Hit(Hit { reuse, age: Duration::ZERO, ttl_secs, not_modified: false })
    }

    #[test]
    fn rfc9211_2_members() {
        let purged = Forward { detail: Some(Detail::Purged), ..Forward::miss() };
        let stale = Forward { reason: ForwardReason::Stale, ..Forward::miss() };
        let method = Forward { reason: ForwardReason::Method, ..Forward::miss() };
        for (status, member) in [
            (hit(Reuse::Fresh, 42), "strata-edge; hit; ttl=42"),
            (hit(Reuse::StaleWhileRevalidate, -3), "strata-edge; hit; ttl=-3; detail=stale-while-revalidate"),
            (hit(Reuse::StaleIfError, -9), "strata-edge; hit; ttl=-9; detail=stale-if-error"),
            (CacheStatus::passed(method), "strata-edge; fwd=method"),
            (CacheStatus::passed(Forward::refused(Detail::Range)), "strata-edge; fwd=bypass; detail=range"),
            (CacheStatus::filled(Forward::miss(), false, None), "strata-edge; fwd=uri-miss; stored"),
            (CacheStatus::filled(purged, false, None), "strata-edge; fwd=uri-miss; stored; detail=purged"),
            (CacheStatus::filled(stale, true, None), "strata-edge; fwd=stale; fwd-status=304; stored"),
            (
                CacheStatus::filled(purged, false, Some(NotStored::Outdated)),
                "strata-edge; fwd=uri-miss; detail=outdated",
            ),
            (
                CacheStatus::filled(Forward::miss(), false, Some(NotStored::Private)),
                "strata-edge; fwd=uri-miss; detail=private",
            ),
        ] {
            assert_eq!(status.to_string(), member);
        }
    }

    #[test]
    fn rfc9211_2_the_cache_nearest_to_the_client_is_last() {
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_STATUS, HeaderValue::from_static("strata-origin; hit; detail=memory"));
        hit(Reuse::Fresh, 1).append_to(&mut headers);
        let members: Vec<_> = headers.get_all(CACHE_STATUS).iter().collect();
        assert_eq!(members, ["strata-origin; hit; detail=memory", "strata-edge; hit; ttl=1"]);
    }
}
