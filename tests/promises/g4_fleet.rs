//! G4 across processes: one load at a time of a cold or expired key, with callers in several
//! processes. A process that crashes during a load delays the others by at most its lease.
//!
//! The leases of most tests last 10 minutes. Such a test ends in time only if Redis pushes a wakeup
//! to the waiters.

use std::sync::Arc;
use std::time::{Duration, Instant};

use origin_sdk::{BatchContext, BoxError, Cache, Layer, Lifetime, LoadContext, LoadErrorKind, Namespace};
use strata_tests::{Database, Item, RedisServer, WAIT_LIMIT, eventually};
use tokio::task::JoinHandle;

use crate::gates;

const LONG: Duration = Duration::from_secs(600);
const LIFETIME: Lifetime = Lifetime::fresh(LONG);
const LEASE_KEY: &str = "test:lease:v1:{item:1}";

async fn process(redis: &RedisServer, lease_ttl: Duration) -> (Cache, Namespace<Item, u64>) {
    let cache = redis.cache().lease_ttl(lease_ttl).build().await.unwrap();
    let items = cache.namespace(LIFETIME).build();
    (cache, items)
}

type Answer = JoinHandle<(u64, Layer)>;

fn read_with<F, L>(items: &Namespace<Item, u64>, loader: F) -> Answer
where
    F: FnOnce(Item, LoadContext) -> L + Send + 'static,
    L: Future<Output = Result<u64, BoxError>> + Send + 'static,
{
    let items = items.clone();
    tokio::spawn(async move {
        let hit = items.get_or_load(&Item { id: 1 }, loader).await.unwrap();
        (*hit.value, hit.layer)
    })
}

async fn in_time(answer: Answer) -> (u64, Layer) {
    tokio::time::timeout(WAIT_LIMIT, answer)
        .await
        .expect("expected an answer long before the lease ends")
        .unwrap()
}

#[tokio::test]
async fn callers_in_several_processes_share_one_load_and_are_woken_when_it_ends() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let (a, b, c) = (process(&redis, LONG).await, process(&redis, LONG).await, process(&redis, LONG).await);
    let (has_read, may_end) = gates();
    let leader = read_with(&a.1, database.slow_loader(1, &has_read, &may_end));
    has_read.acquire().await.unwrap().forget();
    let waiters = [&b, &c].map(|(_, items)| [(); 10].map(|()| read_with(items, database.loader(1))));
    eventually("the other processes wait", async || b.0.stats().lease_waits + c.0.stats().lease_waits == 2)
        .await;
    may_end.add_permits(1);
    assert_eq!(in_time(leader).await, (0, Layer::Loader));
    for waiter in waiters.into_iter().flatten() {
        assert_eq!(in_time(waiter).await, (0, Layer::Redis));
    }
    assert_eq!(database.reads(), 1);
    assert_eq!(redis.run::<u8>(&["EXISTS", LEASE_KEY]).await, 0, "the lease is released when the load ends");
}

#[tokio::test]
async fn a_lease_is_renewed_while_its_load_runs() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let lease = Duration::from_millis(600);
    let ((_a, of_a), (b, of_b)) = (process(&redis, lease).await, process(&redis, lease).await);
    let (has_read, may_end) = gates();
    let leader = read_with(&of_a, database.slow_loader(1, &has_read, &may_end));
    has_read.acquire().await.unwrap().forget();
    let waiter = read_with(&of_b, database.loader(1));
    eventually("the other process waits", async || b.stats().lease_waits == 1).await;
    let (mut last, mut renewals) = (i64::MAX, 0);
    eventually("the lease was renewed beyond its duration", async || {
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

/// The process is a runtime of its own. Its tasks are dropped during a load, as a crash would.
#[tokio::test]
async fn a_crashed_loader_costs_at_most_its_lease() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let lease = Duration::from_secs(1);
    let crashing =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
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
    assert!(
        crashed.elapsed() < lease + Duration::from_secs(2),
        "expected an answer within the lease and 2 s, got one after {:?}",
        crashed.elapsed()
    );
    assert_eq!(database.reads(), 2);
}

#[tokio::test]
async fn a_hanging_load_does_not_block_other_processes() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let (_a, of_a) = process(&redis, LONG).await;
    let b = redis.cache().lease_ttl(LONG).build().await.unwrap();
    let of_b = b.namespace(LIFETIME).hard_timeout(Duration::from_secs(2)).build();
    let (has_read, never) = gates();
    let hanging = read_with(&of_a, database.slow_loader(1, &has_read, &never));
    has_read.acquire().await.unwrap().forget();
    let start = Instant::now();
    assert_eq!(in_time(read_with(&of_b, database.loader(1))).await, (0, Layer::Loader));
    assert!(start.elapsed() >= Duration::from_secs(1), "it waited for half of its timeout");
    assert_eq!(b.stats().lease_waits, 1);
    hanging.abort();
}

