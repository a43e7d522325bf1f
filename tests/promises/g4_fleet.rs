//! G4 across processes: one cold or expired key, callers in several processes, one load at a time; and a process that
//! crashes while it loads costs at most its lease.
//!
//! Where leases are long, a test ends in time only because waiters are woken by a push.

use std::sync::Arc;
use std::time::{Duration, Instant};

use origin_sdk::{BatchContext, Cache, Layer, Lifetime, LoadContext, Namespace};
use strata_tests::{Database, Item, PATIENCE, RedisServer, eventually};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

const LONG: Duration = Duration::from_secs(600);
const LIFETIME: Lifetime = Lifetime::fresh(LONG);
const LEASE_KEY: &str = "test:lease:v1:{item:1}";

async fn process(redis: &RedisServer, lease_ttl: Duration) -> (Cache, Namespace<Item, u64>) {
    let cache = redis.cache().lease_ttl(lease_ttl).build().await.unwrap();
    let items = cache.namespace(LIFETIME).build();
    (cache, items)
}

fn gates() -> (Arc<Semaphore>, Arc<Semaphore>) {
    (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)))
}

type Answer = JoinHandle<(u64, Layer)>;

fn read_with<F, L, E>(items: &Namespace<Item, u64>, loader: F) -> Answer
where
    F: FnOnce(LoadContext) -> L + Send + 'static,
    L: Future<Output = Result<u64, E>> + Send + 'static,
    E: Into<origin_sdk::BoxError> + 'static,
{
    let items = items.clone();
    tokio::spawn(async move {
        let hit = items.get_or_load(&Item { id: 1 }, loader).await.unwrap();
        (*hit.value, hit.layer)
    })
}

async fn in_time(answer: Answer) -> (u64, Layer) {
    tokio::time::timeout(PATIENCE, answer).await.expect("the answer comes long before the lease ends").unwrap()
}

#[tokio::test]
async fn callers_in_several_processes_cost_one_load_and_are_woken_by_its_end() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let (a, b, c) = (process(&redis, LONG).await, process(&redis, LONG).await, process(&redis, LONG).await);
    let (has_read, may_end) = gates();
    let leader = read_with(&a.1, database.slow_loader(1, &has_read, &may_end));
    has_read.acquire().await.unwrap().forget();
    let waiters = [&b, &c].map(|(_, items)| [(); 10].map(|()| read_with(items, database.loader(1))));
    eventually("the other processes wait", async || b.0.stats().lease_waits + c.0.stats().lease_waits == 2).await;
    may_end.add_permits(1);
    assert_eq!(in_time(leader).await, (0, Layer::Loader));
    for waiter in waiters.into_iter().flatten() {
        assert_eq!(in_time(waiter).await, (0, Layer::Redis));
    }
    assert_eq!(database.reads(), 1);
    assert_eq!(redis.run::<u8>(&["EXISTS", LEASE_KEY]).await, 0, "the lease has ended with the load");
}

#[tokio::test]
async fn a_load_that_outlasts_its_lease_keeps_it() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let lease = Duration::from_millis(600);
    let ((_a, of_a), (b, of_b)) = (process(&redis, lease).await, process(&redis, lease).await);
    let (has_read, may_end) = gates();
    let leader = read_with(&of_a, database.slow_loader(1, &has_read, &may_end));
    has_read.acquire().await.unwrap().forget();
    let waiter = read_with(&of_b, database.loader(1));
    eventually("the other process waits", async || b.stats().lease_waits == 1).await;
    let (mut last, mut renewals) = (i64::MAX, 0);
    eventually("the lease was renewed for longer than it lasts", async || {
        let left: i64 = redis.run(&["PTTL", LEASE_KEY]).await;
        renewals += u32::from(left > last);
        last = left;
        renewals == 5
    })
    .await;
    may_end.add_permits(1);
    assert_eq!((in_time(leader).await.1, in_time(waiter).await.1), (Layer::Loader, Layer::Redis));
    assert_eq!(database.reads(), 1);
}

/// The process is a runtime of its own, whose tasks are dropped while one of them loads.
#[tokio::test]
async fn a_crashed_loader_costs_at_most_its_lease() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let lease = Duration::from_secs(1);
    let crashing = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (has_read, may_end) = gates();
    let builder = redis.cache().lease_ttl(lease);
    let loader = database.slow_loader(1, &has_read, &may_end);
    crashing.spawn(async move {
        let cache = builder.build().await.unwrap();
        let items: Namespace<Item, u64> = cache.namespace(LIFETIME).build();
        items.get_or_load(&Item { id: 1 }, loader).await
    });
    has_read.acquire().await.unwrap().forget();
    let (b, items) = process(&redis, lease).await;
    let waiter = read_with(&items, database.loader(1));
    eventually("the other process waits", async || b.stats().lease_waits == 1).await;
    let crashed = Instant::now();
    crashing.shutdown_background();
    assert_eq!(in_time(waiter).await, (0, Layer::Loader));
    assert!(crashed.elapsed() < lease + Duration::from_secs(2), "it took {:?}", crashed.elapsed());
    assert_eq!(database.reads(), 2);
}

