//! All layers together: Redis, processes of the shop, and the worker in front of the first of them.

use crate::error::{Doing, Result};
use crate::process::{Lines, Process};
use crate::redis::Redis;
use crate::shop::{Database, Edge, Shop, ShopProcess};
use crate::worker::Worker;
use crate::{port, shop, worker};

/// Where the shop's second layer is.
pub(crate) enum Store {
    /// A Redis server of our own.
    OwnRedis,
    /// A running Redis server.
    Redis(String),
    /// Inside the process, which is then the only one: its journal reaches nobody else.
    Embedded,
}

/// Which layers to start.
pub(crate) struct Plan {
    pub(crate) store: Store,
    /// Whether the shop reads from its loaders only.
    pub(crate) bypass: bool,
    /// Whether the worker runs in front of the shop.
    pub(crate) edge: bool,
    pub(crate) log_requests: bool,
}

/// The running layers; dropping stops them all.
pub(crate) struct Stack {
    redis: Option<Redis>,
    shops: Vec<ShopProcess>,
    worker: Option<Worker>,
    database: Database,
}

impl Stack {
    /// Starts the layers and comes back when all of them answer.
    pub(crate) async fn start(
        shop: &Shop,
        plan: &Plan,
        client: &reqwest::Client,
        lines: Option<&Lines>,
    ) -> Result<Self> {
        let mut stack = Self {
            redis: match plan.store {
                Store::OwnRedis => Some(Redis::start(lines).await?),
                Store::Redis(_) | Store::Embedded => None,
            },
            shops: Vec::new(),
            worker: None,
            database: shop.database()?,
        };
        let secret = purge_secret()?;
        // The shop needs the worker's address and the worker the shop's, hence ports before processes.
        let names: &[&str] = match plan.store {
            Store::Embedded => &["shop-a"],
            Store::OwnRedis | Store::Redis(_) => &["shop-a", "shop-b"],
        };
        let ports = (0..names.len()).map(|n| port::free_or_other(4001 + n as u16)).collect::<Result<Vec<_>>>()?;
        let edge_port = port::free_or_other(8787)?;
        let edge_url = format!("http://127.0.0.1:{edge_port}");
        let own_redis = stack.redis.as_ref().map(Redis::url);
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
        if plan.edge {
            let settings = worker::Settings {
                port: edge_port,
                origin: &format!("http://127.0.0.1:{}", ports[0]),
                purge_secret: &secret,
                log_requests: plan.log_requests,
                vars: &[],
                config: None,
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

    /// The shop's processes; the worker forwards to the first.
    pub(crate) fn shops(&self) -> &[ShopProcess] {
        &self.shops
    }

    /// The worker's base URL, if the plan had one.
    pub(crate) fn edge_url(&self) -> Option<&str> {
        self.worker.as_ref().map(Worker::url)
    }

    /// The URL of our own Redis server, if the plan had one.
    pub(crate) fn redis_url(&self) -> Option<String> {
        self.redis.as_ref().map(Redis::url)
    }

    /// Database queries of all processes since they started.
    pub(crate) async fn database_queries(&self, client: &reqwest::Client) -> Result<u64> {
        let mut queries = 0;
        for shop in &self.shops {
            queries += shop.stats(client).await?.database_queries;
        }
        Ok(queries)
    }

    /// Is an error if one of the processes has ended.
    pub(crate) async fn check(&mut self) -> Result<()> {
        for process in self.processes() {
            process.check().await?;
        }
        Ok(())
    }

    fn processes(&mut self) -> impl Iterator<Item = &mut Process> {
        let worker = self.worker.iter_mut().map(Worker::process);
        let shops = self.shops.iter_mut().map(ShopProcess::process);
        worker.chain(shops).chain(self.redis.iter_mut().map(Redis::process))
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // All at once; each one's own drop then waits for it.
        self.processes().for_each(|process| process.ask_to_stop());
    }
}

/// The secret that purges are signed with: what `STRATA_PURGE_SECRET` holds, else one for this run only.
pub(crate) fn purge_secret() -> Result<String> {
    if let Ok(secret) = std::env::var(shop::SECRET_VARIABLE)
        && !secret.is_empty()
    {
        return Ok(secret);
    }
    let mut bytes = [0_u8; 16];
    rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut bytes)
        .doing(|| "asking the system for random bytes".to_owned())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
