//! `cargo xtask attack`: attacks the worker. The known attacks are tests; generated pairs of an
//! attacker's and a victim's requests run through the policy alone and against the running worker.

use strata_harness::error::{Error, Result};
use strata_harness::port;

use super::{setup, test};
use crate::command::{cargo, run_for_lines, run_shown};
use crate::http;
use crate::stack::purge_secret;
use crate::stack::worker::{self, Runner, Settings, Worker};

/// The modules of the known attacks in `tests/edge`.
const KNOWN_ATTACKS: [&str; 4] = ["attacks::", "safety::", "rules::", "costs::"];

/// The numbers of generated pairs, and their seed.
pub(crate) struct Size {
    pub(crate) seed: u64,
    /// Pairs through the policy alone.
    pub(crate) pairs: u64,
    /// Pairs against the running worker.
    pub(crate) worker_pairs: u64,
}

/// Runs all attacks, and stops at the first that succeeds.
///
/// # Errors
/// If something cannot be built or started, or an attack succeeds.
pub(crate) async fn run(size: &Size) -> Result<()> {
    let redis = setup::redis_server().await?;
    worker::prepare().await?;
    for module in KNOWN_ATTACKS {
        let mut tests = test::binary("edge");
        tests.args(["--", module]).env("STRATA_REDIS_SERVER", &redis);
        run_shown("the known attacks", tests).await?;
    }
    let seed = size.seed.to_string();
    run_shown("the pairs through the policy", pairs(&["--seed", &seed, "--pairs", &size.pairs.to_string()]))
        .await?;
    let rules = run_for_lines("reading the rules of the pairs", None, pairs(&["--print-rules"])).await?;
    if rules.is_empty() {
        return Err(Error::new("the program of the pairs prints no rules".to_owned()));
    }
    let (port, origin_port) = (port::free()?, port::free()?);
    let settings = Settings {
        port,
        origin: &format!("http://127.0.0.1:{origin_port}"),
        purge_secret: &purge_secret()?,
        log_requests: false,
        vars: &[&format!("RULES:{}", rules.concat())],
        runner: Runner::of_the_project(&[]),
    };
    let mut worker = Worker::start(&settings, None).await?;
    worker.wait_ready(&http::client()?).await?;
    let attack = pairs(&[
        "--seed",
        &seed,
        "--pairs",
        &size.worker_pairs.to_string(),
        "--edge",
        &format!("127.0.0.1:{port}"),
        "--origin-port",
        &origin_port.to_string(),
    ]);
    run_shown("the pairs against the worker", attack).await
}

fn pairs(arguments: &[&str]) -> tokio::process::Command {
    let mut program = cargo(["run", "--quiet", "--release", "--package", "strata-attack", "--"]);
    program.args(arguments);
    program
}