#[tokio::test]
async fn a_process_that_hangs_does_not_keep_the_others_from_loading() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let ((_a, of_a), (b, _)) = (process(&redis, LONG).await, process(&redis, LONG).await);
    let of_b = b.namespace(LIFETIME).hard_timeout(Duration::from_secs(2)).build();
    let (has_read, never) = gates();
    let hanging = read_with(&of_a, database.slow_loader(1, &has_read, &never));
    has_read.acquire().await.unwrap().forget();
    let asked = Instant::now();
    assert_eq!(in_time(read_with(&of_b, database.loader(1))).await, (0, Layer::Loader));
    assert!(asked.elapsed() >= Duration::from_secs(1), "it gave the other one half of its time");
    assert_eq!(b.stats().lease_waits, 1);
    hanging.abort();
}

#[tokio::test]
async fn after_an_invalidation_nobody_waits_for_another_processs_load_that_began_before_it() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let ((a, of_a), (_b, of_b)) = (process(&redis, LONG).await, process(&redis, LONG).await);
    let (has_read, may_end) = gates();
    let doomed = read_with(&of_a, database.slow_loader(1, &has_read, &may_end));
    has_read.acquire().await.unwrap().forget();
    database.write(1, 1);
    of_b.invalidate(&Item { id: 1 }).await;
    let late = read_with(&of_b, database.loader(1));
    assert_eq!(in_time(late).await, (1, Layer::Loader), "answered while the doomed load still runs");
    let stored = async || redis.run::<String>(&["GET", "test:v1:{item:1}"]).await;
    let kept = stored().await;
    may_end.add_permits(1);
    assert_eq!(in_time(doomed).await, (0, Layer::Loader), "its caller came before the invalidation");
    assert_eq!(stored().await, kept, "the doomed load has lost its lease and stores nothing");
    eventually("the record has arrived", async || a.stats().records_applied > 1).await;
    assert_eq!(in_time(read_with(&of_a, database.loader(1))).await, (1, Layer::Redis));
}

#[tokio::test]
async fn after_another_processs_load_has_failed_a_waiter_loads() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let ((_a, of_a), (b, of_b)) = (process(&redis, LONG).await, process(&redis, LONG).await);
    let (runs, may_fail) = gates();
    let failing = tokio::spawn({
        let (runs, may_fail) = (Arc::clone(&runs), Arc::clone(&may_fail));
        let loader = |_, _| async move {
            runs.add_permits(1);
            may_fail.acquire().await.unwrap().forget();
            Err::<u64, _>(std::io::Error::other("the source is down"))
        };
        async move { of_a.get_or_load(&Item { id: 1 }, loader).await }
    });
    runs.acquire().await.unwrap().forget();
    let waiter = read_with(&of_b, database.loader(1));
    eventually("the other process waits", async || b.stats().lease_waits == 1).await;
    may_fail.add_permits(1);
    assert!(failing.await.unwrap().is_err());
    assert_eq!(in_time(waiter).await, (0, Layer::Loader));
}

/// Values that may not be kept cannot be waited for: the callers do not queue up for loads of their own.
#[tokio::test]
async fn values_that_are_not_kept_are_loaded_side_by_side() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let processes = [process(&redis, LONG).await, process(&redis, LONG).await, process(&redis, LONG).await];
    let [(_, of_a), (b, of_b), (c, of_c)] = &processes;
    let (has_read, may_end) = gates();
    let unkept = || {
        let loader = database.slow_loader(1, &has_read, &may_end);
        move |_, load: LoadContext| {
            load.lifetime(Lifetime::fresh(Duration::ZERO));
            loader(load)
        }
    };
    let first = read_with(of_a, unkept());
    has_read.acquire().await.unwrap().forget();
    let others = [of_b, of_c].map(|items| read_with(items, unkept()));
    eventually("the others wait", async || b.stats().lease_waits + c.stats().lease_waits == 2).await;
    may_end.add_permits(1);
    in_time(first).await;
    tokio::time::timeout(PATIENCE, has_read.acquire_many(2)).await.expect("both load at once").unwrap().forget();
    may_end.add_permits(2);
    for other in others {
        assert_eq!(in_time(other).await, (0, Layer::Loader));
    }
}

