//! Logs one JSON line per request to stdout: the request, the layer that answered, and the time.
//! Opens the span of the request.

use std::io::Write;
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use serde_json::json;
use tracing::field::Empty;
use tracing::{Instrument, Span};

/// Logs a request and its response. This middleware wraps the cache's layer, because it reads that
/// layer's `Cache-Status`.
pub(crate) async fn log(request: Request, next: Next) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let started = Instant::now();
    let span = span(&request);
    let response = next.run(request).instrument(span.clone()).await;
    span.record("http.response.status_code", response.status().as_u16());
    let line = json!({
        "method": method.as_str(),
        "path": uri.path_and_query().map_or(uri.path(), |path| path.as_str()),
        "status": response.status().as_u16(),
        "layer": layer(&response),
        "ms": started.elapsed().as_micros() as f64 / 1_000.0,
    });
    // A closed pipe must not fail the request.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
    response
}

/// Returns the span of a request, with the names of OpenTelemetry. The path itself may name a user,
/// so the span has the route only.
fn span(request: &Request) -> Span {
    let (method, route) = (request.method(), request.extensions().get::<MatchedPath>());
    let route = route.map_or("unknown", MatchedPath::as_str);
    tracing::info_span!(
        "request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        http.request.method = %method,
        http.route = route,
        http.response.status_code = Empty
    )
}

/// Returns the layer that answered: `memory`, `redis` or `loader`, or `none` without a cached read.
fn layer(response: &Response) -> &str {
    let status = response.headers().get("cache-status").and_then(|value| value.to_str().ok());
    // RFC 9211, section 2, for example `strata-origin; hit; detail=memory`.
    status
        .and_then(|status| status.split(';').find_map(|part| part.trim().strip_prefix("detail=")))
        .unwrap_or("none")
}
