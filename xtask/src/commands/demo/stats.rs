//! The passes side by side, as a text table.

use super::cache_status::Layer;
use super::load::Pass;
use super::workload::grouped;

pub(super) const LAYERS: [Layer; 4] = [Layer::Edge, Layer::Memory, Layer::Redis, Layer::Loader];

/// Renders a table with a line per pass.
pub(crate) fn table(passes: &[Pass]) -> String {
    let mut text = format!(
        "{:<22} {:>10} {:>8} {:>8} {:>8} {:>11}   {:>6} {:>6} {:>6} {:>6}\n",
        "", "requests/s", "p50 ms", "p95 ms", "p99 ms", "DB queries", "edge", "memory", "redis", "loader"
    );
    text.push_str(&format!("{:<22} {:>46} {:>11}   {:>27}\n", "", "", "per 1,000", "share of the reads"));
    for pass in passes {
        text.push_str(&format!(
            "{:<22} {:>10} {:>8.2} {:>8.2} {:>8.2} {:>11}  ",
            pass.title,
            grouped(pass.per_second.round() as usize),
            pass.p50_ms,
            pass.p95_ms,
            pass.p99_ms,
            grouped(pass.queries_per_thousand.round() as usize)
        ));
        for layer in LAYERS {
            text.push_str(&match share(pass, layer) {
                0.0 => format!(" {:>6}", "–"),
                share => format!(" {:>5.1}%", share * 100.0),
            });
        }
        text.push('\n');
    }
    text
}

/// Returns the share of a pass's reads that a layer answered, from 0 to 1.
pub(super) fn share(pass: &Pass, layer: Layer) -> f64 {
    let reads: u64 = pass.layers.values().sum();
    pass.layers.get(&layer).copied().unwrap_or(0) as f64 / reads.max(1) as f64
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn pass() -> Pass {
        Pass {
            title: "memory + Redis",
            requests: 1_000,
            cut_short: false,
            seconds: 2.0,
            per_second: 500.0,
            p50_ms: 0.5,
            p95_ms: 2.25,
            p99_ms: 9.0,
            queries_per_thousand: 310.4,
            writes: 50,
            layers: [(Layer::Memory, 600), (Layer::Redis, 100), (Layer::Loader, 300)].into(),
            failures: Vec::new(),
        }
    }

    #[test]
    fn the_table_has_a_line_per_pass_with_shares_of_the_reads() {
        let table = table(&[pass()]);
        let line = table.lines().last().unwrap();
        let cells: Vec<&str> = line.split_whitespace().skip(3).collect();
        assert_eq!(cells, ["500", "0.50", "2.25", "9.00", "310", "–", "60.0%", "10.0%", "30.0%"]);
    }
}
