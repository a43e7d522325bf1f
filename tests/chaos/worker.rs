//! One process of a fleet. It ends at the end of its standard input.
//!
//! `random` reads, loads, writes and invalidates at random, and prints each event as a line of
//! JSON. Each line on its input is an order. After the order to recover it only reads until it has
//! recovered, and reports that by an empty line. On `SIGTERM` it closes its cache and ends.
//!
//! `stampede` prints a line when it is ready. After a line on its input it reads one key with many
//! callers at once, and prints the number of answers.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Parser, Subcommand};
use origin_sdk::{
    BoxError, Cache, Delivery, Freshness, Key, Layer, Lifetime, LoadContext, LoadErrorKind, Namespace,
    Receipt, Scope, TypedTag,
};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use strata_tests::history::{Answer, Event, Moment, ORDERED, Order, Sent, Span, WRITTEN, group_of};
use strata_tests::{Group, Item, Source};
use tokio::io::AsyncBufReadExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

/// Short, so that entries also become stale and leave their stale windows.
const LIFETIME: Lifetime = Lifetime::fresh(Duration::from_secs(3))
    .stale_while_revalidate(Duration::from_secs(2))
    .stale_if_error(Duration::from_secs(20));

/// The longest wait for a process that was killed during a load.
const LEASE: Duration = Duration::from_secs(1);

/// Enough to send what is queued once Redis can be reached again.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(4);

#[derive(Parser, Clone)]
struct Arguments {
    /// The URL of Redis, behind the proxy.
    #[arg(long)]
    redis: String,
    /// The address of the source of truth.
    #[arg(long)]
    source: String,
    #[command(subcommand)]
    work: Work,
}

#[derive(Subcommand, Clone)]
enum Work {
    Random(Random),
    Stampede {
        #[arg(long)]
        callers: usize,
    },
}

#[derive(clap::Args, Clone)]
struct Random {
    #[arg(long)]
    seed: u64,
    #[arg(long)]
    items: u64,
    #[arg(long)]
    tasks: u64,
    #[arg(long)]
    max_lag_ms: u64,
}

struct Worker {
    cache: Cache,
    items: Namespace<Item, u64>,
    source: Source,
    count: u64,
    is_over: AtomicBool,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ended = match &arguments.work {
        Work::Random(random) => work_at_random(&arguments, random).await,
        Work::Stampede { callers } => stampede(&arguments, *callers).await,
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Reads one cold key with many callers.
async fn stampede(arguments: &Arguments, callers: usize) -> Result<(), BoxError> {
    // Long enough for a busy machine: after a command timeout a second load would be correct.
    let builder = Cache::builder("test").redis(&arguments.redis).command_timeout(Duration::from_secs(20));
    let builder = builder.overall_timeout(Duration::from_secs(40));
    let items: Namespace<Item, u64> =
        builder.build().await?.namespace(Lifetime::fresh(Duration::from_secs(600))).build();
    let mut input = tokio::io::BufReader::new(tokio::io::stdin()).lines();
    println!("ready");
    input.next_line().await?;
    let source = Source::at(&arguments.source);
    let callers: Vec<_> = (0..callers)
        .map(|_| {
            let (items, source) = (items.clone(), source.clone());
            let loader = move |_, _| async move {
                let version = source.read(1).await?;
                // The other callers arrive meanwhile.
                tokio::time::sleep(Duration::from_millis(300)).await;
                Ok(version)
            };
            tokio::spawn(async move { items.get_or_load(&Item { id: 1 }, loader).await.is_ok() })
        })
        .collect();
    let mut answered = 0;
    for caller in callers {
        answered += usize::from(caller.await?);
    }
    println!("{answered}");
    while input.next_line().await?.is_some() {}
    Ok(())
}

async fn work_at_random(arguments: &Arguments, random: &Random) -> Result<(), BoxError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let cache = Cache::builder("test")
        .redis(&arguments.redis)
        .command_timeout(Duration::from_millis(200))
        .max_lag(Duration::from_millis(random.max_lag_ms))
        .lease_ttl(LEASE)
        .close_timeout(CLOSE_TIMEOUT)
        .build()
        .await?;
    let items = cache.namespace(LIFETIME).build();
    let source = Source::at(&arguments.source);
    let (count, is_over) = (random.items, AtomicBool::new(false));
    let worker = Arc::new(Worker { cache, items, source, count, is_over });
    let mut tasks = JoinSet::new();
    for task in 0..random.tasks {
        let (worker, random) = (Arc::clone(&worker), Xoshiro256PlusPlus::seed_from_u64(random.seed + task));
        tasks.spawn(async move { worker.work(random).await });
    }
    let mut input = tokio::io::BufReader::new(tokio::io::stdin()).lines();
    loop {
        let line = tokio::select! {
            line = input.next_line() => line?,
            _ = terminate.recv() => {
                worker.end(tasks).await;
                return Ok(());
            }
        };
        // Only the end of the input ends a process that has recovered, because others may still
        // wait for its answers.
        let Some(line) = line else { return Ok(()) };
        match serde_json::from_str(&line)? {
            Order::Invalidate { calls, tags } => {
                let worker = Arc::clone(&worker);
                tasks.spawn(async move { worker.invalidate(calls, tags).await });
            }
            Order::Recover => {
                worker.is_over.store(true, Ordering::Release);
                while let Some(task) = tasks.join_next().await {
                    task?;
                }
                worker.read_until_recovered().await;
            }
        }
    }
}

impl Worker {
    async fn work(&self, mut random: Xoshiro256PlusPlus) {
        while !self.is_over.load(Ordering::Acquire) {
            match random.random_range(0..30) {
                0 => self.write(random.random_range(0..WRITTEN), &mut random).await,
                1 => self.write_through(random.random_range(0..WRITTEN), &mut random).await,
                _ => self.read(random.random_range(0..self.count), &mut random).await,
            }
            tokio::time::sleep(Duration::from_millis(random.random_range(0..20))).await;
        }
    }

