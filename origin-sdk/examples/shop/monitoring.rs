//! The routes that an orchestrator and Prometheus read. They are neither cached nor logged.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use origin_sdk::{Cache, CacheHealth};

/// The upper bounds of the buckets of durations, in seconds.
const BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];

/// Installs the recorder of the `metrics` facade. Call it once, before the routes are called.
pub(crate) fn recorder() -> Result<PrometheusHandle, BuildError> {
    let durations = Matcher::Suffix("_seconds".to_owned());
    PrometheusBuilder::new().set_buckets_for_metric(durations, &BUCKETS)?.install_recorder()
}

/// Returns the routes `/health/live`, `/health/ready` and `/metrics`.
pub(crate) fn routes(cache: &Cache, prometheus: PrometheusHandle) -> Router {
    let check = |is_ok: fn(&CacheHealth) -> bool| {
        let cache = cache.clone();
        get(async move || answer(&cache.health(), is_ok))
    };
    let cache = cache.clone();
    let metrics = async move || {
        cache.record_metrics();
        prometheus.run_upkeep();
        prometheus.render()
    };
    Router::new()
        .route("/health/live", check(CacheHealth::is_live))
        .route("/health/ready", check(CacheHealth::is_ready))
        .route("/metrics", get(metrics))
}

/// Answers a check with the state of the cache, for people, and the status, for machines.
fn answer(health: &CacheHealth, is_ok: fn(&CacheHealth) -> bool) -> Response {
    let status = if is_ok(health) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(health)).into_response()
}
