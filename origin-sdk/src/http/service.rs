//! The service that [`CacheLayer`](super::CacheLayer) builds.

use std::mem;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header, response};
use http_body::Body;
use http_body_util::{BodyExt, Either, Full};
use tower_service::Service;

use super::{etag, headers};
use crate::Cache;
use crate::error::BoxError;
use crate::request_scope::RequestScope;

/// A body above this is sent without an `ETag`, since it would have to be held in memory as a whole.
const MAX_ETAG_BYTES: u64 = 1 << 20;

/// Gathers what the inner service reads and puts it into the response's headers. See the [module](super).
#[derive(Debug, Clone)]
pub struct CacheService<S> {
    inner: S,
    cache: Cache,
    /// The value of `Vary` that is added; `None` if nothing is.
    vary: Option<HeaderValue>,
    weak_etag: bool,
}

impl<S> CacheService<S> {
    pub(super) fn new(inner: S, cache: Cache, vary: &[HeaderName], weak_etag: bool) -> Self {
        let names = vary.iter().map(HeaderName::as_str).collect::<Vec<_>>().join(", ");
        // Field names are valid in a value.
        let vary = HeaderValue::from_str(&names).ok().filter(|value| !value.is_empty());
        Self { inner, cache, vary, weak_etag }
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
        // The clone takes the place of the one that was polled ready (tower's documented way).
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        let (cache, vary, weak_etag) = (self.cache.clone(), self.vary.clone(), self.weak_etag);
        async move {
            if !matches!(*request.method(), Method::GET | Method::HEAD) {
                return Ok(inner.call(request).await?.map(Either::Left));
            }
            let method = request.method().clone();
            let asked: Vec<HeaderValue> = request.headers().get_all(header::IF_NONE_MATCH).iter().cloned().collect();
            let gathering = RequestScope::default();
            // Taken before anything is read: each read is checked against at least this.
            let position = cache.core().journal.position();
            let mut response = gathering.scope(inner.call(request)).await?;
            let gathered = gathering.take();
            if let Some(vary) = vary {
                response.headers_mut().append(header::VARY, vary);
            }
            if headers::describe(&mut response, &gathered, position, &cache.core().metrics) {
                return Ok(with_etag(response, &method, &asked, weak_etag).await);
            }
            Ok(response.map(Either::Left))
        }
        .boxed()
    }
}

/// The response with an `ETag`, or the 304 that the client's own validators ask for.
async fn with_etag<B>(
    response: Response<B>,
    method: &Method,
    asked: &[HeaderValue],
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
        let is_current = etag::matches(asked, own);
        return if is_current { not_modified(response.into_parts().0) } else { response.map(Either::Left) };
    }
    let is_small = response.body().size_hint().upper().is_some_and(|upper| upper <= MAX_ETAG_BYTES);
    // The answer to a HEAD has no body to take a tag from.
    if method == Method::HEAD || !is_small {
        return response.map(Either::Left);
    }
    let (mut parts, body) = response.into_parts();
    let bytes = match body.collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) => {
            let error: BoxError = error.into();
            tracing::error!(%error, "the response's body failed");
            parts.status = StatusCode::INTERNAL_SERVER_ERROR;
            parts.headers = HeaderMap::new();
            return Response::from_parts(parts, Either::Right(Full::default()));
        }
    };
    let tag = etag::of(&bytes, weak);
    let is_current = etag::matches(asked, &tag);
    parts.headers.insert(header::ETAG, tag);
    if is_current { not_modified(parts) } else { Response::from_parts(parts, Either::Right(Full::new(bytes))) }
}

/// RFC 9110, 15.4.5.
fn not_modified<B>(mut parts: response::Parts) -> Response<Either<B, Full<Bytes>>> {
    parts.status = StatusCode::NOT_MODIFIED;
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.remove(header::CONTENT_TYPE);
    Response::from_parts(parts, Either::Right(Full::default()))
}
