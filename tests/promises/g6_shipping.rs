//! G6: a purge that was accepted reaches the edge at least once, whatever restarts, is down or answers 429. Nothing is dropped
//! silently, and no record of a scope overtakes another.

use std::collections::HashMap;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use origin_sdk::cloudflare::Plan;
use origin_sdk::{Cache, Position, Scope, Tag};
use strata_tests::{
    CloudAnswer, FakeCloudflare, FakeWorker, PATIENCE, Passage, Proxy, RedisServer, StepProxy, StopAt, eventually,
    worker_secret,
};

/// Redis, the worker's endpoint and the zone's API.
struct Stand {
    redis: RedisServer,
    worker: FakeWorker,
    cloud: FakeCloudflare,
}

impl Stand {
    async fn start() -> Self {
        let (redis, worker, cloud) = tokio::join!(RedisServer::start(), FakeWorker::start(), FakeCloudflare::start());
        Self { redis, worker, cloud }
    }

    /// A process that ships to both.
    async fn shipping(&self) -> Cache {
        let builder = self.redis.cache().edge(self.worker.url(), worker_secret()).zone(self.cloud.zone());
        builder.build().await.unwrap()
    }

    /// A process that ships to both, which know the record of everything that the journal began with: what comes now is not
    /// swallowed by it.
    async fn shipping_since_the_first_record(&self) -> Cache {
        let cache = self.shipping().await;
        eventually("the first record is told", async || {
            let status = cache.ship_status().await.unwrap();
            status.len() == 2 && status.iter().all(|target| target.queued == 0 && target.confirmed.is_some())
        })
        .await;
        cache
    }

    /// A process that does not ship.
    async fn writing(&self) -> Cache {
        self.redis.cache().build().await.unwrap()
    }

    fn has_told_worker(&self, tag: &str) -> bool {
        let scope = scope(tag);
        self.worker.accepted().iter().any(|record| record.scope == scope)
    }

    fn has_told_zone(&self, tag: &str) -> bool {
        self.cloud.accepted_tags().iter().flatten().any(|told| told == tag)
    }
}

fn scope(tag: &str) -> Scope {
    Scope::Tag(Tag::new(tag).unwrap())
}

async fn invalidate(cache: &Cache, tag: &str) -> Position {
    cache.invalidate([scope(tag)]).await.position.expect("Redis is there")
}