    /// Closes the cache while the tasks finish what they have begun.
    async fn end(&self, tasks: JoinSet<()>) {
        self.is_over.store(true, Ordering::Release);
        let start = Moment::now();
        let report = self.cache.close().await;
        let span = Span::until_now(start);
        tasks.join_all().await;
        let is_unsent = |item: &u64| {
            let key = Item { id: *item };
            let scopes =
                [Scope::All, Scope::Tag(group(*item)), Scope::key(&key.to_text()), Scope::from(key.prefix())];
            report.unsent.iter().any(|unsent| unsent.scopes.iter().any(|scope| scopes.contains(scope)))
        };
        let unsent = (0..self.count).filter(is_unsent).collect();
        log(&Event::Closed { unsent, unfinished: report.unfinished, span });
    }

    /// Writes one item of orders first, and then the other, so that the records of later calls do
    /// not hide the loss of the first. The item's key is in the middle of each call.
    async fn invalidate(&self, calls: usize, tags: usize) {
        for call in 0..calls {
            let item = if call == 0 { ORDERED.start } else { ORDERED.start + 1 };
            let Ok(version) = self.source.bump(item).await else { return };
            let tag = |n| Scope::Tag(Group { id: 1_000_000 + n }.to_tag());
            let mut scopes: Vec<_> = (1..tags as u64).map(tag).collect();
            scopes.insert(tags / 2, Scope::key(&Item { id: item }.to_text()));
            let start = Moment::now();
            let receipt = self.cache.invalidate(scopes).await;
            log_invalidated(item, version, "key", true, receipt, start);
        }
    }

    async fn read(&self, item: u64, random: &mut Xoshiro256PlusPlus) {
        let slow =
            Duration::from_millis(if random.random_ratio(1, 4) { random.random_range(0..60) } else { 0 });
        let fails = random.random_ratio(1, 20);
        let source = self.source.clone();
        let loader = move |_, load: LoadContext| async move {
            let start = Moment::now();
            depend(&load, item);
            let version = source.read(item).await?;
            // Invalidations arrive meanwhile.
            tokio::time::sleep(slow).await;
            log(&Event::Loaded { item, span: Span::until_now(start) });
            if fails { Err("the source fails at random".into()) } else { Ok(version) }
        };
        self.read_with(item, loader).await;
    }

