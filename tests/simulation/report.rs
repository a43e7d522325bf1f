//! What was seen, as a table.

use edge_worker::journal::snapshot::MAX_RECORDS;

use crate::planet::Seen;

/// Prints a column per simulation.
pub(crate) fn print(seen: &[(u32, Seen)]) {
    row("purges/s", seen, |purges, _| purges.to_string());
    row("questions/s at the object: recent", seen, |_, seen| rate(seen.asked_recent, seen));
    row("                           whole", seen, |_, seen| rate(seen.asked_whole, seen));
    row("refreshes answered in the colo", seen, |_, seen| {
        let all = seen.shared + seen.asked_recent;
        format!("{:.1}%", 100.0 * seen.shared as f64 / all.max(1) as f64)
    });
    row("text: median KB", seen, |_, seen| kilobytes(seen.text_bytes.value_at_quantile(0.5)));
    row("      largest KB", seen, |_, seen| kilobytes(seen.text_bytes.max()));
    row("object sends MB/s", seen, |_, seen| format!("{:.1}", seen.sent_bytes as f64 / seen.secs / 1e6));
    row("object busy", seen, |_, seen| format!("{:.0}%", 100.0 * seen.busy));
    row("questions not answered in 2 s", seen, |_, seen| rate(seen.timeouts, seen) + "/s");
    row("purge to isolate: median s", seen, |_, seen| seconds(seen.purge_to_isolate.value_at_quantile(0.5)));
    row("                  p99 s", seen, |_, seen| seconds(seen.purge_to_isolate.value_at_quantile(0.99)));
    row("                  last s", seen, |_, seen| seconds(seen.purge_to_isolate.max()));
    row("floor: entries live at most s", seen, |purges, _| {
        format!("{:.1}", MAX_RECORDS as f64 * 0.75 / f64::from(purges))
    });
}

fn row(name: &str, seen: &[(u32, Seen)], cell: impl Fn(u32, &Seen) -> String) {
    let cells: String = seen.iter().map(|(purges, seen)| format!("{:>12}", cell(*purges, seen))).collect();
    println!("{name:<36}{cells}");
}

fn rate(count: u64, seen: &Seen) -> String {
    format!("{:.1}", count as f64 / seen.secs)
}

fn kilobytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1000.0)
}

fn seconds(micros: u64) -> String {
    format!("{:.2}", micros as f64 / 1e6)
}
