//! Failovers by real sentinels, with a primary and two replicas. Processes read and invalidate all
//! the time, and the command line tool's library purges beside them.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use origin_sdk::admin::Admin;
use origin_sdk::{Cache, Delivery, Key, Lifetime, Mode, Namespace, Scope, Topology};
use strata_tests::{Database, Item, RedisServer, Sentinels, eventually};
use tokio::task::JoinHandle;

const LIFETIME: Lifetime = Lifetime::fresh(Duration::from_secs(600));
/// The default of a cache.
const MAX_LAG: Duration = Duration::from_secs(2);
/// The item that the administration purges. A process invalidates the item of its own number.
const PURGED: u64 = 100;
/// The pause of a process between two invalidations, and between reads of all items.
const PAUSE: Duration = Duration::from_millis(50);
/// For this long sentinels leave a primary that they have replaced as it is.
const OLD_PRIMARY_LIVES: Duration = Duration::from_secs(10);

/// The acknowledged invalidations: when, and of which version.
#[derive(Default)]
struct Log(Mutex<BTreeMap<u64, Vec<(Instant, u64)>>>);

impl Log {
    fn acknowledge(&self, item: u64, version: u64) {
        self.0.lock().unwrap().entry(item).or_default().push((Instant::now(), version));
    }

    /// Returns the newest version that was acknowledged by this time.
    fn version_at(&self, item: u64, time: Instant) -> u64 {
        let log = self.0.lock().unwrap();
        let done = log.get(&item).into_iter().flatten().take_while(|(at, _)| *at <= time);
        done.map(|(_, version)| *version).last().unwrap_or_default()
    }

    fn items(&self) -> Vec<u64> {
        self.0.lock().unwrap().keys().copied().collect()
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().values().map(Vec::len).sum()
    }
}

/// The state that all processes of a run share.
#[derive(Default)]
struct Run {
    database: Database,
    log: Log,
    has_ended: AtomicBool,
    violations: Mutex<Vec<String>>,
    reads: Mutex<usize>,
}

impl Run {
    fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }

    /// Reads an item, and checks that no invalidation of it was forgotten.
    async fn read(&self, process: u64, items: &Namespace<Item, u64>, item: u64, begin: Instant) {
        let began = Instant::now();
        let cached = items.get_or_load(&Item { id: item }, self.database.loader(item)).await.unwrap();
        let bound = if item == process { Duration::ZERO } else { MAX_LAG };
        let expected = began.checked_sub(bound).map_or(0, |time| self.log.version_at(item, time));
        *self.reads.lock().unwrap() += 1;
        if *cached.value < expected {
            let at = began - begin;
            let text = format!(
                "at {at:?} process {process} read version {} of item {item} from {:?}, expected {expected}",
                cached.value, cached.layer
            );
            self.violations.lock().unwrap().push(text);
        }
    }
}

/// A process that invalidates the item of its own number, and reads all.
struct Process {
    cache: Cache,
    items: Namespace<Item, u64>,
    tasks: Vec<JoinHandle<()>>,
}

