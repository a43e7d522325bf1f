//! Sets a response's caching headers from the entries that the request has read.

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use shared_keys::{CACHE_TAG_HEADER, POSITION_HEADER, Position, TagSet};

use crate::cached::Layer;
use crate::metrics::Metrics;
use crate::request_scope::RequestReads;

const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");
/// The fields by which an origin addresses shared caches alone (RFC 9213, 2, and its predecessor).
pub(super) const TARGETED_CACHE_CONTROL: [HeaderName; 3] = [
    HeaderName::from_static("cloudflare-cdn-cache-control"),
    CDN_CACHE_CONTROL,
    HeaderName::from_static("surrogate-control"),
];
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// The clients that may get a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    Everyone,
    /// The sender of the request alone, because the response can depend on the request's
    /// credentials.
    Sender,
}

/// Sets the headers. Returns whether the response may be revalidated by an `ETag`.
pub(super) fn describe<B>(
    response: &mut Response<B>,
    reads: &RequestReads,
    audience: Audience,
    position: Position,
    metrics: &Metrics,
) -> bool {
    let status = response.status();
    let headers = response.headers_mut();
    if let Some(layer) = reads.layer {
        headers.insert(CACHE_STATUS, cache_status(layer, reads));
    }
    if reads.private {
        forbid_storing(headers);
        return false;
    }
    let Some(lifetime) = reads.lifetime else { return false };
    if audience == Audience::Sender {
        metrics.credential_responses.add(1);
        restrict_to_sender(headers);
        return true;
    }
    if !status.is_success() && status != StatusCode::NOT_FOUND {
        return false;
    }
    let has_own_lifetime =
        headers.contains_key(header::CACHE_CONTROL) || headers.contains_key(CDN_CACHE_CONTROL);
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("public, no-cache"));
    // Sent even if the handler sets the lifetime, since the response obeys the journal either way.
    append(headers, HeaderName::from_static(POSITION_HEADER), &position.to_string());
    // The limit covers the handler's own tags and these together, with a comma after each line.
    let own: usize = headers.get_all(CACHE_TAG_HEADER).iter().map(|tags| tags.len() + 1).sum();
    match reads.tags().to_header(TagSet::MAX_HEADER_BYTES.saturating_sub(own)) {
        Ok(tags) => {
            metrics.tags_folded.add(tags.folded.into());
            append(headers, HeaderName::from_static(CACHE_TAG_HEADER), &tags.value);
        }
        Err(error) => {
            tracing::warn!(%error, "too many tags for Cache-Tag: the edge does not store this response");
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

/// Marks a response as one user's data, which no cache may store. Overrides the handler's own
/// headers: one user's data must never be served to another.
pub(super) fn forbid_storing(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    remove_targeted(headers);
}

/// Restricts a response to the browser that sent the request. The browser revalidates it each time
/// unless the handler sets a lifetime.
fn restrict_to_sender(headers: &mut HeaderMap) {
    let has_own_lifetime = headers.contains_key(header::CACHE_CONTROL);
    let restriction = if has_own_lifetime { "private" } else { "private, no-cache" };
    headers.append(header::CACHE_CONTROL, HeaderValue::from_static(restriction));
    remove_targeted(headers);
}

/// Removes the fields that shared caches obey instead of `Cache-Control`.
fn remove_targeted(headers: &mut HeaderMap) {
    for name in TARGETED_CACHE_CONTROL {
        headers.remove(name);
    }
}

/// Returns this cache's member of `Cache-Status` (RFC 9211, section 2).
fn cache_status(layer: Layer, reads: &RequestReads) -> HeaderValue {
    let member = match layer {
        Layer::Loader => format!("strata-origin; fwd=miss; detail={}", layer.as_str()),
        _ => format!("strata-origin; hit; ttl={}; detail={}", reads.ttl_secs, layer.as_str()),
    };
    HeaderValue::from_str(&member).unwrap_or(HeaderValue::from_static("strata-origin"))
}

/// Appends a field line. The value is always valid: positions, directives and tags are printable
/// ASCII.
fn append(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.append(name, value);
    }
}
