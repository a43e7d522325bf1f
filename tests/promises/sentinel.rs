//! Redis Sentinel: the primary is the server that more than half of the sentinels name. The
//! sentinels are fakes, so that a test decides who names what, and when.

use std::time::Duration;

use origin_sdk::admin::Admin;
use origin_sdk::{
    Cache, CacheBuilder, Delivery, Layer, Lifetime, Mode, Namespace, Scope, Topology, TypedTag,
};
use strata_tests::{Database, FakeSentinel, Group, Item, Names, RedisServer, eventually};

const LIFETIME: Lifetime = Lifetime::fresh(Duration::from_secs(600));
const MAX_LAG: Duration = Duration::from_millis(400);

fn builder(sentinels: &[FakeSentinel]) -> CacheBuilder {
    let builder = Cache::builder("test").redis(FakeSentinel::url(sentinels)).jitter(0.0);
    builder.command_timeout(Duration::from_millis(300)).max_lag(MAX_LAG)
}

async fn process(sentinels: &[FakeSentinel]) -> (Cache, Namespace<Item, u64>) {
    let cache = builder(sentinels).build().await.unwrap();
    let items = cache.namespace(LIFETIME).xfetch_beta(0.0).build();
    (cache, items)
}

async fn layer(items: &Namespace<Item, u64>, database: &Database) -> Layer {
    items.get_or_load(&Item { id: 1 }, database.loader(1)).await.unwrap().layer
}

fn at(server: &RedisServer) -> Names {
    Names::Port(server.port())
}

async fn admin(sentinels: &[FakeSentinel]) -> Admin {
    Admin::connect(&Topology::from_url(FakeSentinel::url(sentinels)), Some("test")).await.unwrap()
}

/// Returns whether the server's feed has a record with this scope.
async fn has_record(server: &RedisServer, scope: &str) -> bool {
    let feed: redis::Value = server.run(&["XRANGE", "test:{journal}:feed", "-", "+"]).await;
    format!("{feed:?}").contains(scope)
}

#[tokio::test]
async fn the_server_that_more_than_half_of_the_sentinels_name_is_the_primary() {
    let (primary, other) = (RedisServer::start().await, RedisServer::start().await);
    for minority in [at(&other), Names::Nothing, Names::Silent] {
        let sentinels = FakeSentinel::three(at(&primary)).await;
        sentinels[0].set(minority);
        let (cache, _) = process(&sentinels).await;
        assert_eq!(
            cache.invalidate([Group { id: 1 }.to_tag()]).await.journal,
            Delivery::Done,
            "{minority:?}"
        );
        assert!(has_record(&primary, "tag:group:1").await);
    }
    assert_eq!(other.run::<u64>(&["DBSIZE"]).await, 0, "nothing went to the other server");
}

/// As little as half of the sentinels can be on the side of a primary that was replaced.
#[tokio::test]
async fn a_process_that_reaches_half_of_the_sentinels_is_disconnected() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    for cut_off in [Names::Nothing, Names::Silent, Names::Port(1)] {
        let sentinels = FakeSentinel::three(at(&redis)).await;
        let four = [&sentinels[..], &[FakeSentinel::start(at(&redis)).await]].concat();
        let (cache, items) = process(&four).await;
        layer(&items, &database).await;
        assert_eq!(layer(&items, &database).await, Layer::Memory);
        four[..2].iter().for_each(|sentinel| sentinel.set(cut_off));
        eventually("the process loads", async || layer(&items, &database).await == Layer::Loader).await;
        assert!(!cache.health().is_current);
        assert_eq!(cache.invalidate([Scope::All]).await.journal, Delivery::Queued, "{cut_off:?}");
        four[0].set(at(&redis));
        eventually("the process follows again", async || {
            layer(&items, &database).await == Layer::Memory && cache.health().queued == 0
        })
        .await;
    }
}

