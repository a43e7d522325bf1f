//! The tower layer that builds [`CacheService`].

use http::HeaderName;
use tower_layer::Layer;

use super::CacheService;
use crate::Cache;

/// A layer that sets a response's caching headers from the entries that its request has read. The
/// [module](super) documents the headers.
#[derive(Debug, Clone)]
pub struct CacheLayer {
    cache: Cache,
    vary: Vec<HeaderName>,
    weak_etag: bool,
}

impl CacheLayer {
    /// Creates a layer for services that read through `cache`.
    #[must_use]
    pub fn new(cache: &Cache) -> Self {
        Self { cache: cache.clone(), vary: Vec::new(), weak_etag: false }
    }

    /// Adds request fields on which responses depend, besides the URL. They are sent in `Vary`, in
    /// addition to the fields that a handler names. Default none.
    #[must_use]
    pub fn vary(mut self, fields: impl IntoIterator<Item = HeaderName>) -> Self {
        self.vary.extend(fields);
        self
    }

    /// Sets whether the `ETag` is weak. Use `true` if something outside of this layer, such as
    /// compression, changes the bytes of the body. Default `false`: a strong tag, which also allows
    /// range requests to be combined (RFC 9110, 8.8.1).
    #[must_use]
    pub fn weak_etag(mut self, weak: bool) -> Self {
        self.weak_etag = weak;
        self
    }
}

impl<S> Layer<S> for CacheLayer {
    type Service = CacheService<S>;

    fn layer(&self, inner: S) -> CacheService<S> {
        CacheService::new(inner, self.cache.clone(), &self.vary, self.weak_etag)
    }
}
