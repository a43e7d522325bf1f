//! `CacheLayer` builds [`CacheService`].

use http::HeaderName;
use tower::Layer;

use super::CacheService;
use crate::Cache;

/// Puts what a request has read into its response's headers. See the [module](super) for all that it does.
#[derive(Debug, Clone)]
pub struct CacheLayer {
    cache: Cache,
    vary: Vec<HeaderName>,
}

impl CacheLayer {
    /// A layer for services that read through `cache`.
    #[must_use]
    pub fn new(cache: &Cache) -> Self {
        Self { cache: cache.clone(), vary: Vec::new() }
    }

    /// Names the request fields that responses depend on, besides the URL: they go into `Vary`, next to those that a handler
    /// names itself. Default none.
    #[must_use]
    pub fn vary(mut self, fields: impl IntoIterator<Item = HeaderName>) -> Self {
        self.vary.extend(fields);
        self
    }
}

impl<S> Layer<S> for CacheLayer {
    type Service = CacheService<S>;

    fn layer(&self, inner: S) -> CacheService<S> {
        CacheService::new(inner, self.cache.clone(), &self.vary)
    }
}
