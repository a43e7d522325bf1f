//! Tests of the HTTP API, each on a small shop with its own cache.

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::*;

struct Shop {
    _folder: tempfile::TempDir,
    cache: Cache,
    api: Router,
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Reply {
    /// Returns whether the memory layer answered.
    fn is_from_memory(&self) -> bool {
        self.headers["cache-status"].to_str().unwrap().ends_with("detail=memory")
    }
}

async fn shop() -> Shop {
    let (folder, path) = data::tests::small_shop();
    let cache = Cache::builder("shop").build().await.unwrap();
    Shop { _folder: folder, api: api(&cache, &Database::new(path)), cache }
}

impl Shop {
    async fn send(&self, request: Request<Body>) -> Reply {
        let (head, body) = self.api.clone().oneshot(request).await.unwrap().into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().into()).unwrap();
        Reply { status: head.status, headers: head.headers, body }
    }

    async fn get(&self, path: &str) -> Reply {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn put(&self, path: &str, json: &str) -> Reply {
        let request = Request::put(path).header("content-type", "application/json");
        self.send(request.body(json.to_owned().into()).unwrap()).await
    }
}

#[tokio::test]
async fn after_a_change_no_response_shows_the_old_product() {
    let shop = shop().await;
    let mut paths: Vec<String> = (1..=100).map(|product| format!("/api/products/{product}")).collect();
    paths.extend((1..=30).map(|user| format!("/api/users/{user}/orders")));
    for category in 1..=4 {
        paths.extend(
            ["rank", "price", "name"].map(|sort| format!("/api/products?category={category}&sort={sort}")),
        );
    }
    let old = "Sturdy Wool Lamp 777";
    let mut showed_it = 0;
    for path in &paths {
        showed_it += usize::from(shop.get(path).await.body.contains(old));
    }
    assert!(showed_it > 10, "only {showed_it} responses show the product at all");

    let change = r#"{"name": "Aaa", "price_cents": 1}"#;
    assert!(shop.put("/api/products/1", change).await.body.contains("Aaa"));
    for path in &paths {
        assert!(!shop.get(path).await.body.contains(old), "{path} shows the old product");
    }
    for sort in ["price", "name"] {
        let list = shop.get(&format!("/api/products?category=1&sort={sort}")).await.body;
        assert!(list.contains(r#""products":[{"id":1,"#), "sorted by {sort} it must be first: {list}");
    }
}

#[tokio::test]
async fn a_change_of_stock_does_not_invalidate_lists_without_the_product() {
    let shop = shop().await;
    let (first, second) = ("/api/products?category=1", "/api/products?category=1&page=2");
    assert!(shop.get(first).await.body.contains(r#""id":1,"#));
    shop.get(second).await;
    shop.put("/api/products/1", r#"{"stock": 5}"#).await;
    assert!(!shop.get(first).await.is_from_memory());
    assert!(shop.get(second).await.is_from_memory());
}

#[tokio::test]
async fn a_changed_profile_is_served_at_once_and_no_shared_cache_may_store_it() {
    let shop = shop().await;
    shop.get("/api/users/3/profile").await;
    shop.put("/api/users/3/profile", r#"{"email": "new@example.com"}"#).await;
    let profile = shop.get("/api/users/3/profile").await;
    assert!(profile.body.contains("new@example.com"));
    assert_eq!(profile.headers["cache-control"], "private, no-store");
    assert!(!profile.headers.contains_key("cdn-cache-control") && !profile.headers.contains_key("cache-tag"));
}

#[tokio::test]
async fn a_missing_resource_is_a_cached_404() {
    let shop = shop().await;
    for path in
        ["/api/products/101", "/api/products?category=5", "/api/users/31/profile", "/api/users/31/orders"]
    {
        assert_eq!(shop.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
        assert!(shop.get(path).await.is_from_memory(), "{path}");
    }
    assert_eq!(shop.put("/api/products/101", r#"{"stock": 1}"#).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_error_of_a_malformed_request_says_what_was_expected() {
    let shop = shop().await;
    for (path, expected) in [
        ("/api/products", "missing field `category`"),
        ("/api/products?category=1&sort=best", "expected one of `rank`, `price`, `name`"),
        ("/api/products?category=1&page=0", "expected a nonzero u32"),
        ("/api/products/seven", "`seven` to a `u32`"),
    ] {
        let reply = shop.get(path).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{path}");
        assert!(reply.body.contains(expected), "{path}: {}", reply.body);
    }
    let empty = shop.put("/api/products/1", "{}").await;
    assert_eq!(empty.status, StatusCode::BAD_REQUEST);
    assert!(empty.body.contains("at least one of name, price_cents and stock"));
}

#[tokio::test]
async fn prometheus_reads_the_metrics_and_an_orchestrator_the_health_of_the_cache() {
    let shop = shop().await;
    shop.get("/api/flags").await;
    shop.get("/api/flags").await;
    let routes = monitoring::routes(&shop.cache, monitoring::recorder().unwrap());
    let monitored = Shop { api: routes, ..shop };

    let text = monitored.get("/metrics").await.body;
    for line in [
        "# TYPE strata_cache_hits_total counter",
        "strata_cache_hits_total{app=\"shop\",namespace=\"Flags\",layer=\"memory\"} 1",
        "strata_cache_loads_total{app=\"shop\",namespace=\"Flags\",outcome=\"value\"} 1",
        "strata_cache_load_seconds_count{app=\"shop\",namespace=\"Flags\"} 1",
        "strata_cache_following{app=\"shop\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "no {line}:\n{text}");
    }
    for path in ["/health/live", "/health/ready"] {
        let reply = monitored.get(path).await;
        assert_eq!(
            (reply.status, reply.body.contains("\"queued\":0")),
            (StatusCode::OK, true),
            "{}",
            reply.body
        );
    }
    assert!(monitored.cache.close().await.is_complete());
    assert_eq!(monitored.get("/health/live").await.status, StatusCode::OK);
    assert_eq!(monitored.get("/health/ready").await.status, StatusCode::SERVICE_UNAVAILABLE);
}