    async fn read_with<L>(
        &self,
        item: u64,
        loader: impl FnOnce(Item, LoadContext) -> L + Send,
    ) -> Option<Layer>
    where
        L: Future<Output = Result<u64, BoxError>> + Send + 'static,
    {
        let start = Moment::now();
        let hit = self.items.get_or_load(&Item { id: item }, loader).await;
        let layer = hit.as_ref().ok().map(|hit| hit.layer);
        let answer = match hit {
            Ok(hit) => Answer::Value {
                version: *hit.value,
                fresh: hit.freshness == Freshness::Fresh,
                layer: hit.layer.as_str().to_owned(),
            },
            Err(error) if error.kind() == LoadErrorKind::Failed => Answer::LoaderFailed,
            Err(error) if error.kind() == LoadErrorKind::Closed => Answer::Closed,
            Err(error) => Answer::Error(error.to_string()),
        };
        log(&Event::Read { item, span: Span::until_now(start), answer });
        layer
    }

    /// Writes to the source, then invalidates in one of several ways.
    async fn write(&self, item: u64, random: &mut Xoshiro256PlusPlus) {
        // A process that cannot reach the source is about to end.
        let Ok(version) = self.source.bump(item).await else { return };
        let start = Moment::now();
        let key = Item { id: item };
        let (way, remove, receipt) = match random.random_range(0..50) {
            0..10 => ("expire", false, self.items.expire(&key).await),
            10..20 => ("tag", true, self.cache.invalidate([group(item)]).await),
            20..30 => ("prefix", true, self.cache.invalidate([key.prefix()]).await),
            30 => ("all", true, self.cache.invalidate([Scope::All]).await),
            _ => ("key", true, self.items.invalidate(&key).await),
        };
        log_invalidated(item, version, way, remove, receipt, start);
    }

    async fn write_through(&self, item: u64, random: &mut Xoshiro256PlusPlus) {
        let slow = Duration::from_millis(random.random_range(0..10));
        let source = self.source.clone();
        let start = Moment::now();
        let writer = move |_, load: LoadContext| async move {
            load.tag(group(item));
            let version = source.bump(item).await?;
            tokio::time::sleep(slow).await;
            Ok(version)
        };
        let Ok(written) = self.items.write_through(&Item { id: item }, (), writer).await else { return };
        log_invalidated(item, *written.value, "write_through", true, written.receipt, start);
    }

    /// Reads until every item is answered by a layer other than the loader. The controller has the
    /// timeout.
    async fn read_until_recovered(&self) {
        for item in 0..self.count {
            loop {
                let source = self.source.clone();
                let loader = move |_, load: LoadContext| async move {
                    depend(&load, item);
                    Ok(source.read(item).await?)
                };
                if self.read_with(item, loader).await.is_some_and(|layer| layer != Layer::Loader) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        println!();
    }
}

/// Adds the tag of an item. An item of orders lives for long, so that an invalidation of it that is
/// lost is seen.
fn depend(load: &LoadContext, item: u64) {
    load.tag(group(item));
    if ORDERED.contains(&item) {
        load.lifetime(Lifetime::fresh(Duration::from_secs(30)));
    }
}

fn group(item: u64) -> origin_sdk::Tag {
    Group { id: group_of(item) }.to_tag()
}

fn log_invalidated(item: u64, version: u64, way: &str, remove: bool, receipt: Receipt, start: Moment) {
    let span = Span::until_now(start);
    let journal = match receipt.journal {
        Delivery::Done => Sent::Done,
        Delivery::Queued => Sent::Queued,
        _ => Sent::Stranded,
    };
    log(&Event::Invalidated { item, version, way: way.to_owned(), remove, journal, span });
}

/// Prints an event in one write, so that a killed process leaves no partial line.
fn log(event: &Event) {
    let mut line = serde_json::to_vec(event).unwrap_or_default();
    line.push(b'\n');
    // A failure means that the run is over and the reader has ended.
    let _ = std::io::stdout().lock().write_all(&line);
}
