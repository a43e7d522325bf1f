//! All layers together: Redis, processes of the shop, and the worker in front of the first of them.

use std::time::Duration;

pub(crate) mod edge_server;
pub(crate) mod link;
pub(crate) mod redis;
pub(crate) mod shop;
pub(crate) mod worker;
mod wrangler;

use link::Link;
use shop::{Database, Edge, Shop, ShopProcess};
use strata_harness::error::{Context, Result};
use strata_harness::{Lines, Process, RedisServer, port};
use worker::{Runner, Worker};

/// The store behind the shop's memory.
pub(crate) enum Store {
    /// A Redis server that the stack starts.
    OwnRedis,
    /// A running Redis server, by its URL.
    Redis(String),
    /// The SDK's in-process store. There is then only one process of the shop, since the store's
    /// journal reaches no other.
    Embedded,
}

/// The layers to start.
pub(crate) struct Plan {
    pub(crate) store: Store,
    /// Whether every read of the shop runs its loader.
    pub(crate) bypass: bool,
    /// Whether the worker runs in front of the shop.
    pub(crate) edge: bool,
    /// Whether the worker prints a line per request.
    pub(crate) log_requests: bool,
    /// The way to the shop and back, for the worker and for clients of [`Stack::service_urls`];
    /// `None` for none.
    pub(crate) round_trip: Option<Duration>,
}

/// The running layers. Dropping stops them all.
pub(crate) struct Stack {
    redis: Option<RedisServer>,
    shops: Vec<ShopProcess>,
    /// A link to each of the shops, or none.
    links: Vec<Link>,
    worker: Option<Worker>,
    database: Database,
}

impl Stack {
    /// Starts the layers and waits until all of them answer.
    ///
    /// # Errors
    /// If one of them cannot be started, ends, or does not answer in time.
    pub(crate) async fn start(
        shop: &Shop,
        plan: &Plan,
        client: &reqwest::Client,
        lines: Option<&Lines>,
    ) -> Result<Self> {
        let mut stack = Self {
            redis: match plan.store {
                Store::OwnRedis => Some(redis::start(lines).await?),
                Store::Redis(_) | Store::Embedded => None,
            },
            shops: Vec::new(),
            links: Vec::new(),
            worker: None,
            database: shop.database()?,
        };
        let secret = purge_secret()?;
        // Each of the shop and the worker needs the other's address, so the ports are chosen first.
        let names: &[&str] = match plan.store {
            Store::Embedded => &["shop-a"],
            Store::OwnRedis | Store::Redis(_) => &["shop-a", "shop-b"],
        };
        let ports =
            (0..names.len()).map(|n| port::free_or_other(4001 + n as u16)).collect::<Result<Vec<_>>>()?;
        let edge_port = port::free_or_other(8787)?;
        let edge_url = format!("http://127.0.0.1:{edge_port}");
        let own_redis = stack.redis.as_ref().map(RedisServer::url);
        for (name, port) in names.iter().zip(&ports) {
            let settings = shop::Settings {
                name,
                port: *port,
                database: &stack.database,
                redis: match &plan.store {
                    Store::Redis(url) => Some(url),
                    Store::OwnRedis | Store::Embedded => own_redis.as_deref(),
                },
                edge: plan.edge.then_some(Edge { url: &edge_url, purge_secret: &secret }),
                bypass: plan.bypass,
            };
            stack.shops.push(shop.start(&settings, lines)?);
        }
        if let Some(round_trip) = plan.round_trip {
            for port in &ports {
                stack.links.push(Link::start(*port, round_trip).await?);
            }
        }
        if plan.edge {
            let settings = worker::Settings {
                port: edge_port,
                origin: &stack.service_urls()[0],
                purge_secret: &secret,
                log_requests: plan.log_requests,
                vars: &[],
                runner: Runner::of_the_project(&[]),
            };
            stack.worker = Some(Worker::start(&settings, lines).await?);
        }
        for shop in &mut stack.shops {
            shop.wait_ready(client).await?;
        }
        if let Some(worker) = &mut stack.worker {
            worker.wait_ready(client).await?;
        }
        Ok(stack)
    }

    /// The shop's processes. The worker forwards to the first.
    pub(crate) fn shops(&self) -> &[ShopProcess] {
        &self.shops
    }

    /// The base URLs of the shop's processes, at the other end of the links if there are any.
    pub(crate) fn service_urls(&self) -> Vec<String> {
        if self.links.is_empty() {
            return self.shops.iter().map(|shop| shop.url().to_owned()).collect();
        }
        self.links.iter().map(Link::url).collect()
    }

    /// Changes the way to the shop and back, if the plan has links. Their connections are closed.
    ///
    /// # Errors
    /// If a link cannot be started again.
    pub(crate) async fn set_round_trip(&mut self, round_trip: Duration) -> Result<()> {
        for link in std::mem::take(&mut self.links) {
            self.links.push(link.restart(round_trip).await?);
        }
        Ok(())
    }

    /// The worker's base URL, if the plan has a worker.
    pub(crate) fn edge_url(&self) -> Option<&str> {
        self.worker.as_ref().map(Worker::url)
    }

    /// The URL of the Redis server that the stack started, if it did.
    pub(crate) fn redis_url(&self) -> Option<String> {
        self.redis.as_ref().map(RedisServer::url)
    }

    /// Returns the number of database queries of all processes since they started.
    ///
    /// # Errors
    /// If a process does not answer.
    pub(crate) async fn database_queries(&self, client: &reqwest::Client) -> Result<u64> {
        let mut queries = 0;
        for shop in &self.shops {
            queries += shop.stats(client).await?.database_queries;
        }
        Ok(queries)
    }

    /// Checks that all processes run.
    ///
    /// # Errors
    /// If one has ended.
    pub(crate) async fn check(&mut self) -> Result<()> {
        for process in self.processes() {
            process.check().await?;
        }
        Ok(())
    }

    fn processes(&mut self) -> impl Iterator<Item = &mut Process> {
        let worker = self.worker.iter_mut().map(Worker::process);
        let shops = self.shops.iter_mut().map(ShopProcess::process);
        worker.chain(shops).chain(self.redis.iter_mut().map(RedisServer::process))
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // All stop at the same time; the drop of each field then waits for one.
        self.processes().for_each(|process| process.request_stop());
    }
}

/// Returns the key of purge signatures: the value of `STRATA_PURGE_SECRET`, or a random one for
/// this run.
///
/// # Errors
/// If the system has no random bytes.
pub(crate) fn purge_secret() -> Result<String> {
    if let Ok(secret) = std::env::var(shop::SECRET_VARIABLE)
        && !secret.is_empty()
    {
        return Ok(secret);
    }
    let mut bytes = [0_u8; 16];
    rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut bytes)
        .context(|| "reading random bytes from the system".to_owned())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
