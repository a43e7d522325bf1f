//! A service of three processes behind a load balancer that can hold a response back from the edge.

use std::collections::HashMap;
use std::convert::Infallible;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Request, Response, header};
use origin_sdk::Position;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;

/// One process of the service (`origin.rs`). Killed when dropped.
pub(crate) struct Process {
    _child: Child,
    url: String,
    client: reqwest::Client,
}

impl Process {
    /// Starts a process. It ships to the edge if a URL is given.
    pub(crate) async fn start(redis: &str, source: &str, edge: Option<&str>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_g7-origin"));
        command.args([redis, source]).args(edge).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("the process starts");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let address = lines.next_line().await.expect("it prints text").expect("it prints its address");
        let client = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
        Self { _child: child, url: format!("http://{address}"), client }
    }

    /// Writes the next version of a row and invalidates it. Returns the position of its record.
    pub(crate) async fn put(&self, id: u64) -> Position {
        let answer =
            self.client.put(format!("{}/rows/{id}", self.url)).send().await.expect("the process answers");
        answer.text().await.expect("the body arrives").parse().expect("a position")
    }

    /// Returns the last position that the edge has confirmed to the fleet.
    pub(crate) async fn shipped(&self) -> Option<Position> {
        let answer =
            self.client.get(format!("{}/shipped", self.url)).send().await.expect("the process answers");
        answer.text().await.expect("the body arrives").parse().ok()
    }

    async fn answer(&self, request: Request<Body>) -> Response<Bytes> {
        let (mut parts, body) = request.into_parts();
        parts.headers.remove(header::HOST);
        let body = to_bytes(body, usize::MAX).await.expect("the body arrives");
        let target = format!("{}{}", self.url, parts.uri);
        let asked = self.client.request(parts.method, target).headers(parts.headers).body(body).send().await;
        let mut answer = asked.expect("the process answers");
        let (status, headers) = (answer.status(), std::mem::take(answer.headers_mut()));
        let mut response = Response::new(answer.bytes().await.expect("the body arrives"));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}

/// A response that the balancer holds back.
pub(crate) struct Held {
    built: Semaphore,
    may_go: Semaphore,
}

impl Held {
    /// Waits until the response is built, whole and with its position.
    pub(crate) async fn built(&self) {
        self.built.acquire().await.expect("it is never closed").forget();
    }

    /// Releases the response.
    pub(crate) fn release(&self) {
        self.may_go.add_permits(1);
    }
}

/// The load balancer: the processes in turn, unless a path is routed to one of them.
pub(crate) struct Balancer {
    processes: Arc<Vec<Process>>,
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
    /// Starts the balancer, and returns its base URL.
    pub(crate) async fn start(processes: Arc<Vec<Process>>) -> (Arc<Self>, String) {
        let balancer = Arc::new(Self { processes, turn: AtomicUsize::new(0), rules: Mutex::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("a bound listener has an address"));
        let answering = Arc::clone(&balancer);
        let app = Router::new().fallback(move |request| Arc::clone(&answering).answer(request));
        tokio::spawn(async move { axum::serve(listener, app).await });
        (balancer, url)
    }

    /// Routes requests for `path` to this process from now on.
    pub(crate) fn route(&self, path: &str, process: usize) {
        self.rules().process.insert(path.to_owned(), process);
    }

    /// Holds the answer to the next request for `path` once it is built.
    pub(crate) fn hold_next(&self, path: &str) -> Arc<Held> {
        let held = Arc::new(Held { built: Semaphore::new(0), may_go: Semaphore::new(0) });
        self.rules().hold.insert(path.to_owned(), Arc::clone(&held));
        held
    }

    /// Returns how many requests for `path` the edge has forwarded.
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
        let response = self.processes[process].answer(request).await;
        if let Some(held) = held {
            held.built.add_permits(1);
            held.may_go.acquire().await.expect("it is never closed").forget();
        }
        Ok(response.map(Body::from))
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
