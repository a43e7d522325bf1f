//! Apps and environments that share a Redis: neither values nor invalidations cross between them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use origin_sdk::admin::{Admin, Sweep};
use origin_sdk::{Cache, CacheBuilder, Layer, Lifetime, Mode, Namespace, Scope, Topology};
use strata_tests::{Database, FakeWorker, Group, Item, ItemPart, RedisServer, eventually, worker_secret};

const LIFETIME: Lifetime = Lifetime::fresh(Duration::from_secs(600));

struct Process {
    cache: Cache,
    items: Namespace<Item, u64>,
}

impl Process {
    async fn start(builder: CacheBuilder) -> Self {
        let cache = builder.build().await.unwrap();
        let items = cache.namespace(LIFETIME).build();
        Self { cache, items }
    }

    async fn read(&self, database: &Database) -> (u64, Layer) {
        let cached = self.items.get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap();
        (*cached.value, cached.layer)
    }
}

fn sweep() -> Sweep {
    Sweep::paced(1000.try_into().unwrap())
}

/// Returns the names of all keys that do not begin with `prefix`.
async fn names_outside(redis: &RedisServer, prefix: &str) -> Vec<String> {
    let mut names: Vec<String> = redis.run(&["KEYS", "*"]).await;
    names.retain(|name| !name.starts_with(prefix));
    names
}

