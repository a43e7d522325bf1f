//! This cache's member of the `Cache-Status` field (RFC 9211).
//!
//! Members are ordered from the origin to the client, so this one is appended after the origin's.
//! `hit` states that the request was not forwarded (section 2.1): a stale response in place of a
//! failed one has `fwd`.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use shared_keys::TargetKey;

use crate::policy::not_stored::NotStored;
use crate::policy::{Detail, Forward, ForwardReason, Hit, Reuse};

/// The field (RFC 9211 section 2).
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// The name of this cache in the field.
const CACHE_NAME: &str = "strata-edge";

/// The longest key that is shown. Recipients may refuse longer fields.
const MAX_KEY_BYTES: usize = 1024;

/// The way a response was produced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheStatus {
    /// It is a stored response.
    Hit {
        /// The ground and the details of its reuse.
        hit: Hit,
        /// It was read from the isolate's memory.
        memory: bool,
    },
    /// It is from the origin, or from the store after the request was forwarded.
    Forwarded(Forwarded),
    /// It is this cache's own: nothing is stored for the request, and it was not forwarded.
    Own(Detail),
}

/// The way a forwarded request was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forwarded {
    /// Why the request was forwarded.
    pub reason: ForwardReason,
    /// The status of the origin's response; `None` without one, or if another request was
    /// forwarded.
    pub status: Option<StatusCode>,
    /// Whether the origin's response is stored.
    pub stored: bool,
    /// Whether the request waited for another (request collapsing).
    pub collapsed: bool,
    /// Seconds of freshness left in the response, if it is stored; negative once stale.
    pub ttl_secs: Option<i64>,
    /// The ground on which a stored response is served after all; `None` if the origin's is served.
    pub reuse: Option<Reuse>,
    /// The `detail` parameter.
    pub detail: Option<&'static str>,
}

impl Forwarded {
    /// Creates the status from the decision to forward, and from the status of the origin's
    /// response.
    pub fn new(forward: Forward, status: Option<StatusCode>) -> Self {
        let detail = forward.detail.map(Detail::as_str);
        Self {
            reason: forward.reason,
            status,
            stored: false,
            collapsed: false,
            ttl_secs: None,
            reuse: None,
            detail,
        }
    }

    /// Adds that the response is stored with this lifetime, or the reason why not.
    #[must_use]
    pub fn with_store_result(self, stored: Result<i64, NotStored>) -> Self {
        match stored {
            Ok(ttl_secs) => Self { stored: true, ttl_secs: Some(ttl_secs), ..self },
            Err(reason) => Self { detail: Some(reason.as_str()), ..self },
        }
    }

    /// Replaces "stored" by the reason why it is not certain: the body's length is unknown, so it
    /// can still turn out to be too long.
    #[must_use]
    pub fn with_unknown_length(self) -> Self {
        let detail = if self.stored { self.detail.or(Some("unknown-length")) } else { self.detail };
        Self { stored: false, detail, ..self }
    }

    /// Adds that a stored response is served.
    #[must_use]
    pub fn with_reuse(self, hit: Hit) -> Self {
        let detail = reuse_detail(hit.reuse).or(self.detail);
        Self { ttl_secs: Some(hit.ttl_secs), reuse: Some(hit.reuse), detail, ..self }
    }
}

impl CacheStatus {
    /// Returns the layer for logs and metrics: `edge`, `edge-stale` or `origin`.
    pub fn layer(&self) -> &'static str {
        match self {
            Self::Hit { hit: Hit { reuse: Reuse::Fresh, .. }, .. } => "edge",
            Self::Hit { .. } => "edge-stale",
            Self::Forwarded(Forwarded { reuse: Some(Reuse::Fresh), .. }) | Self::Own(_) => "edge",
            Self::Forwarded(Forwarded { reuse: Some(_), .. }) => "edge-stale",
            Self::Forwarded(_) => "origin",
        }
    }

    /// Appends the member to the field; `key` is the key of the stored response.
    pub fn append_to(&self, headers: &mut HeaderMap, key: Option<&TargetKey>) {
        let mut member = self.to_string();
        if let Some(key) =
            key.map(TargetKey::as_str).filter(|key| key.len() <= MAX_KEY_BYTES && is_plain(key))
        {
            member.extend(["; key=\"", key, "\""]);
        }
        if let Ok(value) = HeaderValue::try_from(member) {
            headers.append(CACHE_STATUS, value);
        }
    }
}

impl fmt::Display for CacheStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(CACHE_NAME)?;
        let (ttl_secs, detail) = match self {
            Self::Hit { hit, memory } => {
                f.write_str("; hit")?;
                (Some(hit.ttl_secs), reuse_detail(hit.reuse).or(memory.then_some("memory")))
            }
            Self::Forwarded(forwarded) => {
                write!(f, "; fwd={}", forwarded.reason.as_str())?;
                if let Some(status) = forwarded.status {
                    write!(f, "; fwd-status={}", status.as_u16())?;
                }
                for (is_set, name) in [(forwarded.stored, "; stored"), (forwarded.collapsed, "; collapsed")] {
                    f.write_str(if is_set { name } else { "" })?;
                }
                (forwarded.ttl_secs, forwarded.detail)
            }
            Self::Own(detail) => (None, Some(detail.as_str())),
        };
        if let Some(ttl_secs) = ttl_secs {
            write!(f, "; ttl={ttl_secs}")?;
        }
        detail.map_or(Ok(()), |detail| write!(f, "; detail={detail}"))
    }
}

fn reuse_detail(reuse: Reuse) -> Option<&'static str> {
    match reuse {
        Reuse::Fresh => None,
        Reuse::StaleWhileRevalidate => Some(Detail::StaleWhileRevalidate.as_str()),
        Reuse::StaleIfError => Some(Detail::StaleIfError.as_str()),
        Reuse::MaxStale => Some(Detail::MaxStale.as_str()),
    }
}

