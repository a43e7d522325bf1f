//! Reads a QUERY whose response may be stored, and forms its key (RFC 10008).
//!
//! An unsafe request invalidates all responses for its URL (RFC 9111 section 4.4), but the contents
//! of their requests are not known then. A marker for the URL has a number that is part of every
//! key. The unsafe request removes the marker, and the next QUERY writes a new one.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use shared_keys::{TargetKey, VaryFields};
use worker::js_sys::Uint8Array;
use worker::web_sys;

use super::invalidations::covers_stored;
use crate::error::Error;
use crate::policy::query::{self, MAX_CONTENT_BYTES};
use crate::policy::select::VaryMarker;
use crate::runtime::body::Body;
use crate::runtime::now;
use crate::runtime::tiered::Tiered;
use crate::store::variants::MARKER_RETENTION;
use crate::store::{Entry, Store};
use crate::time::unix_ms;

/// A QUERY whose response may be stored.
pub(super) struct Query {
    /// The key of its URL, without the content.
    pub(super) resource: TargetKey,
    /// The content, which is sent to the origin as often as necessary.
    pub(super) content: Uint8Array,
}

impl Query {
    /// Reads the content of a request for `resource`, and returns it with the key of the response.
    /// The request's own body stays unread.
    ///
    /// # Errors
    /// If the content is longer than 64 KiB or breaks off, or the store fails. The request is then
    /// forwarded like any other method's.
    pub(super) async fn read(
        request: &web_sys::Request,
        headers: &HeaderMap,
        resource: TargetKey,
        store: &Tiered,
    ) -> Result<(Self, TargetKey), Error> {
        let content = match request.clone()?.body() {
            Some(copy) => Body::Stream(copy).whole(MAX_CONTENT_BYTES).await?,
            None => Uint8Array::new_with_length(0),
        };
        let hash = query::content_hash(headers, &content.to_vec());
        let target = resource.of_query(generation(store, &resource).await?, hash);
        Ok((Self { resource, content }, target))
    }
}

/// Returns the number in the keys of all QUERY responses for a URL.
async fn generation(store: &Tiered, resource: &TargetKey) -> Result<u64, Error> {
    let key = marker_key(resource);
    let found = match store.get(key.as_str()).await? {
        Some(found) => Some(found),
        // Another request of this isolate may have written it meanwhile.
        None => store.memory().get(key.as_str()).await?,
    };
    // A read that an unsafe request overtook has put the removed marker back into memory.
    let is_valid = |generation| {
        let since = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(generation));
        since.is_some_and(|since| !covers_stored(resource.as_str(), since))
    };
    if let Some(Entry::Marker(marker)) = found
        && is_valid(marker.generation)
    {
        return Ok(marker.generation);
    }
    let generation = unix_ms(now());
    // The content is what selects.
    let fields = VaryFields::parse(["content-type"]).unwrap_or_default();
    let marker = VaryMarker { generation, fields, variants: Vec::new() };
    store.put(key.as_str(), Entry::Marker(marker), MARKER_RETENTION).await?;
    Ok(generation)
}

/// Returns the key of the marker for a URL.
pub(super) fn marker_key(resource: &TargetKey) -> TargetKey {
    resource.of_method(query::METHOD)
}
