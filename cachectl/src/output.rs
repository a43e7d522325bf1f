//! The output: a report as text or JSON, and an exit code.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

/// A command's outcome; any error ends as [`Exit::Failed`].
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The exit status, for scripts. [`EXIT_CODES`] lists the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    Failed,
    NotServable,
    Unconfirmed,
    CheckFailed,
}

pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  success
  1  failure: Redis or the edge is unreachable, or a setting is invalid
  2  invalid arguments
  3  inspect: no entry is stored under the key, or it may not be served
  4  purge --wait: timed out before every target confirmed; the purge is in the journal and will be shipped
  5  verify: a check failed";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::NotServable => 3,
            Exit::Unconfirmed => 4,
            Exit::CheckFailed => 5,
        })
    }
}

/// The writer of reports to the standard output.
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Prints a report and flushes it.
    pub(crate) fn print(&mut self, report: &(impl Serialize + Display)) -> Result<()> {
        let text = if self.json { serde_json::to_string(report)? } else { report.to_string() };
        let mut out = io::stdout().lock();
        writeln!(out, "{}", text.trim_end())?;
        Ok(out.flush()?)
    }
}

/// Returns whether the reader of the output has closed the pipe.
pub(crate) fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Formats a duration in milliseconds, seconds, minutes or hours, by its size.
pub(crate) fn human_ms(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{:.1} s", ms as f64 / 1e3),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{:.1} h", ms as f64 / 3.6e6),
    }
}
