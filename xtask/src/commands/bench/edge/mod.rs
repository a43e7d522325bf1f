//! `cargo xtask bench edge`: the edge worker's hits beside those of other workers and caches, in
//! one interleaved run, and its start.

mod origin;
mod peers;
mod report;

use std::time::Duration;

use origin::Origin;
use peers::{Kind, Peer};
use report::{Figures, Sample};
use strata_harness::error::{Error, Result};

use super::section;
use crate::command::{command, printed};
use crate::commands::build_edge;
use crate::progress::Progress;

/// The lengths of the bodies, in KB. An isolate's memory holds bodies of up to 64 KB; longer ones
/// are read from the Cache API.
const SIZES: [u32; 3] = [1, 10, 100];
/// Starts of each worker, beside the one that is measured under load.
const STARTS: usize = 4;

/// The options of the command.
pub(crate) struct Options {
    /// How long each peer is measured in a round, for each length.
    pub(crate) duration: Duration,
    /// How often all peers are measured; the medians count.
    pub(crate) rounds: u32,
}

/// Measures all peers, prints the table, and writes it to BENCHMARKS.md.
///
/// # Errors
/// If something cannot be installed, built or started, or a peer answers with an error.
pub(crate) async fn run(options: &Options) -> Result<()> {
    peers::prepare().await?;
    let origin = Origin::start().await?;
    let mut figures = Figures::default();
    let mut peers = Vec::new();
    for kind in Kind::ALL {
        let mut peer = Peer::start(kind, &origin.url).await?;
        figures.add_start(kind, peer.start_up);
        for kilobytes in SIZES {
            measure(&mut peer, kilobytes, Duration::from_secs(1)).await?;
        }
        peers.push(peer);
    }
    let progress = Progress::start("measuring", None);
    for _ in 0..options.rounds {
        for kilobytes in SIZES {
            for peer in &mut peers {
                figures.add(peer.kind, kilobytes, measure(peer, kilobytes, options.duration).await?);
            }
        }
    }
    drop(peers);
    for kind in [Kind::Strata, Kind::BareRust, Kind::BareJavaScript] {
        for _ in 0..STARTS {
            figures.add_start(kind, Peer::start(kind, &origin.url).await?.start_up);
        }
    }
    progress.done();
    figures.module_bytes = build_edge::zipped_bytes(&peers::module(Kind::Strata))?;
    figures.bare_module_bytes = build_edge::zipped_bytes(&peers::module(Kind::BareRust))?;
    println!("\n{}", figures.table());
    println!("written to {}", section::write("cargo xtask bench edge", &figures.section())?.display());
    Ok(())
}

/// Measures the hits of one peer, by wrk.
async fn measure(peer: &mut Peer, kilobytes: u32, duration: Duration) -> Result<Sample> {
    let mut wrk = command("wrk", ["--threads", "1", "--connections", "16", "--duration"]);
    wrk.arg(format!("{}s", duration.as_secs().max(1))).arg(format!("{}/{kilobytes}", peer.url));
    let before = peer.processor_time();
    let printed = printed("wrk", wrk).await?;
    let used = before.zip(peer.processor_time()).map(|(before, after)| after.saturating_sub(before));
    let (requests, per_second) = requests(&printed).ok_or_else(|| {
        Error::new(format!("{}: expected answers, wrk says {printed:?}", peer.kind.title()))
    })?;
    let microseconds = used.map_or(f64::NAN, |used| used.as_secs_f64() * 1e6 / requests);
    Ok(Sample { per_second, microseconds })
}

/// Reads the number of requests, and of requests per second, from what wrk printed; `None` if some
/// failed.
fn requests(printed: &str) -> Option<(f64, f64)> {
    let failed = ["Non-2xx", "Socket errors"];
    if printed.lines().any(|line| failed.iter().any(|failed| line.trim_start().starts_with(failed))) {
        return None;
    }
    let number = |text: &str| text.trim().parse().ok();
    let all = printed.lines().find_map(|line| number(line.split_once(" requests in")?.0))?;
    let per_second = printed.lines().find_map(|line| number(line.strip_prefix("Requests/sec:")?))?;
    Some((all, per_second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_with_failed_requests_has_no_figure() {
        let text = "  2 threads\n  37037 requests in 3.00s\nRequests/sec:  12345.67\nTransfer/sec: 1MB";
        assert_eq!(requests(text), Some((37037.0, 12345.67)));
        assert_eq!(requests(&format!("{text}\n  Non-2xx or 3xx responses: 7")), None);
        assert_eq!(requests(&format!("  Socket errors: connect 0, read 1\n{text}")), None);
        assert_eq!(requests(""), None);
    }
}
