//! The commands that a stampede costs Redis: they follow from the number of processes, not from the
//! number of callers or the time of their arrival.

use std::time::Duration;

use origin_sdk::{Cache, Clock, Freshness, Layer, Lifetime, Namespace, StaleReason, Storage};
use strata_tests::{Database, Item, RedisServer, WAIT_LIMIT, eventually};
use tokio::task::JoinSet;

use crate::gates;

const LIFETIME: Lifetime = Lifetime::fresh(Duration::from_secs(600));
const PROCESSES: usize = 8;
const WAVES: usize = 20;
/// The callers of each process in each wave.
const CALLERS: usize = 25;
/// The commands of the journal's heartbeats, which depend on the time that the test takes. A script
/// is counted by the commands in it.
const HEARTBEAT: [&str; 9] =
    ["evalsha", "xread", "xrange", "xrevrange", "zcount", "zscore", "time", "info", "config|resetstat"];

/// Returns how often a command has been called since the last reset.
async fn calls(redis: &RedisServer, command: &str) -> u64 {
    let stats: String = redis.run(&["INFO", "commandstats"]).await;
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

/// Processes with a clock that stands still, so that each looks a key up once.
async fn fleet(redis: &RedisServer) -> Vec<(Cache, Namespace<Item, u64>)> {
    let mut fleet = Vec::new();
    for _ in 0..PROCESSES {
        let cache = redis.cache().clock(Clock::manual()).lease_ttl(Duration::from_secs(600));
        let cache = cache.build().await.unwrap();
        let items = cache.namespace(LIFETIME).build();
        fleet.push((cache, items));
    }
    fleet
}

/// Reads an item with callers that arrive in waves, while one process loads it.
async fn stampede(fleet: &[(Cache, Namespace<Item, u64>)], database: &Database, id: u64) {
    let (has_read, may_end) = gates();
    let coalesced = |(cache, _): &(Cache, Namespace<Item, u64>)| cache.stats().coalesced;
    let before: Vec<_> = fleet.iter().map(coalesced).collect();
    let mut callers = JoinSet::new();
    for wave in 0..WAVES {
        for (_, items) in fleet {
            for _ in 0..CALLERS {
                let (items, loader) = (items.clone(), database.slow_loader(id, &has_read, &may_end));
                callers.spawn(async move { items.get_or_load(&Item { id }, loader).await.map(|_| ()) });
            }
        }
        // The first caller of each process leads. All others wait for it.
        let arrived = ((wave + 1) * CALLERS - 1) as u64;
        eventually("the wave waits", async || {
            fleet.iter().zip(&before).all(|(process, before)| coalesced(process) - before >= arrived)
        })
        .await;
    }
    has_read.acquire().await.unwrap().forget();
    may_end.add_permits(1);
    let answers = tokio::time::timeout(WAIT_LIMIT, callers.join_all()).await.unwrap();
    assert!(answers.iter().all(Result::is_ok));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stampede_costs_redis_a_few_commands_per_process() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let fleet = fleet(&redis).await;
    // Opens the subscriptions and loads the scripts.
    stampede(&fleet, &database, 1).await;
    let _: String = redis.run(&["CONFIG", "RESETSTAT"]).await;
    stampede(&fleet, &database, 2).await;
    let stats: String = redis.run(&["INFO", "commandstats"]).await;
    let calls: usize = stats
        .lines()
        .filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(":calls="))
        .filter(|(command, _)| !HEARTBEAT.contains(command) && !command.starts_with("client"))
        .filter_map(|(_, calls)| calls.split(',').next()?.parse::<usize>().ok())
        .sum();
    // A waiter looks up, claims and reads; the leader looks up, claims and stores.
    assert!(calls <= PROCESSES * 12, "expected at most 12 commands per process, got {calls}: {stats}");
    assert_eq!(database.reads(), 2);
}

/// The holder's own loader may hang while another process stores the value.
#[tokio::test]
async fn a_caller_that_arrives_later_during_a_load_looks_the_key_up_again() {
    let (redis, database, clock) = (RedisServer::start().await, Database::default(), Clock::manual());
    let (a, b) = (redis.cache().clock(clock.clone()).build(), redis.cache().build());
    let (a, b) = (a.await.unwrap(), b.await.unwrap());
    let (of_a, of_b): (_, Namespace<Item, u64>) =
        (a.namespace(LIFETIME).build(), b.namespace(LIFETIME).build());
    let (has_read, never) = gates();
    let hanging = tokio::spawn({
        let (items, loader) = (of_a.clone(), database.slow_loader(1, &has_read, &never));
        async move { items.get_or_load(&Item { id: 1 }, loader).await.map(|_| ()) }
    });
    has_read.acquire().await.unwrap().forget();
    assert_eq!(of_b.put(&Item { id: 1 }, 7, b.position()).await.redis, Storage::Stored);
    clock.advance(Duration::from_millis(300));
    let found = of_a.get_or_load(&Item { id: 1 }, database.loader(1));
    let found = tokio::time::timeout(WAIT_LIMIT, found).await.unwrap().unwrap();
    assert_eq!((*found.value, found.layer), (7, Layer::Redis));
    hanging.abort();
}

/// Memory is too small for the value, so that the stale copy is in Redis alone.
#[tokio::test]
async fn a_caller_that_joins_a_load_has_the_stale_value_of_the_lookup_that_it_saves() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let cache = redis.cache().clock(Clock::manual()).memory_bytes(1).build().await.unwrap();
    let lifetime = LIFETIME.stale_if_error(Duration::from_secs(600));
    let items = cache.namespace(lifetime).soft_timeout(Duration::from_millis(1)).build();
    items.get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap();
    items.expire(&Item { id: 1 }).await;
    let (has_read, never) = gates();
    for has_to_look_up in [true, false] {
        let _: String = redis.run(&["CONFIG", "RESETSTAT"]).await;
        let loader = database.slow_loader(1, &has_read, &never);
        let served = items.get_or_load(&Item { id: 1 }, loader);
        let served = tokio::time::timeout(WAIT_LIMIT, served).await.unwrap().unwrap();
        assert_eq!(served.freshness, Freshness::Stale(StaleReason::SoftTimeout));
        if !has_to_look_up {
            assert_eq!(calls(&redis, "strlen").await, 0, "the second caller joins the load of the first");
        }
    }
}
