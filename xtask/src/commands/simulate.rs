//! `cargo xtask simulate`: simulates the edge journal for a planet of isolates.

use strata_harness::error::Result;

use crate::command::{cargo, run_shown};

/// Runs the simulation with its own command line options.
pub(crate) async fn run(options: Vec<String>) -> Result<()> {
    let mut simulate = cargo(["run", "--quiet", "--release", "--package", "strata-simulation", "--"]);
    simulate.args(options);
    run_shown("the simulation", simulate).await
}
