//! G7 end to end: no response at the edge outlives a purge of its data by more than
//! `JOURNAL_MAX_LAG_SECS` + 5 s. The tests use real Redis, the SDK's HTTP layer in three processes,
//! and the built worker in workerd: two isolates in each of two data centres, which get the
//! requests in turn.
//!
//! Each test runs on two stands. On one of them parts of the platform fail again and again in each
//! isolate: it is cut off from the journal object, or the object or the data centre's cache is
//! slow, fails or forgets. All tests share these stands. Each test uses rows and paths of its own.

#![expect(clippy::expect_used, reason = "a test panics to fail")]

mod service;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};
use origin_sdk::Position;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use strata_tests::{EdgeFleet, Isolate, Passage, Proxy, RedisServer, Source, eventually};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use self::service::{Balancer, Held, Process};

/// The bound: `JOURNAL_MAX_LAG_SECS` of wrangler.toml, and 5 s.
const BOUND: Duration = Duration::from_secs(10);
/// How long each test polls after the bound has passed.
const AFTERWARDS: Duration = Duration::from_secs(3);
/// The interval between two polls.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The processes by their index behind the balancer.
const WRITER: usize = 0;
const READER: usize = 1;
/// The process that can be made to lag.
const LAGGING: usize = 2;

/// The faults of the platform, of which an isolate has one at a time.
const FAULTS: [&str; 6] = [
    "journal=cut",
    "journal-delay=1500",
    "journal-delay=3000",
    "cache=fail",
    "cache=forget",
    "cache-delay=400",
];
/// The seed of the faults' order.
const SEED: u64 = 7;
/// How long a fault lasts, in milliseconds: some outlast the bound.
const FAULT_MS: std::ops::Range<u64> = 500..12_000;
/// How long an isolate has no fault before the next.
const REST: Duration = Duration::from_secs(2);

struct Stand {
    /// The tasks that set the faults, aborted when dropped: before the isolates, which they call.
    faults: JoinSet<()>,
    _redis: RedisServer,
    lag: Proxy,
    processes: Arc<Vec<Process>>,
    balancer: Arc<Balancer>,
    edge: EdgeFleet,
    turn: AtomicUsize,
}

impl Stand {
    async fn start() -> Self {
        let (redis, source) = (RedisServer::start().await, Source::start().await);
        let lag = Proxy::start(redis.port()).await;
        // The port is chosen before the worker runs, because the writer ships to it.
        let edge_port = strata_tests::free_port();
        let edge_url = format!("http://127.0.0.1:{edge_port}");
        let writer = Process::start(&redis.url(), source.address(), Some(&edge_url)).await;
        let reader = Process::start(&redis.url(), source.address(), None).await;
        let lagging = Process::start(&lag.redis_url(), source.address(), None).await;
        let processes = Arc::new(vec![writer, reader, lagging]);
        let (balancer, origin) = Balancer::start(Arc::clone(&processes)).await;
        let edge = EdgeFleet::start_on(edge_port, &origin, 2, 2, &[]).await;
        let (turn, faults) = (AtomicUsize::new(0), JoinSet::new());
        let stand = Self { _redis: redis, lag, processes, balancer, edge, turn, faults };
        // A new journal begins with a record for everything; the tests begin after it.
        stand.is_shipped(Position::new(0, 1)).await;
        stand
    }

    /// As [`Stand::start`], with faults of the platform as long as the tests run. The first isolate
    /// has none: it confirms the purges, and the bound is counted from then.
    async fn start_with_faults() -> Self {
        let mut stand = Self::start().await;
        for (number, isolate) in (0..).zip(&stand.edge.isolates()[1..]) {
            let (isolate, mut random) = (isolate.clone(), StdRng::seed_from_u64(SEED + number));
            stand.faults.spawn(async move {
                while let Some(faults) = FAULTS.choose(&mut random) {
                    isolate.set_faults(faults).await;
                    tokio::time::sleep(Duration::from_millis(random.random_range(FAULT_MS))).await;
                    isolate.set_faults("").await;
                    tokio::time::sleep(REST).await;
                }
            });
        }
        stand
    }

    /// Writes a row's next version. Returns the position of its record, and when the write ended.
    async fn put(&self, id: u64) -> (Position, Instant) {
        (self.processes[WRITER].put(id).await, Instant::now())
    }

    /// Waits until the edge's journal has the record.
    async fn is_shipped(&self, position: Position) {
        let writer = &self.processes[WRITER];
        eventually("the edge's journal has the record", async || writer.shipped().await >= Some(position))
            .await;
    }

