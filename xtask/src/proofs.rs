//! `cargo xtask model` and `cargo xtask chaos`: the proofs that `cargo xtask test` runs in small, as long as one likes.

use std::time::Duration;

use crate::command::{cargo, run_shown};
use crate::error::Result;
use crate::setup;

/// Visits every state of the model within larger bounds: `depth` more writes and faults than `cargo xtask test` has.
pub(crate) async fn model(depth: u8) -> Result<()> {
    let mut model = cargo(["test", "--package", "strata-model", "--", "--nocapture", "--test-threads", "1"]);
    model.env("STRATA_MODEL_DEPTH", depth.to_string());
    run_shown("the model", model).await
}

/// Disturbs a fleet for so long, and checks its history.
pub(crate) async fn chaos(time: Duration, seed: Option<u64>) -> Result<()> {
    let redis = setup::redis_server().await?;
    let mut chaos = cargo(["test", "--package", "strata-tests", "--test", "chaos", "--", "--nocapture"]);
    chaos.env("STRATA_REDIS_SERVER", redis).env("STRATA_CHAOS_SECS", time.as_secs().to_string());
    if let Some(seed) = seed {
        chaos.env("STRATA_SEED", seed.to_string());
    }
    run_shown("the randomised run", chaos).await
}
