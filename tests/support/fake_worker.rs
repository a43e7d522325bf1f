//! A fake of the worker's purge endpoint. It verifies messages as the worker does, and records
//! them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::json;
use shared_keys::purge::{
    CLOCK_WINDOW, PURGE_PATH, PurgeMessage, PurgeRecord, SIGNATURE_HEADER, Secret, SignedParts, verify,
};

/// Returns the secret that it shares with the services of the tests.
///
/// # Panics
/// Never: it is not empty.
#[must_use]
pub fn worker_secret() -> Secret {
    Secret::new("a secret of the tests alone").expect("it is long enough")
}

/// A running endpoint. Stops with the runtime of the test.
#[derive(Clone)]
pub struct FakeWorker {
    url: String,
    state: Arc<Mutex<WorkerState>>,
}

#[derive(Default)]
struct WorkerState {
    is_down: bool,
    is_silent: bool,
    calls: usize,
    accepted: Vec<PurgeRecord>,
}

impl FakeWorker {
    /// Starts an endpoint that accepts correctly signed messages.
    pub async fn start() -> Self {
        let state = Arc::new(Mutex::new(WorkerState::default()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("a bound listener has an address"));
        let app = Router::new().route(PURGE_PATH, post(answer)).with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, state }
    }

    /// Returns the base URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sets whether it answers every message with 503.
    pub fn set_down(&self, is_down: bool) {
        self.lock().is_down = is_down;
    }

    /// Sets whether it accepts messages without an answer.
    pub fn set_silent(&self, is_silent: bool) {
        self.lock().is_silent = is_silent;
    }

    /// Returns the number of messages received, accepted or not.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.lock().calls
    }

    /// Returns the accepted records in the order of their arrival.
    #[must_use]
    pub fn accepted(&self) -> Vec<PurgeRecord> {
        self.lock().accepted.clone()
    }

    fn lock(&self) -> MutexGuard<'_, WorkerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer(State(state): State<Arc<Mutex<WorkerState>>>, headers: HeaderMap, body: Bytes) -> Response {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let signature = headers.get(SIGNATURE_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let host = headers.get("host").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let parts = SignedParts { method: "POST", host, path: PURGE_PATH, body: &body };
    let checked = verify(&worker_secret(), signature, parts, now, CLOCK_WINDOW, |_| false);
    let silent = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.calls += 1;
        if state.is_down {
            return (StatusCode::SERVICE_UNAVAILABLE, "down").into_response();
        }
        let Ok(message) = checked.map_err(|_| ()).and_then(|_| PurgeMessage::parse(&body).map_err(|_| ()))
        else {
            return StatusCode::UNAUTHORIZED.into_response();
        };
        let accepted = message.records.len();
        state.accepted.extend(message.records);
        if !state.is_silent {
            return axum::Json(json!({ "accepted": accepted, "seq": state.accepted.len() })).into_response();
        }
        std::future::pending::<Response>()
    };
    silent.await
}
