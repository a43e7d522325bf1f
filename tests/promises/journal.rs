//! The journal in Redis: a lost record or key makes entries invalid, never valid.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use origin_sdk::{Cache, Layer, Lifetime, Namespace, Position, Tag};
use strata_tests::{Database, Item, RedisServer, eventually};

const FEED: &str = "test:{journal}:feed";
const LEDGER: &str = "test:{journal}:ledger";
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const LIFETIME: Lifetime = Lifetime::fresh(Duration::from_secs(600));

fn unix_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(since_epoch.as_millis()).expect("before the year 500 million")
}

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

/// Returns a process that has item 1 as version 0 in memory. The database has version 1.
async fn hold_old_value() -> (RedisServer, Process, Database) {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let a = Process::start(&redis).await;
    assert_eq!(a.read(&database).await, (0, Layer::Loader));
    assert_eq!(a.read(&database).await, (0, Layer::Memory));
    database.write(1, 1);
    (redis, a, database)
}

/// The follower can apply a writer's record before the writer has the reply to its append.
#[tokio::test(flavor = "multi_thread")]
async fn a_writers_own_record_does_not_refuse_its_value() {
    let redis = RedisServer::start().await;
    let process = Process::start(&redis).await;
    for value in 0..100 {
        let written = process.items.write_through(&Item { id: 1 }, (), async move |_, _| Ok(value));
        assert!(written.await.unwrap().cached, "expected write {value} to be cached");
    }
}

