//! The measurements as a table.

use edge_worker::journal::snapshot::MAX_RECORDS;

use crate::planet::Measurements;

/// Prints one column per simulation.
pub(crate) fn print(measured: &[(u32, Measurements)]) {
    row("purges/s", measured, |purges, _| purges.to_string());
    row("reads/s of the object: recent", measured, |_, measured| rate(measured.reads_recent, measured));
    row("                       whole", measured, |_, measured| rate(measured.reads_whole, measured));
    row("refreshes from shared texts", measured, |_, measured| {
        let all = measured.shared + measured.reads_recent;
        format!("{:.1}%", 100.0 * measured.shared as f64 / all.max(1) as f64)
    });
    row("text: median, KB", measured, |_, measured| kilobytes(measured.text_bytes.value_at_quantile(0.5)));
    row("      largest, KB", measured, |_, measured| kilobytes(measured.text_bytes.max()));
    row("object sends, MB/s", measured, |_, measured| {
        format!("{:.1}", measured.sent_bytes as f64 / measured.secs / 1e6)
    });
    row("object busy", measured, |_, measured| format!("{:.0}%", 100.0 * measured.busy));
    row("reads without an answer in 2 s", measured, |_, measured| rate(measured.timeouts, measured) + "/s");
    row("purge to isolate: median, s", measured, |_, measured| {
        seconds(measured.purge_to_isolate.value_at_quantile(0.5))
    });
    row("                  p99, s", measured, |_, measured| {
        seconds(measured.purge_to_isolate.value_at_quantile(0.99))
    });
    row("                  last, s", measured, |_, measured| seconds(measured.purge_to_isolate.max()));
    row("floor: responses live at most, s", measured, |purges, _| {
        format!("{:.1}", MAX_RECORDS as f64 * 0.75 / f64::from(purges))
    });
}

fn row(name: &str, measured: &[(u32, Measurements)], cell: impl Fn(u32, &Measurements) -> String) {
    let cells: String =
        measured.iter().map(|(purges, measured)| format!("{:>12}", cell(*purges, measured))).collect();
    println!("{name:<36}{cells}");
}

fn rate(count: u64, measured: &Measurements) -> String {
    format!("{:.1}", count as f64 / measured.secs)
}

fn kilobytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1000.0)
}

fn seconds(micros: u64) -> String {
    format!("{:.2}", micros as f64 / 1e6)
}
