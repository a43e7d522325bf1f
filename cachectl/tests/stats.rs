//! `cachectl stats`: the figures of all processes of an app, from a real Redis.

mod command;

use std::sync::Arc;
use std::time::Duration;

use command::{CACHECTL, bare};
use origin_sdk::{Cache, Lifetime, Namespace};
use serde_json::Value;
use strata_tests::{Database, Item, RedisServer, eventually};

const LIFETIME: Lifetime = Lifetime::fresh(Duration::from_secs(600));
const INTERVAL: Duration = Duration::from_millis(100);

async fn process(redis: &RedisServer) -> (Cache, Namespace<Item, u64>) {
    let cache = redis.cache().report_interval(INTERVAL).build().await.unwrap();
    let items = cache.namespace(LIFETIME).build();
    (cache, items)
}

fn stats(redis: &RedisServer, arguments: &[&str]) -> String {
    let mut command = bare(CACHECTL);
    command.args(["--redis", &redis.url(), "--app", "test"]).args(arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn json(redis: &RedisServer, arguments: &[&str]) -> Value {
    serde_json::from_str(&stats(redis, &[&["--json", "stats"], arguments].concat())).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_figures_of_all_processes_are_summed_per_namespace() {
    let redis = RedisServer::start().await;
    assert!(stats(&redis, &["stats"]).contains("no process has published figures of late"));
    let ((first, items), (second, elsewhere)) = (process(&redis).await, process(&redis).await);
    let database = Database::default();
    for items in [&items, &items, &elsewhere, &elsewhere] {
        items.get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap();
    }
    // One load, a hit of memory, one of Redis, and a hit of memory.
    eventually("both processes have published", async || json(&redis, &[])["namespaces"][0]["reads"] == 4)
        .await;
    let report = json(&redis, &[]);
    let item = &report["namespaces"][0];
    assert_eq!((&item["namespace"], &item["loads"]), (&"Item".into(), &1.into()));
    assert_eq!((&item["memory_hit_rate"], &item["redis_hit_rate"]), (&0.5.into(), &0.5.into()));
    assert!(item["load_p99_ms"].as_f64() > Some(0.0) && item["redis_p99_ms"].as_f64() > Some(0.0), "{item}");
    let processes = report["processes"].as_array().unwrap();
    assert!(
        processes.len() == 2 && processes.iter().all(|process| process["is_current"] == true),
        "{report}"
    );
    let text = stats(&redis, &["stats"]);
    assert!(text.lines().any(|line| line.starts_with("Item ") && line.contains("50.0%")), "{text}");
    assert!(!redis.run::<Vec<String>>(&["KEYS", "test:{stats}:*"]).await.is_empty());

    // A process that has ended is left out, and nothing of it stays.
    drop((first, items));
    eventually("one process is left", async || json(&redis, &[])["processes"].as_array().unwrap().len() == 1)
        .await;
    drop((second, elsewhere));
    eventually("no report is left", async || {
        redis.run::<Vec<String>>(&["KEYS", "test:{stats}:*"]).await.is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_time_only_what_happens_meanwhile_counts() {
    let redis = RedisServer::start().await;
    let (_cache, items) = process(&redis).await;
    let database = Database::default();
    items.get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap();
    eventually("the load is published", async || json(&redis, &[])["namespaces"][0]["loads"] == 1).await;
    let redis = Arc::new(redis);
    let of_command = Arc::clone(&redis);
    let command = tokio::task::spawn_blocking(move || json(&of_command, &["--over", "2"]));
    while !command.is_finished() {
        assert!(items.get_cached(&Item { id: 1 }).await.is_some());
        tokio::task::yield_now().await;
    }
    let report = command.await.unwrap();
    let item = &report["namespaces"][0];
    assert!(item["reads"].as_u64() > Some(0) && item["memory_hit_rate"] == 1.0, "{item}");
    assert_eq!(item["loads"], 0, "the load was before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_report_or_one_of_a_hostile_client_is_left_out_or_harmless() {
    let redis = RedisServer::start().await;
    let (_cache, items) = process(&redis).await;
    items.get_or_load(&Item { id: 1 }, Database::default().loader(1)).await.unwrap();
    for (name, report) in [
        ("broken", "{"),
        ("strange", r#"{"process": 7}"#),
        (
            "huge",
            r#"{"process":"\u001b[2J","namespaces":{"Item":{"memory_hits":18446744073709551615,"load_times":{"99999":18446744073709551615}}}}"#,
        ),
    ] {
        let _: i64 = redis.run(&["ZADD", "test:{stats}:processes", "9e15", name]).await;
        let _: String = redis.run(&["SET", &format!("test:{{stats}}:of:{name}"), report, "EX", "600"]).await;
    }
    eventually("the process has published", async || {
        json(&redis, &[])["processes"].as_array().unwrap().len() == 2
    })
    .await;
    let text = stats(&redis, &["stats"]);
    assert!(text.contains("18446744073709551615") && !text.contains('\u{1b}'), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_publishes_rarely_stays_beside_one_that_publishes_often() {
    let redis = RedisServer::start().await;
    let _rare = redis.cache().report_interval(20 * INTERVAL).build().await.unwrap();
    let (_often, items) = process(&redis).await;
    let processes = || json(&redis, &[])["processes"].as_array().unwrap().len();
    eventually("both have published", async || processes() == 2).await;
    // Reports are kept for three intervals: these reads show that more of them have passed.
    let database = Database::default();
    for reads in 1..=6 {
        items.get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap();
        eventually("the read is published", async || json(&redis, &[])["namespaces"][0]["reads"] == reads)
            .await;
        assert_eq!(processes(), 2, "after {reads} reads");
    }
}