#[tokio::test]
async fn a_process_follows_the_sentinels_to_another_primary_while_the_old_one_still_answers() {
    let (old, new, database) = (RedisServer::start().await, RedisServer::start().await, Database::default());
    let sentinels = FakeSentinel::three(at(&old)).await;
    let (cache, items) = process(&sentinels).await;
    layer(&items, &database).await;
    sentinels.iter().for_each(|sentinel| sentinel.set(at(&new)));
    // The new primary lacks the record that the process has applied last.
    eventually("everything was invalidated", async || layer(&items, &database).await == Layer::Loader).await;
    assert!(has_record(&new, "all").await && cache.health().is_current);
}

/// The old primary acknowledges records until it is demoted, and then loses them.
#[tokio::test]
async fn a_record_that_a_replaced_primary_took_is_appended_to_its_successor_too() {
    let (old, new) = (RedisServer::start().await, RedisServer::start().await);
    let sentinels = FakeSentinel::three(at(&old)).await;
    let (admin, (cache, items)) = (admin(&sentinels).await, process(&sentinels).await);
    let scope = |id| [Scope::from(Group { id }.to_tag())];
    admin.append(Mode::Remove, &scope(1)).await.unwrap();
    items.invalidate(&Item { id: 1 }).await;
    assert!(has_record(&old, "tag:group:1").await && !has_record(&new, "tag:group:1").await);
    sentinels.iter().for_each(|sentinel| sentinel.set(at(&new)));
    admin.append(Mode::Remove, &scope(2)).await.unwrap();
    assert!(has_record(&old, "tag:group:2").await, "the tool did not know yet");
    assert!(has_record(&new, "tag:group:2").await);
    let receipt = cache.invalidate(scope(3)).await;
    assert_eq!(receipt.journal, Delivery::Done);
    assert!(has_record(&new, "tag:group:3").await);
}

#[tokio::test]
async fn a_replica_that_sentinels_name_is_not_used() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let _: String = redis.run(&["REPLICAOF", "127.0.0.1", "1"]).await;
    let sentinels = FakeSentinel::three(at(&redis)).await;
    let (cache, items) = process(&sentinels).await;
    assert_eq!(layer(&items, &database).await, Layer::Loader);
    assert!(!cache.health().is_current);
    let error = admin(&sentinels).await.append(Mode::Remove, &[Scope::All]).await.unwrap_err().to_string();
    assert!(error.contains("expected a primary") && error.contains("got a replica"), "{error}");
    let _: String = redis.run(&["REPLICAOF", "NO", "ONE"]).await;
    eventually("the process follows", async || cache.health().is_current).await;
}

#[tokio::test]
async fn an_error_tells_a_misspelt_service_from_sentinels_that_do_not_answer() {
    for (names, expected) in [
        (Names::Nothing, "monitors no service of that name"),
        (Names::Silent, "redis did not answer within"),
        (Names::Port(1), "refused"),
    ] {
        let sentinels = FakeSentinel::three(names).await;
        let failed = admin(&sentinels).await.append(Mode::Remove, &[Scope::All]).await.unwrap_err();
        assert!(failed.to_string().contains(expected), "{failed}");
    }
}

/// A process asks when it follows, and not for each read.
#[tokio::test]
async fn reads_do_not_ask_the_sentinels() {
    let (redis, database) = (RedisServer::start().await, Database::default());
    let sentinels = FakeSentinel::three(at(&redis)).await;
    let (_cache, items) = process(&sentinels).await;
    layer(&items, &database).await;
    let before = sentinels[0].asked();
    let (began, mut reads) = (std::time::Instant::now(), 0);
    while began.elapsed() < MAX_LAG {
        assert_eq!(layer(&items, &database).await, Layer::Memory);
        reads += 1;
        tokio::task::yield_now().await;
    }
    let asked = sentinels[0].asked() - before;
    assert!(reads > 100 && asked < 20, "{reads} reads, {asked} asks");
}
