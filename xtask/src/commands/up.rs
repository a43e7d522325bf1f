//! `cargo xtask up`: starts all layers, and prints their URLs and a line per request until Ctrl-C.

use std::io::IsTerminal;
use std::time::{Duration, Instant, SystemTime};

use strata_harness::Line;
use strata_harness::error::Result;
use tokio::sync::mpsc;

use super::{request_log, setup};
use crate::http;
use crate::progress::{Progress, human};
use crate::stack::shop::Shop;
use crate::stack::{Plan, Stack, Store, redis, worker};

const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Builds and starts all layers, then prints their requests until they are stopped.
///
/// # Errors
/// If something cannot be built or started, or one of the processes ends.
pub(crate) async fn run(store: Store) -> Result<()> {
    // Checked first: on a fresh machine the builds take minutes.
    match &store {
        Store::OwnRedis => drop(setup::redis_server().await?),
        Store::Redis(url) => redis::check(url).await?,
        Store::Embedded => {}
    }
    let ((), shop) = tokio::try_join!(worker::prepare(), Shop::prepare())?;
    let (send, mut lines) = mpsc::unbounded_channel();
    let client = http::client()?;
    let since = Instant::now();
    let progress = Progress::start("starting the layers", Some("2 s"));
    let plan = Plan { store, bypass: false, ignore_credentials: false, edge: true, log_requests: true };
    let mut stack = Stack::start(&shop, &plan, &client, Some(&send)).await?;
    progress.done();
    print_urls(&stack, &plan, since.elapsed());
    // The lines printed during the start matter only if the start fails.
    while lines.try_recv().is_ok() {}
    print_requests(lines, async || stack.check().await).await
}

fn print_urls(stack: &Stack, plan: &Plan, took: Duration) {
    println!("\nall layers are up after {}\n", human(took));
    if let Some(edge) = stack.edge_url() {
        println!("  edge    {edge}   the worker in workerd, in front of shop-a");
    }
    for shop in stack.shops() {
        println!("  {:<7} {}", shop.name(), shop.url());
    }
    match (&plan.store, stack.redis_url()) {
        (Store::Redis(url), _) => println!("  redis   {url}"),
        (_, Some(url)) => println!("  redis   {url}"),
        (Store::Embedded, _) | (Store::OwnRedis, None) => {
            println!("  store   in-process: only one shop, since the journal reaches no other process");
        }
    }
    if let Some(edge) = stack.edge_url() {
        println!("\n  try it: curl -i {edge}/api/products/42");
    }
    println!("  Ctrl-C stops everything\n");
}

/// Prints request lines as they arrive. Returns only with the error of `check`, which runs twice a
/// second.
pub(crate) async fn print_requests(
    mut lines: mpsc::UnboundedReceiver<Line>,
    mut check: impl AsyncFnMut() -> Result<()>,
) -> Result<()> {
    let colours = std::io::stdout().is_terminal();
    let mut next_check = tokio::time::interval(CHECK_INTERVAL);
    loop {
        tokio::select! {
            Some(line) = lines.recv() => {
                if let Some(text) = request_log::readable(&line, SystemTime::now(), colours) {
                    println!("{text}");
                }
            }
            _ = next_check.tick() => check().await?,
        }
    }
}
