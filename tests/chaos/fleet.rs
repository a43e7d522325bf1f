//! The fleet under test: its processes, their Redis, the proxies between them, and the faults.

use std::ops::Range;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;
use rustix::process::{Pid, Signal, kill_process};
use strata_tests::history::{Event, Moment, ORDERED, Order, Span};
use strata_tests::{Passage, Proxy, RedisServer, Source, WAIT_LIMIT, eventually};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::checker::{Fault, History, Process};
use crate::trouble::Trouble;

/// The settings of a run.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) seed: u64,
    pub(crate) processes: usize,
    pub(crate) tasks: u64,
    pub(crate) items: u64,
    pub(crate) max_lag: Duration,
}

pub(crate) struct Fleet {
    settings: Settings,
    source: Source,
    redis: RedisServer,
    workers: Vec<Worker>,
    started: usize,
    history: Arc<Mutex<History>>,
}

struct Worker {
    process: Process,
    child: Child,
    /// Reads the events that the process prints. Returns whether the process reported its recovery.
    log: JoinHandle<bool>,
    /// The proxy between the process and Redis.
    proxy: Proxy,
}

/// The time that a process has for the invalidations of an order.
const ORDER_TIMEOUT: Duration = Duration::from_secs(10);
/// Small enough to be filled quickly.
const REDIS_MEMORY: &str = "4mb";

impl Fleet {
    pub(crate) async fn start(settings: Settings) -> Self {
        let redis = RedisServer::start().await;
        let source = Source::start().await;
        let mut fleet =
            Self { settings, source, redis, workers: Vec::new(), started: 0, history: Arc::default() };
        for _ in 0..fleet.settings.processes {
            let worker = fleet.start_worker().await;
            fleet.workers.push(worker);
        }
        fleet
    }

    /// Injects a fault, then waits. In half of the cases one process is frozen meanwhile.
    pub(crate) async fn disturb(&mut self, trouble: Trouble, random: &mut Xoshiro256PlusPlus) {
        let frozen_worker = (random.random_bool(0.5) || trouble == Trouble::SleptThroughBurst)
            .then(|| random.random_range(0..self.workers.len()));
        let frozen = frozen_worker.map(|worker| self.workers[worker].process);
        let start = Moment::now();
        if let Some(worker) = frozen_worker {
            self.signal(worker, Signal::STOP);
            // The others continue, so that the frozen process has missed records when it resumes.
            tokio::time::sleep(Duration::from_millis(random.random_range(100..1200))).await;
        }
        self.inject(trouble, frozen_worker, random).await;
        if let Some(worker) = frozen_worker {
            self.signal(worker, Signal::CONT);
        }
        lock(&self.history).faults.push(Fault { trouble, span: Span::until_now(start), frozen });
        tokio::time::sleep(Duration::from_millis(random.random_range(100..1500))).await;
    }

    async fn inject(&mut self, trouble: Trouble, frozen: Option<usize>, random: &mut Xoshiro256PlusPlus) {
        let victim = random.random_range(0..self.workers.len());
        // Not the frozen process.
        let active = frozen.map_or(victim, |frozen| {
            (frozen + random.random_range(1..self.workers.len())) % self.workers.len()
        });
        let short = Duration::from_millis(random.random_range(50..400));
        let long = Duration::from_millis(random.random_range(500..2500));
        // The fault concerns the connection of one process, or of all.
        let targets = if random.random_bool(0.5) { victim..victim + 1 } else { 0..self.workers.len() };
        match trouble {
            Trouble::SleptThroughBurst => self.invalidate(active, random.random_range(20..100), 1_000).await,
            Trouble::HugeInvalidation => {
                self.invalidate(active, 1, random.random_range(50_000..200_000)).await;
            }
            Trouble::OrderlyEnd => self.end_worker(active, random.random_bool(0.75).then_some(short)).await,
            Trouble::Killed => self.kill_worker(victim).await,
            Trouble::Calm => tokio::time::sleep(long).await,
            Trouble::Disconnected => self.set_passage(targets, Passage::Closed, long).await,
            Trouble::SlowConnection => self.set_passage(targets, Passage::Slow(short / 4), long).await,
            Trouble::StuckConnection => self.set_passage(targets, Passage::Stuck, long).await,
            Trouble::RedisRestartedEmpty => {
                self.redis.kill();
                tokio::time::sleep(short).await;
                self.redis.restart().await;
            }
            Trouble::RedisFrozen => {
                self.redis.freeze();
                tokio::time::sleep(long).await;
                self.redis.thaw();
            }
            Trouble::KeysEvicted => self.fill_redis().await,
            Trouble::FeedDeleted => {
                let _: i64 = self.redis.run(&["DEL", "test:{journal}:feed"]).await;
            }
        }
    }