#[tokio::test]
async fn positions_grow_even_when_the_feed_is_deleted() {
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

/// Redis's clock was ahead when the process applied its last record, and was corrected since.
#[tokio::test]
async fn positions_grow_even_when_the_clock_goes_back() {
    let (redis, a, database) = hold_old_value().await;
    let ahead = Position::new(unix_ms() + DAY_MS / 2, 0);
    let _: String = redis.run(&["XADD", FEED, &ahead.to_string(), "mode", "remove", "scope", "tag:x"]).await;
    assert!(a.invalidate_something(0).await > ahead);
    a.items.invalidate(&Item { id: 1 }).await;
    assert_eq!(a.read(&database).await.0, 1);
}

/// Another program, or a server whose clock was wrong, wrote the record. It must not stop the
/// journal, and what it was written for is unknown.
#[tokio::test]
async fn a_record_from_the_future_counts_as_remove_all_and_the_journal_heals() {
    for id in [
        format!("{}-0", unix_ms() + 2 * DAY_MS),
        "9007199254740993-1".to_owned(),
        format!("{0}-{0}", u64::MAX),
    ] {
        let (redis, a, database) = hold_old_value().await;
        let _: String = redis.run(&["XADD", FEED, &id, "mode", "expire", "scope", "tag:x"]).await;
        eventually("the record covers everything", async || a.read(&database).await.0 == 1).await;
        let position = a.invalidate_something(0).await;
        assert!(position.ms() < unix_ms() + DAY_MS, "{position}");
        assert_eq!(a.read(&database).await.1, Layer::Memory, "what is loaded since stays valid");
        database.write(1, 2);
        assert!(a.items.invalidate(&Item { id: 1 }).await.position.is_some());
        assert_eq!(a.read(&database).await.0, 2);
        let b = Process::start(&redis).await;
        eventually("another process has caught up", async || b.read(&database).await == (2, Layer::Memory))
            .await;
    }
}

#[tokio::test]
async fn a_ledger_row_from_the_future_counts_as_remove_all_and_the_journal_heals() {
    let (redis, a, database) = hold_old_value().await;
    for row in ["remove all", "expire tag:x"] {
        let _: i64 = redis.run(&["ZADD", LEDGER, "9000000000000000", row]).await;
        let position = a.invalidate_something(0).await;
        assert!(position.ms() < unix_ms() + DAY_MS, "{position}");
        eventually("it covers everything", async || a.read(&database).await.0 == 1).await;
        assert_eq!(a.read(&database).await.1, Layer::Memory);
        let b = Process::start(&redis).await;
        eventually("a new process uses what is stored", async || {
            b.read(&database).await == (1, Layer::Memory)
        })
        .await;
        let rows: Vec<String> = redis.run(&["ZRANGEBYSCORE", LEDGER, "9000000000000000", "+inf"]).await;
        assert!(rows.is_empty(), "{rows:?}");
    }
}

/// Redis's clock was ahead by more than a day when the process applied its last records.
#[tokio::test]
async fn a_process_with_a_position_from_the_future_goes_back_and_catches_up() {
    let (redis, a, _database) = hold_old_value().await;
    a.invalidate_something(1).await;
    let future = format!("{}-0", unix_ms() + 2 * DAY_MS);
    let script = concat!(
        include_str!("../../origin-sdk/src/store/redis/lua/journal.lua"),
        include_str!("../../origin-sdk/src/store/redis/lua/follow.lua"),
    );
    let follow = async |cursor: &str, own: &str| {
        let command = ["EVAL", script, "2", FEED, LEDGER, "1000", "1000", cursor, "100", own];
        let (position, more, gap, rows): (String, u8, u8, Vec<Vec<String>>) = redis.run(&command).await;
        let position: Position = position.parse().unwrap();
        let rows: Vec<_> = rows.into_iter().map(|row| row[1..].join(" ")).collect();
        assert!(more == 0 && position.ms() < unix_ms() + DAY_MS, "{position}");
        (position.to_string(), gap == 1, rows)
    };
    let own = a.cache.position().to_string();
    let (position, reads_ledger, _) = follow(&future, &own).await;
    assert!(reads_ledger && position == own, "{position}");
    let (_, _, rows) = follow(&position, &future).await;
    assert_eq!(rows, ["remove all"], "its own record is lost");
}

/// The entry could not be invalidated until its position has come.
#[tokio::test]
async fn an_entry_from_the_future_is_never_served() {
    let (redis, a, database) = hold_old_value().await;
    let key = "test:v1:{item:1}";
    let stored: String = redis.run(&["GET", key]).await;
    let at = &stored[stored.find("\"at\":\"").expect("a position") + 6..];
    let at = &at[..at.find('"').expect("its end")];
    let future = format!("{}-0", unix_ms() + 2 * DAY_MS);
    // Version 1 has no checksum.
    let forged = format!("strata 1 {}", &stored[stored.find('{').expect("a header")..]).replace(at, &future);
    let _: String = redis.run(&["SET", key, &forged, "PX", "600000"]).await;
    let b = Process::start(&redis).await;
    assert_eq!(b.read(&database).await, (1, Layer::Loader));
    assert_eq!(a.read(&database).await.0, 0, "the entry in memory is another");
    assert!(b.items.invalidate(&Item { id: 1 }).await.position.is_some());
    database.write(1, 2);
    assert_eq!(b.read(&database).await.0, 2);
}

#[tokio::test]
async fn a_deleted_feed_makes_every_older_entry_invalid() {
    let (redis, a, database) = hold_old_value().await;
    let _: i64 = redis.run(&["DEL", FEED, LEDGER]).await;
    eventually("the loss is detected", async || a.read(&database).await.0 == 1).await;
}

/// A failover to a replica without the last record, followed by a new record.
#[tokio::test]
async fn a_feed_that_lost_its_end_makes_every_entry_invalid_even_after_new_records() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let (a, b) = (Process::start(&redis).await, Process::start(&redis).await);
    let lost = a.invalidate_something(1).await;
    eventually("the record has arrived", async || b.cache.stats().records_applied >= 2).await;
    assert_eq!(b.read(&database).await.0, 0);
    database.write(1, 1);
    let lose_and_append = "redis.call('XDEL', KEYS[1], ARGV[1]); \
                       return redis.call('XADD', KEYS[1], '*', 'mode', 'expire', 'scope', 'tag:unrelated')";
    let _: String = redis.run(&["EVAL", lose_and_append, "1", FEED, &lost.to_string()]).await;
    eventually("the loss is detected", async || b.read(&database).await.0 == 1).await;
}

