//! A tower layer that tells the edge and the browser what a response was built from.
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
//! On the answer to a `GET` or `HEAD` for which something was read through the cache it sets:
//!
//! | header | shared data | a private namespace's data |
//! |---|---|---|
//! | `Cache-Control` | `public, no-cache`: no purge reaches a browser, so it asks each time | `private, no-store` |
//! | `CDN-Cache-Control` | the shortest remaining lifetime of what was read | |
//! | `Cache-Tag` | the scopes of what was read; keys that do not fit are folded into prefixes that they share | |
//! | `Strata-Position` | the journal position applied when the request began | |
//! | `ETag` | a strong one, from the body, or a weak one ([`CacheLayer::weak_etag`]); a matching `If-None-Match` gets a 304 | |
//! | `Cache-Status` | the innermost layer that was needed | the same |
//! | `Vary` | the fields that [`CacheLayer::vary`] names, on every answer to a `GET` or `HEAD` | the same |
//!
//! A handler's own `ETag` is used, its `Cache-Tag` is added to, and its `Cache-Control` or `CDN-Cache-Control` decides the
//! lifetime, except for private data. Error responses, except 404, and other methods are not touched.
//! Only reads in the task that serves the request count, and in those that it spawns with [`for_this_request`].

mod etag;
mod headers;
mod layer;
mod service;

pub use crate::request_scope::for_this_request;
pub use layer::CacheLayer;
pub use service::CacheService;
