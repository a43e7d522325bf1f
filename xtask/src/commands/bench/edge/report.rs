//! The figures of all peers, and their table in BENCHMARKS.md.

use std::collections::HashMap;
use std::time::Duration;

use super::super::{median, median_of, yes_or_no};
use super::SIZES;
use super::peers::Kind;
use crate::command::output;
use crate::paths;

/// The parts of a hit, as V8's sampling profiler showed them under the same load.
const WHERE_THE_TIME_GOES: &str = "\
Where the time of a hit in memory goes, by V8's profiler: about a third is the runtime's own,
which a worker that only answers takes too (HTTP, events, scheduling). A quarter are the calls
between wasm and the runtime: one that reads the request, and one that creates the response and
appends its fields. The rest, two fifths, is the worker's Rust: no function of it takes more than
a tenth. It parses the URL twice (for the origin and for the key), looks the key up, copies the
stored fields, decides by RFC 9111 and the journal, and writes the fields. Compiled for speed in
place of size, with 84 KB more, it saves at most an eighth. nginx answers from one process without
a virtual machine, and its part of that is the first third. A hit in the Cache API adds an
exchange with the cache service, a timer, and the read of the body's stream, which JavaScript on
the same API has as well.
";

/// The goals for a hit: the peer, the lengths in KB, and the least share of the peer's figure.
const GOALS: [(Kind, &[u32], f64); 3] =
    [(Kind::BareRust, &[1], 0.9), (Kind::CacheApi, &SIZES, 1.0), (Kind::Nginx, &[1], 0.25)];
/// The goal for the start: at most this many times the bare worker's.
const START_GOAL: f64 = 1.2;

/// One measurement of a peer.
#[derive(Clone, Copy)]
pub(super) struct Sample {
    pub(super) per_second: f64,
    /// The processor time of a hit, of all the server's processes; not a number if it is unknown.
    pub(super) microseconds: f64,
}

/// All measurements.
#[derive(Default)]
pub(super) struct Figures {
    samples: HashMap<(Kind, u32), Vec<Sample>>,
    starts: HashMap<Kind, Vec<f64>>,
    pub(super) module_bytes: usize,
    pub(super) bare_module_bytes: usize,
}

impl Figures {
    pub(super) fn add(&mut self, kind: Kind, kilobytes: u32, sample: Sample) {
        self.samples.entry((kind, kilobytes)).or_default().push(sample);
    }

    pub(super) fn add_start(&mut self, kind: Kind, start_up: Duration) {
        self.starts.entry(kind).or_default().push(start_up.as_secs_f64() * 1000.0);
    }

    /// Renders the table: requests per second and microseconds of processor time, with ratios in
    /// parentheses.
    pub(super) fn table(&self) -> String {
        let columns = SIZES.map(|kilobytes| format!(" {kilobytes} KB, 1/s | {kilobytes} KB, µs |"));
        let mut table = format!("| |{} start, ms |\n|---|{}---|\n", columns.concat(), "---|---|".repeat(3));
        for kind in Kind::ALL {
            table.push_str(&format!("| {} |", kind.title()));
            for kilobytes in SIZES {
                let own = self.medians(kind, kilobytes);
                let ratio = self.ratio(kind, kilobytes);
                table.push_str(&match kind {
                    Kind::Strata => format!(" {:.0} | {:.0} |", own.per_second, own.microseconds),
                    _ => format!(
                        " {:.0} ({:.2}) | {:.0} ({:.2}) |",
                        own.per_second, ratio.per_second, own.microseconds, ratio.microseconds
                    ),
                });
            }
            table.push_str(&format!(" {:.0} |\n", self.start(kind)));
        }
        table
    }

    /// Renders the goals, and whether this run has reached them.
    fn goals(&self) -> String {
        let mut goals = String::from("| goal | measured | reached |\n|---|---|---|\n");
        for (kind, sizes, least) in GOALS {
            for kilobytes in sizes {
                let ratio = self.ratio(kind, *kilobytes).per_second;
                goals.push_str(&format!(
                    "| hits of {kilobytes} KB per second: at least {least} × {} | {ratio:.2} | {} |\n",
                    kind.title(),
                    yes_or_no(ratio >= least)
                ));
            }
        }
        let ratio = self.start(Kind::Strata) / self.start(Kind::BareRust);
        goals.push_str(&format!(
            "| start: at most {START_GOAL} × {} | {ratio:.2} | {} |\n",
            Kind::BareRust.title(),
            yes_or_no(ratio <= START_GOAL)
        ));
        goals
    }

    /// Renders the section of BENCHMARKS.md.
    pub(super) fn section(&self) -> String {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let version = output(paths::node_module(".bin/workerd"), &["--version"]).unwrap_or_default();
        format!(
            "## The edge worker's hits\n\n\
             `cargo xtask bench edge`: hits, by `wrk` with one thread and 16 connections, all peers in one\n\
             interleaved run on {processors} processors, which they share with `wrk`; medians. Beside the requests\n\
             per second stands the processor time of a hit, of workerd and of the cache service behind its\n\
             Cache API together. In parentheses: Strata's figure divided by the peer's, so more is better for\n\
             the former and less for the latter. An isolate's memory holds bodies of up to 64 KB; Strata\n\
             reads 100 KB from the Cache API at each hit, like the workers on that API. The start is the time\n\
             from the start of the server to its first answer. The module of the edge worker has {} bytes\n\
             zipped, that of the bare one {}. {version}.\n\n{}\n{}\n{WHERE_THE_TIME_GOES}",
            self.module_bytes,
            self.bare_module_bytes,
            self.table(),
            self.goals()
        )
    }

    /// Returns Strata's figures divided by a peer's.
    fn ratio(&self, kind: Kind, kilobytes: u32) -> Sample {
        let (strata, own) = (self.medians(Kind::Strata, kilobytes), self.medians(kind, kilobytes));
        Sample {
            per_second: strata.per_second / own.per_second,
            microseconds: strata.microseconds / own.microseconds,
        }
    }

    fn medians(&self, kind: Kind, kilobytes: u32) -> Sample {
        let samples = self.samples.get(&(kind, kilobytes)).map_or(&[][..], Vec::as_slice);
        Sample {
            per_second: median_of(samples, |sample| sample.per_second),
            microseconds: median_of(samples, |sample| sample.microseconds),
        }
    }

    fn start(&self, kind: Kind) -> f64 {
        self.starts.get(&kind).map_or(f64::NAN, |all| median(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_of_medians_to_strata() {
        let mut figures = Figures::default();
        for (kind, values) in [(Kind::Strata, [900.0, 1.0, 950.0]), (Kind::Nginx, [1800.0, 1800.0, 9000.0])] {
            for per_second in values {
                figures.add(kind, 1, Sample { per_second, microseconds: 1e6 / per_second });
            }
        }
        let table = figures.table();
        assert!(table.contains("| Strata | 900 | 1111 |"), "{table}");
        assert!(table.contains("| nginx, `proxy_cache` | 1800 (0.50) | 556 (2.00) |"), "{table}");
        let goals = figures.goals();
        assert!(goals.contains("at least 0.25 × nginx, `proxy_cache` | 0.50 | yes |"), "{goals}");
        assert!(goals.contains("at least 0.9 × a bare worker in Rust | NaN | no |"), "{goals}");
    }
}