#[tokio::test]
async fn a_caller_after_an_invalidation_does_not_wait_for_an_older_load_elsewhere() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let ((a, of_a), (_b, of_b)) = (process(&redis, LONG).await, process(&redis, LONG).await);
    let (has_read, may_end) = gates();
    let old_load = read_with(&of_a, database.slow_loader(1, &has_read, &may_end));
    has_read.acquire().await.unwrap().forget();
    database.write(1, 1);
    of_b.invalidate(&Item { id: 1 }).await;
    let late = read_with(&of_b, database.loader(1));
    assert_eq!(in_time(late).await, (1, Layer::Loader), "answered while the old load still runs");
    let stored = async || redis.run::<String>(&["GET", "test:v1:{item:1}"]).await;
    let new = stored().await;
    may_end.add_permits(1);
    assert_eq!(in_time(old_load).await, (0, Layer::Loader), "its caller came before the invalidation");
    assert_eq!(stored().await, new, "the old load has lost its lease and stores nothing");
    eventually("the record has arrived", async || a.stats().records_applied > 1).await;
    assert_eq!(in_time(read_with(&of_a, database.loader(1))).await, (1, Layer::Redis));
}

#[tokio::test]
async fn a_waiter_loads_when_the_load_of_another_process_fails() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let ((_a, of_a), (b, of_b)) = (process(&redis, LONG).await, process(&redis, LONG).await);
    let (runs, may_fail) = gates();
    let failing = tokio::spawn({
        let (runs, may_fail) = (Arc::clone(&runs), Arc::clone(&may_fail));
        let loader = |_, _| async move {
            runs.add_permits(1);
            may_fail.acquire().await.unwrap().forget();
            Err("the source is down".into())
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

/// If each process loaded after the failure of another, the last one would get its error after as
/// many loads as there are processes.
#[tokio::test]
async fn processes_that_wait_for_a_failing_load_fail_together_after_one_more() {
    let redis = RedisServer::start().await;
    let mut processes = Vec::new();
    for _ in 0..6 {
        processes.push(process(&redis, LONG).await);
    }
    let (runs, may_fail) = gates();
    let read = |items: &Namespace<Item, u64>| {
        let (items, runs, may_fail) = (items.clone(), Arc::clone(&runs), Arc::clone(&may_fail));
        let loader = |_, _| async move {
            runs.add_permits(1);
            may_fail.acquire().await.unwrap().forget();
            Err("the source is down".into())
        };
        tokio::spawn(async move { items.get_or_load(&Item { id: 1 }, loader).await.map(|_| ()) })
    };
    // A lease has two fields of its holder, and one for each process that waits.
    let waiting = async |count: u64| {
        eventually("the other processes wait", async || {
            redis.run::<u64>(&["HLEN", LEASE_KEY]).await == 2 + count
        })
        .await;
    };
    let mut reads = vec![read(&processes[0].1)];
    runs.acquire().await.unwrap().forget();
    reads.extend(processes[1..].iter().map(|(_, items)| read(items)));
    waiting(5).await;
    may_fail.add_permits(1);
    runs.acquire().await.unwrap().forget();
    waiting(4).await;
    may_fail.add_permits(1);
    for read in reads {
        let result =
            tokio::time::timeout(WAIT_LIMIT, read).await.expect("expected the processes to fail together");
        assert_eq!(result.unwrap().unwrap_err().kind(), LoadErrorKind::Failed);
    }
    assert_eq!(runs.available_permits(), 0, "no process has loaded a third time");
}

/// A value that may not be stored cannot be shared, so each waiter loads without waiting for the
/// others.
#[tokio::test]
async fn values_that_may_not_be_stored_are_loaded_in_parallel() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let processes = [process(&redis, LONG).await, process(&redis, LONG).await, process(&redis, LONG).await];
    let [(_, of_a), (b, of_b), (c, of_c)] = &processes;
    let (has_read, may_end) = gates();
    let unstorable = || {
        let loader = database.slow_loader(1, &has_read, &may_end);
        move |item, load: LoadContext| {
            load.lifetime(Lifetime::fresh(Duration::ZERO));
            loader(item, load)
        }
    };
    let first = read_with(of_a, unstorable());
    has_read.acquire().await.unwrap().forget();
    let others = [of_b, of_c].map(|items| read_with(items, unstorable()));
    eventually("the others wait", async || b.stats().lease_waits + c.stats().lease_waits == 2).await;
    may_end.add_permits(1);
    in_time(first).await;
    tokio::time::timeout(WAIT_LIMIT, has_read.acquire_many(2))
        .await
        .expect("expected both to load at once")
        .unwrap()
        .forget();
    may_end.add_permits(2);
    for other in others {
        assert_eq!(in_time(other).await, (0, Layer::Loader));
    }
}

#[tokio::test]
async fn a_redis_with_full_memory_grants_leases_and_stores_no_values() {
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
async fn a_waiter_is_woken_after_its_connection_was_cut() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let ((_a, of_a), (b, of_b)) = (process(&redis, LONG).await, process(&redis, LONG).await);
    let (has_read, may_end) = gates();
    let leader = read_with(&of_a, database.slow_loader(1, &has_read, &may_end));
    has_read.acquire().await.unwrap().forget();
    let waiter = read_with(&of_b, database.loader(1));
    eventually("the other process waits", async || b.stats().lease_waits == 1).await;
    let subscribers = async || redis.run::<Vec<String>>(&["PUBSUB", "CHANNELS", "test:wake:*"]).await.len();
    eventually("it subscribes", async || subscribers().await == 1).await;
    let _: u64 = redis.run(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    eventually("it subscribes again", async || subscribers().await == 1).await;
    may_end.add_permits(1);
    assert_eq!((in_time(leader).await.1, in_time(waiter).await.1), (Layer::Loader, Layer::Redis));
    assert_eq!(database.reads(), 1);
}

fn items<const N: usize>(ids: [u64; N]) -> [Item; N] {
    ids.map(|id| Item { id })
}

#[tokio::test]
async fn a_batch_reads_its_keys_from_redis_without_a_script() {
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
    let calls = |command: &str| -> u64 {
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
    };
    // Each script that follows the journal reads the ledger's floor with one ZSCORE.
    assert_eq!((calls("evalsha") - calls("zscore"), calls("pttl"), calls("getrange")), (0, 4, 4), "{stats}");
}

#[tokio::test]
async fn a_batch_waits_for_keys_that_another_process_loads_and_loads_the_rest() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let ((_a, of_a), (b, of_b)) = (process(&redis, LONG).await, process(&redis, LONG).await);
    let (has_read, may_end) = gates();
    let leader = read_with(&of_a, database.slow_loader(1, &has_read, &may_end));
    has_read.acquire().await.unwrap().forget();
    let batch = tokio::spawn(async move {
        let loader = |missing: Vec<Item>, _: BatchContext| async move {
            Ok(missing.into_iter().map(|item| (item.clone(), item.id * 100)).collect::<Vec<_>>())
        };
        let hits = of_b.get_many_or_load(&items([1, 2, 3]), loader).await;
        hits.into_iter().map(|hit| hit.unwrap().map(|hit| (*hit.value, hit.layer))).collect::<Vec<_>>()
    });
    eventually("the batch waits for one of its keys", async || b.stats().lease_waits == 1).await;
    eventually("the batch has loaded the other keys", async || {
        redis.run::<u8>(&["EXISTS", "test:v1:{item:3}"]).await == 1
    })
    .await;
    may_end.add_permits(1);
    let loaded = |value| Some((value, Layer::Loader));
    let hits =
        tokio::time::timeout(WAIT_LIMIT, batch).await.expect("expected the batch to be woken").unwrap();
    assert_eq!(hits, [Some((0, Layer::Redis)), loaded(200), loaded(300)]);
    assert_eq!(in_time(leader).await, (0, Layer::Loader));
}
