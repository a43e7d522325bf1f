//! `cargo xtask conformance`: runs the public test suite for HTTP caches against the worker in
//! workerd.
//!
//! The suite (npm's `http-cache-tests`) contains the origin, the client, the rules of judgement and
//! the published results of other caches. The project adds `tests/conformance/`: the counts that
//! must not fall, and the reason for each case that fails.

mod report;
mod suite;

use std::path::{Path, PathBuf};

use report::{Counts, Report};
use strata_harness::error::{Context, Error, Result};
use strata_harness::port;
use suite::Suite;

use super::{build_edge, setup};
use crate::progress::Progress;
use crate::stack::worker::{Runner, Settings, Worker};
use crate::{http, paths, stack};

const FOLDER: &str = "tests/conformance";

/// The worker's rules for the suite's origin. The README explains them.
const RULES: &str = "rules.json";

/// The options of the command.
pub(crate) struct Options {
    /// Another copy of the suite than the pinned one. Its results are not compared with the floor.
    pub(crate) suite: Option<PathBuf>,
    /// The file for the outcome of each case.
    pub(crate) json: Option<PathBuf>,
}

/// Runs the suite through the worker and then through one that only forwards, and prints both
/// results beside the published ones of other caches.
///
/// # Errors
/// If something cannot be started. With the pinned suite also if fewer cases pass than the floor,
/// or more; if the README does not list exactly the failed cases; or if a case that it attributes
/// to the runtime fails differently through the worker that only forwards.
pub(crate) async fn run(options: &Options) -> Result<()> {
    setup::node_tools().await?;
    let suite = Suite::open(options.suite.as_deref())?;
    build_edge::run().await?;
    let folder = paths::root().join(FOLDER);
    let progress = Progress::start("running the suite twice", Some("1 to 2 min"));
    let report = through_a_worker(&suite, &paths::root().join("wrangler.toml")).await?;
    let bare = through_a_worker(&suite, &folder.join("passthrough.toml")).await?;
    progress.done();
    report.print(&bare);
    if let Some(file) = &options.json {
        report.write(file)?;
    }
    if options.suite.is_none() {
        compare_with_floor(&report, &bare)?;
    }
    Ok(())
}

/// Runs the suite through the worker that `config`, a wrangler.toml, describes.
async fn through_a_worker(suite: &Suite, config: &Path) -> Result<Report> {
    let client = http::client()?;
    let origin = suite.start_origin(&client).await?;
    let rules = format!("RULES:{}", read(&paths::root().join(FOLDER).join(RULES))?);
    let settings = Settings {
        port: port::free()?,
        origin: origin.url(),
        purge_secret: &stack::purge_secret()?,
        log_requests: false,
        vars: &[&rules],
        runner: Runner::Wrangler(config),
    };
    let mut worker = Worker::start(&settings, None).await?;
    worker.wait_ready(&client).await?;
    let results = suite.run(worker.url()).await?;
    suite.judge(&results).await
}

/// Compares the results with the floor and the README of `tests/conformance`.
fn compare_with_floor(report: &Report, bare: &Report) -> Result<()> {
    let folder = paths::root().join(FOLDER);
    let floor: Counts =
        serde_json::from_str(&read(&folder.join("floor.json"))?).context(|| "floor.json".to_owned())?;
    let counts = report.counts();
    if !counts.reach(floor) {
        return Err(Error::new(format!("passed {counts}, and the floor is {floor}"))
            .mend("see the failed cases above, and make those pass that passed before"));
    }
    let differences = report.differs_from_readme(&read(&folder.join("README.md"))?, bare);
    if !differences.is_empty() {
        return Err(Error::new(format!("{FOLDER}/README.md: {}", differences.join("; ")))
            .mend("list each failed case there, with the reason, and no other"));
    }
    // Gains are held from then on, but not those of checks, which have no right answer and can
    // depend on the clock.
    if counts.exceed(floor) {
        return Err(Error::new(format!("passed {counts}, and the floor is still {floor}"))
            .mend(format!("raise {FOLDER}/floor.json to these counts")));
    }
    println!("\nat the floor: {floor}");
    Ok(())
}

fn read(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).context(|| format!("reading {}", file.display()))
}