#[tokio::test]
async fn a_redis_whose_memory_is_full_gives_leases_and_takes_no_values() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let ((_a, of_a), (b, of_b)) = (process(&redis, LONG).await, process(&redis, LONG).await);
    let _: String = redis.run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let (has_read, may_end) = gates();
    let leader = read_with(&of_a, database.slow_loader(1, &has_read, &may_end));
    has_read.acquire().await.unwrap().forget();
    let waiter = read_with(&of_b, database.loader(1));
    eventually("the other process waits", async || b.stats().lease_waits == 1).await;
    may_end.add_permits(1);
    assert_eq!((in_time(leader).await, in_time(waiter).await), ((0, Layer::Loader), (0, Layer::Loader)));
    assert_eq!(redis.run::<u8>(&["EXISTS", LEASE_KEY, "test:v1:{item:1}"]).await, 0);
}

#[tokio::test]
async fn a_waiter_whose_connection_is_cut_is_woken_all_the_same() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let ((_a, of_a), (b, of_b)) = (process(&redis, LONG).await, process(&redis, LONG).await);
    let (has_read, may_end) = gates();
    let leader = read_with(&of_a, database.slow_loader(1, &has_read, &may_end));
    has_read.acquire().await.unwrap().forget();
    let waiter = read_with(&of_b, database.loader(1));
    eventually("the other process waits", async || b.stats().lease_waits == 1).await;
    let subscribers = async || redis.run::<Vec<String>>(&["PUBSUB", "CHANNELS", "test:wake:*"]).await.len();
    eventually("it listens", async || subscribers().await == 1).await;
    let _: u64 = redis.run(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    eventually("it listens again", async || subscribers().await == 1).await;
    may_end.add_permits(1);
    assert_eq!((in_time(leader).await.1, in_time(waiter).await.1), (Layer::Loader, Layer::Redis));
    assert_eq!(database.reads(), 1);
}

fn items<const N: usize>(ids: [u64; N]) -> [Item; N] {
    ids.map(|id| Item { id })
}

#[tokio::test]
async fn a_batch_reads_what_redis_has_in_one_round_trip() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let ((_a, of_a), (_b, of_b)) = (process(&redis, LONG).await, process(&redis, LONG).await);
    for id in [2, 3] {
        database.write(id, id * 10);
        of_a.get_or_load(&Item { id }, database.loader(id)).await.unwrap();
    }
    let _: String = redis.run(&["CONFIG", "RESETSTAT"]).await;
    let hits = of_b.get_many_cached(&items([1, 2, 3, 4])).await;
    let read = |hit: &Option<origin_sdk::Cached<u64>>| hit.as_ref().map(|hit| (*hit.value, hit.layer));
    assert_eq!(
        hits.iter().map(read).collect::<Vec<_>>(),
        [None, Some((20, Layer::Redis)), Some((30, Layer::Redis)), None]
    );
    let stats: String = redis.run(&["INFO", "commandstats"]).await;
    assert!(stats.contains("cmdstat_exec:calls=1,") && stats.contains("cmdstat_get:calls=4,"), "{stats}");
}

#[tokio::test]
async fn a_batch_waits_for_what_another_process_loads_and_loads_the_rest() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let ((_a, of_a), (b, of_b)) = (process(&redis, LONG).await, process(&redis, LONG).await);
    let (has_read, may_end) = gates();
    let leader = read_with(&of_a, database.slow_loader(1, &has_read, &may_end));
    has_read.acquire().await.unwrap().forget();
    let batch = tokio::spawn(async move {
        let loader = |missing: Vec<Item>, _: BatchContext| async move {
            Ok(missing.into_iter().map(|item| (item.clone(), item.id * 100)).collect::<Vec<_>>())
        };
        let hits = of_b.get_many_or_load(&items([1, 2, 3]), loader).await.unwrap();
        hits.into_iter().map(|hit| hit.map(|hit| (*hit.value, hit.layer))).collect::<Vec<_>>()
    });
    eventually("the batch waits for one of its keys", async || b.stats().lease_waits == 1).await;
    eventually("it has loaded the others", async || redis.run::<u8>(&["EXISTS", "test:v1:{item:3}"]).await == 1).await;
    may_end.add_permits(1);
    let loaded = |value| Some((value, Layer::Loader));
    let hits = tokio::time::timeout(PATIENCE, batch).await.expect("woken").unwrap();
    assert_eq!(hits, [Some((0, Layer::Redis)), loaded(200), loaded(300)]);
    assert_eq!(in_time(leader).await, (0, Layer::Loader));
}
