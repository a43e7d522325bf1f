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
}

/// Runs the suite through the worker, and then through one that only forwards, and prints what came out beside the published results
/// of other caches.
///
/// # Errors
/// If something cannot be started, the pinned suite passes fewer cases than the floor or more, the README does not name exactly those
/// that it does not pass, or one that it says the runtime cannot carry fails through the other worker in another way.
pub(crate) async fn run(options: &Options) -> Result<()> {
    setup::node_tools().await?;
    let suite = Suite::open(options.suite.as_deref())?;
    build::edge().await?;
    let folder = paths::root().join(FOLDER);
    let progress = Progress::start("running the suite twice", Some("takes about a minute"));
    let report = through_a_worker(&suite, None).await?;
    let bare = through_a_worker(&suite, Some(&folder.join("passthrough.toml"))).await?;
    progress.done();
    report.print(&bare);
    if let Some(file) = &options.json {
        report.write(file)?;
    }
    if options.suite.is_none() {
        hold(&report, &bare)?;
    }
    Ok(())
}

/// What comes of the suite through our worker, or the one that `config` describes.
async fn through_a_worker(suite: &Suite, config: Option<&Path>) -> Result<Report> {
    let client = http::client()?;
    let origin = suite.start_origin(&client).await?;
    let rules = format!("RULES:{}", read(&paths::root().join(FOLDER).join(RULES))?);
    let settings = Settings {
        port: port::free()?,
        origin: origin.url(),
        purge_secret: &stack::purge_secret()?,
        log_requests: false,
        vars: &[&rules],
        config,
    };
    let mut worker = Worker::start(&settings, None).await?;
    worker.wait_ready(&client).await?;
    let results = suite.run(worker.url()).await?;
    suite.judge(&results).await
}

/// Compares with what is checked in.
fn hold(report: &Report, bare: &Report) -> Result<()> {
    let folder = paths::root().join(FOLDER);
    let floor: Counts = serde_json::from_str(&read(&folder.join("floor.json"))?).doing(|| "floor.json".to_owned())?;
    let counts = report.counts();
    if !counts.reach(floor) {
        return Err(Error::new(format!("passed {counts}, and the floor is {floor}"))
            .mend("the cases that failed stand above; what is passed must stay passed"));
    }
    let wrong = report.differs_from_readme(&read(&folder.join("README.md"))?, bare);
    if !wrong.is_empty() {
        return Err(Error::new(format!("{FOLDER}/README.md: {}", wrong.join("; ")))
            .mend("name each case not passed there, with the reason, and no other"));
    }
    // What is gained is held from then on. What a check comes to has no right answer, and may depend on the clock.
    if counts.exceed(floor) {
        return Err(Error::new(format!("passed {counts}, and the floor is still {floor}"))
            .mend(format!("raise {FOLDER}/floor.json to what is passed")));
    }
    println!("\nat the floor: {floor}");
    Ok(())
}

fn read(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).doing(|| format!("reading {}", file.display()))
}