#[tokio::test]
async fn a_cache_refuses_the_keys_of_another_app_and_names_both() {
    let redis = RedisServer::start().await;
    let cache = Cache::builder("test-staging").redis(redis.url()).build().await.unwrap();
    let refused = catch_unwind(AssertUnwindSafe(|| cache.namespace::<Item, u64>(LIFETIME)));
    let message = *refused.err().unwrap().downcast::<String>().unwrap();
    assert!(
        message.contains(r#"the app "test-staging""#) && message.contains(r#"Item of the app "test""#),
        "{message}"
    );
    assert!(message.contains("environment"), "{message}");
}

#[tokio::test]
async fn environments_share_neither_values_nor_invalidations() {
    let redis = RedisServer::start().await;
    let start = async |environment: Option<&str>| {
        let builder = redis.cache();
        Process::start(match environment {
            Some(name) => builder.environment(name),
            None => builder,
        })
        .await
    };
    // One of them has the name of the app.
    let environments = [None, Some("staging"), Some("production"), Some("test")];
    let mut fleets = Vec::new();
    for (number, environment) in environments.into_iter().enumerate() {
        let fleet = (start(environment).await, start(environment).await, Database::default());
        fleet.2.write(1, 10 * number as u64);
        fleets.push(fleet);
    }
    // The last first: by the positions alone, its value would be valid in those that began earlier.
    for (number, (first, second, database)) in fleets.iter().enumerate().rev() {
        assert_eq!(first.read(database).await, (10 * number as u64, Layer::Loader), "no other value is seen");
        assert_eq!(
            second.read(database).await,
            (10 * number as u64, Layer::Redis),
            "the fleet's own value is"
        );
    }
    for (number, (first, second, database)) in fleets.iter().enumerate() {
        database.write(1, 10 * number as u64 + 1);
        first.items.invalidate(&Item { id: 1 }).await;
        eventually("the other process of the environment follows", async || {
            second.read(database).await.0 == 10 * number as u64 + 1
        })
        .await;
        for (other, (first, second, database)) in fleets.iter().enumerate() {
            let expected = if other <= number { 10 * other as u64 + 1 } else { 10 * other as u64 };
            first.read(database).await;
            assert_eq!(first.read(database).await, (expected, Layer::Memory), "{other} after {number}");
            assert_eq!(second.read(database).await, (expected, Layer::Memory), "{other} after {number}");
        }
    }
    // Invalidating everything ends at the environment's border, too.
    let (_, second, database) = &fleets[0];
    fleets[1].0.cache.invalidate([Scope::All]).await;
    assert_eq!(second.read(database).await.1, Layer::Memory);
}

#[tokio::test]
async fn every_name_of_an_environment_in_redis_begins_with_it() {
    let (redis, worker, database) =
        (RedisServer::start().await, FakeWorker::start().await, Database::default());
    let builder = || redis.cache().environment("staging");
    let [a, b] = [
        Process::start(builder().edge(worker.url(), worker_secret())).await,
        Process::start(builder()).await,
    ];
    let (has_read, may_end) = super::gates();
    // A load under a lease, a process that waits for it on a channel, and a large value.
    let loading = {
        let (items, loader) = (a.items.clone(), database.slow_loader(1, &has_read, &may_end));
        tokio::spawn(async move { items.get_or_load(&Item { id: 1 }, loader).await.unwrap() })
    };
    has_read.acquire().await.unwrap().forget();
    let waiting = {
        let (items, loader) = (b.items.clone(), database.loader(1));
        tokio::spawn(async move { items.get_or_load(&Item { id: 1 }, loader).await.unwrap().layer })
    };
    let mut channels: Vec<String> = Vec::new();
    eventually("the other process waits", async || {
        channels = redis.run(&["PUBSUB", "CHANNELS"]).await;
        !channels.is_empty() && b.cache.stats().lease_waits == 1
    })
    .await;
    assert!(channels.iter().all(|channel| channel.starts_with("staging/test:wake:")), "{channels:?}");
    assert!(redis.run::<bool>(&["EXISTS", "staging/test:lease:v1:{item:1}"]).await);
    assert_eq!(names_outside(&redis, "staging/test:").await, [""; 0]);
    may_end.add_permits(1);
    loading.await.unwrap();
    assert_eq!(waiting.await.unwrap(), Layer::Redis, "the waiter is woken");
    let texts: Namespace<ItemPart, String> = a.cache.namespace(LIFETIME).build();
    texts.put(&ItemPart { id: 2, part: 1 }, "x".repeat(1_000_000), a.cache.position()).await;
    a.items.write_through_version(&Item { id: 3 }, (), |_, _| async { Ok((1, 7)) }).await.unwrap();
    a.cache.invalidate([Group { id: 1 }]).await;
    eventually("the records are shipped", async || !worker.accepted().is_empty()).await;
    assert!(redis.run::<bool>(&["EXISTS", "staging/test:v1:{item:2}:part:1"]).await);
    assert_eq!(names_outside(&redis, "staging/test:").await, [""; 0]);
}

#[tokio::test]
async fn administration_acts_on_one_environment() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let [plain, staging] = [redis.cache(), redis.cache().environment("staging")];
    let [plain, staging] = [Process::start(plain).await, Process::start(staging).await];
    for process in [&plain, &staging] {
        process.read(&database).await;
    }
    database.write(1, 1);
    let topology = Topology::Standalone { url: redis.url() };
    // Without a name the only app of the environment is found.
    let admin = Admin::connect_in(&topology, Some("staging"), None).await.unwrap();
    assert_eq!(admin.app(), "test");
    assert_eq!(Admin::connect(&topology, None).await.unwrap().app(), "test");
    let key = "test:v1:{item:1}";
    assert_eq!(admin.inspect(key).await.unwrap().verdict, "fresh");
    admin.append(Mode::Remove, &[Scope::Key(key.into())]).await.unwrap();
    eventually("the environment follows", async || staging.read(&database).await.0 == 1).await;
    assert_eq!(plain.read(&database).await, (0, Layer::Memory));
    admin.append(Mode::Remove, &[Scope::All]).await.unwrap();
    let swept = admin.sweep(sweep()).await.unwrap();
    assert_eq!((swept.dead, swept.unlinked, swept.foreign), (1, 1, 0));
    assert!(redis.run::<bool>(&["EXISTS", key]).await, "the other environment keeps its values");
    let swept = Admin::connect(&topology, Some("test")).await.unwrap().sweep(sweep()).await.unwrap();
    assert_eq!((swept.scanned, swept.dead), (1, 0));
    for (environment, app) in [(Some("a/b"), Some("test")), (Some(""), None), (None, Some("staging/test"))] {
        let error = Admin::connect_in(&topology, environment, app).await.unwrap_err();
        assert!(error.to_string().contains("expected one or more of a-z 0-9 _ -"), "{error}");
    }
}

/// A value that is too large can end the key's older one. It does so in its own environment only.
#[tokio::test]
async fn a_value_that_is_not_kept_ends_no_value_of_another_environment() {
    let redis = RedisServer::start().await;
    let builders = [redis.cache(), redis.cache().environment("staging"), redis.cache().environment("test")];
    for (number, builder) in builders.into_iter().enumerate() {
        let cache = builder.max_value_bytes(1000).build().await.unwrap();
        let texts: Namespace<Item, String> = cache.namespace(LIFETIME).build();
        let other_environment = number > 0;
        for id in [1, 2] {
            if !other_environment || id == 2 {
                texts.put(&Item { id }, "small".to_owned(), cache.position()).await;
            }
            if other_environment {
                texts.put(&Item { id }, "x".repeat(10_000), cache.position()).await;
            }
        }
        for id in [1, 2] {
            assert!(
                redis.run::<bool>(&["EXISTS", &format!("test:v1:{{item:{id}}}")]).await,
                "{id} after {number}"
            );
        }
    }
}
