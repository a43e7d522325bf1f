//! The least rights in Redis: a user with exactly these can do all that a service does, and each of
//! them is used.

use std::collections::BTreeSet;
use std::time::Duration;

use origin_sdk::admin::{AclRules, acl_rules, acl_rules_in};
use origin_sdk::{Cache, CacheBuilder, Delivery, Layer, Lifetime, LoadErrorKind, Namespace, Scope, Tag};
use strata_tests::{
    Database, FakeWorker, Item, ItemPart, RedisServer, WAIT_LIMIT, eventually, worker_secret,
};

use crate::gates;

const LIFETIME: Lifetime = Lifetime::fresh(Duration::from_secs(600));
const FEED: &str = "test:{journal}:feed";
const LEDGER: &str = "test:{journal}:ledger";
/// More scopes than the ledger holds.
const MANY: usize = 100_500;
/// The commands that these tests run themselves, as the default user.
const OF_THE_TEST: [&str; 8] =
    ["acl|setuser", "acl|log", "auth", "client|setinfo", "config|resetstat", "hlen", "info", "xdel"];

/// Creates a user with these rights, and returns a builder of caches that log in as this user.
async fn user(redis: &RedisServer, rule: &str) -> CacheBuilder {
    let rights: Vec<&str> = rule.split(' ').collect();
    let _: () = redis.run(&[&["ACL", "SETUSER", "least", ">secret"], &rights[..]].concat()).await;
    let _: () = redis.run(&["CONFIG", "RESETSTAT"]).await;
    // Long enough for a busy machine: a timeout would queue an invalidation.
    let often = redis.cache().report_interval(Duration::from_millis(200));
    let slow = often.command_timeout(WAIT_LIMIT / 4).overall_timeout(WAIT_LIMIT / 2);
    slow.redis(format!("redis://least:secret@127.0.0.1:{}", redis.port()))
}

fn rules() -> AclRules {
    acl_rules("test").unwrap()
}

/// Returns the commands that a rule grants, without those that only faults provoke: `info`, of a
/// primary that cannot save its data, and `unlink`, after a large value that was not sent whole.
fn granted(rule: &str) -> BTreeSet<String> {
    let commands = rule.split(' ').filter_map(|right| right.strip_prefix('+'));
    commands.filter(|command| !["info", "unlink"].contains(command)).map(str::to_owned).collect()
}

/// Returns the commands that were called, also by scripts, since the user was created.
async fn used(redis: &RedisServer) -> BTreeSet<String> {
    let stats: String = redis.run(&["INFO", "commandstats"]).await;
    let lines = stats.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(':'));
    let called = lines.filter(|(_, counts)| !counts.starts_with("calls=0,"));
    called.map(|(name, _)| name.to_owned()).filter(|name| !OF_THE_TEST.contains(&name.as_str())).collect()
}

async fn denied(redis: &RedisServer) -> Vec<String> {
    let log: Vec<redis::Value> = redis.run(&["ACL", "LOG"]).await;
    let entries = log.iter().map(|entry| format!("{entry:?}"));
    // The client names itself, and goes on if it may not.
    entries.filter(|entry| !entry.contains("client|setinfo")).collect()
}

fn many_tags() -> impl Iterator<Item = Tag> {
    (0..MANY).map(|n| Tag::new(&format!("t:{n}")).unwrap())
}

