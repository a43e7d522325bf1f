//! Requests to workerd over its own sockets, which show whether it answers.

use std::path::Path;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use crate::settings::Probes;

/// The time that an answer may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The most bytes of an answer.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The state of an isolate that answers.
#[derive(Debug, PartialEq)]
pub(crate) enum IsolateState {
    Healthy,
    /// It serves requests, but some of its configuration is invalid.
    Faulty,
}

/// Calls an isolate's health endpoint.
///
/// # Errors
/// If it does not answer, or refuses requests because of its configuration.
pub(crate) async fn isolate(socket: &Path) -> Result<IsolateState, String> {
    match get(socket, "/__strata/health").await? {
        (StatusCode::OK, body) => {
            let health: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            let is_faulty = health.get("ok") == Some(&serde_json::Value::Bool(false));
            Ok(if is_faulty { IsolateState::Faulty } else { IsolateState::Healthy })
        }
        (status, _) => Err(unexpected(status)),
    }
}

/// Calls the journal object.
///
/// # Errors
/// If it does not answer, or fails.
pub(crate) async fn journal(socket: &Path) -> Result<(), String> {
    match get(socket, "/").await?.0 {
        StatusCode::OK => Ok(()),
        status => Err(unexpected(status)),
    }
}

/// Waits until each isolate answers a request, whatever the answer is.
pub(crate) async fn isolates_answer(probes: &Probes) {
    for socket in &probes.isolates {
        while get(socket, "/__strata/health").await.is_err() {
            sleep(POLL_INTERVAL).await;
        }
    }
}

fn unexpected(status: StatusCode) -> String {
    format!("expected status 200, got {status}: see the log")
}

/// Sends a `GET` and returns the status and the body.
async fn get(socket: &Path, path: &str) -> Result<(StatusCode, Bytes), String> {
    match timeout(TIMEOUT, exchange(socket, path)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {} s", TIMEOUT.as_secs())),
    }
}

async fn exchange(socket: &Path, path: &str) -> Result<(StatusCode, Bytes), String> {
    let stream = UnixStream::connect(socket).await.map_err(|error| error.to_string())?;
    let connected = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = connected.map_err(|error| error.to_string())?;
    let answer = async {
        let request = Request::get(path).header(header::HOST, "localhost").body(Body::empty());
        let request = request.map_err(|error| error.to_string())?;
        let (head, body) =
            sender.send_request(request).await.map_err(|error| error.to_string())?.into_parts();
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await.map_err(|error| error.to_string())?;
        Ok((head.status, body.to_bytes()))
    };
    tokio::select! {
        answer = answer => answer,
        Err(error) = connection => Err(error.to_string()),
    }
}
