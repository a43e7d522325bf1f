//! G6: an accepted purge reaches the edge at least once, through restarts, outages and answers of
//! 429. No record is dropped silently, and the records of a scope arrive in order.

use std::collections::HashMap;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use origin_sdk::cloudflare::Plan;
use origin_sdk::{Cache, Position, Scope, Tag};
use strata_tests::{
    CloudAnswer, FakeCloudflare, FakeWorker, Passage, Proxy, RedisServer, StepProxy, StopAt, WAIT_LIMIT,
    eventually, worker_secret,
};

/// A Redis, a purge endpoint of the worker, and a zone API.
struct Environment {
    redis: RedisServer,
    worker: FakeWorker,
    cloud: FakeCloudflare,
}

impl Environment {
    async fn start() -> Self {
        let (redis, worker, cloud) =
            tokio::join!(RedisServer::start(), FakeWorker::start(), FakeCloudflare::start());
        Self { redis, worker, cloud }
    }

    /// Starts a process that ships to both targets.
    async fn shipping(&self) -> Cache {
        let builder = self.redis.cache().edge(self.worker.url(), worker_secret()).zone(self.cloud.zone());
        builder.build().await.unwrap()
    }

    /// Starts a process that ships to both targets, and waits until both have the first record of
    /// the journal. It purges everything, and would hide the records that follow in the same batch.
    async fn shipping_after_the_first_record(&self) -> Cache {
        let cache = self.shipping().await;
        eventually("the first record is confirmed", async || {
            let status = cache.ship_status().await.unwrap();
            status.len() == 2 && status.iter().all(|target| target.queued == 0 && target.confirmed.is_some())
        })
        .await;
        cache
    }

    /// Starts a process that does not ship.
    async fn writing(&self) -> Cache {
        self.redis.cache().build().await.unwrap()
    }

    fn worker_has(&self, tag: &str) -> bool {
        let scope = scope(tag);
        self.worker.accepted().iter().any(|record| record.scope == scope)
    }

    fn zone_has(&self, tag: &str) -> bool {
        self.cloud.accepted_tags().iter().flatten().any(|purged| purged == tag)
    }
}

fn scope(tag: &str) -> Scope {
    Scope::Tag(Tag::new(tag).unwrap())
}

async fn invalidate(cache: &Cache, tag: &str) -> Position {
    cache.invalidate([scope(tag)]).await.position.expect("Redis answers")
}

