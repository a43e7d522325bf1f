//! `cachectl journal tail`

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use clap::Subcommand;
use origin_sdk::Position;
use origin_sdk::admin::JournalRecord;
use serde::Serialize;

use crate::output::{Exit, Output, Result, printable};
use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum Journal {
    /// Print the last records, oldest first
    Tail {
        /// Number of records
        #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
        lines: usize,
        /// Continue with new records until interrupted
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
            records = admin.records_after(last).await?;
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
