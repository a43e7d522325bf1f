//! The journal in Redis: what is lost makes entries invalid, never valid.

use std::time::Duration;

use origin_sdk::{Cache, Layer, Lifetime, Namespace, Position, Tag};
use strata_tests::{Database, Item, RedisServer, eventually};

const FEED: &str = "test:{journal}:feed";
const LEDGER: &str = "test:{journal}:ledger";
const LIFETIME: Lifetime = Lifetime::fresh(Duration::from_secs(600));

struct Process {
    cache: Cache,
    items: Namespace<Item, u64>,
}

impl Process {
    async fn start(redis: &RedisServer) -> Self {
        let cache = redis.cache().build().await.unwrap();
        let items = cache.namespace(LIFETIME).build();
        Self { cache, items }
    }

    async fn read(&self, database: &Database) -> (u64, Layer) {
        let hit = self.items.get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap();
        (*hit.value, hit.layer)
    }

    async fn invalidate_something(&self, n: usize) -> Position {
        self.cache.invalidate([Tag::new(&format!("other:{n}")).unwrap()]).await.position.unwrap()
    }
}

/// Process `a` holds item 1 of version 0; the database has version 1.
async fn held_old_value() -> (RedisServer, Process, Database) {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let a = Process::start(&redis).await;
    assert_eq!(a.read(&database).await, (0, Layer::Loader));
    assert_eq!(a.read(&database).await, (0, Layer::Memory));
    database.write(1, 1);
    (redis, a, database)
}

#[tokio::test]
async fn positions_only_grow_even_if_the_feed_is_lost() {
    let redis = RedisServer::start().await;
    let process = Process::start(&redis).await;
    let mut last = Position::ZERO;
    for n in 0..50 {
        let position = process.invalidate_something(n).await;
        assert!(position > last, "{position} after {last}");
        last = position;
        if n % 10 == 9 {
            let _: i64 = redis.run(&["DEL", FEED]).await;
        }
    }
}

/// Redis's clock was ahead when the process saw its last record, and has been set right since.
#[tokio::test]
async fn positions_only_grow_if_the_clock_goes_back() {
    let (redis, a, database) = held_old_value().await;
    let ahead = Position::new(4_000_000_000_000, 0);
    let _: String = redis.run(&["XADD", FEED, &ahead.to_string(), "mode", "remove", "scope", "tag:x"]).await;
    assert!(a.invalidate_something(0).await > ahead);
    a.items.invalidate(&Item { id: 1 }).await;
    assert_eq!(a.read(&database).await.0, 1);
}

#[tokio::test]
async fn a_feed_that_vanished_makes_everything_before_it_invalid() {
    let (redis, a, database) = held_old_value().await;
    let _: i64 = redis.run(&["DEL", FEED, LEDGER]).await;
    eventually("the loss is noticed", async || a.read(&database).await.0 == 1).await;
}

/// A failover to a replica that had not got the last records; new records have come since.
#[tokio::test]
async fn a_feed_that_lost_its_end_makes_everything_invalid_though_it_has_grown_again() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let (a, b) = (Process::start(&redis).await, Process::start(&redis).await);
    let lost = a.invalidate_something(1).await;
    eventually("the record has arrived", async || b.cache.stats().records_applied >= 2).await;
    assert_eq!(b.read(&database).await.0, 0);
    database.write(1, 1);
    let in_one_step = "redis.call('XDEL', KEYS[1], ARGV[1]); \
                       return redis.call('XADD', KEYS[1], '*', 'mode', 'expire', 'scope', 'tag:unrelated')";
    let _: String = redis.run(&["EVAL", in_one_step, "1", FEED, &lost.to_string()]).await;
    eventually("the loss is noticed", async || b.read(&database).await.0 == 1).await;
}

