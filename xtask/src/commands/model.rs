//! `cargo xtask model`: checks the journal protocol's model within larger bounds than
//! `cargo xtask test` does.

use strata_harness::error::Result;

use crate::command::{cargo, run_shown};

/// Visits every state of the model, with `depth` more writes and faults than the tests allow.
pub(crate) async fn run(depth: u8) -> Result<()> {
    let mut model = cargo(["test", "--package", "strata-model", "--", "--nocapture", "--test-threads", "1"]);
    model.env("STRATA_MODEL_DEPTH", depth.to_string());
    run_shown("the model", model).await
}
