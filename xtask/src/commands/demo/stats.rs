//! The passes side by side, as a text table.

use strata_load::cache_status::Layer;

use super::load::Pass;
use super::passes::Passes;
use super::workload::grouped;

const LAYERS: [Layer; 4] = [Layer::Edge, Layer::Memory, Layer::Redis, Layer::Loader];

/// Renders a table with a line per pass, in three groups.
pub(crate) fn table(passes: &Passes) -> String {
    let mut text = format!(
        "{:<28} {:>10} {:>8} {:>8} {:>8} {:>11} {:>7}  {:>6} {:>6} {:>6} {:>6}\n",
        "",
        "requests/s",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "DB queries",
        "at most",
        "edge",
        "memory",
        "redis",
        "loader"
    );
    text.push_str(&format!(
        "{:<28} {:>46} {:>11} {:>7}  {:>27}\n",
        "", "", "per 1,000", "hits", "share of the reads"
    ));
    for (heading, group) in [
        ("warm, far from the service", &passes.warm),
        ("all layers, where they gain less", &passes.harder),
        ("warm, beside the service", &passes.near),
    ] {
        text.push_str(&format!("{heading}\n"));
        group.iter().for_each(|pass| push_line(&mut text, pass));
    }
    text
}

fn push_line(text: &mut String, pass: &Pass) {
    text.push_str(&format!(
        "  {:<26} {:>10} {:>8.2} {:>8.2} {:>8.2} {:>11} {:>6.1}% ",
        pass.title,
        grouped(pass.per_second.round() as usize),
        pass.p50_ms,
        pass.p95_ms,
        pass.p99_ms,
        grouped(pass.queries_per_thousand.round() as usize),
        pass.hit_potential * 100.0
    ));
    for layer in LAYERS {
        text.push_str(&match share(pass, layer) {
            0.0 => format!(" {:>6}", "–"),
            share => format!(" {:>5.1}%", share * 100.0),
        });
    }
    text.push('\n');
}

/// Returns the share of a pass's reads that a layer answered, from 0 to 1.
fn share(pass: &Pass, layer: Layer) -> f64 {
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
            seconds: 2.0,
            per_second: 500.0,
            p50_ms: 0.5,
            p95_ms: 2.25,
            p99_ms: 9.0,
            queries_per_thousand: 310.4,
            writes: 50,
            hit_potential: 0.992,
            client_processors: 0.25,
            layers: [(Layer::Memory, 600), (Layer::Redis, 100), (Layer::Loader, 300)].into(),
            failures: Vec::new(),
        }
    }

    #[test]
    fn the_table_has_a_line_per_pass_with_shares_of_the_reads() {
        let passes = Passes { warm: Vec::new(), harder: Vec::new(), near: vec![pass()] };
        let table = table(&passes);
        let line = table.lines().last().unwrap();
        let cells: Vec<&str> = line.split_whitespace().skip(3).collect();
        assert_eq!(cells, ["500", "0.50", "2.25", "9.00", "310", "99.2%", "–", "60.0%", "10.0%", "30.0%"]);
    }
}
