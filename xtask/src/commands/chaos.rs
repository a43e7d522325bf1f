//! `cargo xtask chaos`: disturbs a fleet and its Redis at random, for longer than
//! `cargo xtask test` does, and checks the fleet's history.

use std::time::Duration;

use strata_harness::error::Result;

use super::setup;
use crate::command::{cargo, run_shown};

/// Disturbs the fleet for the given time. A `seed` repeats the faults of the run that printed it.
pub(crate) async fn run(time: Duration, seed: Option<u64>) -> Result<()> {
    let redis = setup::redis_server().await?;
    let mut chaos = cargo(["test", "--package", "strata-tests", "--test", "chaos", "--", "--nocapture"]);
    chaos.env("STRATA_REDIS_SERVER", redis).env("STRATA_CHAOS_SECS", time.as_secs().to_string());
    if let Some(seed) = seed {
        chaos.env("STRATA_SEED", seed.to_string());
    }
    run_shown("the randomised run", chaos).await
}
