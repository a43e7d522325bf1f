//! Invalidations of any size: bounded records, replies and queues.

use std::time::{Duration, Instant};

use origin_sdk::{Cache, Delivery, Layer, Lifetime, Namespace, Scope, Tag};
use strata_tests::{Database, Item, RedisServer, eventually};

use crate::ALONE;

const FEED: &str = "test:{journal}:feed";
const LIFETIME: Lifetime = Lifetime::fresh(Duration::from_secs(600));
/// The command timeout of a cache whose builder does not set one.
const DEFAULT_TIMEOUT: Duration = Duration::from_millis(500);
/// More tags than one command can append within its timeout.
const MANY: usize = 200_000;

async fn start(redis: &RedisServer) -> (Cache, Namespace<Item, u64>) {
    let cache = redis.cache().build().await.unwrap();
    let items = cache.namespace(LIFETIME).build();
    (cache, items)
}

async fn read(items: &Namespace<Item, u64>, database: &Database) -> Layer {
    items.get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap().layer
}

fn tag(name: &str) -> Tag {
    Tag::new(name).unwrap()
}

fn tags(count: usize) -> impl Iterator<Item = Tag> {
    (0..count).map(|n| tag(&format!("category:{n}")))
}

/// Invalidates `count` tags in one call, while another process reads an entry that none of them
/// covers. Returns the numbers of its reads, and of those that memory did not answer.
async fn reads_and_misses_during_an_invalidation_of(count: usize) -> (usize, usize) {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let writer = redis.cache().command_timeout(DEFAULT_TIMEOUT).build().await.unwrap();
    let (_reader, items) = start(&redis).await;
    read(&items, &database).await;
    let large = tokio::spawn(async move { writer.invalidate(tags(count)).await });
    let (mut reads, mut misses) = (0, 0);
    while !large.is_finished() {
        reads += 1;
        misses += usize::from(read(&items, &database).await != Layer::Memory);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(large.await.unwrap().journal, Delivery::Done);
    assert!(reads > 5, "expected several reads during the call, got {reads}");
    (reads, misses)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_hits_memory_during_an_invalidation_of_many_tags() {
    let _alone = ALONE.lock().await;
    assert_eq!(reads_and_misses_during_an_invalidation_of(MANY).await.1, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_hits_memory_during_an_invalidation_of_a_million_tags() {
    let _alone = ALONE.lock().await;
    let (reads, misses) = reads_and_misses_during_an_invalidation_of(1_000_000).await;
    // The call takes up to a minute. On a busy machine a command of the reader times out now and
    // then, and the read after it loads.
    assert!(misses * 100 <= reads, "{misses} of {reads} reads missed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_invalidation_does_not_wait_behind_a_large_one() {
    let _alone = ALONE.lock().await;
    let redis = RedisServer::start().await;
    let ((writer, _), (other, _)) = (start(&redis).await, start(&redis).await);
    let large = {
        let writer = writer.clone();
        tokio::spawn(async move { writer.invalidate(tags(MANY)).await })
    };
    let mut delays = Vec::new();
    while !large.is_finished() {
        for cache in [&writer, &other] {
            let began = Instant::now();
            assert_eq!(cache.invalidate([tag("small")]).await.journal, Delivery::Done);
            delays.push(began.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(large.await.unwrap().journal, Delivery::Done);
    delays.sort_unstable();
    // The median: a busy test machine delays single calls by itself.
    assert!(delays[delays.len() / 2] < Duration::from_millis(100), "{delays:?}");
}

/// A process was suspended while others made many large invalidations. The records are as large as
/// the append script allows.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_far_behind_catches_up_in_bounded_steps() {
    let _alone = ALONE.lock().await;
    let (redis, database) = (RedisServer::start().await, Database::default());
    let (cache, items) = start(&redis).await;
    read(&items, &database).await;
    let before = cache.stats().records_applied;
    let burst = "for n = 1, tonumber(ARGV[1]) do \
                   local fields = {'mode', 'remove'} \
                   for i = 1, 1000 do fields[#fields + 1] = 'scope'; fields[#fields + 1] = 'tag:c:' .. n .. ':' .. i end \
                   redis.call('XADD', KEYS[1], '*', unpack(fields)) \
                 end \
                 return 0";
    let _: i64 = redis.run(&["EVAL", burst, "1", FEED, "500"]).await;
    eventually("all records are applied", async || cache.stats().records_applied >= before + 500).await;
    assert_eq!(cache.stats().store_errors, 0);
    assert_eq!(cache.invalidate([tag("small")]).await.journal, Delivery::Done);
    read(&items, &database).await;
    assert_eq!(read(&items, &database).await, Layer::Memory);
}

/// Redis fails in the middle of a large invalidation, which is continued afterwards where it
/// stopped. What is queued does not hold up later invalidations.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_invalidation_continues_after_an_outage() {
    let _alone = ALONE.lock().await;
    let (redis, database) = (RedisServer::start().await, Database::default());
    let ((writer, _), (_reader, items)) = (start(&redis).await, start(&redis).await);
    read(&items, &database).await;
    redis.freeze();
    let queued = writer.invalidate(tags(MANY).chain([tag("last")])).await;
    assert_eq!(queued.journal, Delivery::Queued);
    assert_eq!(writer.invalidate([Scope::from(tag("small"))]).await.journal, Delivery::Queued);
    redis.thaw();
    let last = async || -> bool {
        let score: Option<f64> = redis.run(&["ZSCORE", "test:{journal}:ledger", "remove tag:last"]).await;
        score.is_some()
    };
    eventually("the writer appends directly again", async || {
        writer.invalidate([tag("small")]).await.journal == Delivery::Done
    })
    .await;
    eventually("the queue is appended", last).await;
}
