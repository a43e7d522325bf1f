//! One process of the fleet.

use std::time::{Duration, Instant};

use origin_sdk::{Cache, Lifetime, Namespace, Tag};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client};
use serde::Serialize;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use super::follower::Observation;
use super::{Error, Order, Sender, Sent, now_micros, stampede};
use crate::subjects::article;
use crate::subjects::{Group, Page, Part, Value};

/// The channel of the peer that sends invalidations as messages.
pub(super) const CHANNEL: &str = "bench:invalidations";
/// How many writes are in flight while entries are stored.
const WRITES_AT_ONCE: u64 = 128;

const LIFETIME: Lifetime = Lifetime::fresh(Duration::from_secs(3600));

/// A process of the fleet.
struct Member {
    redis: String,
    runtime: Runtime,
    connection: MultiplexedConnection,
    cache: Cache,
    pages: Namespace<Page, Value>,
    parts: Namespace<Part, u64>,
    followers: Vec<Cache>,
    observation: Option<Observation>,
}

/// Executes the orders on the standard input, until it ends.
pub(crate) fn run(redis: &str) -> Result<(), Error> {
    let mut member = Member::start(redis)?;
    for order in std::io::stdin().lines() {
        let reply = member.execute(serde_json::from_str(&order?)?)?;
        println!("{reply}");
    }
    Ok(())
}

impl Member {
    fn start(redis: &str) -> Result<Self, Error> {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let client = Client::open(redis)?;
        let (connection, cache) = runtime.block_on(async {
            let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
            Ok::<_, Error>((connection, cache(redis).await?))
        })?;
        let pages = cache.namespace(LIFETIME).build();
        let tags = |part: &Part| vec![Tag::from(Group { id: part.group })];
        let parts = cache.namespace(LIFETIME).tags(tags).build();
        let redis = redis.to_owned();
        Ok(Self { redis, runtime, connection, cache, pages, parts, followers: Vec::new(), observation: None })
    }

    fn execute(&mut self, order: Order) -> Result<String, Error> {
        match order {
            Order::Stampede { pattern, key, callers, over_ms } => {
                let over = Duration::from_millis(over_ms);
                let stampede = stampede::run(pattern, &self.connection, &self.pages, key, callers, over);
                json(&self.runtime.block_on(stampede)?)
            }
            Order::Follow { followers } => {
                for _ in 0..followers {
                    self.followers.push(self.runtime.block_on(cache(&self.redis))?);
                }
                json(&())
            }
            Order::Observe => {
                self.observation = Some(Observation::start(&self.runtime, &self.redis, &self.followers)?);
                json(&())
            }
            Order::Report { place } => {
                json(&self.observation.take().ok_or("expected an observation to report")?.end(place)?)
            }
            Order::Invalidate { by, count, every_micros } => {
                let every = Duration::from_micros(every_micros);
                json(&self.runtime.block_on(invalidate(by, &self.cache, &self.connection, count, every))?)
            }
            Order::Fill { tag, entries } => {
                self.runtime.block_on(self.fill(tag, entries))?;
                json(&())
            }
            Order::InvalidateTag { tag, count } => {
                json(&self.runtime.block_on(invalidate_tag(&self.cache, tag, count)))
            }
            Order::ScanAndDelete { tag } => {
                let began = Instant::now();
                let pattern = format!("bench:v1:{{part:{tag}}}:*");
                self.runtime.block_on(article::scan_and_delete(&mut self.connection, &pattern))?;
                json(&began.elapsed().as_micros())
            }
        }
    }

    async fn fill(&self, group: u64, entries: u64) -> Result<(), Error> {
        let position = self.cache.position();
        let mut writes = JoinSet::new();
        for first in 0..WRITES_AT_ONCE {
            let parts = self.parts.clone();
            writes.spawn(async move {
                for id in (first..entries).step_by(WRITES_AT_ONCE as usize) {
                    parts.put(&Part { group, id }, id, position).await;
                }
            });
        }
        while let Some(ended) = writes.join_next().await {
            ended?;
        }
        Ok(())
    }
}

/// Returns a cache as a process of a fleet has it, with timeouts for a busy machine.
pub(super) async fn cache(redis: &str) -> Result<Cache, Error> {
    let long = Duration::from_secs(20);
    let builder = Cache::builder("bench").redis(redis).command_timeout(long).overall_timeout(2 * long);
    Ok(builder.connect_timeout(long).memory_bytes(1 << 30).memory_entries(2_000_000).build().await?)
}

/// Sends invalidations at a fixed rate, each in a task of its own.
async fn invalidate(
    by: Sender,
    cache: &Cache,
    connection: &MultiplexedConnection,
    count: u32,
    every: Duration,
) -> Result<Vec<Sent>, Error> {
    let mut calls = JoinSet::new();
    let mut ticks = tokio::time::interval(every);
    for number in 0..count {
        ticks.tick().await;
        let (cache, mut connection) = (cache.clone(), connection.clone());
        calls.spawn(async move {
            let called_at = now_micros();
            let place = match by {
                Sender::Strata => {
                    let receipt = cache.invalidate([Group { id: u64::from(number) }]).await;
                    super::follower::place_of(receipt.position.ok_or("expected Redis to answer")?)
                }
                Sender::PubSub => {
                    let number = u128::from(number);
                    let mut publish = redis::cmd("PUBLISH");
                    publish.arg(CHANNEL).arg(number.to_string());
                    publish.query_async::<u64>(&mut connection).await?;
                    number
                }
            };
            Ok::<_, Error>(Sent { place, called_at, returned_at: now_micros() })
        });
    }
    let mut sent = Vec::new();
    while let Some(call) = calls.join_next().await {
        sent.push(call??);
    }
    Ok(sent)
}

/// Returns the microseconds of each call.
async fn invalidate_tag(cache: &Cache, tag: u64, count: u32) -> Vec<u128> {
    let mut micros = Vec::new();
    for _ in 0..count {
        let began = Instant::now();
        cache.invalidate([Group { id: tag }]).await;
        micros.push(began.elapsed().as_micros());
    }
    micros
}

fn json(reply: &impl Serialize) -> Result<String, Error> {
    Ok(serde_json::to_string(reply)?)
}
