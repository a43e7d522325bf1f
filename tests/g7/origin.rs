//! One process of the service: its cache, and the routes that read and write through it.
//!
//! `g7-origin REDIS_URL SOURCE_ADDRESS [EDGE_URL]` prints the address that it listens on. It ships
//! to the edge if a URL is given.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a test's process panics to fail the test")]

use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, header};
use axum::response::AppendHeaders;
use axum::routing::{MethodRouter, get};
use origin_sdk::http::CacheLayer;
use origin_sdk::{Cache, Lifetime, Namespace};
use strata_tests::{Edge, Item, Source};

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let (redis, source) = (arguments.next().expect("a Redis"), arguments.next().expect("a source"));
    let builder = Cache::builder("test").redis(redis).jitter(0.0).command_timeout(Duration::from_millis(300));
    let builder = match arguments.next() {
        Some(edge) => builder.edge(edge, Edge::secret()),
        None => builder,
    };
    let app = app(&builder.build().await.expect("a cache"), &Source::at(&source));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    println!("{}", listener.local_addr().expect("a bound listener has an address"));
    axum::serve(listener, app).await.expect("it serves until it is killed");
}

fn app(cache: &Cache, source: &Source) -> Router {
    let items: Namespace<Item, u64> = cache.namespace(Lifetime::fresh(Duration::from_secs(86_400))).build();
    let reads = |lifetime| reads(&items, source, lifetime);
    let app = Router::new()
        .route("/items/{id}", reads(None))
        .route("/refreshed/{id}", reads(Some("max-age=1, stale-while-revalidate=86400")))
        .route("/validated/{id}", reads(Some("max-age=1, stale-if-error=86400")))
        .layer(CacheLayer::new(cache).vary([header::ACCEPT_LANGUAGE]));
    app.route("/rows/{id}", writes(&items, source)).route("/shipped", shipped(cache))
}

/// Returns the row's version and the requested language, with the given lifetime for the edge or
/// the row's own.
fn reads(items: &Namespace<Item, u64>, source: &Source, lifetime: Option<&'static str>) -> MethodRouter {
    let (items, source) = (items.clone(), source.clone());
    get(move |Path(id): Path<u64>, headers: HeaderMap| {
        let (items, source) = (items.clone(), source.clone());
        async move {
            let hit = items.get_or_load(&Item { id }, async move |_, _| Ok(source.read(id).await?)).await;
            let language =
                headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or("-");
            let version = hit.map_or_else(|error| error.to_string(), |hit| hit.value.to_string());
            let lifetime = lifetime.map(|lifetime| [("cdn-cache-control", lifetime)]);
            (lifetime.map(AppendHeaders), format!("{version} {language}"))
        }
    })
}

/// Writes the next version of the row and invalidates it. Returns the position of its record.
fn writes(items: &Namespace<Item, u64>, source: &Source) -> MethodRouter {
    let (items, source) = (items.clone(), source.clone());
    axum::routing::put(move |Path(id): Path<u64>| {
        let (items, source) = (items.clone(), source.clone());
        async move {
            source.bump(id).await.expect("the source is there");
            items.invalidate(&Item { id }).await.position.expect("Redis is there").to_string()
        }
    })
}

/// Returns the last position that the edge has confirmed, or an empty body.
fn shipped(cache: &Cache) -> MethodRouter {
    let cache = cache.clone();
    get(move || {
        let cache = cache.clone();
        async move {
            let targets = cache.ship_status().await.expect("Redis is there");
            let confirmed = targets.iter().filter_map(|target| target.confirmed).max();
            confirmed.map(|position| position.to_string()).unwrap_or_default()
        }
    })
}
