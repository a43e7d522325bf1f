//! `cachectl doctor` against real servers in bad states: each check reports the fault that it looks
//! for, and a server in order passes.

mod command;

use std::process::Output;
use std::time::Duration;

use command::{CACHECTL, bare};
use origin_sdk::{Lifetime, Namespace, Scope, Tag};
use serde_json::Value;
use strata_tests::{Database, FakeWorker, Item, RedisServer, eventually, worker_secret};

const LIFETIME: Lifetime = Lifetime::fresh(Duration::from_secs(600));

/// The exit code, and the report as JSON.
struct Run {
    code: i32,
    report: Value,
}

impl Run {
    /// Returns the verdict, figure and reason of a check.
    fn of(&self, check: &str) -> (&str, &str, &str) {
        let diagnoses = self.report["diagnoses"].as_array().unwrap();
        let diagnosis = diagnoses.iter().find(|diagnosis| diagnosis["check"] == check);
        let diagnosis = diagnosis.unwrap_or_else(|| panic!("no check {check}: {}", self.report));
        let text = |member: &str| diagnosis[member].as_str().unwrap();
        let fault = ["warn", "fail"].contains(&text("health"));
        assert_eq!(fault, !text("remedy").is_empty(), "a fault has a remedy: {diagnosis}");
        (text("health"), text("figure"), text("reason"))
    }

    fn health(&self, check: &str) -> &str {
        self.of(check).0
    }
}

fn run(redis: &RedisServer, arguments: &[&str]) -> Output {
    bare(CACHECTL).args(["--redis", &redis.url(), "--app", "test"]).args(arguments).output().unwrap()
}

fn doctor(redis: &RedisServer) -> Run {
    let Output { status, stdout, stderr } = run(redis, &["--json", "doctor"]);
    assert!(stderr.is_empty(), "{}", String::from_utf8_lossy(&stderr));
    Run { code: status.code().unwrap(), report: serde_json::from_slice(&stdout).unwrap() }
}

async fn set(redis: &RedisServer, setting: &str, value: &str) {
    let _: String = redis.run(&["CONFIG", "SET", setting, value]).await;
}

