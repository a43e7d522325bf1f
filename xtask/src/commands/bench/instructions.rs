//! The instructions of a hit, counted by callgrind: the same whatever else the machine does.

use std::path::Path;

use strata_harness::error::{Error, Result};

use crate::command::{command, run_for_lines};
use crate::paths;

/// The hits of the shorter and of the longer run. Their difference leaves out start and end.
const HITS: [u64; 2] = [50_000, 150_000];

/// Returns the instructions of one hit of a cache.
///
/// # Errors
/// If valgrind fails or prints no count.
pub(super) async fn per_hit(valgrind: &Path, program: &Path, subject: &str) -> Result<u64> {
    let (shorter, longer) = tokio::try_join!(
        instructions(valgrind, program, subject, HITS[0]),
        instructions(valgrind, program, subject, HITS[1]),
    )?;
    Ok(longer.saturating_sub(shorter) / (HITS[1] - HITS[0]))
}

async fn instructions(valgrind: &Path, program: &Path, subject: &str, hits: u64) -> Result<u64> {
    let folder = paths::temporary()?;
    let mut callgrind = command(valgrind, ["--tool=callgrind"]);
    callgrind.arg(format!("--callgrind-out-file={}", folder.path().join("out").display()));
    callgrind.arg(program).args(["hits", subject, &hits.to_string()]);
    let printed =
        run_for_lines(&format!("counting {hits} hits of {subject}"), Some("10 s"), callgrind).await?;
    let count = printed.iter().find_map(|line| collected(line));
    count.ok_or_else(|| Error::new("valgrind has printed no count").mend("run it by hand and see why"))
}

/// Returns 1234 for `==99== Collected : 1234`.
fn collected(line: &str) -> Option<u64> {
    line.split_once("Collected : ")?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read_from_valgrinds_output() {
        assert_eq!(collected("==99== Collected : 1234"), Some(1234));
        assert_eq!(collected("==99== Events    : Ir"), None);
    }
}
