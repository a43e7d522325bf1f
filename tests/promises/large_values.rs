//! Values of any size over links of any speed: a large value delays no other, and none fills the
//! memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use origin_sdk::{Cache, CacheBuilder, Layer, Lifetime, Namespace};
use strata_tests::{Item, ItemPart, Passage, Proxy, RedisServer, eventually};

const LIFETIME: Lifetime = Lifetime::fresh(Duration::from_secs(600));
/// 100 Mbit/s, in bytes per second.
const LINK: u32 = 12_500_000;
const MB: usize = 1_000_000;

type Texts<K> = Namespace<K, String>;

fn text(bytes: usize) -> String {
    "x".repeat(bytes)
}

/// Returns a namespace that reads Redis each time, without early refreshes.
fn unheld<K: origin_sdk::Key>(cache: &Cache) -> Texts<K> {
    cache.namespace(LIFETIME).memory_ttl(Duration::ZERO).xfetch_beta(0.0).build()
}

async fn read<K: origin_sdk::Key + Clone>(texts: &Texts<K>, key: &K) -> (Layer, usize) {
    let cached = texts.get_or_load(key, |_, _| async { Ok("loaded".to_owned()) }).await.unwrap();
    (cached.layer, cached.value.len())
}

async fn write<K: origin_sdk::Key + Clone>(texts: &Texts<K>, key: &K, bytes: usize) {
    texts.get_or_load(key, move |_, _| async move { Ok(text(bytes)) }).await.unwrap();
}

struct SlowLink {
    redis: RedisServer,
    proxy: Proxy,
    near: Cache,
    far: Cache,
}

