//! The cache service behind workerd's Cache API: what a data centre's cache is on the platform.
//!
//! workerd sends `GET` for `match`, `PUT` for `put`, with a response message as the body, and
//! `PURGE` for `delete`. As on the platform, the service obeys the lifetime that a response states,
//! ignores `Vary`, and stores nothing of a body that breaks off.

mod memory;
mod message;
mod statistics;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::net::UnixListener;

use self::memory::{Found, Key, Memory};
pub(crate) use self::statistics::{CacheStatistics, Usage};
use self::statistics::{Counters, Put};

/// The name that a cache was opened with; absent for the default cache.
const NAMESPACE_HEADER: HeaderName = HeaderName::from_static("cf-cache-namespace");
/// Tells workerd whether a `match` found a response.
const STATUS_HEADER: HeaderName = HeaderName::from_static("cf-cache-status");
/// The largest message that is stored, in bytes: the platform's limit.
const MAX_MESSAGE_BYTES: usize = 512 * 1024 * 1024;

/// A cache service with a bounded memory.
pub(crate) struct CacheService {
    memory: Mutex<Memory>,
    counters: Counters,
    max_message_bytes: usize,
}

impl CacheService {
    /// Creates an empty cache for at most this many bytes.
    pub(crate) fn new(max_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            memory: Mutex::new(Memory::new(max_bytes)),
            counters: Counters::default(),
            max_message_bytes: max_bytes.min(MAX_MESSAGE_BYTES),
        })
    }

    /// Binds the socket and returns the service's run, which ends only for an error.
    pub(crate) fn serve(
        self: Arc<Self>,
        socket: &Path,
    ) -> Result<impl Future<Output = String> + use<>, String> {
        let listener =
            UnixListener::bind(socket).map_err(|error| format!("binding {}: {error}", socket.display()))?;
        let router = Router::new().fallback(answer).with_state(self);
        Ok(async move {
            match axum::serve(listener, router).await {
                Ok(()) => "it stopped".to_owned(),
                Err(error) => error.to_string(),
            }
        })
    }

    /// Returns the counts of requests so far, and the present usage.
    pub(crate) fn statistics(&self) -> CacheStatistics {
        self.counters.read(vec![("memory", self.memory().usage())])
    }

    fn get(&self, key: &Key) -> Option<Found> {
        let found = self.memory().get(key, Instant::now());
        self.counters.count_lookup(found.is_some());
        found
    }

    async fn put(&self, key: Key, body: Body) -> StatusCode {
        let put = match Limited::new(body, self.max_message_bytes).collect().await {
            Ok(message) => self.put_message(key, &message.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Put::TooLarge,
            // Nothing is stored of a message that breaks off.
            Err(_) => Put::BrokenOff,
        };
        self.counters.count_put(put);
        match put {
            Put::Stored | Put::NotCacheable => StatusCode::NO_CONTENT,
            Put::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Put::Malformed | Put::BrokenOff => StatusCode::BAD_REQUEST,
        }
    }

    fn put_message(&self, key: Key, message: &Bytes) -> Put {
        let Some(response) = message::parse(message) else { return Put::Malformed };
        let Some(lifetime) = message::lifetime(&response.headers) else {
            self.memory().remove(&key);
            return Put::NotCacheable;
        };
        if self.memory().put(key, response, lifetime, Instant::now()) { Put::Stored } else { Put::TooLarge }
    }

    fn remove(&self, key: &Key) -> bool {
        let existed = self.memory().remove(key);
        self.counters.count_delete(existed);
        existed
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer(State(service): State<Arc<CacheService>>, request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let key = key(&head.headers, &head.uri);
    match head.method {
        Method::GET => found(service.get(&key)),
        Method::PUT => empty(service.put(key, body).await),
        method if method.as_str() == "PURGE" => {
            let existed = service.remove(&key);
            empty(if existed { StatusCode::OK } else { StatusCode::NOT_FOUND })
        }
        _ => empty(StatusCode::METHOD_NOT_ALLOWED),
    }
}

fn key(headers: &HeaderMap, url: &Uri) -> Key {
    let namespace = headers.get(NAMESPACE_HEADER).map_or(&[][..], HeaderValue::as_bytes);
    Key { namespace: namespace.into(), url: url.to_string().into() }
}

/// Returns the stored response, or the answer that workerd takes for a miss.
fn found(stored: Option<Found>) -> Response<Body> {
    let Some(stored) = stored else {
        let mut miss = empty(StatusCode::GATEWAY_TIMEOUT);
        miss.headers_mut().insert(STATUS_HEADER, HeaderValue::from_static("MISS"));
        return miss;
    };
    let mut response = Response::new(Body::from(stored.response.body));
    *response.status_mut() = stored.response.status;
    *response.headers_mut() = stored.response.headers;
    response.headers_mut().insert(header::AGE, stored.age.as_secs().into());
    response.headers_mut().insert(STATUS_HEADER, HeaderValue::from_static("HIT"));
    response
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
