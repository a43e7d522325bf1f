//! A service of three processes behind a balancer that can hold a response on its way to the edge.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Path;
use axum::http::{HeaderMap, Request, Response, header};
use axum::response::AppendHeaders;
use axum::routing::{MethodRouter, get};
use origin_sdk::http::CacheLayer;
use origin_sdk::{Cache, Lifetime, Namespace, Position};
use strata_tests::{Database, Item};
use tokio::sync::Semaphore;
use tower::ServiceExt;

/// One process: its cache, and the routes that read through it.
#[derive(Clone)]
pub(crate) struct Process {
    pub(crate) cache: Cache,
    app: Router,
    items: Namespace<Item, u64>,
    database: Database,
}

impl Process {
    pub(crate) fn new(cache: Cache, database: Database) -> Self {
        let items = cache.namespace(Lifetime::fresh(Duration::from_secs(86_400))).build();
        let reads = |lifetime| reads(&items, &database, lifetime);
        let app = Router::new()
            .route("/items/{id}", reads(None))
            .route("/refreshed/{id}", reads(Some("max-age=1, stale-while-revalidate=86400")))
            .route("/validated/{id}", reads(Some("max-age=1, stale-if-error=86400")))
            .layer(CacheLayer::new(&cache).vary([header::ACCEPT_LANGUAGE]));
        Self { cache, app, items, database }
    }

    /// What a `PUT` does: writes the next version of the row, and invalidates it. Where its record stands comes back.
    pub(crate) async fn put(&self, id: u64) -> Position {
        self.database.bump(id);
        self.items.invalidate(&Item { id }).await.position.expect("Redis is there")
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let Ok(response) = self.app.clone().oneshot(request).await;
        response
    }
}

/// A handler that shows the row's version and the language that it was asked for in, with a lifetime of its own at the edge or
/// the row's.
fn reads(items: &Namespace<Item, u64>, database: &Database, lifetime: Option<&'static str>) -> MethodRouter {
    let (items, database) = (items.clone(), database.clone());
    get(move |Path(id): Path<u64>, headers: HeaderMap| {
        let (items, database) = (items.clone(), database.clone());
        async move {
            let hit = items.get_or_load(&Item { id }, database.loader(id)).await;
            let language = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or("-");
            let version = hit.map_or_else(|error| error.to_string(), |hit| hit.value.to_string());
            let lifetime = lifetime.map(|lifetime| [("cdn-cache-control", lifetime)]);
            (lifetime.map(AppendHeaders), format!("{version} {language}"))
        }
    })
}

/// A response on its way.
pub(crate) struct Held {
    built: Semaphore,
    may_go: Semaphore,
}

impl Held {
    /// Comes back once the response is built, whole and with its position.
    pub(crate) async fn built(&self) {
        self.built.acquire().await.expect("it is never closed").forget();
    }

    /// Lets it go on its way.
    pub(crate) fn release(&self) {
        self.may_go.add_permits(1);
    }
}

/// Who answers the edge: the processes in turn, unless a path has one of its own.
pub(crate) struct Balancer {
    processes: Vec<Process>,
    turn: AtomicUsize,
    rules: Mutex<Rules>,
}

#[derive(Default)]
struct Rules {
    process: HashMap<String, usize>,
    hold: HashMap<String, Arc<Held>>,
    requests: HashMap<String, usize>,
}

impl Balancer {
    /// Listens; its base URL comes back.
    pub(crate) async fn start(processes: Vec<Process>) -> (Arc<Self>, String) {
        let balancer = Arc::new(Self { processes, turn: AtomicUsize::new(0), rules: Mutex::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("a bound listener has an address"));
        let answering = Arc::clone(&balancer);
        let app = Router::new().fallback(move |request| Arc::clone(&answering).answer(request));
        tokio::spawn(async move { axum::serve(listener, app).await });
        (balancer, url)
    }

    /// From now on this process answers requests for `path`.
    pub(crate) fn route(&self, path: &str, process: usize) {
        self.rules().process.insert(path.to_owned(), process);
    }

    /// The answer to the next request for `path` is held once it is built.
    pub(crate) fn hold_next(&self, path: &str) -> Arc<Held> {
        let held = Arc::new(Held { built: Semaphore::new(0), may_go: Semaphore::new(0) });
        self.rules().hold.insert(path.to_owned(), Arc::clone(&held));
        held
    }

    /// How many requests for `path` have come through the edge.
    pub(crate) fn requests(&self, path: &str) -> usize {
        self.rules().requests.get(path).copied().unwrap_or_default()
    }

    async fn answer(self: Arc<Self>, request: Request<Body>) -> Result<Response<Body>, Infallible> {
        let path = request.uri().path().to_owned();
        let (process, held) = {
            let mut rules = self.rules();
            *rules.requests.entry(path.clone()).or_default() += 1;
            let turn = || self.turn.fetch_add(1, Ordering::SeqCst) % self.processes.len();
            (rules.process.get(&path).copied().unwrap_or_else(turn), rules.hold.remove(&path))
        };
        let (parts, body) = self.processes[process].answer(request).await.into_parts();
        let body = to_bytes(body, usize::MAX).await.expect("the body is in memory");
        if let Some(held) = held {
            held.built.add_permits(1);
            held.may_go.acquire().await.expect("it is never closed").forget();
        }
        Ok(Response::from_parts(parts, Body::from(body)))
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
