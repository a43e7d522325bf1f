//! A lifetime means the same in memory, in Redis and in the header fields of a response.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use origin_sdk::http::CacheLayer;
use origin_sdk::{Cache, Freshness, Layer, Lifetime, Namespace};
use strata_tests::{Database, Item, RedisServer};
use tower::ServiceExt;

const KEY: Item = Item { id: 1 };
const HOUR: Duration = Duration::from_secs(3600);
const LAST_SECOND: &str = "max-age=2147483648";

/// Returns `CDN-Cache-Control` of a response that is built from the item.
async fn field(cache: &Cache, items: &Namespace<Item, u64>, database: &Database) -> String {
    let (items, loader) = (items.clone(), database.loader(1));
    let handler = move || async move { items.get_or_load(&KEY, loader).await.unwrap().value.to_string() };
    let app: Router = Router::new().route("/", get(handler)).layer(CacheLayer::new(cache));
    let response = app.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
    response.headers()["cdn-cache-control"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_lifetime_without_an_end_is_the_same_for_every_process_and_in_the_response() {
    let redis = RedisServer::start().await;
    let beyond_redis = Duration::from_millis(i64::MAX as u64);
    let swr = "stale-while-revalidate=2147483648";
    let sie = "stale-if-error=2147483648";
    for long in [Duration::MAX, beyond_redis, beyond_redis / 2, Duration::from_secs(u64::MAX)] {
        let (hour, long_fresh) = (Lifetime::fresh(HOUR), Lifetime::fresh(long));
        for (lifetime, expected) in [
            (long_fresh, LAST_SECOND.to_owned()),
            (
                long_fresh.stale_while_revalidate(long).stale_if_error(long),
                format!("{LAST_SECOND}, {swr}, {sie}"),
            ),
            (hour.stale_while_revalidate(long), format!("max-age=, {swr}")),
            (hour.stale_if_error(long), format!("max-age=, {sie}")),
        ] {
            let database = Database::default();
            let [a, b] =
                [redis.cache().jitter(0.1).build().await.unwrap(), redis.cache().build().await.unwrap()];
            let [of_a, of_b] = [&a, &b].map(|cache| cache.namespace::<Item, u64>(lifetime).build());
            of_a.invalidate(&KEY).await;
            let fields = [
                field(&a, &of_a, &database).await,
                field(&a, &of_a, &database).await,
                field(&b, &of_b, &database).await,
                field(&b, &of_b, &database).await,
            ];
            // An hour is a second less by the next response, and less by the jitter.
            let without_hour = fields.map(|field| match field.split_once(", ") {
                Some((fresh, windows)) if fresh != LAST_SECOND => format!("max-age=, {windows}"),
                _ => field,
            });
            assert!(without_hour.iter().all(|field| *field == expected), "{lifetime:?}: {without_hour:?}");
            assert_eq!(database.reads(), 1, "{lifetime:?}");
            let elsewhere = redis.cache().build().await.unwrap().namespace::<Item, u64>(lifetime).build();
            let cached = elsewhere.get_cached(&KEY).await.unwrap();
            assert_eq!((cached.layer, cached.freshness), (Layer::Redis, Freshness::Fresh), "{lifetime:?}");
            assert!(cached.age < HOUR, "{lifetime:?}: {:?}", cached.age);
        }
    }
}

/// The age of a copy is the part of its time to live that has passed.
#[tokio::test]
async fn a_copy_whose_time_to_live_was_prolonged_by_hand_is_not_served() {
    let redis = RedisServer::start().await;
    let [here, elsewhere] = [redis.cache().build().await.unwrap(), redis.cache().build().await.unwrap()]
        .map(|cache| cache.namespace::<Item, u64>(Lifetime::fresh(HOUR)).build());
    here.get_or_load(&KEY, Database::default().loader(1)).await.unwrap();
    let set_time_to_live = async |time: Duration| {
        let millis = time.as_millis().to_string();
        redis.run::<u8>(&["PEXPIRE", "test:v1:{item:1}", &millis]).await
    };
    set_time_to_live(24 * HOUR).await;
    assert!(elsewhere.get_cached(&KEY).await.is_none());
    set_time_to_live(HOUR / 2).await;
    assert!(elsewhere.get_cached(&KEY).await.unwrap().age >= HOUR / 2);
}

#[tokio::test]
async fn a_lifetime_below_a_second_or_a_millisecond_is_rounded_down_everywhere() {
    let redis = RedisServer::start().await;
    let second = Duration::from_secs(1);
    for (fresh, is_stored, expected) in [
        (Duration::ZERO, 0, "max-age=0"),
        (Duration::from_nanos(999_999), 0, "max-age=0"),
        (second - Duration::from_millis(1), 1, "max-age=0"),
    ] {
        let (cache, database) = (redis.cache().build().await.unwrap(), Database::default());
        let items: Namespace<Item, u64> = cache.namespace(Lifetime::fresh(fresh)).build();
        items.invalidate(&KEY).await;
        let _: u8 = redis.run(&["DEL", "test:v1:{item:1}"]).await;
        assert_eq!(field(&cache, &items, &database).await, expected, "{fresh:?}");
        assert_eq!(redis.run::<u8>(&["EXISTS", "test:v1:{item:1}"]).await, is_stored, "{fresh:?}");
    }
}
