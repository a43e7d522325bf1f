//! A tower layer that sets a response's caching headers from the cached entries it was built from.
//!
//! ```
//! use std::time::Duration;
//! use axum::{Router, routing::get};
//! use origin_sdk::{Cache, http::CacheLayer};
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let cache = Cache::builder("shop").build().await.unwrap();
//! let app: Router = Router::new()
//!     .route("/api/products/{id}", get(|| async { "reads through the cache" }))
//!     .layer(CacheLayer::new(&cache));
//! # });
//! ```
//!
//! # Responses to requests with credentials are private
//!
//! The layer sees which entries a handler reads. It cannot see whether the handler also reads a
//! session. A response to a request that carries an `Authorization` header or a cookie is therefore
//! `private` by default, so that a user's page never reaches another. It is shared if
//!
//! * every cookie is one that identifies no user: an analytics tool's ([`ANONYMOUS_COOKIES`]), or
//!   one that [`CacheLayer::ignore_cookies`] names,
//! * the route ignores credentials ([`CacheLayer::ignore_credentials`]),
//! * the handler says so itself, by `public` or `s-maxage` in `Cache-Control`, `CDN-Cache-Control`
//!   or `Cloudflare-CDN-Cache-Control`, or
//! * the response varies by the credential (`Vary: Cookie`, [`CacheLayer::vary`]), so that each
//!   value has a copy of its own.
//!
//! A response that sets a cookie counts as one to a request with that cookie. The counter
//! [`Stats::credential_responses`](crate::Stats::credential_responses) says how many responses the
//! default made private.
//!
//! A handler that reads one user's data from somewhere else, such as an `X-User` header that a
//! gateway sets, calls [`mark_private`], or takes its data through the axum extractor `Private`
//! (feature `axum`). Both also win over `public` and over every setting of the layer.
//!
//! # Headers
//!
//! It sets these headers on the response to a `GET` or `HEAD` that reads through the cache:
//!
//! | header | shared data | data of a private namespace, or after [`mark_private`] |
//! |---|---|---|
//! | `Cache-Control` | `public, no-cache`: a purge cannot reach a browser, so the browser revalidates each time | `private, no-store` |
//! | `CDN-Cache-Control` | the shortest remaining lifetime of the entries read | |
//! | `Cache-Tag` | the scopes of the entries read; keys that do not fit are folded into common prefixes | |
//! | `Strata-Position` | the journal position applied when the request began | |
//! | `ETag` | a strong tag of the body, or a weak one ([`CacheLayer::weak_etag`]); a matching `If-None-Match` gets a 304 | |
//! | `Cache-Status` | the innermost layer that was read | the same |
//! | `Vary` | the fields that [`CacheLayer::vary`] names, on every response to a `GET` or `HEAD` | the same |
//! | `Cache-Groups` | the groups that [`CacheLayer::groups`] names, likewise | the same |
//! | `No-Vary-Search` | what [`CacheLayer::no_vary_search`] sets, likewise | the same |
//!
//! Headers that a handler sets itself take part: its `ETag` is used, its `Cache-Tag` is extended,
//! and its `Cache-Control` or `CDN-Cache-Control` sets the lifetime, except for private data. Its
//! `No-Vary-Search` replaces the layer's, and its `Cache-Groups` are extended.
//!
//! A response that is private because of the request's credentials gets `ETag`, `Cache-Status`,
//! `Vary`, and `Cache-Control: private, no-cache`, or `private` in addition to the handler's own
//! lifetime.
//!
//! Error responses, except 404, get only `Cache-Status`, `Vary`, `Cache-Groups` and
//! `No-Vary-Search`, and are made private as others are. Responses to other methods are not
//! changed, except that a user's own data is made private, and that successful ones to unsafe
//! methods get `Cache-Group-Invalidation` with the groups that [`CacheLayer::invalidates_groups`]
//! names.
//!
//! Reads count if they happen in the task that serves the request, or in a task that it spawns with
//! [`for_this_request`].

mod credentials;
mod etag;
mod headers;
mod layer;
#[cfg(feature = "axum")]
mod private;
mod route_fields;
mod service;

pub use crate::request_scope::{for_this_request, mark_private};
pub use layer::CacheLayer;
#[cfg(feature = "axum")]
pub use private::Private;
pub use service::CacheService;
pub use shared_keys::ANONYMOUS_COOKIES;