/// A failover loses a record before its own process reads it. The last applied record
/// remains.
#[tokio::test]
async fn the_loss_of_a_processs_own_record_is_detected() {
    let (redis, a, _database) = hold_old_value().await;
    let (before, own) = (a.invalidate_something(1).await, a.invalidate_something(2).await);
    let (journal, follow_script) = (
        include_str!("../../origin-sdk/src/store/redis/lua/journal.lua"),
        include_str!("../../origin-sdk/src/store/redis/lua/follow.lua"),
    );
    let (script, before, own) = (format!("{journal}{follow_script}"), before.to_string(), own.to_string());
    let follow = async || {
        let command = ["EVAL", &script, "2", FEED, LEDGER, "1000", "1000", &before, "100", &own];
        let (_, _, _, rows): (String, u8, u8, Vec<Vec<String>>) = redis.run(&command).await;
        rows.into_iter().map(|row| row[1..].join(" ")).collect::<Vec<_>>()
    };
    assert_eq!(follow().await, ["remove tag:other:2"]);
    let _: i64 = redis.run(&["XDEL", FEED, &own]).await;
    assert_eq!(follow().await, ["remove all"]);
}

#[tokio::test]
async fn a_process_that_missed_trimmed_records_reads_the_ledger() {
    let (redis, a, database) = hold_old_value().await;
    let b = Process::start(&redis).await;
    b.items.invalidate(&Item { id: 1 }).await;
    b.invalidate_something(1).await;
    let _: i64 = redis.run(&["XTRIM", FEED, "MAXLEN", "1"]).await;
    eventually("the ledger has the trimmed record", async || a.read(&database).await.0 == 1).await;
    let new = Process::start(&redis).await;
    assert_eq!(new.read(&database).await, (1, Layer::Redis));
}

#[tokio::test]
async fn without_a_ledger_a_new_process_trusts_no_older_entry() {
    let (redis, _a, database) = hold_old_value().await;
    let _: i64 = redis.run(&["DEL", LEDGER]).await;
    let b = Process::start(&redis).await;
    b.invalidate_something(1).await;
    let new = Process::start(&redis).await;
    // An entry loaded at the last record of the feed is still valid: it was loaded after that
    // record.
    assert_eq!(new.read(&database).await.0, 0);
    let _: i64 = redis.run(&["DEL", LEDGER]).await;
    let new = Process::start(&redis).await;
    assert_eq!(new.read(&database).await, (1, Layer::Loader));
}

#[tokio::test]
async fn a_record_with_an_unknown_mode_covers_everything() {
    let (redis, a, database) = hold_old_value().await;
    let _: String = redis.run(&["XADD", FEED, "*", "mode", "vanish", "scope", "tag:x"]).await;
    eventually("the record is applied", async || a.read(&database).await.0 == 1).await;
}

#[tokio::test]
async fn entries_and_records_in_redis_are_readable_text() {
    let (redis, a, _database) = hold_old_value().await;
    let entry: String = redis.run(&["GET", "test:v1:{item:1}"]).await;
    assert!(
        entry.starts_with("strata 2 ") && entry.contains(" {\"at\":\"") && entry.ends_with("}\n0"),
        "{entry}"
    );
    a.items.invalidate(&Item { id: 1 }).await;
    let last: Vec<(String, Vec<String>)> = redis.run(&["XREVRANGE", FEED, "+", "-", "COUNT", "1"]).await;
    assert_eq!(last[0].1, ["mode", "remove", "scope", "key:test:v1:{item:1}"]);
}

#[tokio::test]
async fn a_record_with_invalid_utf8_covers_everything() {
    let (redis, a, database) = hold_old_value().await;
    let not_utf8 = "return redis.call('XADD', KEYS[1], '*', 'mode', 'remove', 'scope', 'tag:\\255')";
    let _: String = redis.run(&["EVAL", not_utf8, "1", FEED]).await;
    eventually("the record is applied", async || a.read(&database).await.0 == 1).await;
    eventually("the process continues to cache", async || a.read(&database).await.1 == Layer::Memory).await;
}

/// A failover moves the address, and a connection to the old primary, now a replica, stays open.
#[tokio::test]
async fn a_replica_is_not_followed() {
    let (redis, a, database) = hold_old_value().await;
    let _: String = redis.run(&["REPLICAOF", "127.0.0.1", "1"]).await;
    eventually("the process notices that it may lag", async || a.read(&database).await.0 == 1).await;
    assert!(a.cache.stats().disconnected_reads > 0);
    let _: String = redis.run(&["REPLICAOF", "NO", "ONE"]).await;
    eventually("memory answers again", async || a.read(&database).await.1 == Layer::Memory).await;
}
