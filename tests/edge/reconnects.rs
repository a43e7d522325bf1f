//! Connections to the origin that break before a response (RFC 9110 section 9.2.2).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::Method;
use strata_tests::{Edge, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::{Reply, Stack};

/// An origin that answers one request per connection, and closes the connection at the next
/// request. For paths below `/always` it closes it at the first, and for paths below `/later` at
/// the first after an answer.
struct Origin {
    url: String,
    /// The requests by method and target, whether they were answered or not.
    requests: Arc<Mutex<HashMap<String, usize>>>,
}

impl Origin {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(HashMap::new()));
        let counts = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection, Arc::clone(&counts)));
            }
        });
        Self { url, requests }
    }

    /// Returns how often a request, such as "GET /", has arrived.
    fn requests(&self, request: &str) -> usize {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.get(&request.to_ascii_lowercase()).copied().unwrap_or_default()
    }
}

async fn serve(mut connection: TcpStream, counts: Arc<Mutex<HashMap<String, usize>>>) {
    for is_first in [true, false] {
        let Some(head) = read_request(&mut connection).await else { return };
        let request: Vec<&str> = head.split(' ').take(2).collect();
        let number = {
            let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(request.join(" ")).or_insert(0);
            *count += 1;
            *count
        };
        let breaks = |path: &str, answers: usize| request[1].starts_with(path) && number > answers;
        if !is_first || breaks("/always", 0) || breaks("/later", 1) {
            return;
        }
        let answer = "HTTP/1.1 200 OK\r\nCache-Control: max-age=1, stale-if-error=600\r\n\
            Content-Length: 3\r\n\r\n";
        let body = if request[0] == "head" { "" } else { "new" };
        let _ = connection.write_all(format!("{answer}{body}").as_bytes()).await;
    }
}

/// Reads the next request, and returns its head; `None` at the end of the connection.
async fn read_request(connection: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?.to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    let length = length.map_or(Some(0), |length| length.parse().ok())?;
    connection.read_exact(&mut vec![0; length]).await.ok()?;
    Some(head)
}

/// Returns the safe methods, with the content of a request.
fn methods() -> [(Method, &'static str); 4] {
    let query = Method::from_bytes(b"QUERY").unwrap();
    [(Method::GET, ""), (Method::HEAD, ""), (Method::OPTIONS, ""), (query, "a question")]
}

async fn send(edge: &Edge, method: &Method, path: &str, content: &'static str) -> Reply {
    let request = edge.request(method.clone(), path);
    let request = match content {
        "" => request,
        content => request.header("content-type", "text/plain").body(content),
    };
    Reply::read(request.send().await.unwrap()).await
}

/// Runs all cases with one worker, because a worker takes a while to start.
pub(crate) async fn a_safe_request_is_repeated_once_if_its_connection_breaks(_: &Stack) {
    let origin = Origin::start().await;
    let edge = Edge::start_with(&origin.url, &[]).await;
    a_reused_connection_costs_no_client_an_error(&origin, &edge).await;
    an_origin_that_always_breaks_is_asked_twice_at_most(&origin, &edge).await;
    a_stale_response_is_served_after_the_second_failure(&origin, &edge).await;
    an_unsafe_request_is_not_repeated(&origin, &edge).await;
}

async fn a_reused_connection_costs_no_client_an_error(origin: &Origin, edge: &Edge) {
    for number in 0..6 {
        for (method, content) in methods() {
            let path = format!("/reused/{method}/{number}");
            let reply = send(edge, &method, &path, content).await;
            assert_eq!(reply.status, 200, "{path}: {}", reply.edge_status());
            let times = origin.requests(&format!("{method} {path}"));
            assert!((1..=2).contains(&times), "{path}: {times}");
        }
    }
}

async fn an_origin_that_always_breaks_is_asked_twice_at_most(origin: &Origin, edge: &Edge) {
    for (method, content) in methods() {
        let path = format!("/always/{method}");
        let reply = send(edge, &method, &path, content).await;
        assert_eq!(reply.status, 504, "{path}: {}", reply.edge_status());
        assert!(reply.edge_status().contains("origin-unreachable"), "{}", reply.edge_status());
        let times = origin.requests(&format!("{method} {path}"));
        assert!((1..=2).contains(&times), "{path}: {times}");
    }
}

async fn a_stale_response_is_served_after_the_second_failure(origin: &Origin, edge: &Edge) {
    let path = "/later/stale";
    eventually("it is stale", async || {
        let reply = Reply::read(edge.get(path).await).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "new"));
        reply.edge_status().contains("stale-if-error")
    })
    .await;
    let times = origin.requests(&format!("GET {path}"));
    assert!((2..=3).contains(&times), "one answer, and one or two failures: {times}");
}

async fn an_unsafe_request_is_not_repeated(origin: &Origin, edge: &Edge) {
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
        let path = format!("/always/{method}");
        let reply = send(edge, &method, &path, "x").await;
        assert_eq!(reply.status, 504, "{path}: {}", reply.edge_status());
        assert_eq!(origin.requests(&format!("{method} {path}")), 1, "{path}");
    }
    assert_eq!(send(edge, &Method::GET, "/always/body", "x").await.status, 504);
    assert_eq!(origin.requests("GET /always/body"), 1, "its body was read once");
}
