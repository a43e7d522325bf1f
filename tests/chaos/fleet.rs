//! The fleet under test: its processes, their Redis, the proxies between them, and the faults.

use std::ops::Range;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;
use rustix::process::{Pid, Signal, kill_process};
use strata_tests::history::{Event, Moment, Span};
use strata_tests::{PATIENCE, Passage, Proxy, RedisServer, Source};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::checker::{Fault, History, Process};

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

/// Enough for the fleet's own keys, and small enough to be filled quickly.
const REDIS_MEMORY: &str = "4mb";

impl Fleet {
    pub(crate) async fn start(settings: Settings) -> Self {
        let redis = RedisServer::start().await;
        let source = Source::start().await;
        let mut fleet = Self { settings, source, redis, workers: Vec::new(), started: 0, history: Arc::default() };
        fleet.bound_memory().await;
        for _ in 0..fleet.settings.processes {
            let worker = fleet.start_worker().await;
            fleet.workers.push(worker);
        }
        fleet
    }

    /// Injects a fault at random, then waits. In half of the cases one process is frozen meanwhile.
    pub(crate) async fn disturb(&mut self, random: &mut Xoshiro256PlusPlus) {
        let frozen_worker = random.random_bool(0.5).then(|| self.any_worker(random));
        let frozen = frozen_worker.map(|worker| self.workers[worker].process);
        let start = Moment::now();
        if let Some(worker) = frozen_worker {
            self.signal(worker, Signal::STOP);
            // The others continue, so that the frozen process has missed records when it resumes.
            tokio::time::sleep(Duration::from_millis(random.random_range(100..1200))).await;
        }
        self.inject_fault(random).await;
        if let Some(worker) = frozen_worker {
            self.signal(worker, Signal::CONT);
        }
        lock(&self.history).faults.push(Fault { span: Span::until_now(start), frozen });
        tokio::time::sleep(Duration::from_millis(random.random_range(100..1500))).await;
    }

    async fn inject_fault(&mut self, random: &mut Xoshiro256PlusPlus) {
        let victim = self.any_worker(random);
        let short = Duration::from_millis(random.random_range(50..400));
        let long = Duration::from_millis(random.random_range(500..2500));
        // The fault concerns the connection of one process, or of all.
        let targets = if random.random_bool(0.5) { victim..victim + 1 } else { 0..self.workers.len() };
        match random.random_range(0..9) {
            0 => self.kill_worker(victim).await,
            1 => tokio::time::sleep(long).await,
            2 => self.set_passage(targets, Passage::Closed, long).await,
            3 => self.set_passage(targets, Passage::Slow(short / 4), long).await,
            4 => self.set_passage(targets, Passage::Stuck, long).await,
            5 => {
                self.redis.kill();
                tokio::time::sleep(short).await;
                self.redis.restart().await;
                self.bound_memory().await;
            }
            6 => {
                self.redis.freeze();
                tokio::time::sleep(long).await;
                self.redis.thaw();
            }
            7 => self.fill_redis().await,
            _ => {
                let _: i64 = self.redis.run(&["DEL", "test:{journal}:feed"]).await;
            }
        }
    }

    fn any_worker(&self, random: &mut Xoshiro256PlusPlus) -> usize {
        random.random_range(0..self.workers.len())
    }

    /// Ends the run once every process has recovered, and returns the history.
    ///
    /// # Errors
    /// If a process has ended or does not recover; the message names it.
    pub(crate) async fn end(mut self) -> Result<History, String> {
        for worker in &mut self.workers {
            let input = worker.child.stdin.as_mut().ok_or("a worker has an input")?;
            input
                .write_all(b"over\n")
                .await
                .map_err(|error| format!("process {} has ended: {error}", worker.process))?;
        }
        for worker in &mut self.workers {
            let Worker { process, child, log, .. } = worker;
            match tokio::time::timeout(2 * PATIENCE, &mut *log).await {
                Ok(Ok(true)) => {}
                Ok(_) => {
                    return Err(format!("process {process} ended before it had recovered: {:?}", child.try_wait()));
                }
                Err(_) => {
                    return Err(format!(
                        "G5: process {process} still reads through its loader after {:?}",
                        2 * PATIENCE
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
        command.args(["--seed", &seed.to_string(), "--tasks", &tasks.to_string(), "--items", &items.to_string()]);
        command.args(["--max-lag-ms", &max_lag.as_millis().to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let history = Arc::clone(&self.history);
        let log = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if line.is_empty() {
                    return true;
                }
                let event: Event = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
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

    async fn bound_memory(&self) {
        let _: String = self.redis.run(&["CONFIG", "SET", "maxmemory", REDIS_MEMORY]).await;
        let _: String = self.redis.run(&["CONFIG", "SET", "maxmemory-policy", "allkeys-random"]).await;
    }

    /// Stores more than fits, so that Redis evicts at random: entries, leases, the feed, the
    /// ledger.
    async fn fill_redis(&self) {
        let fill = "for i = 1, 4000 do redis.call('SET', 'junk:' .. i, string.rep('x', 1000), 'PX', 2000) end";
        for _ in 0..3 {
            let _: redis::Value = self.redis.run(&["EVAL", fill, "0"]).await;
        }
    }
}

fn lock(history: &Mutex<History>) -> MutexGuard<'_, History> {
    history.lock().unwrap_or_else(PoisonError::into_inner)
}
