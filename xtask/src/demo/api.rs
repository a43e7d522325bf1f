//! The shop's API as the demo uses it.

use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::cache_status::CacheStatus;
use crate::error::{Doing, Error, Result};

/// One answer: what it says about the caches, and how long it took.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) cache: CacheStatus,
    pub(crate) cache_control: String,
    pub(crate) took: Duration,
    body: Vec<u8>,
}

/// A product's page, as far as the demo reads it.
#[derive(Deserialize)]
struct ProductPage {
    product: Product,
}

#[derive(Deserialize)]
struct Product {
    price_cents: u32,
}

/// The path of a product's page.
pub(crate) fn product_path(id: u32) -> String {
    format!("/api/products/{id}")
}

/// Reads `path` and the whole body.
pub(crate) async fn get(client: &reqwest::Client, base: &str, path: &str) -> Result<Answer> {
    send(client.get(format!("{base}{path}")), || format!("GET {base}{path}")).await
}

/// Changes a product's price.
pub(crate) async fn put_price(client: &reqwest::Client, base: &str, id: u32, price_cents: u32) -> Result<Answer> {
    let url = format!("{base}{}", product_path(id));
    let change = serde_json::json!({ "price_cents": price_cents });
    send(client.put(&url).json(&change), || format!("PUT {url}")).await
}

async fn send(request: reqwest::RequestBuilder, what: impl Fn() -> String) -> Result<Answer> {
    let since = Instant::now();
    let response = request.send().await.doing(&what)?;
    let header = |name: &str| {
        // A list may come in several fields (RFC 9110 section 5.3).
        let fields = response.headers().get_all(name).iter();
        let fields = fields.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        fields.collect::<Vec<_>>().join(", ")
    };
    let (cache, cache_control) = (CacheStatus::parse(&header("cache-status")), header("cache-control"));
    let status = response.status().as_u16();
    let body = response.bytes().await.doing(&what)?.to_vec();
    Ok(Answer { status, cache, cache_control, took: since.elapsed(), body })
}

impl Answer {
    /// The price on a product's page.
    pub(crate) fn price_cents(&self) -> Result<u32> {
        let page: ProductPage = serde_json::from_slice(&self.body).map_err(|error| {
            let body: String = String::from_utf8_lossy(&self.body).chars().take(120).collect();
            Error::new(format!("expected a product's page, got status {} and \"{body}\": {error}", self.status))
        })?;
        Ok(page.product.price_cents)
    }

    pub(crate) fn millis(&self) -> f64 {
        self.took.as_secs_f64() * 1000.0
    }
}