/// A process appends, and a failover loses the record before the process is told of it: what it had applied last is still there.
#[tokio::test]
async fn a_record_of_ones_own_that_is_lost_is_missed_though_the_one_applied_last_is_there() {
    let (redis, a, _database) = held_old_value().await;
    let (before, own) = (a.invalidate_something(1).await, a.invalidate_something(2).await);
    let (journal, follow) = (
        include_str!("../../origin-sdk/src/store/redis/lua/journal.lua"),
        include_str!("../../origin-sdk/src/store/redis/lua/follow.lua"),
    );
    let (script, before, own) = (format!("{journal}{follow}"), before.to_string(), own.to_string());
    let ask = async || {
        let command = ["EVAL", &script, "2", FEED, LEDGER, "1000", "1000", &before, "100", &own];
        let (_, _, _, rows): (String, u8, u8, Vec<Vec<String>>) = redis.run(&command).await;
        rows.into_iter().map(|row| row[1..].join(" ")).collect::<Vec<_>>()
    };
    assert_eq!(ask().await, ["remove tag:other:2"]);
    let _: i64 = redis.run(&["XDEL", FEED, &own]).await;
    assert_eq!(ask().await, ["remove all"]);
}

#[tokio::test]
async fn a_process_that_missed_trimmed_records_reads_the_ledger() {
    let (redis, a, database) = held_old_value().await;
    let b = Process::start(&redis).await;
    b.items.invalidate(&Item { id: 1 }).await;
    b.invalidate_something(1).await;
    let _: i64 = redis.run(&["XTRIM", FEED, "MAXLEN", "1"]).await;
    eventually("the record is known all the same", async || a.read(&database).await.0 == 1).await;
    let newcomer = Process::start(&redis).await;
    assert_eq!(newcomer.read(&database).await, (1, Layer::Redis));
}

#[tokio::test]
async fn without_a_ledger_a_newcomer_trusts_nothing_from_before() {
    let (redis, _a, database) = held_old_value().await;
    let _: i64 = redis.run(&["DEL", LEDGER]).await;
    let b = Process::start(&redis).await;
    b.invalidate_something(1).await;
    let newcomer = Process::start(&redis).await;
    // What was loaded at the end of the feed is still good: the record there is the one that the entry knew.
    assert_eq!(newcomer.read(&database).await.0, 0);
    let _: i64 = redis.run(&["DEL", LEDGER]).await;
    let newcomer = Process::start(&redis).await;
    assert_eq!(newcomer.read(&database).await, (1, Layer::Loader));
}

#[tokio::test]
async fn a_record_that_cannot_be_read_counts_as_one_that_covers_everything() {
    let (redis, a, database) = held_old_value().await;
    let _: String = redis.run(&["XADD", FEED, "*", "mode", "vanish", "scope", "tag:x"]).await;
    eventually("it is applied", async || a.read(&database).await.0 == 1).await;
}

#[tokio::test]
async fn what_redis_holds_can_be_read_by_people() {
    let (redis, a, _database) = held_old_value().await;
    let entry: String = redis.run(&["GET", "test:v1:{item:1}"]).await;
    assert!(entry.starts_with("strata 2 ") && entry.contains(" {\"at\":\"") && entry.ends_with("}\n0"), "{entry}");
    a.items.invalidate(&Item { id: 1 }).await;
    let last: Vec<(String, Vec<String>)> = redis.run(&["XREVRANGE", FEED, "+", "-", "COUNT", "1"]).await;
    assert_eq!(last[0].1, ["mode", "remove", "scope", "key:test:v1:{item:1}"]);
}

#[tokio::test]
async fn bytes_that_are_no_text_count_as_a_record_that_covers_everything() {
    let (redis, a, database) = held_old_value().await;
    let not_utf8 = "return redis.call('XADD', KEYS[1], '*', 'mode', 'remove', 'scope', 'tag:\\255')";
    let _: String = redis.run(&["EVAL", not_utf8, "1", FEED]).await;
    eventually("it is applied", async || a.read(&database).await.0 == 1).await;
    eventually("the process goes on", async || a.read(&database).await.1 == Layer::Memory).await;
}

/// A failover moves an address to another server; a connection to the old one, now a replica, lives on.
#[tokio::test]
async fn a_replica_is_not_followed() {
    let (redis, a, database) = held_old_value().await;
    let _: String = redis.run(&["REPLICAOF", "127.0.0.1", "1"]).await;
    eventually("the process knows that it cannot know", async || a.read(&database).await.0 == 1).await;
    assert!(a.cache.stats().disconnected_reads > 0);
    let _: String = redis.run(&["REPLICAOF", "NO", "ONE"]).await;
    eventually("it heals", async || a.read(&database).await.1 == Layer::Memory).await;
}