    /// Sends a request to the next isolate.
    async fn get(&self, path: &str, language: &str) -> Reply {
        let isolates = self.edge.isolates();
        let next = self.turn.fetch_add(1, Ordering::SeqCst) % isolates.len();
        Self::get_from(&isolates[next], path, language).await
    }

    async fn get_from(isolate: &Isolate, path: &str, language: &str) -> Reply {
        let asked_at = Instant::now();
        let request = isolate.request(reqwest::Method::GET, path).header("accept-language", language);
        let response = request.send().await.expect("the worker answers");
        // The origin's member may be a line of its own.
        let mut lines =
            response.headers().get_all("cache-status").iter().filter_map(|line| line.to_str().ok());
        let is_hit = lines.any(|line| line.contains("strata-edge; hit"));
        let text = response.text().await.expect("the body arrives");
        let version = text.split(' ').next().and_then(|version| version.parse().ok());
        Reply {
            version: version.unwrap_or_else(|| panic!("{path}: expected a version, got {text:?}")),
            asked_at,
            is_hit,
        }
    }

    /// Waits until each isolate serves `version` from its store.
    async fn is_stored(&self, path: &str, language: &str, version: u64) {
        for isolate in self.edge.isolates() {
            eventually("it is stored", async || {
                let reply = Self::get_from(isolate, path, language).await;
                reply.is_hit && reply.version == version
            })
            .await;
        }
    }

