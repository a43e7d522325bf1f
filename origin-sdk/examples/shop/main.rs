//! An example service: a small shop that reads everything through the cache. README.md in this
//! folder describes the files.

mod data;
mod database;
mod error;
mod extract;
mod flags;
mod keys;
mod monitoring;
mod products;
mod request_log;
#[cfg(test)]
mod tests;
#[cfg(feature = "otlp")]
mod traces;
mod users;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use axum::routing::get;
use axum::{Json, Router, middleware};
use clap::Parser;
use origin_sdk::http::CacheLayer;
use origin_sdk::{BoxError, Cache, QueueFile, Secret};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::data::Sizes;
use crate::database::Database;

/// An example service: a shop on SQLite behind Strata's origin layers.
#[derive(Parser)]
struct Arguments {
    /// Port on 127.0.0.1 to listen on; 0 picks a free one.
    #[arg(long, default_value_t = 4001)]
    port: u16,
    /// Redis to share with the other processes, such as redis://127.0.0.1:6379. Without it this
    /// process uses an embedded store.
    #[arg(long)]
    redis: Option<String>,
    /// Worker to send purges to, such as http://127.0.0.1:8787. The secret is read from the
    /// environment.
    #[arg(long)]
    edge: Option<String>,
    /// Environment variable that holds the secret that purges are signed with.
    #[arg(long, default_value = "STRATA_PURGE_SECRET")]
    edge_secret_env: String,
    /// Database file; created if it does not exist. [default: strata-shop.db in the folder for
    /// temporary files]
    #[arg(long)]
    database: Option<PathBuf>,
    /// File that keeps invalidations which Redis cannot take yet, beyond the end of the process.
    /// Each process needs a file of its own. Without it they are in memory only.
    #[arg(long)]
    queue: Option<PathBuf>,
    /// Bypass the cache: answer every read from the database.
    #[arg(long)]
    bypass: bool,
    /// Name of this process in /debug/stats.
    #[arg(long, default_value = "shop")]
    name: String,
    /// Create the database file if it does not exist, and exit.
    #[arg(long)]
    prepare: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    // Standard output is reserved for the request log.
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let log = log.with_ansi(std::io::stderr().is_terminal()).with_filter(log_filter());
    let subscriber = tracing_subscriber::registry().with(log);
    #[cfg(not(feature = "otlp"))]
    subscriber.init();
    // Sends the last traces when it is dropped.
    #[cfg(feature = "otlp")]
    let _traces = match traces::layer() {
        Ok((layer, traces)) => {
            subscriber.with(layer).init();
            traces
        }
        Err(error) => {
            eprintln!("shop: OTEL_EXPORTER_OTLP_ENDPOINT: {error}");
            return ExitCode::FAILURE;
        }
    };
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let causes = std::iter::successors(error.source(), |cause| cause.source());
            eprintln!("shop: {error}{}", causes.map(|cause| format!(": {cause}")).collect::<String>());
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), BoxError> {
    let path = arguments.database.clone().unwrap_or_else(|| std::env::temp_dir().join("strata-shop.db"));
    data::prepare(&path, Sizes::SHOP).map_err(|error| format!("database {}: {error}", path.display()))?;
    if arguments.prepare {
        return Ok(());
    }
    let database = Database::new(path);
    let cache = cache(&arguments).await?;

    let port = arguments.port;
    let listener =
        TcpListener::bind(("127.0.0.1", port)).await.map_err(|error| format!("port {port}: {error}"))?;
    writeln!(std::io::stdout(), "listening on http://{}", listener.local_addr()?)?;
    let service = api(&cache, &database)
        .layer(middleware::from_fn(request_log::log))
        .merge(monitoring::routes(&cache, monitoring::recorder()?))
        .merge(debug(arguments.name, cache.clone(), database));
    axum::serve(listener, service).with_graceful_shutdown(stop_signal()?).await?;
    // Invalidations that Redis could not take yet would be lost with this process.
    let report = cache.close().await;
    if report.is_complete() {
        Ok(())
    } else {
        Err(format!("the cache could not be closed in order: {report}").into())
    }
}

async fn cache(arguments: &Arguments) -> Result<Cache, BoxError> {
    let mut builder = Cache::builder("shop").bypass(arguments.bypass);
    if let Some(url) = &arguments.redis {
        builder = builder.redis(url);
    }
    if let Some(path) = &arguments.queue {
        builder = builder.durable_queue(QueueFile::open(path)?);
    }
    if let Some(url) = &arguments.edge {
        let variable = &arguments.edge_secret_env;
        let secret = std::env::var(variable).ok().and_then(|secret| Secret::new(secret).ok());
        let missing = || {
            format!(
                "--edge: expected the worker's purge secret in {variable}, got none or one of less than 16 bytes; set it"
            )
        };
        builder = builder.edge(url, secret.ok_or_else(missing)?);
    }
    Ok(builder.build().await?)
}

/// Returns the routes that read and write through the cache.
fn api(cache: &Cache, database: &Database) -> Router {
    Router::new()
        .merge(products::routes(cache, database))
        .merge(users::routes(cache, database))
        .merge(flags::routes(cache, database))
        // Sets Cache-Control, Cache-Tag, ETag and so on from the entries that a request has read.
        .layer(CacheLayer::new(cache))
}

/// Returns the routes for health checks and statistics, which are neither cached nor logged.
fn debug(name: String, cache: Cache, database: Database) -> Router {
    let stats = async move || {
        let queries = database.queries();
        Json(json!({ "name": name, "database_queries": queries, "cache": cache.stats() }))
    };
    Router::new().route("/health", get("ok")).route("/debug/stats", get(stats))
}

/// Returns a future that completes on SIGINT (Ctrl-C) or SIGTERM. The server then answers the
/// requests in progress and stops, and the cache is closed.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Reads the targets and levels to log from `RUST_LOG`, such as `warn,origin_sdk=debug`. Warnings
/// by default.
fn log_filter() -> Targets {
    let filter = std::env::var("RUST_LOG").ok().and_then(|filter| filter.parse().ok());
    filter.unwrap_or_else(|| Targets::new().with_default(tracing::Level::WARN))
}
