//! `cargo xtask conformance`: runs the public test suite for HTTP caches against the worker in
//! workerd.
//!
//! The suite (npm's `http-cache-tests`) contains the origin, the client, the rules of judgement and
//! the published results of other caches. The project adds `tests/conformance/`: the cases that
//! must pass, and the reason for each case that does not.

mod report;
mod suite;

use std::path::PathBuf;

use report::Report;
use strata_harness::error::{Context, Error, Result};
use strata_harness::port;
use suite::Suite;

use super::setup;
use crate::progress::Progress;
use crate::stack::edge_server::script_folder;
use crate::stack::worker::{self, Runner, Settings, Worker};
use crate::{http, paths, stack};

const FOLDER: &str = "tests/conformance";

/// The worker's rules for the suite's origin. The README explains them.
const RULES: &str = "rules.json";

/// The cases that must pass, one a line.
const PASSES: &str = "passes.txt";

/// The options of the command.
pub(crate) struct Options {
    /// Another copy of the suite than the pinned one. Its results are compared with nothing.
    pub(crate) suite: Option<PathBuf>,
    /// The file for the outcome of each case.
    pub(crate) json: Option<PathBuf>,
}

/// Runs the suite through the worker and then through one that only forwards, and prints both
/// results beside the published ones of other caches.
///
/// # Errors
/// If something cannot be started. With the pinned suite also if the cases that pass or fail are
/// not those that `tests/conformance` lists, or if a case that it attributes to the runtime fails
/// differently through the worker that only forwards.
pub(crate) async fn run(options: &Options) -> Result<()> {
    setup::node_tools().await?;
    let suite = Suite::open(options.suite.as_deref())?;
    worker::prepare().await?;
    let passthrough = script_folder(&read("passthrough.mjs")?)?;
    let progress = Progress::start("running the suite twice", Some("1 to 2 min"));
    let report = through_a_worker(&suite, Runner::of_the_project(&[])).await?;
    let forwarding = Runner::StrataEdge { worker: passthrough.path(), options: &[] };
    let bare = through_a_worker(&suite, forwarding).await?;
    progress.done();
    report.print(&bare);
    if let Some(file) = &options.json {
        report.write(file)?;
    }
    if options.suite.is_none() {
        compare_with_lists(&report, &bare)?;
    }
    Ok(())
}

/// Runs the suite through a worker.
async fn through_a_worker(suite: &Suite, runner: Runner<'_>) -> Result<Report> {
    let client = http::client()?;
    let origin = suite.start_origin(&client).await?;
    let rules = format!("RULES:{}", read(RULES)?);
    let settings = Settings {
        port: port::free()?,
        origin: origin.url(),
        purge_secret: &stack::purge_secret()?,
        log_requests: false,
        vars: &[&rules],
        runner,
    };
    let mut worker = Worker::start(&settings, None).await?;
    worker.wait_ready(&client).await?;
    let results = suite.run(worker.url()).await?;
    suite.judge(&results).await
}

/// Compares the results with the lists of `tests/conformance`.
fn compare_with_lists(report: &Report, bare: &Report) -> Result<()> {
    let passes = read(PASSES)?;
    let regressions = report.regressions(&passes);
    let differences = report.differs_from_lists(&passes, &read("README.md")?, bare);
    println!();
    for line in regressions.iter().chain(&differences) {
        println!("{line}");
    }
    if !regressions.is_empty() {
        let message = format!("{} cases of {FOLDER}/{PASSES} do not pass: see above", regressions.len());
        return Err(Error::new(message).mend("make them pass again"));
    }
    if !differences.is_empty() {
        let message = format!("{FOLDER} lists other cases: see above");
        return Err(Error::new(message).mend(format!(
            "list each passed case in {PASSES}, and each failed one in README.md with the reason"
        )));
    }
    println!("all cases of {FOLDER}/{PASSES} pass");
    Ok(())
}

/// Reads a file of `tests/conformance`.
fn read(name: &str) -> Result<String> {
    let file = paths::root().join(FOLDER).join(name);
    std::fs::read_to_string(&file).context(|| format!("reading {}", file.display()))
}
