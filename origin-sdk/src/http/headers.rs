//! What was gathered → the response's headers.

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use shared_keys::{CACHE_TAG_HEADER, POSITION_HEADER, Position, TagSet};

use crate::cached::Layer;
use crate::metrics::Metrics;
use crate::request_scope::RequestReads;

const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Sets the headers. Whether the response is shared data that a cache may keep.
pub(super) fn describe<B>(
    response: &mut Response<B>,
    gathered: &RequestReads,
    position: Position,
    metrics: &Metrics,
) -> bool {
    let Some(layer) = gathered.layer else { return false };
    let status = response.status();
    let headers = response.headers_mut();
    headers.insert(CACHE_STATUS, cache_status(layer, gathered));
    if !status.is_success() && status != StatusCode::NOT_FOUND {
        return false;
    }
    let Some(lifetime) = gathered.lifetime.filter(|_| !gathered.private) else {
        // Also against what the handler says: one user's data is never for others.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
        headers.remove(CDN_CACHE_CONTROL);
        return false;
    };
    let has_own_lifetime = headers.contains_key(header::CACHE_CONTROL) || headers.contains_key(CDN_CACHE_CONTROL);
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("public, no-cache"));
    // Whoever sets the lifetime, the response obeys the journal.
    append(headers, HeaderName::from_static(POSITION_HEADER), &position.to_string());
    // The limit is for what the handler says and this together, with a comma between them.
    let own: usize = headers.get_all(CACHE_TAG_HEADER).iter().map(|tags| tags.len() + 1).sum();
    match gathered.tags().to_header(TagSet::MAX_HEADER_BYTES.saturating_sub(own)) {
        Ok(tags) => {
            metrics.tags_folded.add(tags.folded.into());
            append(headers, HeaderName::from_static(CACHE_TAG_HEADER), &tags.value);
        }
        Err(error) => {
            tracing::warn!(%error, "the edge will not keep this response");
            metrics.tag_overflows.add(1);
            headers.insert(CDN_CACHE_CONTROL, HeaderValue::from_static("no-store"));
            return true;
        }
    }
    if !has_own_lifetime {
        append(headers, CDN_CACHE_CONTROL, &lifetime.to_directives());
    }
    true
}

/// This cache's member of `Cache-Status` (RFC 9211).
fn cache_status(layer: Layer, gathered: &RequestReads) -> HeaderValue {
    let member = match layer {
        Layer::Loader => format!("strata-origin; fwd=miss; detail={}", layer.as_str()),
        _ => format!("strata-origin; hit; ttl={}; detail={}", gathered.ttl_secs, layer.as_str()),
    };
    HeaderValue::from_str(&member).unwrap_or(HeaderValue::from_static("strata-origin"))
}

/// Positions, directives and tokens are printable ASCII, so the value is always valid.
fn append(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.append(name, value);
    }
}
