//! `cargo xtask demo`: a tour that checks what it claims, then the same load against no cache, two layers and all three.

mod api;
mod load;
mod machine;
mod report;
mod stats;
mod tour;
mod workload;

use std::time::Duration;

use crate::error::{Error, Result};
use crate::progress::{Progress, human};
use crate::shop::Shop;
use crate::stack::{Plan, Stack, Store};
use crate::{build, http, setup};
use load::{Load, Pass};
use report::Report;
use workload::Workload;

/// How much load the passes run.
pub(crate) struct Size {
    /// Requests of each pass.
    pub(crate) requests: usize,
    /// When the pass without a cache stops, whether or not it is through.
    pub(crate) uncached_limit: Duration,
}

/// Runs the tour and the three passes, prints both and writes the report.
///
/// # Errors
/// If something cannot be built or started, or the demo saw anything other than what it says.
pub(crate) async fn run(size: &Size) -> Result<()> {
    setup::redis_server().await?;
    setup::node_tools().await?;
    build::edge().await?;
    let shop = Shop::prepare(build::shop().await?).await?;
    let client = http::client()?;

    println!("\nThe tour: real requests to all layers\n");
    let stack = start(&shop, &PASSES[2], &client).await?;
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
    let wrong = report.wrong();
    if wrong.is_empty() {
        println!("every step saw what it says");
        return Ok(());
    }
    for what in &wrong {
        eprintln!("  ✗ {what}");
    }
    Err(Error::new(format!("the demo saw {} things that should not be", wrong.len())).mend("see the lines above"))
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

/// Starts fresh processes and an empty Redis, so that every pass begins cold and none helps the next.
async fn start(shop: &Shop, kind: &PassKind, client: &reqwest::Client) -> Result<Stack> {
    let plan = Plan { store: Store::OwnRedis, bypass: kind.bypass, edge: kind.edge, log_requests: false };
    Stack::start(shop, &plan, client, None).await
}

async fn run_pass(
    kind: &PassKind,
    shop: &Shop,
    client: &reqwest::Client,
    workload: &Workload,
    size: &Size,
) -> Result<Pass> {
    let progress = Progress::start(format!("load: {}", kind.title), None);
    let mut stack = start(shop, kind, client).await?;
    let targets: Vec<String> = match stack.edge_url() {
        Some(edge) => vec![edge.to_owned()],
        None => stack.shops().iter().map(|shop| shop.url().to_owned()).collect(),
    };
    let limit = kind.bypass.then_some(size.uncached_limit);
    let queries_before = stack.database_queries(client).await?;
    let load = Load::run(client, &targets, workload, limit).await?;
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
