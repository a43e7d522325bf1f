//! `cachectl stats`

mod rows;
mod watch;

use std::fmt;
use std::time::Duration;

use clap::Args;
use origin_sdk::admin::{Admin, FleetReport};
use serde::Serialize;

use self::rows::{NamespaceRow, ProcessRow};
use crate::output::{Exit, Output, Result};
use crate::session::Session;

/// Sums the figures that the app's processes publish in Redis, per namespace: reads and the layer
/// that answered them, loads, errors, and how long reads and loads took. A process publishes its
/// own every 5 seconds. Without --over they count from the start of each process.
#[derive(Args)]
pub(crate) struct Stats {
    /// Wait, and count only what happens meanwhile; at least 10 seconds tell something
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    over: Option<u64>,
    /// Show the rates and their course in the terminal, until q is pressed
    #[arg(long, conflicts_with = "over")]
    watch: bool,
}

impl Stats {
    pub(crate) async fn run(self, session: &Session, output: &mut Output) -> Result<Exit> {
        let admin = session.admin(None).await?;
        if self.watch {
            return watch::run(&admin).await;
        }
        let fleet = match self.over {
            None => admin.fleet_report().await?,
            Some(seconds) => over(&admin, Duration::from_secs(seconds)).await?,
        };
        output.print(&Report::new(&fleet))?;
        Ok(Exit::Done)
    }
}

/// Returns what is counted in this time from now on.
async fn over(admin: &Admin, time: Duration) -> Result<FleetReport> {
    let before = admin.fleet_report().await?;
    tokio::time::sleep(time).await;
    Ok(admin.fleet_report().await?.since(&before))
}

#[derive(Serialize)]
struct Report {
    processes: Vec<ProcessRow>,
    namespaces: Vec<NamespaceRow>,
}

impl Report {
    fn new(fleet: &FleetReport) -> Self {
        Self { processes: ProcessRow::all(fleet), namespaces: NamespaceRow::all(fleet) }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.processes.is_empty() {
            return writeln!(
                f,
                "no process has published figures of late: it may not run, or report_interval is 0"
            );
        }
        write_table(f, &NamespaceRow::HEADS, self.namespaces.iter().map(NamespaceRow::cells))?;
        writeln!(f)?;
        write_table(f, &ProcessRow::HEADS, self.processes.iter().map(ProcessRow::cells))
    }
}

/// Writes rows under their heads: the first column to the left, figures to the right.
fn write_table<const N: usize>(
    f: &mut fmt::Formatter<'_>,
    heads: &[&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> fmt::Result {
    let rows: Vec<[String; N]> = std::iter::once(heads.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    rows.iter().try_for_each(|row| {
        write!(f, "{:<1$}", row[0], widths[0])?;
        row.iter().zip(widths).skip(1).try_for_each(|(cell, width)| write!(f, "  {cell:>width$}"))?;
        writeln!(f)
    })
}