/// Returns whether a quoted string can hold the text without escapes (RFC 9651 section 3.3.3).
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::policy::range::Part;

    fn used(reuse: Reuse, ttl_secs: i64) -> Hit {
        Hit { reuse, age: Duration::ZERO, ttl_secs, not_modified: false, part: Part::Whole }
    }

    fn hit(reuse: Reuse, ttl_secs: i64) -> CacheStatus {
        CacheStatus::Hit { hit: used(reuse, ttl_secs), memory: false }
    }

    #[test]
    fn rfc9211_2_members_of_hits() {
        for (status, member) in [
            (hit(Reuse::Fresh, 42), "strata-edge; hit; ttl=42"),
            (hit(Reuse::StaleWhileRevalidate, -3), "strata-edge; hit; ttl=-3; detail=stale-while-revalidate"),
            (
                CacheStatus::Hit { hit: used(Reuse::Fresh, 42), memory: true },
                "strata-edge; hit; ttl=42; detail=memory",
            ),
        ] {
            assert_eq!(status.to_string(), member);
        }
    }

    #[test]
    fn rfc9211_2_members_of_forwarded_requests() {
        let purged = Forward { detail: Some(Detail::Purged), ..Forward::miss() };
        let stale = Forward { reason: ForwardReason::Stale, ..Forward::miss() };
        let method = Forward { reason: ForwardReason::Method, ..Forward::miss() };
        let ok = |forward| Forwarded::new(forward, Some(StatusCode::OK));
        let error = Forwarded::new(stale, Some(StatusCode::SERVICE_UNAVAILABLE));
        let collapsed = Forwarded { collapsed: true, ..Forwarded::new(Forward::miss(), None) };
        for (forwarded, member) in [
            (ok(method), "fwd=method; fwd-status=200"),
            (Forwarded::new(Forward::bypass(Detail::Upgrade), None), "fwd=bypass; detail=upgrade"),
            (ok(Forward::miss()).with_store_result(Ok(60)), "fwd=uri-miss; fwd-status=200; stored; ttl=60"),
            (
                ok(purged).with_store_result(Ok(60)),
                "fwd=uri-miss; fwd-status=200; stored; ttl=60; detail=purged",
            ),
            (
                Forwarded::new(stale, Some(StatusCode::NOT_MODIFIED)).with_store_result(Ok(9)),
                "fwd=stale; fwd-status=304; stored; ttl=9",
            ),
            (
                ok(Forward::miss()).with_store_result(Ok(60)).with_unknown_length(),
                "fwd=uri-miss; fwd-status=200; ttl=60; detail=unknown-length",
            ),
            (
                ok(Forward::miss()).with_store_result(Err(NotStored::NoStore)).with_unknown_length(),
                "fwd=uri-miss; fwd-status=200; detail=no-store",
            ),
            (
                ok(purged).with_store_result(Err(NotStored::Outdated)),
                "fwd=uri-miss; fwd-status=200; detail=outdated",
            ),
            (
                error.with_reuse(used(Reuse::StaleIfError, -9)),
                "fwd=stale; fwd-status=503; ttl=-9; detail=stale-if-error",
            ),
            (collapsed.with_reuse(used(Reuse::Fresh, 60)), "fwd=uri-miss; collapsed; ttl=60"),
        ] {
            assert_eq!(CacheStatus::Forwarded(forwarded).to_string(), format!("strata-edge; {member}"));
        }
    }

    #[test]
    fn rfc9211_2_2_a_response_of_the_caches_own_has_no_fwd() {
        assert_eq!(CacheStatus::Own(Detail::OnlyIfCached).to_string(), "strata-edge; detail=only-if-cached");
    }

    #[test]
    fn the_layer_is_where_the_response_is_from() {
        let forwarded = Forwarded::new(Forward::miss(), Some(StatusCode::OK));
        for (status, layer) in [
            (hit(Reuse::Fresh, 1), "edge"),
            (hit(Reuse::StaleWhileRevalidate, -1), "edge-stale"),
            (CacheStatus::Forwarded(forwarded), "origin"),
            (CacheStatus::Forwarded(forwarded.with_reuse(used(Reuse::StaleIfError, -1))), "edge-stale"),
            (CacheStatus::Forwarded(forwarded.with_reuse(used(Reuse::Fresh, 1))), "edge"),
            (CacheStatus::Own(Detail::Loop), "edge"),
        ] {
            assert_eq!(status.layer(), layer, "{status}");
        }
    }

    #[test]
    fn rfc9211_2_the_cache_nearest_to_the_client_is_last() {
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_STATUS, HeaderValue::from_static("strata-origin; hit; detail=memory"));
        let key = TargetKey::parse("https://shop.example/a?b=\"c\"").unwrap();
        hit(Reuse::Fresh, 1).append_to(&mut headers, Some(&key));
        let members: Vec<_> = headers.get_all(CACHE_STATUS).iter().collect();
        let member = "strata-edge; hit; ttl=1; key=\"https://shop.example/a?b=%22c%22\"";
        assert_eq!(members, ["strata-origin; hit; detail=memory", member]);
    }

    #[test]
    fn rfc9211_2_7_a_key_that_is_too_long_is_left_out() {
        let key = TargetKey::parse(&format!("https://shop.example/{}", "a".repeat(MAX_KEY_BYTES))).unwrap();
        let mut headers = HeaderMap::new();
        hit(Reuse::Fresh, 1).append_to(&mut headers, Some(&key));
        assert_eq!(headers[CACHE_STATUS], "strata-edge; hit; ttl=1");
    }
}
