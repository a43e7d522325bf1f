//! Logs one JSON line per request to stdout: the request, the layer that answered, and the time.

use std::io::Write;
use std::time::Instant;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use serde_json::json;

/// Logs a request and its response. This middleware wraps the cache's layer, because it reads that
/// layer's `Cache-Status`.
pub(crate) async fn log(request: Request, next: Next) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let started = Instant::now();
    let response = next.run(request).await;
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

/// Returns the layer that answered: `memory`, `redis` or `loader`, or `none` without a cached read.
fn layer(response: &Response) -> &str {
    let status = response.headers().get("cache-status").and_then(|value| value.to_str().ok());
    // RFC 9211, section 2, for example `strata-origin; hit; detail=memory`.
    status
        .and_then(|status| status.split(';').find_map(|part| part.trim().strip_prefix("detail=")))
        .unwrap_or("none")
}
