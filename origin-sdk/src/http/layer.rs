//! The tower layer that builds [`CacheService`].

use http::HeaderName;
use shared_keys::{CacheGroup, NoVarySearch};
use tower_layer::Layer;

use super::CacheService;
use super::credentials::CredentialPolicy;
use super::route_fields::RouteFields;
use crate::Cache;

/// A layer that sets a response's caching headers from the entries that its request has read. The
/// [module](super) documents the headers.
#[derive(Debug, Clone)]
pub struct CacheLayer {
    cache: Cache,
    vary: Vec<HeaderName>,
    groups: Vec<CacheGroup>,
    invalidated_groups: Vec<CacheGroup>,
    no_vary_search: NoVarySearch,
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
            groups: Vec::new(),
            invalidated_groups: Vec::new(),
            no_vary_search: NoVarySearch::default(),
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

    /// Adds groups of this origin that responses to `GET` and `HEAD` belong to (`Cache-Groups`,
    /// RFC 9875). Every cache on the way may obey them, browsers included. Default none.
    ///
    /// Groups are for responses that are not built from cached entries, or for caches that do not
    /// obey the journal. Entries need none: their keys and tags are in `Cache-Tag`.
    ///
    /// ```
    /// use axum::{Router, routing::{get, post}};
    /// use origin_sdk::{Cache, CacheGroup, http::CacheLayer};
    ///
    /// fn routes(cache: &Cache) -> Router {
    ///     let news = CacheGroup::new("news").expect("printable ASCII");
    ///     let show = get(|| async { "news" }).layer(CacheLayer::new(cache).groups([news.clone()]));
    ///     let write = post(|| async { "written" });
    ///     Router::new()
    ///         .route("/news", show)
    ///         .route("/news/new", write.layer(CacheLayer::new(cache).invalidates_groups([news])))
    /// }
    /// ```
    #[must_use]
    pub fn groups(mut self, groups: impl IntoIterator<Item = CacheGroup>) -> Self {
        self.groups.extend(groups);
        self
    }

    /// Adds groups of this origin that a successful unsafe request invalidates
    /// (`Cache-Group-Invalidation`, RFC 9875). Default none.
    ///
    /// This is a message of one response to the caches that forward it. Unlike
    /// [`Cache::invalidate`], it reaches neither other processes nor Redis, and is not repeated.
    #[must_use]
    pub fn invalidates_groups(mut self, groups: impl IntoIterator<Item = CacheGroup>) -> Self {
        self.invalidated_groups.extend(groups);
        self
    }

    /// Sets the query parameters on which responses to `GET` and `HEAD` do not depend
    /// (`No-Vary-Search`). Caches then use one response for all URLs that differ in these only.
    /// Default: responses depend on the whole query.
    ///
    /// ```
    /// use origin_sdk::{Cache, NoVarySearch, http::CacheLayer};
    ///
    /// fn layer(cache: &Cache) -> CacheLayer {
    ///     let search = NoVarySearch::default().ignoring(["utm_source", "utm_medium"]).in_any_order();
    ///     CacheLayer::new(cache).no_vary_search(search)
    /// }
    /// ```
    ///
    /// Use one setting for all responses of a path. A handler that reads an ignored parameter would
    /// show one client's value to all.
    #[must_use]
    pub fn no_vary_search(mut self, search: NoVarySearch) -> Self {
        self.no_vary_search = search;
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
        let fields =
            RouteFields::new(&self.vary, &self.groups, &self.invalidated_groups, &self.no_vary_search);
        CacheService::new(inner, self.cache.clone(), fields, self.weak_etag, &self.credentials)
    }
}
