//! G8: a response to a request with credentials is private unless the route or the response permits
//! sharing.

use std::time::Duration;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header, request};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use origin_sdk::http::{CacheLayer, Private, for_this_request, mark_private};
use origin_sdk::{Cache, Lifetime, Namespace};
use strata_tests::{Database, Item};
use tower::ServiceExt;

type Fields = &'static [(&'static str, &'static str)];

/// Returns a service whose handler reads shared data and sets these response headers.
async fn service(response: Fields, layer: impl FnOnce(CacheLayer) -> CacheLayer) -> (Router, Cache) {
    let cache = Cache::builder("test").build().await.unwrap();
    let items: Namespace<Item, u64> = cache.namespace(Lifetime::fresh(Duration::from_secs(60))).build();
    let handler = move || async move { (headers(response), read(&items).await) };
    let route = get(handler.clone()).post(handler);
    (Router::new().route("/", route).layer(layer(CacheLayer::new(&cache))), cache)
}

async fn read(items: &Namespace<Item, u64>) -> String {
    items.get_or_load(&Item { id: 1 }, Database::default().loader(1)).await.unwrap().value.to_string()
}

fn headers(fields: Fields) -> HeaderMap {
    let field = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    fields.iter().map(field).collect()
}

async fn send(app: &Router, request: Fields) -> Response {
    let mut message = Request::new(Body::empty());
    message.headers_mut().extend(headers(request));
    app.clone().oneshot(message).await.unwrap()
}

/// Returns the lines of `Cache-Control`, joined.
fn cache_control(response: &Response) -> String {
    let lines = response.headers().get_all(header::CACHE_CONTROL).iter();
    lines.map(|line| line.to_str().unwrap()).collect::<Vec<_>>().join(", ")
}

/// Asserts that no shared cache may store the response.
fn assert_private(response: &Response, case: &str) {
    assert!(
        cache_control(response).split(", ").any(|directive| directive == "private"),
        "{case}: {response:?}"
    );
    for name in ["cdn-cache-control", "cloudflare-cdn-cache-control", "surrogate-control", "cache-tag"] {
        assert!(!response.headers().contains_key(name), "{case}: {response:?}");
    }
}

#[tokio::test]
async fn a_request_with_credentials_gets_a_private_response() {
    let (app, cache) = service(&[], |layer| layer).await;
    let credentials: [Fields; 7] = [
        &[("cookie", "sid=1")],
        &[("cookie", "_ga=1; sid=1")],
        &[("cookie", "_ga=1"), ("cookie", "sid=1")],
        &[("cookie", "_ga=1,sid=1")],
        &[("authorization", "Bearer x")],
        &[("authorization", "")],
        &[("cookie", "_ga=1"), ("authorization", "Basic eA==")],
    ];
    for request in credentials {
        let response = send(&app, request).await;
        assert_private(&response, &format!("{request:?}"));
        assert_eq!(cache_control(&response), "private, no-cache");
        assert!(response.headers().contains_key("etag"), "the sender's browser may revalidate");
    }
    assert_eq!(cache.stats().credential_responses, 7);
}

#[tokio::test]
async fn a_request_that_identifies_nobody_gets_a_shared_response() {
    let (app, cache) = service(&[], |layer| layer.ignore_cookies(["theme", "ab_*"])).await;
    let requests: [Fields; 4] = [
        &[],
        &[("cookie", "")],
        &[("cookie", "_ga=GA1.1.1; _ga_4XJ=GS1; _fbp=fb.1; _pk_id.1.1=a")],
        &[("cookie", "theme=dark"), ("cookie", "ab_checkout=2;_gid=1")],
    ];
    for request in requests {
        let response = send(&app, request).await;
        assert_eq!(cache_control(&response), "public, no-cache", "{request:?}");
        assert!(response.headers().contains_key("cdn-cache-control"), "{request:?}");
    }
    assert_eq!(cache.stats().credential_responses, 0);
}

#[tokio::test]
async fn a_response_that_permits_sharing_or_varies_by_the_credential_is_shared() {
    const COOKIE: Fields = &[("cookie", "sid=1")];
    const AUTHORIZATION: Fields = &[("authorization", "Bearer x")];
    const BOTH: Fields = &[("cookie", "sid=1"), ("authorization", "Bearer x")];
    let cases: [(Fields, Fields, bool); 14] = [
        (COOKIE, &[("cache-control", "public")], true),
        (BOTH, &[("cache-control", "s-maxage=60")], true),
        (BOTH, &[("cache-control", "max-age=0"), ("cache-control", "PUBLIC")], true),
        (AUTHORIZATION, &[("cdn-cache-control", "public, max-age=60")], true),
        (AUTHORIZATION, &[("cloudflare-cdn-cache-control", "s-maxage=60")], true),
        (COOKIE, &[("vary", "Accept, cookie")], true),
        (AUTHORIZATION, &[("vary", "accept"), ("vary", "Authorization")], true),
        (BOTH, &[("vary", "cookie")], false),
        (AUTHORIZATION, &[("vary", "cookie")], false),
        (COOKIE, &[("vary", "x-cookie")], false),
        (COOKIE, &[("cache-control", "max-age=60")], false),
        (COOKIE, &[("cache-control", "no-cache=\"public\"")], false),
        (COOKIE, &[("cdn-cache-control", "max-age=60")], false),
        (AUTHORIZATION, &[("cache-control", "must-revalidate"), ("surrogate-control", "max-age=60")], false),
    ];
    for (request, response, is_shared) in cases {
        let (app, _cache) = service(response, |layer| layer).await;
        let reply = send(&app, request).await;
        let case = format!("{request:?} {response:?}");
        if is_shared {
            assert!(!cache_control(&reply).contains("private"), "{case}: {reply:?}");
            assert!(reply.headers().contains_key("cache-tag"), "{case}: {reply:?}");
        } else {
            assert_private(&reply, &case);
        }
    }
}

