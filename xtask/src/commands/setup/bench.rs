//! The tools of the benchmarks and the caches to compare with, from the system's package manager.

use strata_harness::error::Result;

use super::system::SystemProgram;

const PROGRAMS: [SystemProgram; 3] = [
    SystemProgram { name: "wrk", apt: "wrk", brew: "wrk", alternative: "" },
    SystemProgram { name: "nginx", apt: "nginx-light", brew: "nginx", alternative: "" },
    SystemProgram { name: "varnishd", apt: "varnish", brew: "varnish", alternative: "" },
];

/// Installs wrk, nginx and Varnish if they are missing.
///
/// # Errors
/// If one is missing and cannot be installed.
pub(crate) async fn bench_programs() -> Result<()> {
    for program in PROGRAMS {
        program.ensure_installed().await?;
    }
    Ok(())
}
