//! The requests of the demo to the shop's API.

use std::time::{Duration, Instant};

use serde::Deserialize;
use strata_harness::error::{Context, Error, Result};

use super::cache_status::CacheStatus;

/// An answer, with its statements about the caches and its duration.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) cache: CacheStatus,
    pub(crate) cache_control: String,
    pub(crate) duration: Duration,
    body: Vec<u8>,
}

/// The part of a product's page that the demo reads.
#[derive(Deserialize)]
struct ProductPage {
    product: Product,
}

#[derive(Deserialize)]
struct Product {
    price_cents: u32,
}

/// Returns the path of a product's page.
pub(crate) fn product_path(id: u32) -> String {
    format!("/api/products/{id}")
}

/// Sends a `GET` and reads the whole body.
///
/// # Errors
/// If there is no complete answer.
pub(crate) async fn get(client: &reqwest::Client, base: &str, path: &str) -> Result<Answer> {
    get_with_cookies(client, base, path, None).await
}

/// Sends a `GET` with this value of `Cookie`, and reads the whole body.
///
/// # Errors
/// If there is no complete answer.
pub(crate) async fn get_with_cookies(
    client: &reqwest::Client,
    base: &str,
    path: &str,
    cookies: Option<&str>,
) -> Result<Answer> {
    let request = client.get(format!("{base}{path}"));
    let request = cookies.iter().fold(request, |request, cookies| request.header("cookie", *cookies));
    send(request, || format!("GET {base}{path}")).await
}

/// Changes a product's price.
///
/// # Errors
/// If there is no complete answer.
pub(crate) async fn put_price(
    client: &reqwest::Client,
    base: &str,
    id: u32,
    price_cents: u32,
) -> Result<Answer> {
    let url = format!("{base}{}", product_path(id));
    let change = serde_json::json!({ "price_cents": price_cents });
    send(client.put(&url).json(&change), || format!("PUT {url}")).await
}

async fn send(request: reqwest::RequestBuilder, description: impl Fn() -> String) -> Result<Answer> {
    let since = Instant::now();
    let response = request.send().await.context(&description)?;
    let header = |name: &str| {
        // A list can span several field lines (RFC 9110 section 5.3).
        let fields = response.headers().get_all(name).iter();
        let fields = fields.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        fields.collect::<Vec<_>>().join(", ")
    };
    let (cache, cache_control) = (CacheStatus::parse(&header("cache-status")), header("cache-control"));
    let status = response.status().as_u16();
    let body = response.bytes().await.context(&description)?.to_vec();
    Ok(Answer { status, cache, cache_control, duration: since.elapsed(), body })
}

impl Answer {
    /// Reads the price from a product's page.
    ///
    /// # Errors
    /// If the body is no such page.
    pub(crate) fn price_cents(&self) -> Result<u32> {
        let page: ProductPage = serde_json::from_slice(&self.body).map_err(|error| {
            let body: String = String::from_utf8_lossy(&self.body).chars().take(120).collect();
            Error::new(format!(
                "expected a product's page, got status {} and \"{body}\": {error}",
                self.status
            ))
        })?;
        Ok(page.product.price_cents)
    }

    /// Its duration in milliseconds.
    pub(crate) fn millis(&self) -> f64 {
        self.duration.as_secs_f64() * 1000.0
    }
}
