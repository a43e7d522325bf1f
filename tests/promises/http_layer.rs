//! The HTTP layer: the entries that a request reads determine the cache headers of its response.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use origin_sdk::http::{CacheLayer, for_this_request};
use origin_sdk::{
    Cache, CacheGroup, Clock, Key, Lifetime, LoadContext, Namespace, NoVarySearch, Scope, TypedTag,
};
use shared_keys::{TagSet, scopes_from_header};
use strata_tests::{Database, Group, Item, ItemPart};
use tower::ServiceExt;

const LIFETIME: Lifetime =
    Lifetime::fresh(Duration::from_secs(60)).stale_while_revalidate(Duration::from_secs(300));

origin_sdk::keys! {
    app "test" version 1;

    /// A shelf.
    key Shelf { room: u64, shelf: u64 } = "room:{room}:shelf:{shelf}" tags [Group { id: room }, Group { id: shelf * 10 }];
    /// A value with tags of its loader.
    key Tagged { id: u64 } = "tagged:{id}";
    /// A value of one user.
    key Secret { id: u64 } = "secret:{id}";
}

/// A service whose handlers read the rows of a database through a cache.
struct Service {
    cache: Cache,
    clock: Clock,
    database: Database,
    app: Router,
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Service {
    async fn start() -> Self {
        let (clock, database) = (Clock::manual(), Database::default());
        let builder =
            Cache::builder("test").jitter(0.0).clock(clock.clone()).max_lag(Duration::from_secs(3600));
        let cache = builder.build().await.unwrap();
        let items: Namespace<Item, u64> = cache.namespace(LIFETIME).build();
        let short = Lifetime::fresh(Duration::from_secs(10));
        let parts: Namespace<ItemPart, u64> = cache.namespace(short).build();
        let tagged: Namespace<Tagged, u64> = cache.namespace(LIFETIME).build();
        let shelves: Namespace<Shelf, u64> = cache.namespace(LIFETIME).build();
        let secrets: Namespace<Secret, u64> = cache.namespace(LIFETIME).private().build();

        let item = {
            let (items, database) = (items, database.clone());
            move |id: u64| {
                let (items, database) = (items.clone(), database.clone());
                async move {
                    let loader = move |_, load: LoadContext| async move {
                        load.tag(Group { id: 7 }.to_tag());
                        Ok(database.read(id))
                    };
                    items.get_or_load(&Item { id }, loader).await.unwrap().value.to_string()
                }
            }
        };
        let both = {
            let (item, database) = (item.clone(), database.clone());
            move || async move {
                let part = parts.get_or_load(&ItemPart { id: 2, part: 1 }, database.loader(2)).await.unwrap();
                format!("{} {}", item(1).await, part.value)
            }
        };
        let secret = {
            let (item, database) = (item.clone(), database.clone());
            move || async move {
                let part = secrets.get_or_load(&Secret { id: 3 }, database.loader(3)).await.unwrap();
                (
                    [(header::CACHE_CONTROL, "public, max-age=600")],
                    format!("{} {}", item(1).await, part.value),
                )
            }
        };
        let own = {
            let item = item.clone();
            move || async move { ([(header::CACHE_CONTROL, "max-age=600")], item(1).await) }
        };
        let many = {
            let item = item.clone();
            move || async move {
                for id in 0..1000 {
                    item(id).await;
                }
                "many"
            }
        };
        let tagged = {
            let item = item.clone();
            move || async move {
                load_tagged(&tagged, 2000).await;
                item(1).await
            }
        };
        let full = {
            let item = item.clone();
            move || async move {
                let own = "x".repeat(TagSet::MAX_HEADER_BYTES - 50);
                ([("cache-tag", own)], item(1).await)
            }
        };
        let one = {
            let item = item.clone();
            move || async move { item(1).await }
        };
        let failing = move || async move { (StatusCode::BAD_GATEWAY, item(1).await).into_response() };
        let app = Router::new()
            .route("/item", get(one.clone()).put(one))
            .route("/both", get(both))
            .route("/secret", get(secret))
            .route("/own", get(own))
            .route("/many", get(many))
            .route("/tagged", get(tagged))
            .route("/full", get(full))
            .route("/shelf", get(move || async move { load_shelf(&shelves).await }))
            .route("/failing", get(failing))
            .route("/plain", get(|| async { "plain" }))
            .layer(CacheLayer::new(&cache).vary([header::ACCEPT_LANGUAGE]));
        Self { cache, clock, database, app }
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
        let request = Request::builder().method(method).uri(path);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let response = self.app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        Reply {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[]).await
    }
}

impl Reply {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn covers(&self, scope: &Scope) -> bool {
        scopes_from_header(self.header("cache-tag")).any(|hash| hash == scope.hash())
    }