    /// Orders a process to invalidate, and waits until it has or has had enough time.
    async fn invalidate(&mut self, worker: usize, calls: usize, tags: usize) {
        let (process, before) = (self.workers[worker].process, lock(&self.history).events.len());
        self.workers[worker].order(Order::Invalidate { calls, tags }).await;
        let is_one = |(by, event): &&(Process, Event)| {
            *by == process && matches!(event, Event::Invalidated { item, .. } if ORDERED.contains(item))
        };
        let start = Instant::now();
        let is_done = |history: &History| history.events[before..].iter().filter(is_one).count() >= calls;
        while start.elapsed() < ORDER_TIMEOUT && !is_done(&lock(&self.history)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends the run once every process has recovered, and returns the history.
    ///
    /// # Errors
    /// If a process has ended or does not recover; the message names it.
    pub(crate) async fn end(mut self) -> Result<History, String> {
        for worker in &mut self.workers {
            worker.order(Order::Recover).await;
        }
        for worker in &mut self.workers {
            let Worker { process, child, log, .. } = worker;
            match tokio::time::timeout(2 * WAIT_LIMIT, &mut *log).await {
                Ok(Ok(true)) => {}
                Ok(_) => {
                    return Err(format!(
                        "process {process} ended before it had recovered: {:?}",
                        child.try_wait()
                    ));
                }
                Err(_) => {
                    return Err(format!(
                        "G5: process {process} still reads through its loader after {:?}",
                        2 * WAIT_LIMIT
                    ));
                }
            }
        }
        // Dropping the fleet closes the inputs of the processes, which ends them.
        Ok(std::mem::take(&mut *lock(&self.history)))
    }

    async fn start_worker(&mut self) -> Worker {
        let proxy = Proxy::start(self.redis.port()).await;
        let process = self.started;
        self.started += 1;
        let Settings { seed, tasks, items, max_lag, .. } = &self.settings;
        let seed = seed.wrapping_add(process as u64 * tasks);
        let mut command = Command::new(env!("CARGO_BIN_EXE_chaos-worker"));
        command.args(["--redis", &proxy.redis_url(), "--source", self.source.address(), "random"]);
        command.args([
            "--seed",
            &seed.to_string(),
            "--tasks",
            &tasks.to_string(),
            "--items",
            &items.to_string(),
        ]);
        command.args(["--max-lag-ms", &max_lag.as_millis().to_string()]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let history = Arc::clone(&self.history);
        let log = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if line.is_empty() {
                    return true;
                }
                let event: Event =
                    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
                lock(&history).events.push((process, event));
            }
            false
        });
        Worker { process, child, log, proxy }
    }

    /// Kills a process and starts another in its place.
    async fn kill_worker(&mut self, victim: usize) {
        let next = self.start_worker().await;
        let mut killed = std::mem::replace(&mut self.workers[victim], next);
        killed.child.kill().await.unwrap();
    }

    /// Cuts a process off, lets it invalidate, and ends it in order while another one starts in its
    /// place. It is connected again after `cut_off`, or never.
    ///
    /// # Panics
    /// If the process does not report its end.
    async fn end_worker(&mut self, victim: usize, cut_off: Option<Duration>) {
        self.workers[victim].proxy.set(Passage::Closed);
        self.invalidate(victim, 2, 10).await;
        let next = self.start_worker().await;
        self.signal(victim, Signal::TERM);
        let mut ended = std::mem::replace(&mut self.workers[victim], next);
        if let Some(cut_off) = cut_off {
            tokio::time::sleep(cut_off).await;
            ended.proxy.set(Passage::Open);
            lock(&self.history).ended_connected.push(ended.process);
        }
        let process = ended.process;
        let closed = |(by, event): &(Process, Event)| *by == process && matches!(event, Event::Closed { .. });
        // Only then its input is closed, which would end it without closing its cache.
        eventually("the process reports its end", async || {
            lock(&self.history).events.iter().rev().any(closed)
        })
        .await;
        let status = tokio::time::timeout(WAIT_LIMIT, ended.child.wait()).await;
        assert!(
            matches!(&status, Ok(Ok(status)) if status.success()),
            "process {process} did not end: {status:?}"
        );
        ended.log.await.unwrap();
    }

    fn signal(&self, victim: usize, signal: Signal) {
        let id = self.workers[victim].child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        // A process that has ended by itself is reported at the end of the run.
        let _ = id.map(|id| kill_process(id, signal));
    }

    async fn set_passage(&self, targets: Range<usize>, passage: Passage, time: Duration) {
        for worker in &self.workers[targets.clone()] {
            worker.proxy.set(passage);
        }
        tokio::time::sleep(time).await;
        for worker in &self.workers[targets] {
            worker.proxy.set(Passage::Open);
        }
    }

    /// Bounds the memory of Redis and stores more than fits, so that it evicts at random: entries,
    /// leases, the feed, the ledger.
    async fn fill_redis(&self) {
        let set = async |name, value| {
            let _: String = self.redis.run(&["CONFIG", "SET", name, value]).await;
        };
        set("maxmemory-policy", "allkeys-random").await;
        set("maxmemory", REDIS_MEMORY).await;
        let fill =
            "for i = 1, 4000 do redis.call('SET', 'junk:' .. i, string.rep('x', 1000), 'PX', 2000) end";
        for _ in 0..3 {
            let _: redis::Value = self.redis.run(&["EVAL", fill, "0"]).await;
        }
        set("maxmemory", "0").await;
    }
}

impl Worker {
    /// Sends an order. A process that has ended by itself is reported at the end of the run.
    async fn order(&mut self, order: Order) {
        let line = serde_json::to_string(&order).unwrap() + "\n";
        if let Some(input) = &mut self.child.stdin {
            let _ = input.write_all(line.as_bytes()).await;
        }
    }
}

fn lock(history: &Mutex<History>) -> MutexGuard<'_, History> {
    history.lock().unwrap_or_else(PoisonError::into_inner)
}