#[tokio::test]
async fn the_layers_vary_counts_and_a_route_can_ignore_credentials() {
    let (app, _cache) = service(&[], |layer| layer.vary([header::COOKIE])).await;
    assert_eq!(cache_control(&send(&app, &[("cookie", "sid=1")]).await), "public, no-cache");
    let (app, _cache) = service(&[], |layer| layer.ignore_credentials(true)).await;
    let response = send(&app, &[("cookie", "sid=1"), ("authorization", "Bearer x")]).await;
    assert_eq!(cache_control(&response), "public, no-cache");
}

#[tokio::test]
async fn a_private_response_preserves_the_handlers_lifetime_for_the_browser() {
    let (app, _cache) = service(&[("cache-control", "max-age=600")], |layer| layer).await;
    assert_eq!(cache_control(&send(&app, &[("cookie", "sid=1")]).await), "max-age=600, private");
}

#[tokio::test]
async fn a_response_that_sets_a_cookie_is_private() {
    let cases: [(Fields, bool); 2] =
        [(&[("set-cookie", "sid=1; Path=/")], true), (&[("set-cookie", "_ga=1; Path=/")], false)];
    for (fields, is_private) in cases {
        let (app, _cache) = service(fields, |layer| layer).await;
        assert_eq!(cache_control(&send(&app, &[]).await).contains("private"), is_private, "{fields:?}");
    }
}

/// A session that a gateway names, taken from the request by a handler.
struct User(String);

impl<S: Send + Sync> FromRequestParts<S> for User {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut request::Parts, _: &S) -> Result<Self, StatusCode> {
        let user = parts.headers.get("x-user").and_then(|user| user.to_str().ok());
        user.map(|user| Self(user.to_owned())).ok_or(StatusCode::MOVED_PERMANENTLY)
    }
}

/// Returns a service whose handlers mark their responses in several ways.
async fn marking() -> (Router, Cache) {
    let cache = Cache::builder("test").build().await.unwrap();
    let items: Namespace<Item, u64> = cache.namespace(Lifetime::fresh(Duration::from_secs(60))).build();
    let public = [
        (header::CACHE_CONTROL, "public, max-age=600"),
        (HeaderName::from_static("cdn-cache-control"), "max-age=9"),
    ];
    let marked = {
        let items = items.clone();
        move || async move {
            mark_private();
            (public, read(&items).await)
        }
    };
    let without_reads = || async {
        mark_private();
        "one user's"
    };
    let spawned = {
        let items = items.clone();
        move || async move {
            tokio::spawn(for_this_request(async { mark_private() })).await.unwrap();
            read(&items).await
        }
    };
    let extracted = move |Private(User(user)): Private<User>| async move { Json((user, read(&items).await)) };
    let redirect = || async {
        mark_private();
        (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, "/users/7")]).into_response()
    };
    let layer = CacheLayer::new(&cache).ignore_credentials(true);
    let app = Router::new()
        .route("/marked", get(marked))
        .route("/without-reads", get(without_reads).post(without_reads))
        .route("/spawned", get(spawned))
        .route("/extracted", get(extracted))
        .route("/redirect", get(redirect))
        .layer(layer);
    (app, cache)
}

#[tokio::test]
async fn a_marked_response_is_private_whatever_else_says_so() {
    let (app, _cache) = marking().await;
    for (method, path, user, status) in [
        ("GET", "/marked", "ada", 200),
        ("HEAD", "/marked", "ada", 200),
        ("GET", "/without-reads", "ada", 200),
        ("POST", "/without-reads", "ada", 200),
        ("GET", "/spawned", "ada", 200),
        ("GET", "/extracted", "ada", 200),
        ("GET", "/extracted", "", 301),
        ("GET", "/redirect", "ada", 301),
    ] {
        let request = Request::builder().method(method).uri(path);
        let request = if user.is_empty() { request } else { request.header("x-user", user) };
        let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), status, "{method} {path}");
        assert_private(&response, path);
        assert_eq!(cache_control(&response), "private, no-store", "{method} {path}");
        assert!(!response.headers().contains_key("etag"), "{method} {path}");
    }
}
