//! `cargo xtask conformance`: the public test suite for HTTP caches, run against the real worker in workerd.
//!
//! The suite (npm's `http-cache-tests`) brings the origin, the client, the rules that judge, and the published results of other
//! caches. What is ours is `tests/conformance/`: the counts that must not fall, and the reason for each case that is not passed.

mod report;
mod suite;

use std::path::{Path, PathBuf};

use crate::error::{Doing, Error, Result};
use crate::progress::Progress;
use crate::worker::{Settings, Worker};
use crate::{build, http, paths, port, setup, stack};

use report::{Counts, Report};
use suite::Suite;

const FOLDER: &str = "tests/conformance";

/// The worker's rules for the suite's origin; the README tells why.
const RULES: &str = "rules.json";

/// What to run.
pub(crate) struct Options {
    /// A copy of the suite other than the one that is pinned; nothing is then held to the floor.
    pub(crate) suite: Option<PathBuf>,
    /// Where the outcome of each case is written.
    pub(crate) json: Option<PathBuf>,
    /// Run a worker that only forwards, in place of ours.
    pub(crate) passthrough: bool,
}

/// Runs the suite and prints what came out beside the published results of other caches.
///
/// # Errors
/// If something cannot be started, the pinned suite passes fewer cases than the floor, or the README does not name exactly
/// those that it does not pass.
pub(crate) async fn run(options: &Options) -> Result<()> {
    setup::node_tools().await?;
    let suite = Suite::open(options.suite.as_deref())?;
    if !options.passthrough {
        build::edge().await?;
    }
    let progress = Progress::start("running the suite", Some("takes about a minute"));
    let results = through_a_worker(&suite, options.passthrough).await?;
    let report = suite.judge(&results).await?;
    progress.done();
    let name = if options.passthrough { "pass-through" } else { "strata-edge" };
    report.print(name);
    if let Some(file) = &options.json {
        report.write(file)?;
    }
    if options.suite.is_none() && !options.passthrough {
        hold(&report)?;
    }
    Ok(())
}

/// The suite's results, as it prints them.
async fn through_a_worker(suite: &Suite, passthrough: bool) -> Result<String> {
    let client = http::client()?;
    let origin = suite.start_origin(&client).await?;
    let folder = paths::root().join(FOLDER);
    let config = folder.join("passthrough.toml");
    let rules = format!("RULES:{}", read(&folder.join(RULES))?);
    let settings = Settings {
        port: port::free()?,
        origin: origin.url(),
        purge_secret: &stack::purge_secret()?,
        log_requests: false,
        vars: &[&rules],
        config: passthrough.then_some(config.as_path()),
    };
    let mut worker = Worker::start(&settings, None).await?;
    worker.wait_ready(&client).await?;
    suite.run(worker.url()).await
}

/// Compares with what is checked in.
fn hold(report: &Report) -> Result<()> {
    let folder = paths::root().join(FOLDER);
    let floor: Counts = serde_json::from_str(&read(&folder.join("floor.json"))?).doing(|| "floor.json".to_owned())?;
    let counts = report.counts();
    if !counts.reach(floor) {
        return Err(Error::new(format!("passed {counts}, and the floor is {floor}"))
            .mend("the cases that failed stand above; what is passed must stay passed"));
    }
    let wrong = report.differs_from_readme(&read(&folder.join("README.md"))?);
    if !wrong.is_empty() {
        return Err(Error::new(format!("{FOLDER}/README.md: {}", wrong.join("; ")))
            .mend("name each case not passed there, with the reason, and no other"));
    }
    println!("\nat or above the floor: {floor}");
    if counts != floor {
        println!("{FOLDER}/floor.json can be raised to {counts}");
    }
    Ok(())
}

fn read(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).doing(|| format!("reading {}", file.display()))
}