/// Starts a process beside Redis, and one at the other end of a link with default timeouts.
async fn slow_link(passage: Passage, configure: impl Fn(CacheBuilder) -> CacheBuilder) -> SlowLink {
    let redis = RedisServer::start().await;
    let proxy = Proxy::start(redis.port()).await;
    let near = configure(redis.cache()).build().await.unwrap();
    // Long enough for a busy machine, on which the proxy may be late with the next bytes.
    let timeout = Duration::from_millis(950);
    let far = Cache::builder("test").redis(proxy.redis_url()).memory_bytes(1 << 30).command_timeout(timeout);
    let far = configure(far).build().await.unwrap();
    proxy.set(passage);
    SlowLink { redis, proxy, near, far }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_value_on_a_slow_link_does_not_disturb_small_ones() {
    let SlowLink { redis: _redis, near, far, .. } = slow_link(Passage::Throttled(LINK), |cache| cache).await;
    write(&unheld(&near), &Item { id: 1 }, 8 * MB).await;
    let small: Vec<_> = (0..20).map(|part| ItemPart { id: 1, part }).collect();
    for key in &small {
        write(&unheld(&near), key, 100).await;
    }
    let (large, parts) = (unheld::<Item>(&far), unheld::<ItemPart>(&far));
    let reading = tokio::spawn(async move {
        let began = Instant::now();
        for _ in 0..3 {
            assert_eq!(read(&large, &Item { id: 1 }).await, (Layer::Redis, 8 * MB));
        }
        began.elapsed()
    });
    let mut delays = Vec::new();
    while !reading.is_finished() {
        for key in &small {
            let began = Instant::now();
            assert_eq!(read(&parts, key).await, (Layer::Redis, 100));
            delays.push(began.elapsed());
        }
    }
    assert!(reading.await.unwrap() > Duration::from_millis(1800), "the link is as slow as it says");
    delays.sort_unstable();
    assert!(delays[delays.len() / 2] < Duration::from_millis(100), "{delays:?}");
    assert_eq!(far.stats().store_errors, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_value_is_stored_over_a_slow_link() {
    let SlowLink { redis, near, far, .. } = slow_link(Passage::Throttled(LINK), |cache| cache).await;
    write(&unheld(&far), &Item { id: 1 }, 8 * MB).await;
    assert_eq!(read(&unheld::<Item>(&near), &Item { id: 1 }).await, (Layer::Redis, 8 * MB));
    assert_eq!((far.stats().store_errors, far.stats().redis_hits), (0, 0));
    let staged: Vec<String> = redis.run(&["KEYS", "test:staged:*"]).await;
    assert!(staged.is_empty(), "{staged:?}");
}

/// At 10 Mbit/s, 2 MB take four times the timeout of a command.
#[tokio::test(flavor = "multi_thread")]
async fn the_timeout_of_a_large_value_follows_its_size() {
    let SlowLink { redis: _redis, near, far, .. } =
        slow_link(Passage::Throttled(LINK / 10), |cache| cache).await;
    write(&unheld(&near), &Item { id: 1 }, 2 * MB).await;
    assert_eq!(read(&unheld::<Item>(&far), &Item { id: 1 }).await, (Layer::Redis, 2 * MB));
    write(&unheld(&far), &Item { id: 2 }, 2 * MB).await;
    assert_eq!(read(&unheld::<Item>(&near), &Item { id: 2 }).await, (Layer::Redis, 2 * MB));
    assert_eq!(far.stats().store_errors, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_many_bytes_is_read_over_a_slow_link() {
    let SlowLink { redis: _redis, near, far, .. } = slow_link(Passage::Throttled(LINK), |cache| cache).await;
    let sizes = [20_000, 100, 32 << 10, 33 << 10, 300_000];
    let keys: Vec<_> = (0..500).map(|id| Item { id }).collect();
    let size_of = |id: u64| if id < 490 { sizes[0] } else { sizes[id as usize % sizes.len()] };
    for key in &keys {
        write(&unheld(&near), key, size_of(key.id)).await;
    }
    let cached = unheld::<Item>(&far).get_many_cached(&keys).await;
    for (key, cached) in keys.iter().zip(cached) {
        assert_eq!(cached.map(|cached| cached.value.len()), Some(size_of(key.id)), "{key:?}");
    }
    assert_eq!(far.stats().store_errors, 0);
}

/// All of them together take longer than the timeouts, and each of them little.
#[tokio::test(flavor = "multi_thread")]
async fn many_reads_at_once_do_not_close_the_connection_of_a_slow_link() {
    // The short ones take a third of a second; a busy machine needs longer.
    for (bytes, overall) in [(20_000, 3), (100_000, 1)] {
        let timeouts = |cache: CacheBuilder| cache.overall_timeout(Duration::from_secs(overall));
        let SlowLink { redis: _redis, near, far, .. } = slow_link(Passage::Throttled(LINK), timeouts).await;
        let keys: Vec<_> = (0..200).map(|id| Item { id }).collect();
        for key in &keys {
            write(&unheld(&near), key, bytes).await;
        }
        let texts = unheld::<Item>(&far);
        for layer in join_all(keys.iter().map(|key| read(&texts, key))).await {
            assert_eq!(layer, (Layer::Redis, bytes));
        }
        assert_eq!(far.stats().store_errors, 0);
    }
}

/// At 2 Mbit/s a single piece takes twice the timeout of a command.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_arrive_are_progress() {
    let SlowLink { redis: _redis, near, far, .. } =
        slow_link(Passage::Throttled(LINK / 50), |cache| cache).await;
    write(&unheld(&near), &Item { id: 1 }, 300_000).await;
    assert_eq!(read(&unheld::<Item>(&far), &Item { id: 1 }).await, (Layer::Redis, 300_000));
    assert_eq!(far.stats().store_errors, 0);
}

/// At 10 Mbit/s the reads take longer than the overall timeout. The replies to those who gave up
/// still arrive, before the replies to later commands.
#[tokio::test(flavor = "multi_thread")]
async fn callers_that_give_up_do_not_close_the_connection_of_a_slow_link() {
    let SlowLink { redis, near, far, .. } = slow_link(Passage::Throttled(LINK / 10), |cache| cache).await;
    let keys: Vec<_> = (0..300).map(|id| Item { id }).collect();
    for key in &keys {
        write(&unheld(&near), key, 20_000).await;
    }
    let texts = unheld::<Item>(&far);
    // Counts the connection that counts them, too.
    let connections = async || -> u64 {
        let info: String = redis.run(&["INFO", "stats"]).await;
        let line = info.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
        line.unwrap().parse().unwrap()
    };
    let before = connections().await;
    let layers = join_all(keys.iter().map(|key| read(&texts, key))).await;
    assert!(layers.iter().any(|(layer, _)| *layer == Layer::Loader), "some gave up");
    let later: Vec<_> = (0..10).map(|part| ItemPart { id: 1, part }).collect();
    for key in &later {
        read(&unheld::<ItemPart>(&far), key).await;
    }
    let opened = connections().await - before - 1;
    // The channel of a process that waits for a load of another is a connection of its own.
    assert!(opened <= 1, "{opened} connections were opened");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_stops_during_a_transfer_costs_the_timeout_of_a_command() {
    let SlowLink { redis: _redis, proxy, near, far } =
        slow_link(Passage::Throttled(LINK / 10), |cache| cache).await;
    write(&unheld(&near), &Item { id: 1 }, 8 * MB).await;
    let texts = unheld::<Item>(&far);
    let began = Instant::now();
    let reading = tokio::spawn(async move { read(&texts, &Item { id: 1 }).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!reading.is_finished());
    proxy.set(Passage::Stuck);
    assert_eq!(reading.await.unwrap(), (Layer::Loader, 6));
    // The lookup, the catching up and the lease each have their timeouts.
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    proxy.set(Passage::Open);
    let texts = unheld::<Item>(&far);
    eventually("Redis answers again", async || read(&texts, &Item { id: 1 }).await.0 == Layer::Redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_loaded_at_once_keeps_its_lease_during_a_long_transfer() {
    let lease = |cache: CacheBuilder| cache.lease_ttl(Duration::from_millis(500));
    let SlowLink { redis: _redis, near, far, .. } = slow_link(Passage::Throttled(LINK / 4), lease).await;
    let loader = async |_, _| Ok("x".repeat(4 * MB));
    unheld::<Item>(&far).get_or_load(&Item { id: 1 }, loader).await.unwrap();
    assert_eq!(read(&unheld(&near), &Item { id: 1 }).await, (Layer::Redis, 4 * MB));
}

/// The value is replaced by others of the same size while it is read in pieces.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_replaced_during_its_transfer_is_not_mixed_with_its_successor() {
    let SlowLink { redis: _redis, near, far, .. } =
        slow_link(Passage::Throttled(LINK * 4), |cache| cache).await;
    let (writer, reader) = (unheld::<Item>(&near), unheld::<Item>(&far));
    let is_done = Arc::new(AtomicBool::new(false));
    let writing = {
        let (near, is_done) = (near.clone(), Arc::clone(&is_done));
        tokio::spawn(async move {
            for letter in ["a", "b", "c", "d"].iter().cycle() {
                writer.put(&Item { id: 1 }, letter.repeat(2 * MB), near.position()).await;
                if is_done.load(Ordering::Relaxed) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        })
    };
    for _ in 0..20 {
        if let Some(cached) = reader.get_cached(&Item { id: 1 }).await {
            let first = cached.value.as_bytes()[0];
            assert!(cached.value.len() == 2 * MB && cached.value.bytes().all(|byte| byte == first));
        }
    }
    is_done.store(true, Ordering::Relaxed);
    writing.await.unwrap();
    assert_eq!(far.stats().store_errors, 0);
    let text = reader.get_cached(&Item { id: 1 }).await.unwrap();
    assert_eq!(text.value.len(), 2 * MB, "a value at rest is read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_beyond_the_limit_is_neither_stored_in_redis_nor_read_from_it() {
    let redis = RedisServer::start().await;
    let start = async || redis.cache().max_value_bytes(MB).build().await.unwrap();
    let small = start().await;
    let texts: Texts<Item> = small.namespace(LIFETIME).build();
    write(&texts, &Item { id: 1 }, 2 * MB).await;
    assert_eq!(small.stats().too_large_for_redis, 1);
    assert!(!redis.run::<bool>(&["EXISTS", "test:v1:{item:1}"]).await);
    assert_eq!(read(&texts, &Item { id: 1 }).await, (Layer::Memory, 2 * MB));

    // Another process with a larger limit, or any client, has stored it.
    let (small, large) = (start().await, redis.cache().build().await.unwrap());
    write(&unheld(&large), &Item { id: 2 }, 2 * MB).await;
    assert!(redis.run::<bool>(&["EXISTS", "test:v1:{item:2}"]).await);
    let _: i64 = redis.run(&["SETRANGE", "test:v1:{item:3}", "300000000", "x"]).await;
    let _: bool = redis.run(&["EXPIRE", "test:v1:{item:3}", "600"]).await;
    let sent = async || -> u64 {
        let info: String = redis.run(&["INFO", "stats"]).await;
        let line = info.lines().find_map(|line| line.strip_prefix("total_net_output_bytes:"));
        line.unwrap().parse().unwrap()
    };
    let before = sent().await;
    for cache in [&small, &large] {
        let texts = unheld::<Item>(cache);
        assert_eq!(read(&texts, &Item { id: 3 }).await.0, Layer::Loader);
        let _: i64 = redis.run(&["SETRANGE", "test:v1:{item:3}", "300000000", "x"]).await;
        assert!(texts.get_many_cached(&[Item { id: 3 }]).await[0].is_none());
    }
    assert_eq!(read(&unheld::<Item>(&small), &Item { id: 2 }).await.0, Layer::Loader);
    let sent = sent().await - before;
    assert!(sent < MB as u64, "{sent} bytes were read");
    for cache in [&small, &large] {
        assert!(cache.stats().too_large_for_redis > 0, "values that are not read are counted");
    }
}

#[tokio::test]
async fn values_of_any_size_pass_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("redis.sock").display().to_string();
    let redis = RedisServer::start_with_socket(&path).await;
    let _: String = redis.run(&["CONFIG", "SET", "requirepass", "p@ss/word"]).await;
    let through_socket = Cache::builder("test").redis(format!("unix://{path}?pass=p%40ss%2Fword"));
    let url = format!("redis://:p%40ss%2Fword@127.0.0.1:{}", redis.port());
    let (socket, tcp) =
        (through_socket.build().await.unwrap(), Cache::builder("test").redis(url).build().await.unwrap());
    for (id, bytes) in [(1, 100), (2, 2 * MB)] {
        write(&unheld(&socket), &Item { id }, bytes).await;
        for cache in [&socket, &tcp] {
            assert_eq!(read(&unheld::<Item>(cache), &Item { id }).await, (Layer::Redis, bytes));
        }
    }
}

/// A value of another type under a key counts as missing, and does not fail a batch.
#[tokio::test]
async fn a_key_of_another_type_is_a_miss() {
    let redis = RedisServer::start().await;
    let cache = redis.cache().build().await.unwrap();
    write(&unheld(&cache), &Item { id: 1 }, 100).await;
    let _: i64 = redis.run(&["RPUSH", "test:v1:{item:2}", "x"]).await;
    let texts = unheld::<Item>(&cache);
    let cached = texts.get_many_cached(&[1, 2].map(|id| Item { id })).await;
    assert!(cached[0].is_some() && cached[1].is_none());
    assert_eq!(read(&texts, &Item { id: 2 }).await.0, Layer::Loader);
    assert_eq!(read(&texts, &Item { id: 2 }).await.0, Layer::Redis);
}
