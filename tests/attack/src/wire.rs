//! Runs pairs over the wire: a server of the model's origin, and a client that sends requests
//! exactly as they are spelled.

use std::io;
use std::rc::Rc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use edge_worker::rules::Rules;
use http::{Method, StatusCode};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinSet, LocalSet};

use crate::message::{Message, Reply};
use crate::oracle::{check, spaces};
use crate::pairs::{Pair, Pairs, in_space};
use crate::{Outcome, origin, rules};

/// The connections that send pairs at the same time.
const CONNECTIONS: u64 = 8;
/// The pairs whose attackers send before their victims do: a response is stored after its client is
/// answered.
const BATCH: usize = 16;
const MAX_BODY_BYTES: usize = 1 << 20;

/// Serves the model's origin until it is dropped.
///
/// # Errors
/// If the port is taken.
pub async fn serve_origin(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    axum::serve(listener, Router::new().fallback(answer)).await
}

async fn answer(request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, MAX_BODY_BYTES).await.unwrap_or_else(|_| Bytes::new());
    let reply = origin::answer(&Message {
        method: head.method,
        target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: head.headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    });
    let mut response = reply.body.into_response();
    *response.status_mut() = reply.status;
    response.headers_mut().remove("content-type");
    response.headers_mut().extend(reply.headers);
    response
}

/// Runs the first `count` pairs of a seed against the worker at `host`, with [`RULES`](crate::RULES)
/// and the model's origin behind it.
///
/// # Errors
/// If the worker does not answer, or its answer is not HTTP.
pub async fn run(host: &str, seed: u64, count: u64) -> io::Result<Outcome> {
    // The rules belong to one thread, as in an isolate.
    LocalSet::new().run_until(run_shares(host, seed, count)).await
}

async fn run_shares(host: &str, seed: u64, count: u64) -> io::Result<Outcome> {
    let (rules, host) = (Rc::new(rules()), Rc::<str>::from(host));
    let mut connections = JoinSet::new();
    for connection in 0..CONNECTIONS {
        // Every connection draws all pairs and sends its share, so that a pair is the same for any
        // number of connections.
        let numbered = (0..count).zip(Pairs::new(seed));
        let own = numbered.filter(move |(number, _)| number % CONNECTIONS == connection);
        connections.spawn_local(run_share(Rc::clone(&rules), Rc::clone(&host), own));
    }
    let mut all = Outcome::default();
    while let Some(share) = connections.join_next().await {
        let share = share.map_err(io::Error::other)??;
        all.hits += share.hits;
        all.differences.extend(share.differences);
    }
    Ok(all)
}

async fn run_share(
    rules: Rc<Rules>,
    host: Rc<str>,
    mut pairs: impl Iterator<Item = (u64, Pair)> + 'static,
) -> io::Result<Outcome> {
    let mut client = Client::new(&host);
    let mut outcome = Outcome::default();
    loop {
        let batch: Vec<(u64, Pair)> = pairs.by_ref().take(BATCH).collect();
        if batch.is_empty() {
            return Ok(outcome);
        }
        for (number, pair) in &batch {
            for request in &pair.attack {
                client.send(&in_space(request, &spaces(*number)[0])).await?;
            }
        }
        for (number, pair) in &batch {
            let [used, unused] = spaces(*number);
            let seen = client.send(&in_space(&pair.victim, &used)).await?;
            let status = seen.headers.get("cache-status").and_then(|status| status.to_str().ok());
            outcome.hits += u64::from(status.is_some_and(|status| status.contains("; hit")));
            let alone = client.send(&in_space(&pair.victim, &unused)).await?;
            outcome.differences.extend(check(&rules, &host, *number, pair, seen, alone).err());
        }
    }
}

/// A client with one connection, which it opens again when the worker closes it.
struct Client {
    host: String,
    connection: Option<BufReader<TcpStream>>,
}

impl Client {
    fn new(host: &str) -> Self {
        Self { host: host.to_owned(), connection: None }
    }

    /// Sends a request and returns the final response. A request on a connection that the worker
    /// has closed meanwhile is sent once more.
    async fn send(&mut self, request: &Message) -> io::Result<Reply> {
        if self.connection.is_some()
            && let Ok(reply) = self.try_send(request).await
        {
            return Ok(reply);
        }
        self.connection = Some(BufReader::new(TcpStream::connect(&self.host).await?));
        self.try_send(request).await.map_err(|error| io::Error::other(format!("{request:?}: {error}")))
    }

    async fn try_send(&mut self, request: &Message) -> io::Result<Reply> {
        let mut connection = self.connection.take().ok_or(io::ErrorKind::NotConnected)?;
        connection.get_mut().write_all(&written(&self.host, request)).await?;
        loop {
            let (reply, closes) = read(&mut connection, &request.method).await?;
            if !reply.status.is_informational() {
                self.connection = (!closes).then_some(connection);
                return Ok(reply);
            }
        }
    }
}

fn written(host: &str, request: &Message) -> Vec<u8> {
    let mut text = format!("{} {} HTTP/1.1\r\nhost: {host}\r\n", request.method, request.target).into_bytes();
    for (name, value) in &request.headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            text.extend_from_slice(part);
        }
    }
    if !request.body.is_empty() {
        text.extend_from_slice(format!("content-length: {}\r\n", request.body.len()).as_bytes());
    }
    text.extend_from_slice(b"\r\n");
    text.extend_from_slice(request.body.as_bytes());
    text
}

/// Reads a response, and whether the connection ends with it.
async fn read(connection: &mut BufReader<TcpStream>, method: &Method) -> io::Result<(Reply, bool)> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "expected an HTTP response");
    let head = line(connection).await?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(invalid)?;
    let mut message = Message::get("");
    loop {
        let line = line(connection).await?;
        match line.split_once(':') {
            Some((name, value)) => message.append(name, value.trim()),
            None if line.is_empty() => break,
            None => return Err(invalid()),
        }
    }
    let headers = message.headers;
    let status = StatusCode::from_u16(status).map_err(|_| invalid())?;
    let field = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let has_body =
        *method != Method::HEAD && !status.is_informational() && !matches!(status.as_u16(), 204 | 304);
    let mut body = Vec::new();
    if has_body && field("transfer-encoding").is_some() {
        loop {
            let length = usize::from_str_radix(&line(connection).await?, 16).map_err(|_| invalid())?;
            let start = body.len();
            body.resize(start + length, 0);
            connection.read_exact(&mut body[start..]).await?;
            line(connection).await?;
            if length == 0 {
                break;
            }
        }
    } else if has_body {
        let length = field("content-length").and_then(|length| length.parse().ok()).ok_or_else(invalid)?;
        body.resize(length, 0);
        connection.read_exact(&mut body).await?;
    }
    let closes = field("connection").is_some_and(|connection| connection.contains("close"));
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok((Reply { status, headers, body }, closes))
}

async fn line(connection: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    if connection.read_line(&mut line).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
