//! The spans of the cache, in one place with their fields. `docs/guides/metrics.md` describes them.
//!
//! Their names are the operations of Sentry's cache module, and their fields are its attributes
//! where it has them. No field has a key or a tag, which may be personal data. All are at the level
//! `DEBUG`, so that by default only a service's own spans exist. A read that memory answers has no
//! span.

use tracing::Span;
use tracing::field::Empty;

use crate::cached::{Cached, Freshness, Layer};

/// Returns the span of a read that memory cannot answer at once.
pub(crate) fn get(namespace: &'static str) -> Span {
    tracing::debug_span!(
        "cache.get",
        cache.namespace = namespace,
        cache.hit = Empty,
        cache.layer = Empty,
        cache.stale = Empty
    )
}

/// Returns the span of a read of many keys.
pub(crate) fn get_many(namespace: &'static str, keys: usize) -> Span {
    tracing::debug_span!("cache.get_many", cache.namespace = namespace, cache.keys = keys)
}

/// Records what answered a read in its span.
pub(crate) fn record<V>(span: &Span, cached: Option<&Cached<V>>) {
    if span.is_disabled() {
        return;
    }
    span.record("cache.hit", cached.is_some_and(|cached| cached.layer != Layer::Loader));
    if let Some(cached) = cached {
        span.record("cache.layer", cached.layer.as_str());
        if let Freshness::Stale(reason) = cached.freshness {
            span.record("cache.stale", reason.as_str());
        }
    }
}

/// Returns the span of a load: from the request for the key's lease to the stored value. A child of
/// the caller's span.
pub(crate) fn load(namespace: &'static str) -> Span {
    tracing::debug_span!("cache.load", cache.namespace = namespace).or_current()
}

/// Returns the span of a refresh in the background. It begins a trace of its own that links to the
/// caller's span: the caller does not wait for it, and a child would keep that span open.
pub(crate) fn refresh(namespace: &'static str) -> Span {
    let span = tracing::debug_span!(parent: None, "cache.refresh", cache.namespace = namespace);
    if span.is_disabled() {
        return Span::current();
    }
    span.follows_from(Span::current());
    span
}

/// Returns the span of a write through the cache: its writer, the invalidation and the stores.
pub(crate) fn put(namespace: &'static str) -> Span {
    tracing::debug_span!("cache.put", cache.namespace = namespace).or_current()
}

/// Returns the span of an invalidation.
pub(crate) fn remove(scopes: usize) -> Span {
    tracing::debug_span!("cache.remove", cache.scopes = scopes).or_current()
}

/// Returns the span of an operation of Redis.
pub(crate) fn store(operation: &'static str) -> Span {
    tracing::debug_span!("cache.store", cache.operation = operation, otel.kind = "client")
}
