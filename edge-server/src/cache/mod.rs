//! The cache service behind workerd's Cache API: what a data centre's cache is on the platform.
//!
//! workerd sends `GET` for `match`, `PUT` for `put`, with a response message as the body, and
//! `PURGE` for `delete`. As on the platform, the service obeys the lifetime that a response states,
//! ignores `Vary`, and stores nothing of a body that breaks off.

mod disk;
mod memory;
mod message;
mod statistics;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

pub(crate) use self::disk::CacheFolder;
use self::disk::Disk;
use self::memory::{Found, Key, Memory};
pub(crate) use self::statistics::{CacheStatistics, DiskStatistics, Usage};
use self::statistics::{Counters, Put};
use crate::serving::serve_at;

/// The name that a cache was opened with; absent for the default cache.
const NAMESPACE_HEADER: HeaderName = HeaderName::from_static("cf-cache-namespace");
/// Tells workerd whether a `match` found a response.
const STATUS_HEADER: HeaderName = HeaderName::from_static("cf-cache-status");
/// The largest message that is stored, in bytes: the platform's limit.
const MAX_MESSAGE_BYTES: usize = 512 * 1024 * 1024;

/// The longest lifetime of responses that are stored in memory where there is a disk. They are
/// leases and copies of the journal, which a restart may end.
const SHORT_LIFETIME: Duration = Duration::from_secs(60);

/// A cache service with a bounded memory, and perhaps a bounded disk.
///
/// With a disk, memory holds the responses with a short lifetime, and those that are stored while
/// the disk is scanned.
pub(crate) struct CacheService {
    memory: Mutex<Memory>,
    disk: Option<Arc<Disk>>,
    counters: Counters,
    max_message_bytes: usize,
}

impl CacheService {
    /// Creates a cache for at most this many bytes in memory.
    pub(crate) fn new(max_memory_bytes: usize, disk: Option<Arc<Disk>>) -> Arc<Self> {
        let most = if disk.is_some() { usize::MAX } else { max_memory_bytes };
        Arc::new(Self {
            memory: Mutex::new(Memory::new(max_memory_bytes)),
            disk,
            counters: Counters::default(),
            max_message_bytes: most.min(MAX_MESSAGE_BYTES),
        })
    }

    /// Binds the socket and returns the service's run, which ends only for an error.
    pub(crate) fn serve(
        self: Arc<Self>,
        socket: &Path,
    ) -> Result<impl Future<Output = String> + use<>, String> {
        serve_at(socket, Router::new().fallback(answer).with_state(self))
    }

    /// Returns the counts of requests so far, and the present usage.
    pub(crate) fn statistics(&self) -> CacheStatistics {
        let mut tiers = vec![("memory", self.memory().usage())];
        tiers.extend(self.disk.iter().map(|disk| ("disk", disk.usage())));
        let disk = self.disk.as_ref().map(|disk| DiskStatistics {
            is_scanning: !disk.is_complete(),
            invalid_files: disk.invalid_files(),
        });
        self.counters.read(tiers, disk)
    }

    async fn get(&self, key: Key) -> Option<Found> {
        let in_memory = self.memory().get(&key, Instant::now());
        let found = match (in_memory, &self.disk) {
            (None, Some(disk)) => {
                on_disk(disk, move |disk| disk.get(&key, SystemTime::now())).await.flatten()
            }
            (found, _) => found,
        };
        self.counters.count_lookup(found.is_some());
        found
    }

    async fn put(&self, key: Key, body: Body) -> StatusCode {
        let put = match Limited::new(body, self.max_message_bytes).collect().await {
            Ok(message) => self.put_message(key, message.to_bytes()).await,
            Err(error) if error.is::<LengthLimitError>() => Put::TooLarge,
            // Nothing is stored of a message that breaks off.
            Err(_) => Put::BrokenOff,
        };
        self.counters.count_put(put);
        match put {
            // A put promises nothing, so a failure of the disk is no failure of the worker.
            Put::Stored | Put::NotCacheable | Put::Failed => StatusCode::NO_CONTENT,
            Put::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Put::Malformed | Put::BrokenOff => StatusCode::BAD_REQUEST,
        }
    }

    async fn put_message(&self, key: Key, message: Bytes) -> Put {
        let Some(response) = message::parse(&message) else { return Put::Malformed };
        let Some(lifetime) = message::lifetime(&response.headers) else {
            self.remove(key).await;
            return Put::NotCacheable;
        };
        match &self.disk {
            Some(disk) if lifetime > SHORT_LIFETIME && disk.is_complete() => {
                self.memory().remove(&key);
                let put = on_disk(disk, move |disk| disk.put(&key, &message, lifetime, SystemTime::now()));
                put.await.unwrap_or(Put::Failed)
            }
            _ => {
                self.remove_on_disk(key.clone()).await;
                let is_stored = self.memory().put(key, response, lifetime, Instant::now());
                if is_stored { Put::Stored } else { Put::TooLarge }
            }
        }
    }

    async fn remove(&self, key: Key) -> bool {
        let in_memory = self.memory().remove(&key);
        self.remove_on_disk(key).await || in_memory
    }

    async fn remove_on_disk(&self, key: Key) -> bool {
        let Some(disk) = &self.disk else { return false };
        on_disk(disk, move |disk| disk.remove(&key)).await == Some(true)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs work that blocks. Returns `None` if it panics.
async fn on_disk<T: Send + 'static>(
    disk: &Arc<Disk>,
    work: impl FnOnce(&Disk) -> T + Send + 'static,
) -> Option<T> {
    let disk = Arc::clone(disk);
    tokio::task::spawn_blocking(move || work(&disk)).await.ok()
}

async fn answer(State(service): State<Arc<CacheService>>, request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let key = key(&head.headers, &head.uri);
    match head.method {
        Method::GET => found(service.get(key).await),
        Method::PUT => empty(service.put(key, body).await),
        method if method.as_str() == "PURGE" => {
            let existed = service.remove(key).await;
            service.counters.count_delete(existed);
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
