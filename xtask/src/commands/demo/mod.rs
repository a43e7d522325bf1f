//! `cargo xtask demo`: a tour that checks its claims, then the same load without a cache, with two
//! layers and with all three.

mod api;
mod goals;
mod load;
mod machine;
mod passes;
mod report;
mod stats;
mod tour;
mod workload;

use std::time::{Duration, Instant};

pub(crate) use machine::processor;
use passes::{Layers, Passes};
use report::Report;
pub(crate) use report::report_file;
use strata_harness::error::{Error, Result};

use super::setup;
use crate::http;
use crate::progress::{Progress, human};
use crate::stack::shop::Shop;
use crate::stack::{Stack, link, worker};

/// Runs the tour and the passes of the load, each measured for `duration`, prints both and writes
/// the report.
///
/// # Errors
/// If something cannot be built or started, or a claim does not hold. A goal that is not reached is
/// no error, since a busy machine can be the reason; it is printed and shown in the report.
pub(crate) async fn run(duration: Duration) -> Result<()> {
    let since = Instant::now();
    println!(
        "Preparing: on a new machine this installs and compiles for about 4 min, later it takes seconds."
    );
    let (_, (), (), shop) =
        tokio::try_join!(setup::redis_server(), worker::prepare(), link::build(), Shop::prepare())?;
    // Also when the worker was built before: the report needs the chart library.
    setup::node_tools().await?;
    let client = http::client()?;

    let progress = Progress::start("starting the layers", Some("2 s"));
    let stack = Stack::start(&shop, &Layers::All.plan(None), &client, None).await?;
    progress.done();
    println!("\nThe tour, after {}: real requests to all layers, for about 15 s\n", human(since.elapsed()));
    let steps = tour::run(&client, &stack).await?;
    drop(stack);

    let load = passes::description();
    println!("\nThe load: {load}\n");
    let passes = Passes::run(&shop, &client, duration).await?;
    let goals = goals::of(&passes);
    println!("\n{}\n{}", stats::table(&passes), goals::lines(&goals));

    let report = Report::new(load, steps, passes, goals);
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
