//! The service that [`CacheLayer`](super::CacheLayer) builds.

use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header, response};
use http_body::Body;
use http_body_util::{BodyExt, Either, Full};
use tower_service::Service;

use super::credentials::CredentialPolicy;
use super::etag;
use super::headers::{self, Audience};
use super::route_fields::RouteFields;
use crate::Cache;
use crate::error::BoxError;
use crate::request_scope::RequestScope;

/// The size of the largest body that gets an `ETag`. The whole body is buffered to compute it.
const MAX_ETAG_BYTES: u64 = 1 << 20;

/// The service that records the inner service's cached reads and sets the response's headers. The
/// [module](super) documents the headers.
#[derive(Debug, Clone)]
pub struct CacheService<S> {
    inner: S,
    cache: Cache,
    fields: Arc<RouteFields>,
    weak_etag: bool,
    credentials: Arc<CredentialPolicy>,
}

impl<S> CacheService<S> {
    pub(super) fn new(
        inner: S,
        cache: Cache,
        fields: RouteFields,
        weak_etag: bool,
        credentials: &CredentialPolicy,
    ) -> Self {
        Self { inner, cache, fields: Arc::new(fields), weak_etag, credentials: Arc::new(credentials.clone()) }
    }
}

impl<S, Q, B> Service<Request<Q>> for CacheService<S>
where
    S: Service<Request<Q>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    Q: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Either<B, Full<Bytes>>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        // Calls the service that was polled ready and leaves the clone in its place, as tower's
        // documentation of `Service` requires.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        let (cache, fields, weak_etag) = (self.cache.clone(), Arc::clone(&self.fields), self.weak_etag);
        let policy = Arc::clone(&self.credentials);
        async move {
            let scope = RequestScope::default();
            if !matches!(*request.method(), Method::GET | Method::HEAD) {
                let is_unsafe = !request.method().is_safe();
                let mut response = scope.scope(inner.call(request)).await?;
                if is_unsafe {
                    fields.add_invalidation(&mut response);
                }
                if scope.take().private {
                    headers::forbid_storing(response.headers_mut());
                }
                return Ok(response.map(Either::Left));
            }
            let credentials = policy.of_request(request.headers());
            let method = request.method().clone();
            let if_none_match: Vec<_> =
                request.headers().get_all(header::IF_NONE_MATCH).iter().cloned().collect();
            // Read before the handler runs: each of its reads is checked against at least this
            // position.
            let position = cache.core().journal.position();
            let mut response = scope.scope(inner.call(request)).await?;
            let reads = scope.take();
            fields.add_to(response.headers_mut());
            let is_restricted = policy.restricts(credentials, response.headers());
            let audience = if is_restricted { Audience::Sender } else { Audience::Everyone };
            if headers::describe(&mut response, &reads, audience, position, &cache.core().metrics) {
                return Ok(with_etag(response, &method, &if_none_match, weak_etag).await);
            }
            Ok(response.map(Either::Left))
        }
        .boxed()
    }
}

/// Returns the response with an `ETag`, or a 304 if `If-None-Match` contains its tag (RFC 9110,
/// 13.2.2).
async fn with_etag<B>(
    response: Response<B>,
    method: &Method,
    if_none_match: &[HeaderValue],
    weak: bool,
) -> Response<Either<B, Full<Bytes>>>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    if response.status() != StatusCode::OK {
        return response.map(Either::Left);
    }
    if let Some(own) = response.headers().get(header::ETAG) {
        let is_current = etag::matches(if_none_match, own);
        return if is_current { not_modified(response.into_parts().0) } else { response.map(Either::Left) };
    }
    let is_small = response.body().size_hint().upper().is_some_and(|upper| upper <= MAX_ETAG_BYTES);
    // The response to a HEAD has no body to compute a tag from.
    if method == Method::HEAD || !is_small {
        return response.map(Either::Left);
    }
    let (mut parts, body) = response.into_parts();
    let bytes = match body.collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) => {
            let error: BoxError = error.into();
            tracing::error!(%error, "cannot read the response body; answering 500");
            parts.status = StatusCode::INTERNAL_SERVER_ERROR;
            parts.headers = HeaderMap::new();
            return Response::from_parts(parts, Either::Right(Full::default()));
        }
    };
    let tag = etag::of(&bytes, weak);
    let is_current = etag::matches(if_none_match, &tag);
    parts.headers.insert(header::ETAG, tag);
    if is_current {
        not_modified(parts)
    } else {
        Response::from_parts(parts, Either::Right(Full::new(bytes)))
    }
}

/// Turns a response into a 304 without a body (RFC 9110, 15.4.5).
fn not_modified<B>(mut parts: response::Parts) -> Response<Either<B, Full<Bytes>>> {
    parts.status = StatusCode::NOT_MODIFIED;
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.remove(header::CONTENT_TYPE);
    Response::from_parts(parts, Either::Right(Full::default()))
}