/// Uses everything that a service does except shipping.
async fn use_service(redis: &RedisServer, builder: &CacheBuilder) {
    let database = Database::default();
    let start = async || builder.clone().build().await.unwrap();
    let (one, other) = (start().await, start().await);
    let items: Namespace<Item, u64> = one.namespace(LIFETIME).build();
    let others: Namespace<Item, u64> = other.namespace(LIFETIME).build();
    assert!(one.health().is_current && other.health().is_current);
    eventually("both publish their figures", async || {
        redis.run::<usize>(&["ZCARD", "test:{stats}:processes"]).await >= 2
    })
    .await;

    // One load in the fleet: the other process waits for its end.
    let (has_read, may_end) = gates();
    let load = tokio::spawn({
        let (items, loader) = (items.clone(), database.slow_loader(1, &has_read, &may_end));
        async move { items.get_or_load(&Item { id: 1 }, loader).await }
    });
    has_read.acquire().await.unwrap().forget();
    let wait = tokio::spawn({
        let (others, loader) = (others.clone(), database.loader(1));
        async move { others.get_or_load(&Item { id: 1 }, loader).await }
    });
    eventually("the other process waits", async || {
        redis.run::<usize>(&["HLEN", "test:lease:v1:{item:1}"]).await == 3
    })
    .await;
    may_end.add_permits(1);
    load.await.unwrap().unwrap();
    assert_eq!(wait.await.unwrap().unwrap().layer, Layer::Redis);
    assert_eq!(database.reads(), 1);

    let fails = |_, _| async { Err::<u64, _>("no row".into()) };
    let failed = items.get_or_load(&Item { id: 2 }, fails).await;
    assert_eq!(failed.unwrap_err().kind(), LoadErrorKind::Failed);
    let keys = [3, 4].map(|id| Item { id });
    let rows =
        |keys: Vec<Item>, _| async move { Ok(keys.into_iter().map(|key| (key, 0)).collect::<Vec<_>>()) };
    assert!(
        items.get_many_or_load(&keys, rows).await.iter().all(|hit| hit.as_ref().is_ok_and(Option::is_some))
    );
    assert!(others.get_many_cached(&keys).await.iter().flatten().all(|hit| hit.layer == Layer::Redis));

    let write = async |value| {
        let writer = async move |_, _| Ok((value, value));
        items.write_through_version(&Item { id: 1 }, (), writer).await.unwrap()
    };
    write(7).await;
    assert!(write(8).await.cached);
    eventually("the other process reads what was written", async || {
        *others.get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap().value == 8
    })
    .await;
    assert!(items.write_through(&Item { id: 5 }, (), async |_, _| Ok(1)).await.unwrap().cached);
    assert!(items.put(&Item { id: 6 }, 1, one.position()).await.is_cached());

    let texts = |cache: &Cache| -> Namespace<ItemPart, String> { cache.namespace(LIFETIME).build() };
    let large = ItemPart { id: 1, part: 1 };
    assert!(texts(&one).put(&large, "x".repeat(1_000_000), one.position()).await.is_cached());
    assert_eq!(texts(&other).get_cached(&large).await.unwrap().layer, Layer::Redis);

    // A row from the future is dropped.
    let _: u64 = redis.run(&["ZADD", LEDGER, "9000000000000000", "remove tag:future"]).await;
    assert_eq!(one.invalidate([Scope::All]).await.journal, Delivery::Done);
    assert_eq!(one.expire([Item { id: 1 }]).await.journal, Delivery::Done);
    assert_eq!(one.invalidate(many_tags()).await.journal, Delivery::Done);
    let last = one.position();
    eventually("the other process follows", async || other.position() >= last).await;
    // The subscription of the process that waited is checked after five silent seconds.
    eventually("the subscription is checked", async || used(redis).await.contains("ping")).await;
    assert_eq!((one.stats().store_errors, other.stats().store_errors), (0, 0));
    assert!(one.close().await.is_complete() && other.close().await.is_complete());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_needs_exactly_its_rights() {
    let redis = RedisServer::start().await;
    let builder = user(&redis, &rules().service).await;
    use_service(&redis, &builder).await;
    assert_eq!(denied(&redis).await, [""; 0]);
    assert_eq!(used(&redis).await, granted(&rules().service));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_ships_needs_exactly_its_rights() {
    let (redis, worker) = tokio::join!(RedisServer::start(), FakeWorker::start());
    let builder = user(&redis, &rules().shipping_service).await.edge(worker.url(), worker_secret());
    let cache = builder.clone().build().await.unwrap();
    eventually("the first record is shipped", async || !worker.accepted().is_empty()).await;
    worker.set_down(true);
    let failures =
        async || cache.ship_status().await.unwrap().iter().map(|target| target.failures).sum::<u64>();
    cache.invalidate([Item { id: 1 }]).await;
    eventually("the worker refuses the record", async || failures().await > 0).await;
    // Redis reports no lag of the shipper if a record was deleted that it has not read.
    let deleted = cache.invalidate([Item { id: 2 }]).await.position.unwrap();
    cache.invalidate([Item { id: 3 }]).await;
    let _: u64 = redis.run(&["XDEL", FEED, &deleted.to_string()]).await;
    let before = failures().await;
    eventually("the worker refuses it again", async || failures().await > before).await;
    worker.set_down(false);
    eventually("the worker has every record", async || {
        let status = cache.ship_status().await.unwrap();
        status.iter().all(|target| target.confirmed >= Some(cache.position()))
    })
    .await;
    assert!(cache.close().await.is_complete());
    use_service(&redis, &builder).await;
    assert_eq!(denied(&redis).await, [""; 0]);
    assert_eq!(used(&redis).await, granted(&rules().shipping_service));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_an_environment_needs_exactly_its_rights() {
    let redis = RedisServer::start().await;
    let rights = acl_rules_in(Some("staging"), "test").unwrap().service;
    let builder = user(&redis, &rights).await.environment("staging");
    let (one, other) = (builder.clone().build().await.unwrap(), builder.build().await.unwrap());
    let items: Namespace<Item, u64> = one.namespace(LIFETIME).build();
    let others: Namespace<Item, u64> = other.namespace(LIFETIME).build();
    let database = Database::default();
    items.get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap();
    assert_eq!(others.get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap().layer, Layer::Redis);
    assert_eq!(items.invalidate(&Item { id: 1 }).await.journal, Delivery::Done);
    assert_eq!(denied(&redis).await, [""; 0]);
}

/// The rights end at the app's keys and channels.
#[tokio::test(flavor = "multi_thread")]
async fn the_rights_reach_no_other_app() {
    let redis = RedisServer::start().await;
    let AclRules { service, shipping_service, cachectl, .. } = rules();
    for rule in [service, shipping_service, cachectl] {
        let _ = user(&redis, &rule).await;
        let client = redis::Client::open(format!("redis://least:secret@127.0.0.1:{}", redis.port())).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        for command in [
            &["GET", "test2:v1:{a}"][..],
            &["GET", "other:v1:{a}"],
            &["PUBLISH", "other:wake:1", "x"],
            &["PUBLISH", "test:other", "x"],
            &["FLUSHALL"],
            &["KEYS", "*"],
            &["CONFIG", "GET", "*"],
            &["ACL", "LIST"],
        ] {
            let mut call = redis::cmd(command[0]);
            command[1..].iter().for_each(|argument| {
                call.arg(argument);
            });
            let refused = call.query_async::<redis::Value>(&mut connection).await.unwrap_err();
            assert_eq!(refused.code(), Some("NOPERM"), "{command:?}");
        }
        assert_eq!(
            redis::cmd("GET").arg("test:v1:{a}").query_async::<Option<u8>>(&mut connection).await,
            Ok(None)
        );
    }
}