/// Asserts that the records of each scope have arrived in the journal's order.
///
/// An unconfirmed batch is sent again as a whole. The order therefore counts for first arrivals,
/// and the last arrival of a scope must be its last record.
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
    let environment = Environment::start().await;
    let (shipping, writing) =
        (environment.shipping_after_the_first_record().await, environment.writing().await);
    for n in 0..60 {
        invalidate(if n % 2 == 0 { &shipping } else { &writing }, &format!("tag:{}", n % 7)).await;
    }
    let last = invalidate(&writing, "last").await;
    eventually("both targets have the last record", async || {
        environment.worker_has("last") && environment.zone_has("last")
    })
    .await;
    assert_in_order(&environment.worker);
    for n in 0..7 {
        assert!(environment.worker_has(&format!("tag:{n}")) && environment.zone_has(&format!("tag:{n}")));
    }
    assert!(environment.cloud.calls()[0].is_everything(), "a new journal begins with a record of everything");
    eventually("the status reports both as confirmed", async || {
        let status = writing.ship_status().await.unwrap();
        assert_eq!(status.len(), 2);
        status.iter().all(|target| (target.queued, target.confirmed) == (0, Some(last)))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_ships_at_a_time() {
    let environment = Environment::start().await;
    let mut fleet = vec![environment.shipping_after_the_first_record().await];
    for _ in 0..4 {
        fleet.push(environment.shipping().await);
    }
    for n in 0..50 {
        invalidate(&fleet[n % 5], &format!("tag:{n}")).await;
    }
    eventually("the worker has every record", async || {
        (0..50).all(|n| environment.worker_has(&format!("tag:{n}")))
    })
    .await;
    eventually("the zone has every record", async || {
        (0..50).all(|n| environment.zone_has(&format!("tag:{n}")))
    })
    .await;
    let mut positions: Vec<_> = environment.worker.accepted().iter().map(|record| record.position).collect();
    assert!(positions.is_sorted());
    positions.dedup();
    assert_eq!(positions.len(), environment.worker.accepted().len(), "no record arrived twice");
    let shippers = fleet.iter().filter(|cache| cache.stats().records_shipped > 0).count();
    assert!(shippers <= 2, "expected at most one shipper for each target, got {shippers}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_down_does_not_delay_the_other() {
    let environment = Environment::start().await;
    let cache = environment.shipping_after_the_first_record().await;
    environment.worker.set_down(true);
    for tag in ["a", "b"] {
        invalidate(&cache, tag).await;
    }
    eventually("the zone has the record", async || environment.zone_has("a")).await;
    eventually("the status reports the failure", async || {
        let status = cache.ship_status().await.unwrap();
        let worker = status.iter().find(|status| status.target == "worker").unwrap();
        worker.queued == 2
            && worker.failures > 0
            && worker.last_error.as_ref().is_some_and(|why| why.contains("503"))
    })
    .await;
    eventually("the metrics report the failure", async || {
        let stats = cache.stats();
        stats.ship_errors > 0 && stats.ship_queued == 2 && stats.ship_lag_ms > 0
    })
    .await;
    environment.worker.set_down(false);
    eventually("the worker has the record after its restart", async || environment.worker_has("b")).await;
    eventually("the queue is empty", async || {
        cache.stats().ship_queued == 0 && cache.stats().ship_lag_ms == 0
    })
    .await;
}

/// Ships two records to an API that gives these answers first. Asserts that both arrive once, in
/// order.
async fn arrives_despite(answers: &[CloudAnswer]) -> FakeCloudflare {
    let environment = Environment::start().await;
    let cache = environment.shipping_after_the_first_record().await;
    environment.cloud.answers_next(answers.to_vec());
    for tag in ["a", "b"] {
        invalidate(&cache, tag).await;
        eventually("the zone has the record", async || environment.zone_has(tag)).await;
    }
    let purged: Vec<_> = environment.cloud.accepted_tags().concat();
    assert_eq!(purged, ["a", "b"], "expected each record once, in order");
    assert_eq!(
        environment.cloud.calls().len(),
        3 + answers.iter().filter(|answer| !is_success(**answer)).count()
    );
    environment.cloud
}

fn is_success(answer: CloudAnswer) -> bool {
    matches!(answer, CloudAnswer::Success | CloudAnswer::Slow(_))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limited_call_is_retried_after_the_time_in_retry_after() {
    let cloud = arrives_despite(&[CloudAnswer::RateLimited(2), CloudAnswer::RateLimited(1)]).await;
    let at: Vec<_> = cloud.calls().iter().map(|call| call.at).collect();
    assert!(at[2] - at[1] >= Duration::from_secs(2) && at[3] - at[2] >= Duration::from_secs(1), "{at:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_the_api_fails_is_retried() {
    arrives_despite(&[500, 502, 503, 520].map(CloudAnswer::ServerError)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_with_a_partial_failure_is_retried() {
    arrives_despite(&[CloudAnswer::PartialFailure, CloudAnswer::PartialFailure]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_answer_is_awaited() {
    arrives_despite(&[CloudAnswer::Slow(1500)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_with_a_truncated_answer_is_retried() {
    arrives_despite(&[CloudAnswer::CutOff, CloudAnswer::CutOff]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_drops_no_record_and_appears_in_no_error() {
    let environment = Environment::start().await;
    environment.cloud.answers_next([CloudAnswer::Forbidden; 3]);
    let cache = environment.shipping().await;
    eventually("the status reports the refusal", async || {
        let status = cache.ship_status().await.unwrap();
        let errors: Vec<_> = status.iter().filter_map(|status| status.last_error.clone()).collect();
        assert!(errors.iter().all(|why| !why.contains(strata_tests::CLOUDFLARE_TOKEN)), "{errors:?}");
        errors.iter().any(|why| why.contains("Authentication error"))
    })
    .await;
    eventually("the zone is purged once the token is accepted", async || {
        environment.cloud.calls().iter().any(|call| call.was_accepted())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_written_without_a_shipper_are_shipped_later() {
    let environment = Environment::start().await;
    let writing = environment.writing().await;
    for n in 0..700 {
        invalidate(&writing, &format!("tag:{n}")).await;
    }
    let _shipping = environment.shipping().await;
    eventually("the worker has every record", async || environment.worker.accepted().len() == 701).await;
    assert_in_order(&environment.worker);
    // The first record of the journal purged the whole zone, with all records of the same batch.
    eventually("the zone has the records of later batches", async || environment.zone_has("tag:699")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_trimmed_before_shipping_become_a_purge_of_everything() {
    let environment = Environment::start().await;
    {
        let cache = environment.shipping_after_the_first_record().await;
        invalidate(&cache, "first").await;
        eventually("both targets have the record", async || {
            environment.worker_has("first") && environment.zone_has("first")
        })
        .await;
    }
    let writing = environment.writing().await;
    eventually("no process holds the shipping lease", async || {
        writing.ship_status().await.unwrap().iter().all(|target| target.shipper.is_none())
    })
    .await;
    invalidate(&writing, "lost").await;
    invalidate(&writing, "last").await;
    let _: i64 = environment.redis.run(&["XTRIM", "test:{journal}:feed", "MAXLEN", "1"]).await;
    let everything =
        || environment.worker.accepted().iter().filter(|record| record.scope == Scope::All).count();
    assert_eq!(everything(), 1, "the first record of the journal");
    let _cache = environment.shipping().await;
    // The shipper of each target that missed records appends a record of everything.
    eventually("the worker has the record of everything", async || everything() >= 2).await;
    eventually("the zone is purged as a whole", async || {
        environment.cloud.calls().iter().filter(|call| call.is_everything() && call.was_accepted()).count()
            >= 2
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_redis_restarts_empty_everything_is_purged_and_shipping_continues() {
    let mut environment = Environment::start().await;
    let cache = environment.shipping_after_the_first_record().await;
    environment.redis.kill();
    let receipt = cache.invalidate([scope("a")]).await;
    assert_eq!(receipt.position, None, "queued");
    environment.redis.restart().await;
    let shipped =
        || environment.worker.accepted().iter().map(|record| record.scope.to_string()).collect::<Vec<_>>();
    eventually("both records have arrived", async || {
        shipped().len() >= 3 && shipped().contains(&"tag:a".to_owned())
    })
    .await;
    assert!(shipped()[1..].contains(&"all".to_owned()), "{:?}", shipped());
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_paced_by_the_plan() {
    let environment = Environment::start().await;
    let began = Instant::now();
    let cache =
        environment.redis.cache().zone(environment.cloud.zone().plan(Plan::Free)).build().await.unwrap();
    eventually("the zone has the first record", async || environment.cloud.calls().len() == 1).await;
    // The plan allows a burst of 25 calls, of which the first record took one, and then a call
    // every 12 s.
    for n in 1..25 {
        invalidate(&cache, &format!("tag:{n}")).await;
        eventually("the call is sent", async || environment.cloud.calls().len() > n).await;
    }
    invalidate(&cache, "late").await;
    eventually("the record is queued", async || cache.stats().ship_queued > 0).await;
    eventually("the call is sent", async || environment.cloud.calls().len() > 25).await;
    // 26 calls take at least 12 s on any machine. 100 ms are left for the difference between the
    // clocks.
    assert!(began.elapsed() > Duration::from_millis(11_900), "{:?}", began.elapsed());
    assert_eq!(environment.cloud.accepted_tags().concat().last().map(String::as_str), Some("late"));
}

/// A process that is disconnected from Redis cannot know whether it still holds its lease.
#[tokio::test(flavor = "multi_thread")]
async fn another_process_takes_over_from_a_disconnected_shipper() {
    let environment = Environment::start().await;
    let proxy = Proxy::start(environment.redis.port()).await;
    let builder = environment.redis.cache().redis(proxy.redis_url());
    let disconnected = builder.edge(environment.worker.url(), worker_secret()).build().await.unwrap();
    eventually("the process ships", async || disconnected.stats().records_shipped > 0).await;
    let (other, writing) = (environment.shipping().await, environment.writing().await);
    proxy.set(Passage::Stuck);
    for tag in ["a", "b", "a"] {
        invalidate(&writing, tag).await;
    }
    eventually("another process takes over", async || environment.worker_has("b")).await;
    assert!(other.stats().records_shipped > 0);
    proxy.set(Passage::Open);
    let last = invalidate(&writing, "a").await;
    eventually("the worker has the last record", async || {
        environment.worker.accepted().iter().any(|record| record.position == Some(last))
    })
    .await;
    assert_in_order(&environment.worker);
}

/// A process of a service. Killed on drop.
struct Process(Child);

impl Process {
    fn start(app: &str, redis: &str, worker: &FakeWorker, cloud: &FakeCloudflare) -> Self {
        let mut service = Command::new(env!("CARGO_BIN_EXE_strata-test-service"));
        service.args([app, redis, worker.url(), cloud.url()]).stdout(Stdio::null());
        Self(service.spawn().expect("the service starts"))
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args(["-s", signal, &self.0.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "expected the process to receive SIG{signal}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An app with six records of three scopes, and two targets of its own.
struct Case {
    app: String,
    worker: FakeWorker,
    cloud: FakeCloudflare,
    last: Position,
}

impl Case {
    async fn start(redis: &RedisServer, app: String) -> Self {
        let (worker, cloud) = tokio::join!(FakeWorker::start(), FakeCloudflare::start());
        let writing = Cache::builder(&app).redis(redis.url()).build().await.unwrap();
        let mut last = Position::ZERO;
        for n in 0..6 {
            last = invalidate(&writing, &format!("tag:{}", n % 3)).await;
        }
        Self { app, worker, cloud, last }
    }

    async fn wait_until_confirmed(&self, redis: &RedisServer) {
        let cache = Cache::builder(&self.app).redis(redis.url()).build().await.unwrap();
        let deadline = Instant::now() + WAIT_LIMIT;
        loop {
            let status = cache.ship_status().await.unwrap();
            if status.len() == 2
                && status.iter().all(|target| (target.queued, target.confirmed) == (0, Some(self.last)))
            {
                break;
            }
            assert!(Instant::now() < deadline, "{}: {status:#?}", self.app);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_in_order(&self.worker);
        let mut positions: Vec<_> =
            self.worker.accepted().iter().map(|record| record.position.unwrap()).collect();
        positions.sort_unstable();
        positions.dedup();
        assert_eq!(
            positions.len(),
            7,
            "{}: expected six records and the first one, which purges everything",
            self.app
        );
        assert!(
            self.cloud.calls().iter().any(|call| call.is_everything() && call.was_accepted()),
            "{}",
            self.app
        );
        let consumers: Vec<HashMap<String, redis::Value>> = redis
            .run(&["XINFO", "CONSUMERS", &format!("{}:{{journal}}:feed", self.app), "ship:worker"])
            .await;
        assert_eq!(consumers.len(), 1, "expected no consumer of a process that has ended");
    }
}

/// Kills the shipper before and after each command that it sends to Redis. Another process takes
/// over.
#[tokio::test(flavor = "multi_thread")]
async fn a_shipper_killed_at_any_step_loses_no_record() {
    let redis = RedisServer::start().await;
    let whole = Case::start(&redis, "whole".into()).await;
    let proxy = StepProxy::start(redis.port(), usize::MAX, StopAt::Before).await;
    let process = Process::start("whole", proxy.url(), &whole.worker, &whole.cloud);
    whole.wait_until_confirmed(&redis).await;
    let steps = proxy.steps();
    drop(process);
    assert!(
        steps >= 6,
        "expected at least lease, records and confirmation for each of two targets, got {steps} commands"
    );

    let killed_at = async |step: usize, stop_at: StopAt| {
        let case = Case::start(&redis, format!("killed-{step}-{stop_at:?}").to_lowercase()).await;
        let proxy = StepProxy::start(redis.port(), step, stop_at).await;
        let victim = Process::start(&case.app, proxy.url(), &case.worker, &case.cloud);
        tokio::time::timeout(WAIT_LIMIT, proxy.stopped())
            .await
            .expect("expected the shipper to reach the step");
        drop(victim);
        let _successor = Process::start(&case.app, &redis.url(), &case.worker, &case.cloud);
        case.wait_until_confirmed(&redis).await;
    };
    let cases = (1..=steps).flat_map(|step| [(step, StopAt::Before), (step, StopAt::After)]);
    futures_util::future::join_all(cases.map(|(step, stop_at)| killed_at(step, stop_at))).await;
}

/// Kills the shipper after both targets have received a call and before they answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_shipper_killed_during_a_call_loses_no_record() {
    let redis = RedisServer::start().await;
    let case = Case::start(&redis, "calling".into()).await;
    case.worker.set_silent(true);
    case.cloud.answers_next([CloudAnswer::Silent]);
    let victim = Process::start(&case.app, &redis.url(), &case.worker, &case.cloud);
    eventually("both targets have a call", async || {
        case.worker.calls() == 1 && case.cloud.calls().len() == 1
    })
    .await;
    drop(victim);
    case.worker.set_silent(false);
    let _successor = Process::start(&case.app, &redis.url(), &case.worker, &case.cloud);
    case.wait_until_confirmed(&redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_takes_over_from_a_killed_shipper_within_8_seconds() {
    let redis = RedisServer::start().await;
    let case = Case::start(&redis, "takeover".into()).await;
    let victim = Process::start(&case.app, &redis.url(), &case.worker, &case.cloud);
    case.wait_until_confirmed(&redis).await;
    let _successor = Process::start(&case.app, &redis.url(), &case.worker, &case.cloud);
    let writing = Cache::builder(&case.app).redis(redis.url()).build().await.unwrap();
    drop(victim);
    let killed_at = Instant::now();
    let last = invalidate(&writing, "after").await;
    eventually("the successor ships", async || {
        let has_worker = case.worker.accepted().iter().any(|record| record.position == Some(last));
        has_worker && case.cloud.accepted_tags().concat().contains(&"after".to_owned())
    })
    .await;
    assert!(killed_at.elapsed() < Duration::from_secs(8), "{:?}", killed_at.elapsed());
}

/// A process is stopped for longer than its lease, while its successor ships later records.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_shipper_does_not_ship_after_it_has_lost_its_lease() {
    let redis = RedisServer::start().await;
    let case = Case::start(&redis, "stopped".into()).await;
    let stopped = Process::start(&case.app, &redis.url(), &case.worker, &case.cloud);
    case.wait_until_confirmed(&redis).await;
    stopped.signal("STOP");
    let writing = Cache::builder(&case.app).redis(redis.url()).build().await.unwrap();
    let _successor = Process::start(&case.app, &redis.url(), &case.worker, &case.cloud);
    for n in 0..4 {
        invalidate(&writing, &format!("tag:{}", n % 2)).await;
    }
    let last = invalidate(&writing, "tag:0").await;
    let arrivals =
        |last| case.worker.accepted().iter().filter(|record| record.position == Some(last)).count();
    eventually("the successor has shipped", async || arrivals(last) == 1).await;
    stopped.signal("CONT");
    let last = invalidate(&writing, "tag:0").await;
    eventually("the last record is shipped", async || arrivals(last) > 0).await;
    assert_in_order(&case.worker);
    let arrived = case.worker.accepted().len();
    let positions: std::collections::BTreeSet<_> =
        case.worker.accepted().iter().map(|record| record.position).collect();
    assert_eq!(arrived, positions.len(), "no record arrived twice");
}
