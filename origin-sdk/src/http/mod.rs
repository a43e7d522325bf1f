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
//! It sets these headers on the response to a `GET` or `HEAD` that reads through the cache:
//!
//! | header | shared data | a private namespace's data |
//! |---|---|---|
//! | `Cache-Control` | `public, no-cache`: a purge cannot reach a browser, so the browser revalidates each time | `private, no-store` |
//! | `CDN-Cache-Control` | the shortest remaining lifetime of the entries read | |
//! | `Cache-Tag` | the scopes of the entries read; keys that do not fit are folded into common prefixes | |
//! | `Strata-Position` | the journal position applied when the request began | |
//! | `ETag` | a strong tag of the body, or a weak one ([`CacheLayer::weak_etag`]); a matching `If-None-Match` gets a 304 | |
//! | `Cache-Status` | the innermost layer that was read | the same |
//! | `Vary` | the fields that [`CacheLayer::vary`] names, on every response to a `GET` or `HEAD` | the same |
//!
//! Headers that a handler sets itself take part: its `ETag` is used, its `Cache-Tag` is extended,
//! and its `Cache-Control` or `CDN-Cache-Control` sets the lifetime, except for private data. Error
//! responses, except 404, get only `Cache-Status` and `Vary`. Responses to other methods are not
//! changed.
//!
//! Reads count if they happen in the task that serves the request, or in a task that it spawns with
//! [`for_this_request`].

mod etag;
mod headers;
mod layer;
mod service;

pub use crate::request_scope::for_this_request;
pub use layer::CacheLayer;
pub use service::CacheService;
