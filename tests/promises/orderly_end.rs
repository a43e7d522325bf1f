//! The orderly end of a process: what it knows reaches the others, and what cannot is reported.

use std::sync::Arc;
use std::time::{Duration, Instant};

use origin_sdk::{
    BatchContext, Cache, CacheBuilder, Delivery, Lifetime, LoadErrorKind, Mode, Namespace, Scope, Tag,
};
use strata_tests::{Database, FakeWorker, Item, RedisServer, WAIT_LIMIT, eventually, worker_secret};
use tokio::sync::Semaphore;

use crate::gates;

const LIFETIME: Lifetime = Lifetime::fresh(Duration::from_secs(600));

async fn start(builder: CacheBuilder) -> (Cache, Namespace<Item, u64>) {
    let cache = builder.build().await.unwrap();
    let items = cache.namespace(LIFETIME).build();
    (cache, items)
}

fn tag(name: &str) -> Scope {
    Scope::Tag(Tag::new(name).unwrap())
}

async fn keys(redis: &RedisServer, pattern: &str) -> Vec<String> {
    redis.run(&["KEYS", pattern]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn close_sends_what_is_queued() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let ((cache, items), (_other, others)) = (start(redis.cache()).await, start(redis.cache()).await);
    others.get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap();
    redis.freeze();
    database.write(1, 1);
    assert_eq!(items.invalidate(&Item { id: 1 }).await.journal, Delivery::Queued);
    let closing = tokio::spawn(async move { cache.close().await });
    redis.thaw();
    let report = closing.await.unwrap();
    assert!(report.is_complete(), "{report:?}");
    drop(items);
    eventually("the other process loads the new value", async || {
        *others.get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap().value == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flush_sends_what_is_queued_or_returns_it() {
    let redis = RedisServer::start().await;
    let cache = redis.cache().close_timeout(Duration::from_millis(200)).build().await.unwrap();
    assert_eq!(cache.flush().await, []);
    redis.freeze();
    assert_eq!(cache.expire([tag("a")]).await.journal, Delivery::Queued);
    let unsent = cache.flush().await;
    assert_eq!((unsent.len(), unsent[0].mode, &*unsent[0].scopes), (1, Mode::Expire, &[tag("a")][..]));
    redis.thaw();
    eventually("the queue is sent", async || cache.flush().await.is_empty()).await;
    assert_eq!(cache.health().queued, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn close_reports_what_it_cannot_send_and_ends_at_its_deadline() {
    let mut redis = RedisServer::start().await;
    let timeout = Duration::from_millis(800);
    let cache = redis.cache().close_timeout(timeout).build().await.unwrap();
    redis.kill();
    for name in ["a", "b"] {
        assert_eq!(cache.invalidate([tag(name)]).await.journal, Delivery::Queued);
    }
    let began = Instant::now();
    let report = cache.close().await;
    assert!(began.elapsed() < timeout + Duration::from_millis(500), "{:?}", began.elapsed());
    assert!(!report.is_complete());
    assert_eq!(
        report.unsent.iter().flat_map(|unsent| &unsent.scopes).collect::<Vec<_>>(),
        [&tag("a"), &tag("b")]
    );
    assert_eq!(cache.health().queued, 2);
}

/// The lease would last for a minute, and the other process would wait for half of its hard
/// timeout.
#[tokio::test(flavor = "multi_thread")]
async fn close_cancels_endless_loads_and_other_processes_load_at_once() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let leasing =
        || redis.cache().lease_ttl(Duration::from_secs(60)).close_timeout(Duration::from_millis(400));
    let ((cache, items), (other, others)) = (start(leasing()).await, start(leasing()).await);
    let (has_read, never) = gates();
    let endless = tokio::spawn({
        let (items, loader) = (items.clone(), database.slow_loader(1, &has_read, &never));
        async move { items.get_or_load(&Item { id: 1 }, loader).await }
    });
    has_read.acquire().await.unwrap().forget();
    let waiting = tokio::spawn({
        let loader = database.loader(1);
        async move { others.get_or_load(&Item { id: 1 }, loader).await }
    });
    eventually("the other process waits", async || other.stats().lease_waits == 1).await;
    let began = Instant::now();
    let report = cache.close().await;
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(endless.await.unwrap().unwrap_err().kind(), LoadErrorKind::Closed);
    assert_eq!(*waiting.await.unwrap().unwrap().value, 0);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let refused = items.get_or_load(&Item { id: 2 }, database.loader(2)).await;
    assert_eq!(refused.unwrap_err().kind(), LoadErrorKind::Closed);
    assert_eq!(keys(&redis, "test:lease:*").await, [""; 0]);
}

/// Without the cancellation, the batch would wait for half of its hard timeout.
#[tokio::test(flavor = "multi_thread")]
async fn close_cancels_a_batch_that_waits_for_another_process() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let closing = redis.cache().close_timeout(Duration::from_millis(800));
    let ((cache, items), (_other, others)) = (start(closing).await, start(redis.cache()).await);
    let (has_read, never) = gates();
    let endless = tokio::spawn({
        let loader = database.slow_loader(1, &has_read, &never);
        async move { others.get_or_load(&Item { id: 1 }, loader).await }
    });
    has_read.acquire().await.unwrap().forget();
    let batch = tokio::spawn(async move {
        let rows = async |keys: Vec<Item>, _: BatchContext| {
            Ok(keys.into_iter().map(|key| (key, 7)).collect::<Vec<_>>())
        };
        items.get_many_or_load(&[1, 2].map(|id| Item { id }), rows).await
    });
    eventually("the batch waits for one key", async || cache.stats().lease_waits == 1).await;
    let report = cache.close().await;
    assert!(report.is_complete(), "{report:?}");
    let mut results = batch.await.unwrap();
    assert_eq!(*results.remove(1).unwrap().unwrap().value, 7, "the other key was loaded at once");
    assert_eq!(results.remove(0).unwrap_err().kind(), LoadErrorKind::Closed);
    endless.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn close_waits_for_loads_and_writes_that_end_in_time() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let ((cache, items), (_other, others)) = (start(redis.cache()).await, start(redis.cache()).await);
    others.get_or_load(&Item { id: 2 }, database.loader(2)).await.unwrap();
    let (has_begun, may_end) = gates();
    let load = tokio::spawn({
        let (items, loader) = (items.clone(), database.slow_loader(1, &has_begun, &may_end));
        async move { items.get_or_load(&Item { id: 1 }, loader).await }
    });
    let write = tokio::spawn({
        let (database, has_begun, may_end) = (database.clone(), Arc::clone(&has_begun), Arc::clone(&may_end));
        let writer = move |_, _| async move {
            has_begun.add_permits(1);
            may_end.acquire().await?.forget();
            database.write(2, 7);
            Ok(7)
        };
        async move { items.write_through(&Item { id: 2 }, (), writer).await }
    });
    has_begun.acquire_many(2).await.unwrap().forget();
    let closing = tokio::spawn(async move { cache.close().await });
    may_end.add_permits(2);
    assert_eq!(*load.await.unwrap().unwrap().value, 0);
    assert_eq!(write.await.unwrap().unwrap().receipt.journal, Delivery::Done);
    assert!(closing.await.unwrap().is_complete());
    eventually("the other process loads what was written", async || {
        *others.get_or_load(&Item { id: 2 }, database.loader(2)).await.unwrap().value == 7
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn close_counts_a_write_that_has_not_ended() {
    let redis = RedisServer::start().await;
    let (cache, items) = start(redis.cache().close_timeout(Duration::from_millis(80))).await;
    let (has_begun, never) = gates();
    let begun = Arc::clone(&has_begun);
    let write = tokio::spawn(async move {
        let writer = move |_, _| async move {
            begun.add_permits(1);
            never.acquire().await?.forget();
            Ok(7)
        };
        items.write_through(&Item { id: 1 }, (), writer).await
    });
    has_begun.acquire().await.unwrap().forget();
    let report = cache.close().await;
    assert_eq!((report.unfinished, report.is_complete()), (1, false));
    write.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalidation_after_close_is_sent_at_once_or_says_that_nobody_sends_it() {
    let (mut redis, database) = (RedisServer::start().await, Database::default());
    let (cache, items) = start(redis.cache()).await;
    items.get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap();
    assert!(cache.close().await.is_complete());
    assert!(!cache.health().is_following);
    assert_eq!(*items.get_cached(&Item { id: 1 }).await.unwrap().value, 0, "what is stored is still served");
    assert_eq!(items.invalidate(&Item { id: 1 }).await.journal, Delivery::Done);
    redis.kill();
    let receipt = items.invalidate(&Item { id: 1 }).await;
    assert_eq!((receipt.journal, receipt.edge), (Delivery::Stranded, Delivery::NotConfigured));
    // Closing again reports the same.
    assert_eq!(cache.close().await.unsent.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn close_ships_what_is_left_and_hands_its_turn_over() {
    let (redis, worker) = tokio::join!(RedisServer::start(), FakeWorker::start());
    let shipping = || redis.cache().edge(worker.url(), worker_secret());
    let cache = shipping().build().await.unwrap();
    eventually("the first record is shipped", async || !worker.accepted().is_empty()).await;
    cache.invalidate([tag("last")]).await;
    let report = cache.close().await;
    assert!(report.is_complete() && report.unshipped == 0, "{report:?}");
    assert!(worker.accepted().iter().any(|record| record.scope == tag("last")));
    assert_eq!(keys(&redis, "*lease*").await, [""; 0]);

    let slow = shipping().close_timeout(Duration::from_millis(400)).build().await.unwrap();
    worker.set_down(true);
    let calls = worker.calls();
    slow.invalidate([tag("later")]).await;
    eventually("the worker has refused a call", async || worker.calls() > calls).await;
    let report = slow.close().await;
    assert!(report.is_complete() && report.unshipped == 1, "{report:?}");
    assert_eq!(keys(&redis, "*lease*").await, [""; 0]);
    worker.set_down(false);
    let successor = shipping().build().await.unwrap();
    let began = Instant::now();
    eventually("the next process ships the rest", async || {
        worker.accepted().iter().any(|record| record.scope == tag("later"))
    })
    .await;
    assert!(began.elapsed() < WAIT_LIMIT / 4, "the lease was free");
    assert!(successor.close().await.is_complete());
}

/// A cache of one process only, for tests of a service.
#[tokio::test]
async fn an_embedded_cache_closes_at_once() {
    let cache = Cache::builder("test").build().await.unwrap();
    let items: Namespace<Item, u64> = cache.namespace(LIFETIME).build();
    let gate = Arc::new(Semaphore::new(0));
    items
        .get_or_load(&Item { id: 1 }, Database::default().slow_loader(1, &gate, &Arc::new(Semaphore::new(1))))
        .await
        .unwrap();
    let began = Instant::now();
    assert!(cache.close().await.is_complete());
    assert!(began.elapsed() < Duration::from_secs(1));
}
