//! `cargo xtask up`: all layers, their URLs, and a readable line per request until someone presses Ctrl-C.

use std::io::IsTerminal;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;

use crate::error::Result;
use crate::process::Line;
use crate::progress::{Progress, human};
use crate::shop::Shop;
use crate::stack::{Plan, Stack, Store};
use crate::{build, http, redis, request_log, setup};

const CHECK_EVERY: Duration = Duration::from_millis(500);

/// Builds and starts everything, then prints requests for ever.
///
/// # Errors
/// If something cannot be built or started, or one of the processes ends.
pub(crate) async fn run(store: Store) -> Result<()> {
    // First, since everything after it takes minutes on a fresh machine.
    match &store {
        Store::OwnRedis => drop(setup::redis_server().await?),
        Store::Redis(url) => redis::check(url).await?,
        Store::Embedded => {}
    }
    build::edge().await?;
    let shop = Shop::prepare(build::shop().await?).await?;
    let (send, lines) = mpsc::unbounded_channel();
    let client = http::client()?;
    let since = Instant::now();
    let progress = Progress::start("starting the layers", Some("takes about 10 s"));
    let plan = Plan { store, bypass: false, edge: true, log_requests: true };
    let mut stack = Stack::start(&shop, &plan, &client, Some(&send)).await?;
    progress.done();
    print_urls(&stack, &plan, since.elapsed());
    follow(lines, async || stack.check().await).await
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
            println!("  store   embedded: one shop process only, since an in-process journal cannot tell another");
        }
    }
    if let Some(edge) = stack.edge_url() {
        println!("\n  try it: curl -i {edge}/api/products/42");
    }
    println!("  Ctrl-C stops everything\n");
}

/// Prints the lines as they come; ends only with the error that `check` finds.
pub(crate) async fn follow(
    mut lines: mpsc::UnboundedReceiver<Line>,
    mut check: impl AsyncFnMut() -> Result<()>,
) -> Result<()> {
    let colours = std::io::stdout().is_terminal();
    // What the children said while they started is of use only if they do not start.
    while lines.try_recv().is_ok() {}
    let mut next_check = tokio::time::interval(CHECK_EVERY);
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
