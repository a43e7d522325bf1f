//! The tower layer that builds [`CacheService`].

use http::HeaderName;
use tower_layer::Layer;

use super::CacheService;
use super::credentials::CredentialPolicy;
use crate::Cache;

/// A layer that sets a response's caching headers from the entries that its request has read. The
/// [module](super) documents the headers.
#[derive(Debug, Clone)]
pub struct CacheLayer {
    cache: Cache,
    vary: Vec<HeaderName>,
    weak_etag: bool,
    credentials: CredentialPolicy,
}

impl CacheLayer {
    /// Creates a layer for services that read through `cache`.
    #[must_use]
    pub fn new(cache: &Cache) -> Self {
        Self {
            cache: cache.clone(),
            vary: Vec::new(),
            weak_etag: false,
            credentials: CredentialPolicy::default(),
        }
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

    /// Adds cookies on which no response depends, besides
    /// [`ANONYMOUS_COOKIES`](super::ANONYMOUS_COOKIES). A `*` at the end of a name matches any rest.
    /// Requests that carry no other cookie get responses for everyone. Default none.
    ///
    /// Name only cookies that no handler and no middleware reads to decide about a response.
    #[must_use]
    pub fn ignore_cookies<C: Into<String>>(mut self, names: impl IntoIterator<Item = C>) -> Self {
        self.credentials.anonymous_cookies.extend(names.into_iter().map(Into::into));
        self
    }

    /// Sets whether all cookies and `Authorization` are ignored: responses are for everyone, with
    /// any credentials in the request. Default `false`: a response to a request with credentials is
    /// private.
    ///
    /// Use `true` on routes whose responses are the same for all users, such as a public catalogue
    /// behind a login. A handler that reads one user's data on such a route must call
    /// [`mark_private`](super::mark_private).
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use origin_sdk::{Cache, http::CacheLayer};
    ///
    /// fn routes(cache: &Cache) -> Router {
    ///     let catalogue = get(|| async { "the same for all users" });
    ///     Router::new()
    ///         .route("/api/products", catalogue.layer(CacheLayer::new(cache).ignore_credentials(true)))
    ///         .route("/api/basket", get(|| async { "one user's" }).layer(CacheLayer::new(cache)))
    /// }
    /// ```
    #[must_use]
    pub fn ignore_credentials(mut self, ignore: bool) -> Self {
        self.credentials.ignores_all = ignore;
        self
    }
}

impl<S> Layer<S> for CacheLayer {
    type Service = CacheService<S>;

    fn layer(&self, inner: S) -> CacheService<S> {
        CacheService::new(inner, self.cache.clone(), &self.vary, self.weak_etag, &self.credentials)
    }
}