/// The records of each scope have arrived in the journal's order. A batch that was not confirmed comes again as a whole, so
/// the order counts for first arrivals; and what arrived last of a scope is its last record.
fn assert_in_order(worker: &FakeWorker) {
    let mut by_scope: HashMap<String, Vec<Position>> = HashMap::new();
    for record in worker.accepted() {
        by_scope.entry(record.scope.to_string()).or_default().push(record.position.unwrap());
    }
    for (scope, positions) in by_scope {
        let mut first = Vec::new();
        for position in &positions {
            if !first.contains(position) {
                first.push(*position);
            }
        }
        assert!(first.is_sorted(), "{scope}: {positions:?}");
        assert_eq!(positions.last(), first.last(), "{scope}: {positions:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_reaches_every_target_in_order() {
    let stand = Stand::start().await;
    let (shipping, writing) = (stand.shipping_since_the_first_record().await, stand.writing().await);
    for n in 0..60 {
        invalidate(if n % 2 == 0 { &shipping } else { &writing }, &format!("tag:{}", n % 7)).await;
    }
    let last = invalidate(&writing, "last").await;
    eventually("both know the last", async || stand.has_told_worker("last") && stand.has_told_zone("last")).await;
    assert_in_order(&stand.worker);
    for n in 0..7 {
        assert!(stand.has_told_worker(&format!("tag:{n}")) && stand.has_told_zone(&format!("tag:{n}")));
    }
    assert!(stand.cloud.calls()[0].is_everything(), "a new journal begins with a record of everything");
    eventually("the status says so", async || {
        let status = writing.ship_status().await.unwrap();
        assert_eq!(status.len(), 2);
        status.iter().all(|target| (target.queued, target.confirmed) == (0, Some(last)))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_ships_at_a_time() {
    let stand = Stand::start().await;
    let mut fleet = vec![stand.shipping_since_the_first_record().await];
    for _ in 0..4 {
        fleet.push(stand.shipping().await);
    }
    for n in 0..50 {
        invalidate(&fleet[n % 5], &format!("tag:{n}")).await;
    }
    eventually("all are told", async || (0..50).all(|n| stand.has_told_worker(&format!("tag:{n}")))).await;
    eventually("all are told", async || (0..50).all(|n| stand.has_told_zone(&format!("tag:{n}")))).await;
    let mut positions: Vec<_> = stand.worker.accepted().iter().map(|record| record.position).collect();
    assert!(positions.is_sorted());
    positions.dedup();
    assert_eq!(positions.len(), stand.worker.accepted().len(), "nothing came twice");
    let who_shipped = fleet.iter().filter(|cache| cache.stats().records_shipped > 0).count();
    assert!(who_shipped <= 2, "one for each target, not {who_shipped}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_down_does_not_hold_up_the_other() {
    let stand = Stand::start().await;
    let cache = stand.shipping_since_the_first_record().await;
    stand.worker.set_down(true);
    for tag in ["a", "b"] {
        invalidate(&cache, tag).await;
    }
    eventually("the zone is told", async || stand.has_told_zone("a")).await;
    eventually("the failure shows", async || {
        let status = cache.ship_status().await.unwrap();
        let worker = status.iter().find(|status| status.target == "worker").unwrap();
        worker.queued == 2 && worker.failures > 0 && worker.last_error.as_ref().is_some_and(|why| why.contains("503"))
    })
    .await;
    eventually("also in the metrics", async || {
        let stats = cache.stats();
        stats.ship_errors > 0 && stats.ship_queued == 2 && stats.ship_lag_ms > 0
    })
    .await;
    stand.worker.set_down(false);
    eventually("the worker is told once it is up", async || stand.has_told_worker("b")).await;
    eventually("nothing waits any more", async || cache.stats().ship_queued == 0 && cache.stats().ship_lag_ms == 0)
        .await;
}

/// What the API answers to the first calls; then all that was told must have arrived, in order.
async fn arrives_in_spite_of(answers: &[CloudAnswer]) -> FakeCloudflare {
    let stand = Stand::start().await;
    let cache = stand.shipping_since_the_first_record().await;
    stand.cloud.answers_next(answers.to_vec());
    for tag in ["a", "b"] {
        invalidate(&cache, tag).await;
        eventually("it is told", async || stand.has_told_zone(tag)).await;
    }
    let told: Vec<_> = stand.cloud.accepted_tags().concat();
    assert_eq!(told, ["a", "b"], "each in its turn and accepted once");
    assert_eq!(stand.cloud.calls().len(), 3 + answers.iter().filter(|answer| !is_success(**answer)).count());
    stand.cloud
}

fn is_success(answer: CloudAnswer) -> bool {
    matches!(answer, CloudAnswer::Success | CloudAnswer::Slow(_))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_that_asks_to_be_left_alone_is_left_alone_for_so_long() {
    let cloud = arrives_in_spite_of(&[CloudAnswer::RateLimited(2), CloudAnswer::RateLimited(1)]).await;
    let at: Vec<_> = cloud.calls().iter().map(|call| call.at).collect();
    assert!(at[2] - at[1] >= Duration::from_secs(2) && at[3] - at[2] >= Duration::from_secs(1), "{at:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_api_are_outlived() {
    arrives_in_spite_of(&[500, 502, 503, 520].map(CloudAnswer::ServerError)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_refused_in_part_is_made_again() {
    arrives_in_spite_of(&[CloudAnswer::PartialFailure, CloudAnswer::PartialFailure]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_answer_is_waited_for() {
    arrives_in_spite_of(&[CloudAnswer::Slow(1500)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_proves_nothing() {
    arrives_in_spite_of(&[CloudAnswer::CutOff, CloudAnswer::CutOff]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_refused_keeps_the_records_and_shows_in_no_error() {
    let stand = Stand::start().await;
    stand.cloud.answers_next([CloudAnswer::Forbidden; 3]);
    let cache = stand.shipping().await;
    eventually("the refusal shows", async || {
        let status = cache.ship_status().await.unwrap();
        let errors: Vec<_> = status.iter().filter_map(|status| status.last_error.clone()).collect();
        assert!(errors.iter().all(|why| !why.contains(strata_tests::CLOUDFLARE_TOKEN)), "{errors:?}");
        errors.iter().any(|why| why.contains("Authentication error"))
    })
    .await;
    eventually("it is told once the token is taken", async || {
        stand.cloud.calls().iter().any(|call| call.was_accepted())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_while_nobody_shipped_is_shipped_later() {
    let stand = Stand::start().await;
    let writing = stand.writing().await;
    for n in 0..700 {
        invalidate(&writing, &format!("tag:{n}")).await;
    }
    let _shipping = stand.shipping().await;
    eventually("all are told", async || stand.worker.accepted().len() == 701).await;
    assert_in_order(&stand.worker);
    // The journal's first record purged the zone as a whole, with all that came in the same batch.
    eventually("the zone is told of what came later", async || stand.has_told_zone("tag:699")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_trimmed_before_it_was_shipped_becomes_a_purge_of_everything() {
    let stand = Stand::start().await;
    {
        let cache = stand.shipping_since_the_first_record().await;
        invalidate(&cache, "first").await;
        eventually("it is told", async || stand.has_told_worker("first") && stand.has_told_zone("first")).await;
    }
    let writing = stand.writing().await;
    eventually("nobody ships", async || {
        writing.ship_status().await.unwrap().iter().all(|target| target.shipper.is_none())
    })
    .await;
    invalidate(&writing, "lost").await;
    invalidate(&writing, "kept").await;
    let _: i64 = stand.redis.run(&["XTRIM", "test:{journal}:feed", "MAXLEN", "1"]).await;
    let everything = || stand.worker.accepted().iter().filter(|record| record.scope == Scope::All).count();
    assert_eq!(everything(), 1, "the record that the journal began with");
    let _cache = stand.shipping().await;
    // Each target that missed it says so in the journal.
    eventually("everything is purged", async || everything() >= 2).await;
    eventually("also in the zone", async || {
        stand.cloud.calls().iter().filter(|call| call.is_everything() && call.was_accepted()).count() >= 2
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_comes_back_empty_purges_everything_and_ships_on() {
    let mut stand = Stand::start().await;
    let cache = stand.shipping_since_the_first_record().await;
    stand.redis.kill();
    let receipt = cache.invalidate([scope("a")]).await;
    assert_eq!(receipt.position, None, "queued");
    stand.redis.restart().await;
    let told = || stand.worker.accepted().iter().map(|record| record.scope.to_string()).collect::<Vec<_>>();
    eventually("both are told", async || told().len() >= 3 && told().contains(&"tag:a".to_owned())).await;
    assert!(told()[1..].contains(&"all".to_owned()), "{:?}", told());
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_paced_by_the_plan() {
    let stand = Stand::start().await;
    let began = Instant::now();
    let cache = stand.redis.cache().zone(stand.cloud.zone().plan(Plan::Free)).build().await.unwrap();
    eventually("the first record is told", async || stand.cloud.calls().len() == 1).await;
    // 25 calls at once, of which that took one; the next comes after 12 s.
    for n in 1..25 {
        invalidate(&cache, &format!("tag:{n}")).await;
        eventually("it is told", async || stand.cloud.calls().len() > n).await;
    }
    invalidate(&cache, "late").await;
    eventually("it waits", async || cache.stats().ship_queued > 0).await;
    eventually("it is told", async || stand.cloud.calls().len() > 25).await;
    // So 26 calls take 12 s at least, however slow the machine is.
    assert!(began.elapsed() > Duration::from_millis(11_900), "{:?}", began.elapsed());
    assert_eq!(stand.cloud.accepted_tags().concat().last().map(String::as_str), Some("late"));
}

/// Cut off from Redis it cannot know whether it still holds its lease.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_cut_off_from_redis_gives_its_turn_up() {
    let stand = Stand::start().await;
    let proxy = Proxy::start(stand.redis.port()).await;
    let builder = stand.redis.cache().redis(proxy.redis_url());
    let cut_off = builder.edge(stand.worker.url(), worker_secret()).build().await.unwrap();
    eventually("it ships", async || cut_off.stats().records_shipped > 0).await;
    let (other, writing) = (stand.shipping().await, stand.writing().await);
    proxy.set(Passage::Stuck);
    for tag in ["a", "b", "a"] {
        invalidate(&writing, tag).await;
    }
    eventually("another takes over", async || stand.has_told_worker("b")).await;
    assert!(other.stats().records_shipped > 0);
    proxy.set(Passage::Open);
    let last = invalidate(&writing, "a").await;
    eventually("the last is told", async || stand.worker.accepted().iter().any(|record| record.position == Some(last)))
        .await;
    assert_in_order(&stand.worker);
}

/// A process of its own; killed when dropped.
struct Process(Child);

impl Process {
    fn start(app: &str, redis: &str, worker: &FakeWorker, cloud: &FakeCloudflare) -> Self {
        let mut service = Command::new(env!("CARGO_BIN_EXE_strata-test-service"));
        service.args([app, redis, worker.url(), cloud.url()]).stdout(Stdio::null());
        Self(service.spawn().expect("the service runs"))
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args(["-s", signal, &self.0.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "the process takes the signal");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Six records of three scopes, and two targets of their own.
struct Case {
    app: String,
    worker: FakeWorker,
    cloud: FakeCloudflare,
    last: Position,
}

impl Case {
    async fn begin(redis: &RedisServer, app: String) -> Self {
        let (worker, cloud) = tokio::join!(FakeWorker::start(), FakeCloudflare::start());
        let writing = Cache::builder(&app).redis(redis.url()).build().await.unwrap();
        let mut last = Position::ZERO;
        for n in 0..6 {
            last = invalidate(&writing, &format!("tag:{}", n % 3)).await;
        }
        Self { app, worker, cloud, last }
    }

    async fn arrives(&self, redis: &RedisServer) {
        let asking = Cache::builder(&self.app).redis(redis.url()).build().await.unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = asking.ship_status().await.unwrap();
            if status.len() == 2
                && status.iter().all(|target| (target.queued, target.confirmed) == (0, Some(self.last)))
            {
                break;
            }
            assert!(Instant::now() < deadline, "{}: {status:#?}", self.app);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_in_order(&self.worker);
        let mut positions: Vec<_> = self.worker.accepted().iter().map(|record| record.position.unwrap()).collect();
        positions.sort_unstable();
        positions.dedup();
        assert_eq!(positions.len(), 7, "{}: all six, and the one of everything that the journal began with", self.app);
        assert!(self.cloud.calls().iter().any(|call| call.is_everything() && call.was_accepted()), "{}", self.app);
        let consumers: Vec<HashMap<String, redis::Value>> =
            redis.run(&["XINFO", "CONSUMERS", &format!("{}:{{journal}}:feed", self.app), "ship:worker"]).await;
        assert_eq!(consumers.len(), 1, "no consumer of a process that is gone");
    }
}

/// The process is killed before and after each command that its shipping sends to Redis; another takes over.
#[tokio::test(flavor = "multi_thread")]
async fn a_shipper_that_is_killed_at_any_step_loses_nothing() {
    let redis = RedisServer::start().await;
    let whole = Case::begin(&redis, "whole".into()).await;
    let proxy = StepProxy::start(redis.port(), usize::MAX, StopAt::Before).await;
    let process = Process::start("whole", proxy.url(), &whole.worker, &whole.cloud);
    whole.arrives(&redis).await;
    let steps = proxy.steps();
    drop(process);
    assert!(steps >= 6, "lease, records and confirmation, for each of two targets: {steps}");

    let killed_at = async |step: usize, stop_at: StopAt| {
        let case = Case::begin(&redis, format!("killed-{step}-{stop_at:?}").to_lowercase()).await;
        let proxy = StepProxy::start(redis.port(), step, stop_at).await;
        let victim = Process::start(&case.app, proxy.url(), &case.worker, &case.cloud);
        tokio::time::timeout(PATIENCE, proxy.stopped()).await.expect("the step is reached");
        drop(victim);
        let _successor = Process::start(&case.app, &redis.url(), &case.worker, &case.cloud);
        case.arrives(&redis).await;
    };
    let cases = (1..=steps).flat_map(|step| [(step, StopAt::Before), (step, StopAt::After)]);
    futures_util::future::join_all(cases.map(|(step, stop_at)| killed_at(step, stop_at))).await;
}

/// The process is killed while a target has its call: the target has taken it, and the process does not know.
#[tokio::test(flavor = "multi_thread")]
async fn a_shipper_that_is_killed_while_a_call_is_out_loses_nothing() {
    let redis = RedisServer::start().await;
    let case = Case::begin(&redis, "calling".into()).await;
    case.worker.set_silent(true);
    case.cloud.answers_next([CloudAnswer::Silent]);
    let victim = Process::start(&case.app, &redis.url(), &case.worker, &case.cloud);
    eventually("both have a call", async || case.worker.calls() == 1 && case.cloud.calls().len() == 1).await;
    drop(victim);
    case.worker.set_silent(false);
    let _successor = Process::start(&case.app, &redis.url(), &case.worker, &case.cloud);
    case.arrives(&redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_takes_over_within_seconds() {
    let redis = RedisServer::start().await;
    let case = Case::begin(&redis, "takeover".into()).await;
    let victim = Process::start(&case.app, &redis.url(), &case.worker, &case.cloud);
    case.arrives(&redis).await;
    let _successor = Process::start(&case.app, &redis.url(), &case.worker, &case.cloud);
    let writing = Cache::builder(&case.app).redis(redis.url()).build().await.unwrap();
    drop(victim);
    let killed_at = Instant::now();
    let last = invalidate(&writing, "after").await;
    eventually("the successor ships", async || {
        let told = case.worker.accepted().iter().any(|record| record.position == Some(last));
        told && case.cloud.accepted_tags().concat().contains(&"after".to_owned())
    })
    .await;
    assert!(killed_at.elapsed() < Duration::from_secs(8), "{:?}", killed_at.elapsed());
}

/// Stopped for longer than its lease, a process does not go on where it was: its successor has told the edge of later things.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_stopped_does_not_ship_out_of_turn() {
    let redis = RedisServer::start().await;
    let case = Case::begin(&redis, "stopped".into()).await;
    let stopped = Process::start(&case.app, &redis.url(), &case.worker, &case.cloud);
    case.arrives(&redis).await;
    stopped.signal("STOP");
    let writing = Cache::builder(&case.app).redis(redis.url()).build().await.unwrap();
    let _successor = Process::start(&case.app, &redis.url(), &case.worker, &case.cloud);
    for n in 0..4 {
        invalidate(&writing, &format!("tag:{}", n % 2)).await;
    }
    let last = invalidate(&writing, "tag:0").await;
    let told = |last| case.worker.accepted().iter().filter(|record| record.position == Some(last)).count();
    eventually("the successor has shipped", async || told(last) == 1).await;
    stopped.signal("CONT");
    let last = invalidate(&writing, "tag:0").await;
    eventually("it goes on", async || told(last) > 0).await;
    assert_in_order(&case.worker);
    let repeats = case.worker.accepted().len();
    let positions: std::collections::BTreeSet<_> =
        case.worker.accepted().iter().map(|record| record.position).collect();
    assert_eq!(repeats, positions.len(), "nothing came twice");
}
