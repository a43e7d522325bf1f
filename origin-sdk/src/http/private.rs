//! The axum extractor for one user's data.

use axum_core::extract::FromRequestParts;
use http::request::Parts;

use super::mark_private;

/// Extracts what `T` extracts, and marks the response as one user's data ([`mark_private`]).
///
/// The response is also marked if `T` rejects the request, because the rejection is about its
/// sender.
///
/// ```
/// use axum::http::HeaderMap;
/// use axum::{Router, routing::get};
/// use origin_sdk::{Cache, http::{CacheLayer, Private}};
///
/// async fn basket(Private(headers): Private<HeaderMap>) -> String {
///     format!("the basket of {:?}", headers.get("x-user"))
/// }
///
/// fn routes(cache: &Cache) -> Router {
///     Router::new().route("/basket", get(basket)).layer(CacheLayer::new(cache))
/// }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Private<T>(pub T);

impl<S: Send + Sync, T: FromRequestParts<S>> FromRequestParts<S> for Private<T> {
    type Rejection = T::Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, T::Rejection> {
        mark_private();
        T::from_request_parts(parts, state).await.map(Self)
    }
}