    /// Polls until some time after the bound. Fails if a response that was requested after the
    /// bound is older than `version`. Versions before the bound are not checked.
    async fn nothing_outlives_the_bound(&self, path: &str, language: &str, version: u64, put_at: Instant) {
        while put_at.elapsed() < BOUND + AFTERWARDS {
            let reply = self.get(path, language).await;
            let late = reply.asked_at.saturating_duration_since(put_at);
            assert!(
                late <= BOUND || reply.version >= version,
                "{path} ({language}): version {} of {version}, {late:?} after the write",
                reply.version
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Sends a request in the background whose answer is held once the origin has built it.
    async fn held_on_its_way(self: &Arc<Self>, path: &'static str, language: &'static str) -> Arc<Held> {
        let held = self.balancer.hold_next(path);
        let stand = Arc::clone(self);
        tokio::spawn(async move { stand.get(path, language).await });
        held.built().await;
        held
    }
}

struct Reply {
    version: u64,
    asked_at: Instant,
    is_hit: bool,
}

async fn while_a_process_lags(stand: Arc<Stand>) {
    let (path, id) = ("/items/1", 1);
    stand.balancer.route(path, LAGGING);
    stand.is_stored(path, "en", 0).await;
    // The process has the row in its memory, and gets no further records.
    stand.lag.set(Passage::Stuck);
    let (_, put_at) = stand.put(id).await;
    stand.nothing_outlives_the_bound(path, "en", 1, put_at).await;
    // Responses that it builds without the journal are delivered and not stored. Now it gets
    // records again.
    stand.lag.set(Passage::Open);
    stand.is_stored(path, "en", 1).await;
}

async fn with_many_writes_and_all_processes_in_turn(stand: Arc<Stand>) {
    let (path, id) = ("/items/2", 2);
    stand.is_stored(path, "en", 0).await;
    let since = Instant::now();
    let (mut puts, mut lookups) = (Vec::new(), 0);
    while since.elapsed() < BOUND + BOUND / 2 {
        if puts.len() < 8 && since.elapsed() > Duration::from_millis(700) * puts.len() as u32 {
            puts.push(stand.put(id).await.1);
        }
        let reply = stand.get(path, "en").await;
        let due =
            puts.iter().filter(|put_at| reply.asked_at.saturating_duration_since(**put_at) > BOUND).count();
        assert!(reply.version >= due as u64, "version {} where {due} is due", reply.version);
        lookups += 1;
        tokio::time::sleep(LOOK_EVERY).await;
    }
    assert!(lookups > 50, "{lookups}");
    stand.is_stored(path, "en", 8).await;
}

async fn when_the_purge_races_with_a_fill(stand: Arc<Stand>) {
    let (path, id) = ("/items/3", 3);
    stand.balancer.route(path, READER);
    let held = stand.held_on_its_way(path, "en").await;
    let (position, put_at) = stand.put(id).await;
    stand.is_shipped(position).await;
    held.release();
    stand.nothing_outlives_the_bound(path, "en", 1, put_at).await;
    stand.is_stored(path, "en", 1).await;
}

async fn when_the_purge_races_with_a_background_refresh(stand: Arc<Stand>) {
    let (path, id) = ("/refreshed/4", 4);
    stand.balancer.route(path, READER);
    eventually("it is stored", async || stand.get(path, "en").await.is_hit).await;
    // Once the response is stale, a hit starts a refresh. The answer to the refresh is held.
    let held = stand.balancer.hold_next(path);
    eventually("it is refreshed in the background", async || {
        // Without the journal an isolate asks the origin itself, and its answer is the one held.
        if let Ok(reply) = tokio::time::timeout(10 * LOOK_EVERY, stand.get(path, "en")).await {
            assert_eq!(reply.version, 0);
        }
        tokio::time::timeout(LOOK_EVERY, held.built()).await.is_ok()
    })
    .await;
    let (position, put_at) = stand.put(id).await;
    stand.is_shipped(position).await;
    held.release();
    stand.nothing_outlives_the_bound(path, "en", 1, put_at).await;
    stand.is_stored(path, "en", 1).await;
}

async fn when_the_purge_races_with_a_304(stand: Arc<Stand>) {
    let (path, id) = ("/validated/5", 5);
    stand.balancer.route(path, READER);
    eventually("it is stored", async || stand.get(path, "en").await.is_hit).await;
    let requests = stand.balancer.requests(path);
    eventually("its age has passed, and a 304 has freshened it", async || {
        stand.get(path, "en").await;
        stand.balancer.requests(path) > requests
    })
    .await;
    let held = stand.balancer.hold_next(path);
    let asking = tokio::spawn({
        let stand = Arc::clone(&stand);
        async move { while stand.get(path, "en").await.version == 0 {} }
    });
    held.built().await;
    let (position, put_at) = stand.put(id).await;
    stand.is_shipped(position).await;
    held.release();
    stand.nothing_outlives_the_bound(path, "en", 1, put_at).await;
    stand.is_stored(path, "en", 1).await;
    tokio::time::timeout(BOUND, asking)
        .await
        .expect("whoever goes on asking gets the new one")
        .expect("it does not fail");
}

async fn when_the_purge_races_with_a_variant(stand: Arc<Stand>) {
    let (path, id) = ("/items/6", 6);
    stand.balancer.route(path, READER);
    for language in ["en", "de"] {
        stand.is_stored(path, language, 0).await;
    }
    let held = stand.held_on_its_way(path, "fr").await;
    let (position, put_at) = stand.put(id).await;
    stand.is_shipped(position).await;
    held.release();
    tokio::join!(
        stand.nothing_outlives_the_bound(path, "en", 1, put_at),
        stand.nothing_outlives_the_bound(path, "de", 1, put_at),
        stand.nothing_outlives_the_bound(path, "fr", 1, put_at),
    );
}

/// Creates one test per function, named after it.
macro_rules! trials {
    ($runtime:ident, $stand:ident, $group:literal: $($name:ident),* $(,)?) => {
        [$({
            let (runtime, stand) = (Arc::clone(&$runtime), Arc::clone(&$stand));
            Trial::test(concat!($group, "::", stringify!($name)), move || {
                runtime.block_on($name(stand));
                Ok(())
            })
        }),*]
    };
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // The tests mostly wait, so they run at the same time.
    arguments.test_threads = arguments.test_threads.or(Some(12));
    let runtime = Arc::new(Runtime::new().expect("a runtime"));
    let stand = Arc::new(runtime.block_on(Stand::start()));
    let faulty = Arc::new(runtime.block_on(Stand::start_with_faults()));
    let mut trials = Vec::from(trials![runtime, stand, "no_response_outlives_the_bound":
        while_a_process_lags,
        with_many_writes_and_all_processes_in_turn,
        when_the_purge_races_with_a_fill,
        when_the_purge_races_with_a_background_refresh,
        when_the_purge_races_with_a_304,
        when_the_purge_races_with_a_variant,
    ]);
    trials.extend(trials![runtime, faulty, "no_response_outlives_the_bound_under_faults":
        while_a_process_lags,
        with_many_writes_and_all_processes_in_turn,
        when_the_purge_races_with_a_fill,
        when_the_purge_races_with_a_background_refresh,
        when_the_purge_races_with_a_304,
        when_the_purge_races_with_a_variant,
    ]);
    let conclusion = libtest_mimic::run(&arguments, trials);
    // Stops the workers: these are the last references to the stands.
    drop((stand, faulty));
    conclusion.exit_code()
}
