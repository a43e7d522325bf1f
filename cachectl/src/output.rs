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
  5  verify, doctor: a check failed";

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
        let mut out = io::stdout().lock();
        if self.json {
            writeln!(out, "{}", printable_json(serde_json::to_string(report)?))?;
        } else {
            for line in report.to_string().trim_end().lines() {
                writeln!(out, "{}", printable(line))?;
            }
        }
        Ok(out.flush()?)
    }
}

/// Escapes the characters of a foreign text that a terminal would obey or that would disguise the
/// text: control characters, line breaks, and marks that change the direction. A report applies it
/// to each value, so that a value cannot add lines to the report.
pub(crate) fn printable(value: impl Display) -> String {
    let value = value.to_string();
    if is_plain(&value) {
        return value;
    }
    let mut printable = String::new();
    for character in value.chars() {
        match character {
            '\'' | '"' | '\\' => printable.push(character),
            character => printable.extend(character.escape_debug()),
        }
    }
    printable
}

/// Escapes the same characters in JSON, where they can only be part of a string.
fn printable_json(json: String) -> String {
    if is_plain(&json) {
        return json;
    }
    let mut printable = String::new();
    for character in json.chars() {
        if character.is_ascii() && !character.is_ascii_control() || character.escape_debug().len() == 1 {
            printable.push(character);
        } else {
            let units = character
                .encode_utf16(&mut [0; 2])
                .iter()
                .map(|unit| format!("\\u{unit:04x}"))
                .collect::<String>();
            printable.push_str(&units);
        }
    }
    printable
}

/// Returns whether a text is printable ASCII, as almost all are: then there is nothing to escape.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// An escape sequence, its one-character form, a line break, and a mark that reverses text.
    const HOSTILE: &str = "a\u{1b}[2J\u{9b}2J\r\n\u{202e}\u{7f}é\\\"";

    #[test]
    fn text_contains_no_character_that_a_terminal_obeys() {
        let shown = printable(HOSTILE);
        assert_eq!(shown, r#"a\u{1b}[2J\u{9b}2J\r\n\u{202e}\u{7f}é\""#);
        assert_eq!(printable(&shown), shown);
    }

    #[test]
    fn json_contains_none_either_and_keeps_its_values() {
        let json = printable_json(serde_json::to_string(&[HOSTILE, "\u{e0001}"]).unwrap());
        assert!(json.chars().all(|character| !character.is_control() && character != '\u{202e}'), "{json}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&json).unwrap(), [HOSTILE, "\u{e0001}"]);
    }
}