impl Process {
    async fn start(number: u64, run: &Arc<Run>, sentinels: &Sentinels, begin: Instant) -> Self {
        let cache = sentinels.cache().max_lag(MAX_LAG).build().await.unwrap();
        let items: Namespace<Item, u64> = cache.namespace(LIFETIME).xfetch_beta(0.0).build();
        let (reads, reader) = (Arc::clone(run), items.clone());
        let reading = async move {
            while !reads.has_ended() {
                for item in reads.log.items() {
                    reads.read(number, &reader, item, begin).await;
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        let (writes, writer) = (Arc::clone(run), items.clone());
        let writing = async move {
            while !writes.has_ended() {
                let version = writes.database.bump(number);
                if writer.invalidate(&Item { id: number }).await.journal == Delivery::Done {
                    writes.log.acknowledge(number, version);
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        Self { cache, items, tasks: vec![tokio::spawn(reading), tokio::spawn(writing)] }
    }
}

/// Purges the item of the administration with a new connection each time, as `cachectl` does.
fn administer(run: &Arc<Run>, sentinels: &Sentinels) -> JoinHandle<()> {
    let (run, topology) = (Arc::clone(run), Topology::from_url(sentinels.url()));
    let scopes = [Scope::key(&Item { id: PURGED }.to_text())];
    tokio::spawn(async move {
        while !run.has_ended() {
            let version = run.database.bump(PURGED);
            let admin = Admin::connect(&topology, Some("test")).await.unwrap();
            if admin.append(Mode::Remove, &scopes).await.is_ok() {
                run.log.acknowledge(PURGED, version);
            }
            tokio::time::sleep(PAUSE).await;
        }
    })
}

/// The records of a server's feed.
async fn feed(server: &RedisServer) -> HashSet<String> {
    let feed: Vec<(String, Vec<String>)> = server.run(&["XRANGE", "test:{journal}:feed", "-", "+"]).await;
    feed.into_iter().map(|(id, _)| id).collect()
}

/// Between the promotion of a replica and its naming, the old primary loses what it takes, and no
/// other process runs that would remember.
#[tokio::test(flavor = "multi_thread")]
async fn a_purge_that_no_process_sees_survives_a_planned_failover() {
    let sentinels = Sentinels::start().await;
    let topology = Topology::from_url(sentinels.url());
    let (purged, has_ended) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicBool>::default());
    // Each takes up to a second, since the replicas report once per second.
    let tools = (0..20).map(|tool| {
        let (topology, purged, has_ended) = (topology.clone(), Arc::clone(&purged), Arc::clone(&has_ended));
        tokio::spawn(async move {
            let admin = Admin::connect(&topology, Some("test")).await.unwrap();
            for number in 0.. {
                let scope = Scope::key(&Item { id: 1_000 * tool + number }.to_text());
                if admin.append(Mode::Remove, std::slice::from_ref(&scope)).await.is_ok() {
                    purged.lock().unwrap().push(scope.to_string());
                }
                if has_ended.load(Ordering::Relaxed) {
                    break;
                }
            }
        })
    });
    let tools: Vec<_> = tools.collect();
    eventually("the tools purge", async || purged.lock().unwrap().len() >= 20).await;
    sentinels.begin_failover().await;
    let new = sentinels.replaced(0).await;
    has_ended.store(true, Ordering::Relaxed);
    for tool in tools {
        tool.await.unwrap();
    }
    let feed: redis::Value = sentinels.servers[new].run(&["XRANGE", "test:{journal}:feed", "-", "+"]).await;
    let feed = format!("{feed:?}");
    let purged = purged.lock().unwrap();
    println!("{} purges", purged.len());
    let lost: Vec<_> = purged.iter().filter(|scope| !feed.contains(scope.as_str())).collect();
    assert!(lost.is_empty(), "{} of {} purges are lost", lost.len(), purged.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_grant_no_more_rights_than_documented() {
    let sentinels = Sentinels::start().await;
    let rights = "on >secret resetchannels &+switch-master -@all +sentinel|get-master-addr-by-name \
                  +sentinel|replicas +subscribe +ping";
    for sentinel in &sentinels.sentinels {
        let user = ["ACL", "SETUSER", "strata"].into_iter().chain(rights.split(' '));
        sentinel.run::<String>(&user.collect::<Vec<_>>()).await;
    }
    let url = format!("{}?sentinel_username=strata&sentinel_password=secret", sentinels.url());
    let admin = Admin::connect(&Topology::from_url(&url), Some("test")).await.unwrap();
    admin.append(Mode::Remove, &[Scope::All]).await.unwrap();
    let cache = sentinels.cache().redis(&url).build().await.unwrap();
    assert!(cache.health().is_current);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failover {
    /// By command, of a primary that works.
    Planned,
    /// Of one that was killed.
    Killed,
    /// Of one that is frozen, and goes on as a primary after it was replaced.
    Frozen,
}

/// Checks that while the primary is replaced, and as long as the old one answers, no process
/// forgets an invalidation for longer than the maximum lag.
async fn nothing_is_forgotten_in(failover: Failover, mut sentinels: Sentinels) {
    let (run, begin) = (Arc::<Run>::default(), Instant::now());
    let mut processes = Vec::new();
    for number in 0..3 {
        processes.push(Process::start(number, &run, &sentinels, begin).await);
    }
    let administration = administer(&run, &sentinels);
    eventually("all have invalidated", async || run.log.items().len() == 4).await;
    match failover {
        Failover::Planned => sentinels.begin_failover().await,
        Failover::Killed => sentinels.servers[0].kill(),
        Failover::Frozen => sentinels.servers[0].freeze(),
    }
    let before = run.log.count();
    // This one starts while the new primary may be unknown.
    processes.push(Process::start(3, &run, &sentinels, begin).await);
    let new = sentinels.replaced(0).await;
    println!("{failover:?}: another primary is named after {:?}", begin.elapsed());
    processes.push(Process::start(4, &run, &sentinels, begin).await);
    if failover == Failover::Frozen {
        sentinels.servers[0].thaw();
    }
    if failover == Failover::Planned {
        let (old, new) = (feed(&sentinels.servers[0]).await, feed(&sentinels.servers[new]).await);
        let lost = old.difference(&new).count();
        println!("{failover:?}: {lost} records are lost, of {}", old.len());
        assert!(lost > 0, "the old primary took records that were then lost");
    }
    tokio::time::sleep(OLD_PRIMARY_LIVES + MAX_LAG).await;
    run.has_ended.store(true, Ordering::Relaxed);
    let tasks = processes.iter_mut().flat_map(|process| process.tasks.drain(..)).chain([administration]);
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let (reads, records) = (*run.reads.lock().unwrap(), run.log.count() - before);
    println!("{failover:?}: {reads} reads, {records} records since the failover began");
    let violations = run.violations.lock().unwrap().clone();
    assert!(
        violations.is_empty(),
        "{} violations: {:#?}",
        violations.len(),
        &violations[..violations.len().min(20)]
    );
    for process in processes {
        eventually("the process is in order", async || {
            process.cache.health().is_current && process.cache.health().queued == 0
        })
        .await;
        run.read(9, &process.items, PURGED, begin).await;
    }
    assert!(records > 200, "the fleet went on: {records} records");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_failover_loses_no_invalidation() {
    nothing_is_forgotten_in(Failover::Planned, Sentinels::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_failover_of_a_killed_primary_loses_no_invalidation() {
    nothing_is_forgotten_in(Failover::Killed, Sentinels::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_failover_of_a_frozen_primary_loses_no_invalidation() {
    nothing_is_forgotten_in(Failover::Frozen, Sentinels::start().await).await;
}
