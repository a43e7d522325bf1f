//! The health of a process while its Redis is stopped, frozen, and back: an outage shows, and takes
//! no process out of service.

use std::time::Duration;

use origin_sdk::{Cache, CacheHealth, Delivery, Scope};
use strata_tests::{RedisServer, eventually};

/// Short, so that a process soon notices the loss of the journal.
const MAX_LAG: Duration = Duration::from_millis(700);

async fn process(redis: &RedisServer) -> Cache {
    redis.cache().max_lag(MAX_LAG).build().await.unwrap()
}

fn is_well(health: &CacheHealth) -> bool {
    let is_near = health.journal_lag_ms.is_some_and(|lag| lag <= MAX_LAG.as_millis() as u64);
    health.is_connected && health.is_following && health.is_current && is_near && !health.is_degraded()
}

/// Waits until the health shows that Redis does not answer and the journal is unknown.
async fn notices(cache: &Cache) {
    eventually("the process notices the outage", async || {
        let health = cache.health();
        !health.is_connected && !health.is_current && health.journal_lag_ms > Some(700)
    })
    .await;
    let health = cache.health();
    assert!(health.is_ready() && health.is_live() && health.is_degraded(), "{health:?}");
}

async fn recovers(cache: &Cache) {
    eventually("all is well again", async || is_well(&cache.health())).await;
    assert_eq!((cache.health().queued, cache.health().queue_age_ms), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_redis_shows_with_the_queue_and_its_age_and_so_does_its_return() {
    let mut redis = RedisServer::start().await;
    let cache = process(&redis).await;
    assert!(is_well(&cache.health()), "{:?}", cache.health());
    redis.kill();
    notices(&cache).await;
    assert_eq!(cache.invalidate([Scope::All]).await.journal, Delivery::Queued);
    assert_eq!(cache.health().queued, 1);
    eventually("the age of the queue grows", async || cache.health().queue_age_ms > 50).await;
    redis.restart().await;
    recovers(&cache).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_redis_shows_although_its_connections_stay_open() {
    let redis = RedisServer::start().await;
    let cache = process(&redis).await;
    redis.freeze();
    notices(&cache).await;
    redis.thaw();
    recovers(&cache).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_starts_without_redis_is_ready_and_has_no_lag_to_tell() {
    let mut redis = RedisServer::start().await;
    redis.kill();
    let cache = process(&redis).await;
    let health = cache.health();
    assert!(health.is_ready() && health.is_degraded() && !health.is_connected, "{health:?}");
    assert_eq!(health.journal_lag_ms, None);
    redis.restart().await;
    recovers(&cache).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_refuses_its_commands_is_connected_and_the_cache_degraded() {
    let redis = RedisServer::start().await;
    let _: String = redis.run(&["ACL", "SETUSER", "default", "-evalsha"]).await;
    let cache = process(&redis).await;
    let health = cache.health();
    assert!(health.is_connected && !health.is_current && health.is_degraded(), "{health:?}");
    assert_eq!(health.journal_lag_ms, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_closes_is_not_ready_and_stays_live() {
    let redis = RedisServer::start().await;
    let cache = process(&redis).await;
    assert!(cache.close().await.is_complete());
    let health = cache.health();
    assert!(!health.is_ready() && health.is_live() && health.is_closing, "{health:?}");
    // As an orchestrator would get it from a service.
    let json = serde_json::to_value(health).unwrap();
    assert_eq!((&json["is_closing"], &json["queued"]), (&true.into(), &0.into()));
}

#[test]
fn a_process_whose_follower_has_ended_is_neither_ready_nor_live() {
    let start = || tokio::runtime::Runtime::new().unwrap();
    let first = start();
    let cache = first.block_on(async { Cache::builder("test").build().await.unwrap() });
    assert!(cache.health().is_live());
    drop(first);
    let health = cache.health();
    assert!(!health.is_ready() && !health.is_live() && health.is_degraded(), "{health:?}");
    start().block_on(async { cache.invalidate([Scope::All]).await });
    // The invalidation has started the follower again, in a runtime that has ended as well.
    assert!(!cache.health().is_live());
}
