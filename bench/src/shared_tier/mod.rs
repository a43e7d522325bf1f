//! Reads that Redis answers, beside the bare client in the same run: both are measured in turn,
//! many times.

mod processor;
mod product;
mod readers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::runtime::Builder;

use self::processor::Used;
use self::readers::{Bare, Keeping, Reader, Strata};
use crate::fleet::Error;
use crate::{Redis, print};

type Result<T> = std::result::Result<T, Error>;

/// The keys. They are read in their order, so that each was evicted from memory long ago.
const KEYS: u64 = 20_000;

/// The options of a measurement.
#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    redis: Redis,
    /// How often both readers are measured
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Milliseconds of one measurement
    #[arg(long, default_value_t = 300)]
    millis: u64,
    /// How many callers read at a time
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256])]
    callers: Vec<usize>,
    /// The only reader to measure, for a profiler: strata, bare or keeping
    #[arg(long)]
    only: Option<String>,
}

/// The measurements with one number of callers.
#[derive(Serialize)]
struct Measured {
    callers: usize,
    /// A measurement for each round, by reader.
    rounds: BTreeMap<&'static str, Vec<Round>>,
}

/// One measurement of one reader.
#[derive(Serialize)]
struct Round {
    /// Reads per second, each of one value or of one batch.
    per_second: f64,
    p50_us: f64,
    p99_us: f64,
    /// The part of the values that Redis answered, from 0 to 1; memory answered the others.
    from_redis: f64,
    /// Microseconds of processor time of a read, in this process and in Redis. They say more than
    /// the other figures while the machine has other work.
    client_us: f64,
    server_us: f64,
}

/// A reader, and the key that is read next.
#[derive(Clone)]
struct Subject<R> {
    reader: R,
    next: Arc<AtomicU64>,
}

/// The reads of one caller.
struct Reads {
    nanoseconds: Histogram<u64>,
    from_redis: usize,
}

/// Measures reads of `batch` values at a time, and prints the result as JSON.
pub(crate) fn run(options: &Options, batch: u64) -> Result<()> {
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    print(&runtime.block_on(measure_all(options, batch))?)
}

async fn measure_all(options: &Options, batch: u64) -> Result<Vec<Measured>> {
    let strata = Subject::filled(Strata::connect(&options.redis.redis).await?).await?;
    let bare = Subject::filled(Bare::connect(&options.redis.redis).await?).await?;
    let keeping = Subject { reader: Keeping::new(bare.reader.clone()), next: Arc::default() };
    let is_measured = |name: &str| options.only.as_deref().is_none_or(|only| only == name);
    let mut all = Vec::new();
    for &callers in &options.callers {
        let mut rounds: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for _ in 0..options.rounds {
            if is_measured("bare") {
                rounds.entry("bare").or_default().push(measure(&bare, callers, batch, options).await?);
            }
            if is_measured("keeping") {
                rounds.entry("keeping").or_default().push(measure(&keeping, callers, batch, options).await?);
            }
            if is_measured("strata") {
                rounds.entry("strata").or_default().push(measure(&strata, callers, batch, options).await?);
            }
        }
        all.push(Measured { callers, rounds });
    }
    Ok(all)
}

impl<R: Reader> Subject<R> {
    async fn filled(reader: R) -> Result<Self> {
        reader.fill(KEYS).await?;
        Ok(Self { reader, next: Arc::default() })
    }

    /// Returns the next ids to read.
    fn next(&self, count: u64) -> Vec<u64> {
        let first = self.next.fetch_add(count, Ordering::Relaxed);
        (first..first + count).map(|id| id % KEYS).collect()
    }
}

/// Measures the reads of `callers` tasks, each of `batch` values at a time.
async fn measure<R: Reader>(
    subject: &Subject<R>,
    callers: usize,
    batch: u64,
    options: &Options,
) -> Result<Round> {
    let (time, used) = (Duration::from_millis(options.millis), Used::now(&options.redis.redis).await?);
    let since = Instant::now();
    let readers: Vec<_> =
        (0..callers).map(|_| tokio::spawn(read_for(subject.clone(), batch, since, time))).collect();
    let mut all = Reads { nanoseconds: Histogram::new(3)?, from_redis: 0 };
    for reader in readers {
        let reads = reader.await??;
        all.nanoseconds.add(reads.nanoseconds)?;
        all.from_redis += reads.from_redis;
    }
    let (seconds, count) = (since.elapsed().as_secs_f64(), all.nanoseconds.len() as f64);
    let used = Used::now(&options.redis.redis).await?.since(used);
    Ok(Round {
        per_second: count / seconds,
        p50_us: all.nanoseconds.value_at_quantile(0.5) as f64 / 1e3,
        p99_us: all.nanoseconds.value_at_quantile(0.99) as f64 / 1e3,
        from_redis: all.from_redis as f64 / (count * batch as f64),
        client_us: used.client.as_secs_f64() * 1e6 / count,
        server_us: used.server.as_secs_f64() * 1e6 / count,
    })
}

async fn read_for<R: Reader>(
    subject: Subject<R>,
    batch: u64,
    since: Instant,
    time: Duration,
) -> Result<Reads> {
    let mut reads = Reads { nanoseconds: Histogram::new(3)?, from_redis: 0 };
    let mut began = since.elapsed();
    while began < time {
        reads.from_redis += subject.reader.read(&subject.next(batch)).await?;
        let ended = since.elapsed();
        reads.nanoseconds += (ended - began).as_nanos() as u64;
        began = ended;
    }
    Ok(reads)
}
