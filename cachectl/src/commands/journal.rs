//! `cachectl journal tail`

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use clap::Subcommand;
use origin_sdk::admin::{Admin, JournalRecord};
use origin_sdk::{AdminErrorKind, Position};
use serde::Serialize;

use crate::output::{Exit, Output, Result, printable};
use crate::session::Session;

/// The pause between attempts to read from a Redis that fails.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Subcommand)]
pub(crate) enum Journal {
    /// Print the last records, oldest first
    Tail {
        /// Number of records
        #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
        lines: usize,
        /// Continue with new records until interrupted, also after Redis has failed
        #[arg(short, long)]
        follow: bool,
    },
}

impl Journal {
    pub(crate) async fn run(self, session: &Session, output: &mut Output) -> Result<Exit> {
        let Self::Tail { lines, follow } = self;
        let admin = session.admin(None).await?;
        let mut records = admin.last_records(lines.max(1)).await?;
        let mut last = records.last().map_or(Position::ZERO, |record| record.position);
        if lines == 0 {
            records.clear();
        }
        loop {
            for record in records {
                last = record.position;
                output.print(&Line(record))?;
            }
            if !follow {
                return Ok(Exit::Done);
            }
            records = records_after(&admin, last).await?;
        }
    }
}

/// Returns the first records after `last`. While Redis fails, tries again, so that a tail that runs
/// beside an incident survives it.
async fn records_after(admin: &Admin, last: Position) -> Result<Vec<JournalRecord>> {
    let mut reported = String::new();
    loop {
        match admin.records_after(last).await {
            Err(error) if error.kind() == AdminErrorKind::Store => {
                let error = error.to_string();
                if error != reported {
                    eprintln!("trying again: {}", printable(&error));
                    reported = error;
                }
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
            records => return Ok(records?),
        }
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Line(JournalRecord);

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let JournalRecord { position, mode, scopes, .. } = &self.0;
        // Leave the time empty if it is out of range: any client can write such a position to
        // Redis.
        let at = UNIX_EPOCH.checked_add(Duration::from_millis(position.ms()));
        let at = at.filter(|at| *at < UNIX_EPOCH + Duration::from_secs(1 << 35)).map(httpdate::fmt_http_date);
        write!(f, "{position}  {}  {:<6}", at.unwrap_or_default(), mode.as_str())?;
        scopes.iter().try_for_each(|scope| write!(f, " {}", printable(scope)))
    }
}