/// Starts a server with the settings that a cache should have, and an app with one entry.
async fn healthy() -> RedisServer {
    let redis = RedisServer::start().await;
    set(&redis, "maxmemory", "200mb").await;
    set(&redis, "maxmemory-policy", "volatile-lru").await;
    let cache = redis.cache().build().await.unwrap();
    let items: Namespace<Item, u64> = cache.namespace(LIFETIME).build();
    items.get_or_load(&Item { id: 1 }, Database::default().loader(1)).await.unwrap();
    assert!(cache.close().await.is_complete());
    redis
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_in_order_passes_every_check_and_the_report_is_text_or_json() {
    let redis = healthy().await;
    let of_user = doctor(&redis);
    assert_eq!(of_user.code, 0);
    let diagnoses = of_user.report["diagnoses"].as_array().unwrap();
    let faults: Vec<_> = diagnoses.iter().filter(|diagnosis| diagnosis["health"] != "ok").collect();
    // Only the user that all rights belong to.
    assert!(faults.len() == 1 && faults[0]["check"] == "user", "{faults:?}");
    assert_eq!(run(&redis, &["doctor", "--strict"]).status.code(), Some(5));

    let text = run(&redis, &["doctor"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("ok       eviction policy       volatile-lru\n"), "{text}");
    assert!(text.contains("mend                  create one user"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_limit_fails() {
    let redis = healthy().await;
    set(&redis, "maxmemory", "0").await;
    let run = doctor(&redis);
    assert_eq!((run.code, run.health("memory limit")), (5, "fail"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_refuses_values_at_its_limit_fails() {
    let redis = healthy().await;
    set(&redis, "maxmemory-policy", "noeviction").await;
    let run = doctor(&redis);
    assert_eq!((run.code, run.health("eviction policy")), (5, "fail"));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_never_expire_are_named_and_defeat_a_policy_for_volatile_keys() {
    let redis = healthy().await;
    let fill = "for n = 1, 500 do redis.call('SET', 'session:' .. n, 'x') end return 1";
    let _: i64 = redis.run(&["EVAL", fill, "0"]).await;
    let run = doctor(&redis);
    let (health, figure, _) = run.of("keys without a TTL");
    assert!(health == "fail" && figure.contains("session:* (500)"), "{figure}");
    assert_eq!(run.health("eviction policy"), "fail");
}

#[tokio::test(flavor = "multi_thread")]
async fn evictions_before_the_end_of_lifetimes_are_reported() {
    let redis = healthy().await;
    set(&redis, "maxmemory", "3mb").await;
    let fill =
        "for n = 1, 5000 do redis.call('SET', 'page:' .. n, string.rep('x', 1000), 'EX', 600) end return 1";
    let _: i64 = redis.run(&["EVAL", fill, "0"]).await;
    // A script may exceed the limit; the next write evicts.
    let _: String = redis.run(&["SET", "page:0", "x", "EX", "600"]).await;
    assert_eq!(doctor(&redis).health("evictions"), "warn");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_calls_keys_is_found() {
    let redis = healthy().await;
    let _: Vec<String> = redis.run(&["KEYS", "page:*"]).await;
    assert_eq!(doctor(&redis).health("KEYS and FLUSHALL"), "fail");
    let _: String = redis.run(&["CONFIG", "RESETSTAT"]).await;
    assert_eq!(doctor(&redis).health("KEYS and FLUSHALL"), "ok");
    let _: String = redis.run(&["FLUSHDB"]).await;
    assert_eq!(doctor(&redis).health("KEYS and FLUSHALL"), "warn");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_low_hit_rate_of_keys_that_expire_too_soon_is_named() {
    let redis = healthy().await;
    let _: String = redis.run(&["CONFIG", "RESETSTAT"]).await;
    for batch in 0..20 {
        let fill = "for n = 1, 100 do redis.call('SET', ARGV[1] .. n, 'x', 'PX', 1) end return 1";
        let prefix = format!("page:{batch}:");
        let _: i64 = redis.run(&["EVAL", fill, "0", &prefix]).await;
        // By the server's clock: a read before their expiry would be a hit.
        let millis = async || {
            let (seconds, micros): (u64, u64) = redis.run(&["TIME"]).await;
            seconds * 1_000 + micros / 1_000
        };
        let filled_at = millis().await;
        eventually("the keys have expired", async || millis().await > filled_at + 1).await;
        let read = "for n = 1, 100 do redis.call('GET', ARGV[1] .. n) end return 1";
        let _: i64 = redis.run(&["EVAL", read, "0", &prefix]).await;
    }
    let run = doctor(&redis);
    let (health, figure, reason) = run.of("hit rate of Redis");
    assert!(health == "warn" && reason.contains("expire before they are read again"), "{figure}: {reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_value_is_named() {
    let redis = healthy().await;
    let _: i64 = redis.run(&["SETRANGE", "page:77", "12000000", "x"]).await;
    let _: i64 = redis.run(&["EXPIRE", "page:77", "600"]).await;
    let run = doctor(&redis);
    let (health, figure, _) = run.of("large values");
    assert!(health == "fail" && figure.contains("page:*"), "{figure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_near_its_limit_of_connections_fails() {
    let redis = healthy().await;
    set(&redis, "maxclients", "20").await;
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connections = Vec::new();
    for _ in 0..17 {
        connections.push(client.get_multiplexed_async_connection().await.unwrap());
    }
    assert_eq!(doctor(&redis).health("connections"), "fail");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_in_place_of_the_primary_fails() {
    let (primary, redis) = tokio::join!(RedisServer::start(), healthy());
    let _: String = redis.run(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()]).await;
    eventually("it is a replica", async || {
        redis.run::<String>(&["INFO", "replication"]).await.contains("role:slave")
    })
    .await;
    assert_eq!(doctor(&redis).health("replication"), "fail");
    let run = doctor(&primary);
    assert!(run.of("replication").1.contains("1 replicas"), "{:?}", run.of("replication"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_save_fails() {
    let redis = healthy().await;
    let (_, folder): (String, String) = redis.run(&["CONFIG", "GET", "dir"]).await;
    // The snapshot would be a file with the name of this folder.
    std::fs::create_dir(std::path::Path::new(&folder).join("dump.rdb")).unwrap();
    let _: String = redis.run(&["BGSAVE"]).await;
    eventually("saving has failed", async || {
        redis.run::<String>(&["INFO", "persistence"]).await.contains("rdb_last_bgsave_status:err")
    })
    .await;
    assert_eq!(doctor(&redis).health("persistence"), "fail");
}

#[tokio::test(flavor = "multi_thread")]
async fn invalidated_entries_that_fill_the_memory_are_reported() {
    let redis = healthy().await;
    let cache = redis.cache().build().await.unwrap();
    let items: Namespace<Item, u64> = cache.namespace(LIFETIME).build();
    let database = Database::default();
    for id in 0..100 {
        items.get_or_load(&Item { id }, database.loader(id)).await.unwrap();
    }
    assert_eq!(doctor(&redis).health("invalidated entries"), "ok");
    cache.invalidate(Scope::All).await;
    let run = doctor(&redis);
    let (health, figure, _) = run.of("invalidated entries");
    assert!(health == "warn" && figure.starts_with("100%"), "{figure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_cannot_be_reached_is_reported_with_its_error() {
    let (redis, worker) = tokio::join!(healthy(), FakeWorker::start());
    let cache = redis.cache().edge(worker.url(), worker_secret()).build().await.unwrap();
    eventually("the first record is shipped", async || !worker.accepted().is_empty()).await;
    assert_eq!(doctor(&redis).health("shipping to the edge"), "ok");
    worker.set_down(true);
    cache.invalidate([Tag::new("a").unwrap()]).await;
    eventually("a failed attempt is reported", async || {
        doctor(&redis).health("shipping to the edge") == "fail"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_never_connected_has_no_journal() {
    let redis = RedisServer::start().await;
    let run = doctor(&redis);
    assert_eq!(run.health("journal"), "warn");
    assert_eq!(redis.run::<u64>(&["DBSIZE"]).await, 0, "a diagnosis writes nothing");
}
