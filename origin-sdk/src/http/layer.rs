//! `CacheLayer` builds [`CacheService`].

use http::HeaderName;
use tower_layer::Layer;

use super::CacheService;
use crate::Cache;

/// Puts what a request has read into its response's headers. See the [module](super) for all that it does.
#[derive(Debug, Clone)]
pub struct CacheLayer {
    cache: Cache,
    vary: Vec<HeaderName>,
    weak_etag: bool,
}

impl CacheLayer {
    /// A layer for services that read through `cache`.
    #[must_use]
    pub fn new(cache: &Cache) -> Self {
        Self { cache: cache.clone(), vary: Vec::new(), weak_etag: false }
    }

    /// Names the request fields that responses depend on, besides the URL: they go into `Vary`, next to those that a handler
    /// names itself. Default none.
    #[must_use]
    pub fn vary(mut self, fields: impl IntoIterator<Item = HeaderName>) -> Self {
        self.vary.extend(fields);
        self
    }

    /// Whether the `ETag` says only that two bodies mean the same. Right if something outside of this layer changes the bytes,
    /// as compression does. Default `false`: a strong one, by which parts of a body can be put together.
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