    /// Returns whether a record of the scope invalidates the response at the edge.
    fn is_invalidated_by(&self, scope: &Scope) -> bool {
        scopes_from_header(self.header("cache-tag")).any(|hash| scope.edge_hashes().contains(&hash))
    }
}

/// Loads a value with this many tags.
async fn load_tagged(namespace: &Namespace<Tagged, u64>, tags: u64) {
    let loader = move |_, load: LoadContext| async move {
        (0..tags).for_each(|id| load.tag(Group { id }.to_tag()));
        Ok(0)
    };
    namespace.get_or_load(&Tagged { id: 4 }, loader).await.unwrap();
}

async fn load_shelf(namespace: &Namespace<Shelf, u64>) -> String {
    let loader = |_, _| async { Ok(0) };
    namespace.get_or_load(&Shelf { room: 3, shelf: 5 }, loader).await.unwrap().value.to_string()
}

#[tokio::test]
async fn a_response_carries_the_scopes_lifetime_and_position_of_its_entries() {
    let service = Service::start().await;
    let position = service.cache.invalidate([Group { id: 1 }.to_tag()]).await.position.unwrap();
    let reply = service.get("/both").await;
    assert_eq!(reply.header("cache-control"), "public, no-cache");
    assert_eq!(
        reply.header("cdn-cache-control"),
        "max-age=10",
        "the shortest lifetime and window of the entries"
    );
    assert_eq!(reply.header("strata-position"), position.to_string());
    assert_eq!(reply.header("vary"), "accept-language");
    for scope in [
        Scope::Tag(Group { id: 7 }.to_tag()),
        Scope::Key(Item { id: 1 }.to_text().into()),
        Scope::Prefix(Item { id: 2 }.prefix()),
    ] {
        assert!(reply.covers(&scope), "{scope}");
    }
    assert!(!reply.covers(&Scope::Prefix(Item { id: 3 }.prefix())));
}

#[tokio::test]
async fn the_lifetime_of_a_response_is_the_remaining_lifetime_of_its_entry() {
    let service = Service::start().await;
    service.get("/item").await;
    service.clock.advance(Duration::from_secs(20));
    let reply = service.get("/item").await;
    assert_eq!(reply.header("cdn-cache-control"), "max-age=40, stale-while-revalidate=300");
    assert_eq!(reply.header("cache-status"), "strata-origin; hit; ttl=40; detail=memory");
}

#[tokio::test]
async fn a_response_built_from_a_stale_entry_has_no_lifetime() {
    let service = Service::start().await;
    service.get("/item").await;
    service.clock.advance(Duration::from_secs(63));
    let reply = service.get("/item").await;
    assert_eq!(reply.header("cdn-cache-control"), "max-age=0");
    assert_eq!(reply.header("cache-status"), "strata-origin; hit; ttl=-3; detail=memory");
}

#[tokio::test]
async fn a_response_built_from_private_data_is_private_despite_the_handlers_header() {
    let reply = Service::start().await.get("/secret").await;
    assert_eq!(reply.header("cache-control"), "private, no-store");
    for name in ["cdn-cache-control", "cache-tag", "strata-position", "etag"] {
        assert_eq!(reply.header(name), "", "{name}");
    }
}

#[tokio::test]
async fn a_handlers_own_lifetime_is_preserved_and_the_response_still_carries_its_scopes() {
    let reply = Service::start().await.get("/own").await;
    assert_eq!((reply.header("cache-control"), reply.header("cdn-cache-control")), ("max-age=600", ""));
    assert!(
        reply.covers(&Scope::Tag(Group { id: 7 }.to_tag())) && !reply.header("strata-position").is_empty()
    );
}

#[tokio::test]
async fn a_client_with_the_current_etag_gets_a_304_until_the_body_changes() {
    let service = Service::start().await;
    let tag = service.get("/item").await.header("etag").to_owned();
    let with_tag = [("if-none-match", tag.as_str())];
    let current = service.send("GET", "/item", &with_tag).await;
    assert_eq!((current.status, current.body.as_str()), (StatusCode::NOT_MODIFIED, ""));
    assert!(
        current.covers(&Scope::Tag(Group { id: 7 }.to_tag())),
        "the edge updates the tags of its copy from a 304"
    );
    service.database.write(1, 1);
    service.cache.invalidate([Group { id: 7 }.to_tag()]).await;
    let changed = service.send("GET", "/item", &with_tag).await;
    assert_eq!((changed.status, changed.body.as_str()), (StatusCode::OK, "1"));
}

#[tokio::test]
async fn tags_declared_with_a_key_are_tags_of_its_value() {
    let service = Service::start().await;
    let reply = service.get("/shelf").await;
    for id in [3, 50] {
        assert!(reply.covers(&Scope::Tag(Group { id }.to_tag())), "{id}");
    }
    service.cache.invalidate([Group { id: 50 }.to_tag()]).await;
    assert!(service.get("/shelf").await.header("cache-status").contains("fwd=miss"));
}

#[tokio::test]
async fn keys_beyond_the_header_limit_fold_into_a_prefix_that_still_matches_each_key() {
    let service = Service::start().await;
    let reply = service.get("/many").await;
    assert_eq!(reply.header("cdn-cache-control"), "max-age=60, stale-while-revalidate=300");
    assert!(reply.header("cache-tag").len() <= TagSet::MAX_HEADER_BYTES);
    for id in [0, 7, 999] {
        assert!(reply.is_invalidated_by(&Scope::Key(Item { id }.to_text().into())), "{id}");
        assert!(reply.is_invalidated_by(&Scope::Prefix(Item { id }.prefix())), "{id}");
    }
    assert!(reply.covers(&Scope::Tag(Group { id: 7 }.to_tag())));
    assert!(!reply.is_invalidated_by(&Scope::Key("test:v1:{other:7}".into())));
    let stats = service.cache.stats();
    assert_eq!((stats.tags_folded, stats.tag_overflows), (1, 0));
}

#[tokio::test]
async fn a_response_with_tags_beyond_the_header_limit_is_not_stored_at_the_edge() {
    let service = Service::start().await;
    let reply = service.get("/tagged").await;
    assert_eq!(reply.header("cdn-cache-control"), "no-store");
    assert!(reply.header("cache-tag").is_empty());
    let stats = service.cache.stats();
    assert_eq!((stats.tags_folded, stats.tag_overflows), (0, 1));
}

#[tokio::test]
async fn a_handlers_own_tags_count_towards_the_limit() {
    let service = Service::start().await;
    let reply = service.get("/full").await;
    assert_eq!(reply.header("cdn-cache-control"), "no-store");
    assert_eq!(service.cache.stats().tag_overflows, 1);
}

#[tokio::test]
async fn errors_other_methods_and_responses_without_reads_are_unchanged() {
    let service = Service::start().await;
    for (method, path) in [("GET", "/plain"), ("GET", "/failing"), ("PUT", "/item")] {
        let reply = service.send(method, path, &[]).await;
        for name in ["cache-control", "cdn-cache-control", "cache-tag", "strata-position", "etag"] {
            assert_eq!(reply.header(name), "", "{method} {path} {name}");
        }
    }
}

/// Returns a service whose handler reads item 1 in a spawned task, inside `for_this_request` or
/// not.
async fn spawning(in_request: bool) -> (Router, Cache) {
    let cache = Cache::builder("test").build().await.unwrap();
    let items: Namespace<Item, u64> = cache.namespace(LIFETIME).build();
    let handler = move || async move {
        let read = async move {
            let hit = items.get_or_load(&Item { id: 1 }, Database::default().loader(1)).await;
            hit.unwrap().value.to_string()
        };
        if in_request {
            tokio::spawn(for_this_request(read)).await.unwrap()
        } else {
            tokio::spawn(read).await.unwrap()
        }
    };
    (Router::new().route("/", get(handler)).layer(CacheLayer::new(&cache)), cache)
}

#[tokio::test]
async fn reads_of_a_spawned_task_count_only_inside_for_this_request() {
    for in_request in [true, false] {
        let (app, _cache) = spawning(in_request).await;
        let response = app.oneshot(Request::new(Body::empty())).await.unwrap();
        let tags = response.headers().get("cache-tag").map_or("", |tags| tags.to_str().unwrap());
        let scope = Scope::Key(Item { id: 1 }.to_text().into()).hash();
        assert_eq!(scopes_from_header(tags).any(|hash| hash == scope), in_request);
    }
}

#[tokio::test]
async fn a_weak_etag_is_marked_weak_and_still_gets_a_304() {
    let cache = Cache::builder("test").build().await.unwrap();
    let items: Namespace<Item, u64> = cache.namespace(LIFETIME).build();
    let handler = move || async move {
        items.get_or_load(&Item { id: 1 }, Database::default().loader(1)).await.unwrap().value.to_string()
    };
    let app = Router::new().route("/", get(handler)).layer(CacheLayer::new(&cache).weak_etag(true));
    let first = app.clone().oneshot(Request::new(Body::empty())).await.unwrap();
    let tag = first.headers()["etag"].clone();
    assert!(tag.to_str().unwrap().starts_with("W/\""), "{tag:?}");
    let conditional = Request::builder().header("if-none-match", tag).body(Body::empty()).unwrap();
    assert_eq!(app.oneshot(conditional).await.unwrap().status(), StatusCode::NOT_MODIFIED);
}

/// The edge compares the tags of a response with the records of any process of the fleet.
#[tokio::test]
async fn a_response_is_invalidated_by_a_process_of_another_schema_version() {
    let service = Service::start().await;
    for path in ["/item", "/many"] {
        let reply = service.get(path).await;
        for scope in ["key:test:v2:{item:1}", "prefix:test:v2:{item:1}:", "prefix:test:v2:", "tag:group:7"] {
            assert!(reply.is_invalidated_by(&scope.parse().unwrap()), "{path} {scope}");
        }
    }
    assert!(!service.get("/item").await.is_invalidated_by(&"key:test:v2:{item:2}".parse().unwrap()));
}

/// Groups and No-Vary-Search are opt-in, and belong to the routes of a layer.
#[tokio::test]
async fn a_layer_sends_groups_and_no_vary_search() {
    let cache = Cache::builder("test").build().await.unwrap();
    let groups = |names: [&str; 2]| names.map(|name| CacheGroup::new(name).unwrap());
    let layer = CacheLayer::new(&cache)
        .groups(groups(["news", "a \"b\""]))
        .invalidates_groups(groups(["news", "menu"]))
        .no_vary_search(NoVarySearch::default().ignoring(["utm_source"]).in_any_order());
    let own = get(async || ([("no-vary-search", "key-order"), ("cache-groups", "\"own\"")], "own"));
    let failing = get(async || "x").post(async || StatusCode::CONFLICT);
    let app = Router::new().route("/", get(async || "x").post(async || "y").options(async || "z"));
    let app = app.route("/own", own).route("/failing", failing).layer(layer);
    let send = async |method: &str, path: &str| {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let headers = app.clone().oneshot(request).await.unwrap().headers().clone();
        ["cache-groups", "no-vary-search", "cache-group-invalidation"].map(|name| {
            let lines: Vec<_> = headers.get_all(name).iter().map(|line| line.to_str().unwrap()).collect();
            lines.join(", ")
        })
    };
    let own = r#""news", "a \"b\"""#;
    let search = r#"key-order, params=("utm_source")"#;
    assert_eq!(send("GET", "/").await, [own, search, ""]);
    assert_eq!(send("HEAD", "/").await, [own, search, ""]);
    assert_eq!(send("POST", "/").await, ["", "", r#""news", "menu""#]);
    assert_eq!(send("OPTIONS", "/").await, [""; 3], "a safe method invalidates nothing");
    assert_eq!(send("POST", "/failing").await, [""; 3], "a failed request has changed nothing");
    assert_eq!(send("GET", "/own").await, [&format!(r#""own", {own}"#), "key-order", ""]);
}
