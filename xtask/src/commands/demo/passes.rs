//! The passes of the load: which layers run, how far away the service is, and what is warm.

use std::time::Duration;

use serde::Serialize;
use strata_harness::error::Result;
use strata_load::Operation;

use super::load::{Load, Pass};
use super::workload::{self, Mix};
use crate::progress::{Progress, human};
use crate::stack::shop::Shop;
use crate::stack::{Plan, Stack, Store};

/// The way from the users to the service and back: about that between the coasts of a continent.
/// The edge is where the users are.
const DISTANCE: Duration = Duration::from_millis(60);
/// How long a service without a cache is warmed. The others are warmed until all is stored.
const UNCACHED_WARMING: Duration = Duration::from_secs(3);
/// How long requests are sent after the distance was changed, until they are measured.
const RECONNECTING: Duration = Duration::from_secs(1);
/// More requests than a pass sends.
const MAX_REQUESTS: u32 = 150_000;

/// The layers between the load and the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layers {
    None,
    Origin,
    All,
}

impl Layers {
    const EACH: [Self; 3] = [Self::None, Self::Origin, Self::All];

    /// Returns what to start: new processes and an empty Redis.
    pub(crate) fn plan(self, round_trip: Option<Duration>) -> Plan {
        let (bypass, edge) = (self == Self::None, self == Self::All);
        Plan { store: Store::OwnRedis, bypass, edge, log_requests: false, round_trip }
    }

    fn title(self) -> &'static str {
        match self {
            Self::None => "no cache",
            Self::Origin => "memory + Redis",
            Self::All => "memory + Redis + edge",
        }
    }
}

/// The figures of all passes.
#[derive(Debug, Serialize)]
pub(crate) struct Passes {
    /// Without a cache, with two layers, with all: warm, and far from the service.
    pub(crate) warm: Vec<Pass>,
    /// All layers without a stored response at the beginning, and with many writes.
    pub(crate) harder: Vec<Pass>,
    /// As `warm`, with the users beside the service.
    pub(crate) near: Vec<Pass>,
}

/// Describes the load and the distance in a sentence, without its end.
pub(crate) fn description() -> String {
    format!(
        "{}; the way to the service and back takes {} ms, as between the coasts of a continent, and the edge \
         is where the users are",
        workload::description(),
        DISTANCE.as_millis()
    )
}

impl Passes {
    /// Runs all passes, each measured for `duration`.
    ///
    /// # Errors
    /// If something cannot be started, or ends.
    pub(crate) async fn run(shop: &Shop, client: &reqwest::Client, duration: Duration) -> Result<Self> {
        let mut passes = Self { warm: Vec::new(), harder: Vec::new(), near: Vec::new() };
        for layers in Layers::EACH {
            let progress = Progress::start(format!("load: {}", layers.title()), Some("40 s"));
            let mut rig = Rig::start(layers, shop, client).await?;
            if layers == Layers::All {
                passes.harder.push(rig.measure("cold start", Mix::ReadMostly, 1, duration).await?);
            }
            rig.warm().await?;
            passes.warm.push(rig.measure(layers.title(), Mix::ReadMostly, 2, duration).await?);
            if layers == Layers::All {
                let title = "one request in ten a write";
                passes.harder.push(rig.measure(title, Mix::WriteHeavy, 3, duration).await?);
                // Stores again the entries that the writes have removed.
                rig.warm().await?;
            }
            rig.come_near().await?;
            passes.near.push(rig.measure(layers.title(), Mix::ReadMostly, 4, duration / 2).await?);
            rig.stack.check().await?;
            progress.done();
        }
        Ok(passes)
    }

    /// Returns all passes.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Pass> {
        self.warm.iter().chain(&self.harder).chain(&self.near)
    }
}

/// The running layers, and the requests that they have answered.
struct Rig<'a> {
    layers: Layers,
    stack: Stack,
    client: &'a reqwest::Client,
    answered: Vec<Operation>,
}

impl<'a> Rig<'a> {
    async fn start(layers: Layers, shop: &Shop, client: &'a reqwest::Client) -> Result<Self> {
        let stack = Stack::start(shop, &layers.plan(Some(DISTANCE)), client, None).await?;
        Ok(Self { layers, stack, client, answered: Vec::new() })
    }

    fn targets(&self) -> Vec<String> {
        match self.stack.edge_url() {
            Some(edge) => vec![edge.to_owned()],
            None => self.stack.service_urls(),
        }
    }

    /// Reads each resource once from each target.
    async fn warm(&mut self) -> Result<()> {
        let targets = self.targets();
        let limit = (self.layers == Layers::None).then_some(UNCACHED_WARMING);
        let set = workload::working_set();
        let reads = set.iter().flat_map(|read| std::iter::repeat_n(read.clone(), targets.len())).collect();
        Load::run(&targets, reads, limit).await?;
        self.answered.extend(set);
        Ok(())
    }

    /// Puts the users beside the service.
    async fn come_near(&mut self) -> Result<()> {
        self.stack.set_round_trip(Duration::ZERO).await?;
        Load::run(&self.targets(), workload::working_set(), Some(RECONNECTING)).await?;
        Ok(())
    }

    /// Measures one pass, and then waits until its writes are visible everywhere.
    async fn measure(
        &mut self,
        title: &'static str,
        mix: Mix,
        sequence: u32,
        duration: Duration,
    ) -> Result<Pass> {
        let targets = self.targets();
        let operations = workload::generate(mix, sequence, MAX_REQUESTS);
        let queries_before = self.stack.database_queries(self.client).await?;
        let load = Load::run(&targets, operations, Some(duration)).await?;
        let queries = self.stack.database_queries(self.client).await? - queries_before;
        let unsettled = load.unsettled(self.client, &targets).await;
        let (pass, sent) = load.into_pass(title, &self.answered, queries, &unsettled);
        println!("  {:<28} {:>8}  {}", title, human(duration), workload::grouped(pass.requests as usize));
        self.answered.extend(sent);
        Ok(pass)
    }
}
