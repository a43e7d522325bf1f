//! `cargo xtask demo`: a tour that checks its claims, then the same load without a cache, with two
//! layers and with all three.

mod api;
mod cache_status;
mod cookies;
mod load;
mod machine;
mod report;
mod stats;
mod tour;
mod workload;

use std::time::{Duration, Instant};

use cookies::Visitors;
pub(crate) use cookies::run as compare_cookies;
use load::{Load, Pass};
use report::Report;
pub(crate) use report::report_file;
use strata_harness::error::{Error, Result};
use workload::Workload;

use super::setup;
use crate::http;
use crate::progress::{Progress, human};
use crate::stack::shop::Shop;
use crate::stack::{Plan, Stack, Store, worker};

/// The size of the load.
pub(crate) struct Size {
    /// Requests of each pass.
    pub(crate) requests: usize,
    /// The time after which the pass without a cache stops, complete or not.
    pub(crate) uncached_limit: Duration,
}

impl Size {
    /// The default number of requests in each pass.
    pub(crate) const DEFAULT_REQUESTS: u32 = 6_000;

    /// The load with this many requests per pass, and at most 20 s without a cache.
    pub(crate) fn new(requests: u32) -> Self {
        Self { requests: requests as usize, uncached_limit: Duration::from_secs(20) }
    }

    /// A load to try the demo with: 2,000 requests per pass, and at most 10 s without a cache.
    pub(crate) fn quick() -> Self {
        Self { requests: 2_000, uncached_limit: Duration::from_secs(10) }
    }
}

/// Runs the tour and the three passes, prints both and writes the report.
///
/// # Errors
/// If something cannot be built or started, or a claim does not hold.
pub(crate) async fn run(size: &Size) -> Result<()> {
    let since = Instant::now();
    println!(
        "Preparing: on a new machine this installs and compiles for about 4 min, later it takes seconds."
    );
    let (_, (), shop) = tokio::try_join!(setup::redis_server(), worker::prepare(), Shop::prepare())?;
    // Also when the worker was built before: the report needs the chart library.
    setup::node_tools().await?;
    let client = http::client()?;

    let progress = Progress::start("starting the layers", Some("2 s"));
    let stack = start(&shop, &PASSES[2], &client).await?;
    progress.done();
    println!("\nThe tour, after {}: real requests to all layers, for about 15 s\n", human(since.elapsed()));
    let steps = tour::run(&client, &stack).await?;
    drop(stack);

    let workload = Workload::generate(size.requests);
    println!("\nThe load: {}\n", workload.description());
    let mut passes = Vec::new();
    for kind in &PASSES {
        passes.push(run_pass(kind, &shop, &client, &workload, size).await?);
    }
    println!("\n{}", stats::table(&passes));

    let report = Report::new(workload.description(), steps, passes);
    println!("report: {}", report.write()?.display());
    let failures = report.failures();
    if failures.is_empty() {
        println!("every claim holds; the demo took {}", human(since.elapsed()));
        return Ok(());
    }
    for failure in &failures {
        eprintln!("  ✗ {failure}");
    }
    Err(Error::new(format!("{} claims of the demo do not hold", failures.len())).mend("see the lines above"))
}

/// The layers of one pass.
struct PassKind {
    title: &'static str,
    bypass: bool,
    edge: bool,
}

const PASSES: [PassKind; 3] = [
    PassKind { title: "no cache", bypass: true, edge: false },
    PassKind { title: "memory + Redis", bypass: false, edge: false },
    PassKind { title: "memory + Redis + edge", bypass: false, edge: true },
];

/// Starts new processes and an empty Redis, so that every pass begins without stored responses.
async fn start(shop: &Shop, kind: &PassKind, client: &reqwest::Client) -> Result<Stack> {
    let plan = Plan {
        store: Store::OwnRedis,
        bypass: kind.bypass,
        ignore_credentials: false,
        edge: kind.edge,
        log_requests: false,
    };
    Stack::start(shop, &plan, client, None).await
}

async fn run_pass(
    kind: &PassKind,
    shop: &Shop,
    client: &reqwest::Client,
    workload: &Workload,
    size: &Size,
) -> Result<Pass> {
    let progress = Progress::start(format!("load: {}", kind.title), Some("30 s"));
    let mut stack = start(shop, kind, client).await?;
    let targets: Vec<String> = match stack.edge_url() {
        Some(edge) => vec![edge.to_owned()],
        None => stack.shops().iter().map(|shop| shop.url().to_owned()).collect(),
    };
    let limit = kind.bypass.then_some(size.uncached_limit);
    let queries_before = stack.database_queries(client).await?;
    let load = Load::run(client, &targets, workload, Visitors::WithoutCookies, limit).await?;
    let queries = stack.database_queries(client).await? - queries_before;
    let unsettled = load.unsettled(client, &targets).await;
    stack.check().await?;
    progress.done();
    let pass = load.into_pass(kind.title, queries, &unsettled);
    if pass.cut_short {
        println!(
            "  stopped after {} with {} requests",
            human(size.uncached_limit),
            workload::grouped(pass.requests as usize)
        );
    }
    Ok(pass)
}
