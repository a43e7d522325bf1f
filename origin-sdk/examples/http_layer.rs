//! An axum service whose responses carry what the edge needs. Try
//! `curl -i localhost:4003/products/7`.

use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use origin_sdk::http::CacheLayer;
use origin_sdk::{BoxError, Cache, Lifetime, LoadContext, ReadThrough, keys};

keys! {
    app "http-layer" version 1;

    /// One product's page.
    key Product { id: u64 } = "product:{id}";
}

async fn load_page(_: (), key: Product, _: LoadContext) -> Result<String, BoxError> {
    Ok(format!("product {}\n", key.id))
}

async fn page(
    State(pages): State<ReadThrough<Product, String>>,
    Path(id): Path<u64>,
) -> Result<String, StatusCode> {
    let page = pages.get(&Product { id }).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok((*page.value).clone())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let cache = Cache::builder("http-layer").build().await?;
    let lifetime = Lifetime::fresh(Duration::from_secs(60)).stale_while_revalidate(Duration::from_secs(300));
    let pages = cache.namespace(lifetime).read_through((), load_page);
    let service =
        Router::new().route("/products/{id}", get(page)).with_state(pages).layer(CacheLayer::new(&cache));
    axum::serve(tokio::net::TcpListener::bind("127.0.0.1:4003").await?, service).await?;
    Ok(())
}
