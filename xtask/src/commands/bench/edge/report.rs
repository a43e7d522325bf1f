//! The figures of all peers, and their table in BENCHMARKS.md.

use std::collections::HashMap;
use std::time::Duration;

use super::super::median;
use super::SIZES;
use super::peers::Kind;
use crate::command::output;
use crate::paths;

/// All measurements.
#[derive(Default)]
pub(super) struct Figures {
    per_second: HashMap<(Kind, u32), Vec<f64>>,
    starts: HashMap<Kind, Vec<f64>>,
    pub(super) module_bytes: usize,
    pub(super) bare_module_bytes: usize,
}

impl Figures {
    pub(super) fn add(&mut self, kind: Kind, kilobytes: u32, per_second: f64) {
        self.per_second.entry((kind, kilobytes)).or_default().push(per_second);
    }

    pub(super) fn add_start(&mut self, kind: Kind, start_up: Duration) {
        self.starts.entry(kind).or_default().push(start_up.as_secs_f64() * 1000.0);
    }

    /// Renders the table: requests per second, and Strata's share of them in parentheses.
    pub(super) fn table(&self) -> String {
        let mut table = String::from("| | 1 KB | 10 KB | 100 KB | start, ms |\n|---|---|---|---|---|\n");
        for kind in Kind::ALL {
            table.push_str(&format!("| {} |", kind.title()));
            for kilobytes in SIZES {
                let (own, strata) = (self.median(kind, kilobytes), self.median(Kind::Strata, kilobytes));
                table.push_str(&match kind {
                    Kind::Strata => format!(" {own:.0} |"),
                    _ => format!(" {own:.0} ({:.2}) |", strata / own),
                });
            }
            table
                .push_str(&format!(" {:.0} |\n", self.starts.get(&kind).map_or(f64::NAN, |all| median(all))));
        }
        table
    }

    /// Renders the section of BENCHMARKS.md.
    pub(super) fn section(&self) -> String {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let version = output(paths::node_module(".bin/workerd"), &["--version"]).unwrap_or_default();
        format!(
            "## The edge worker's hits\n\n\
             `cargo xtask bench edge`: requests per second of hits, by `wrk` with one thread and 16\n\
             connections, all peers in one interleaved run on {processors} processors; medians. In parentheses:\n\
             Strata's figure divided by the peer's. An isolate's memory holds bodies of up to 64 KB; Strata\n\
             reads 100 KB from the Cache API at each hit, like the workers on that API. The start is the time\n\
             from the start of the server to its first answer. The module of the edge worker has {} bytes\n\
             zipped, that of the bare one {}. {version}.\n\n{}",
            self.module_bytes,
            self.bare_module_bytes,
            self.table()
        )
    }

    fn median(&self, kind: Kind, kilobytes: u32) -> f64 {
        self.per_second.get(&(kind, kilobytes)).map_or(f64::NAN, |all| median(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_of_medians_to_strata() {
        let mut figures = Figures::default();
        for (kind, values) in [(Kind::Strata, [900.0, 1.0, 950.0]), (Kind::Nginx, [1800.0, 1800.0, 9000.0])] {
            values.into_iter().for_each(|value| figures.add(kind, 1, value));
        }
        let table = figures.table();
        assert!(table.contains("| Strata | 900 |"), "{table}");
        assert!(table.contains("| nginx, `proxy_cache` | 1800 (0.50) |"), "{table}");
    }
}
