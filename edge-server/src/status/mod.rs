//! The address for operators: health and metrics.

mod health;
mod metrics;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::cache::CacheService;
use crate::serving::serve;
use crate::settings::Probes;
use crate::supervisor::ProcessState;

/// The parts of the server that health and metrics describe.
pub(crate) struct Status {
    pub(crate) started: Instant,
    /// The addresses of the isolates.
    pub(crate) listen: Vec<String>,
    pub(crate) probes: Probes,
    pub(crate) process: Arc<ProcessState>,
    /// The cache service of each data centre.
    pub(crate) caches: Vec<Arc<CacheService>>,
}

impl Status {
    /// Binds the address and returns the server's run, which ends only for an error.
    pub(crate) async fn serve(self, address: &str) -> Result<impl Future<Output = String> + use<>, String> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| format!("binding --status {address}: {error}"))?;
        let router = Router::new()
            .route("/health", get(health))
            .route("/health/live", get(async || "live\n"))
            .route("/metrics", get(metrics))
            .with_state(Arc::new(self));
        Ok(serve(listener, router))
    }
}

async fn health(State(status): State<Arc<Status>>) -> Response {
    let health = health::check(&status).await;
    let code = if health.is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, [(header::CONTENT_TYPE, "application/json")], format!("{}\n", health.json())).into_response()
}

async fn metrics(State(status): State<Arc<Status>>) -> Response {
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::render(&status)).into_response()
}
