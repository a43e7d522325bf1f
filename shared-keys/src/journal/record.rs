//! Invalidation records, and their stamps in the journals of origin and edge.

use core::fmt;
use core::str::FromStr;

use super::Position;
use super::position::decimal;
use crate::{ParseError, ScopeHash};

/// A number in the edge's journal, which counts the records in their order of arrival there.
///
/// ```
/// assert!(shared_keys::Seq(2) > shared_keys::Seq::default());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Seq(pub u64);

/// The effect of a record on the entries that it covers.
///
/// ```
/// # extern crate shared_keys as origin_sdk;
/// use origin_sdk::Mode;
/// assert_eq!("expire".parse(), Ok(Mode::Expire));
/// assert_eq!(Mode::Remove.as_str(), "remove");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// The entries are never served again.
    Remove,
    /// The entries are stale: they are served only where stale entries are allowed.
    Expire,
}

impl Mode {
    /// Returns `remove` or `expire`, as written in the journal and in purge messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Remove => "remove",
            Self::Expire => "expire",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Mode {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "remove" => Ok(Self::Remove),
            "expire" => Ok(Self::Expire),
            _ => Err(ParseError::new("`remove` or `expire`", 0, text)),
        }
    }
}

/// A place in the journals: the place of a record, or the state that had been applied before an
/// entry began to load.
///
/// The origin's layers use only `origin`. At the edge a record always has `edge`, and has `origin`
/// if it came from the SDK. An entry at the edge likewise has `origin` if its response carried
/// `Strata-Position`.
///
/// The text form is the edge's number, or `-` for none, followed by a space and the origin's
/// position if there is one.
///
/// ```
/// use shared_keys::{Position, Seq, Stamp};
/// let stamp = Stamp { origin: Some(Position::new(1_763_900_000_000, 0)), edge: Some(Seq(7)) };
/// assert_eq!(stamp.to_string(), "7 1763900000000-0");
/// assert_eq!("7".parse(), Ok(Stamp::edge(Seq(7))));
/// assert_eq!("- 5-0".parse(), Ok(Stamp::origin(Position::new(5, 0))));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// The place in the origin's journal.
    pub origin: Option<Position>,
    /// The place in the edge's journal.
    pub edge: Option<Seq>,
}

impl Stamp {
    /// Creates a stamp with a place in the origin's journal only.
    #[must_use]
    pub const fn origin(position: Position) -> Self {
        Self { origin: Some(position), edge: None }
    }

    /// Creates a stamp with a place in the edge's journal only.
    #[must_use]
    pub const fn edge(seq: Seq) -> Self {
        Self { origin: None, edge: Some(seq) }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.edge {
            Some(Seq(number)) => write!(f, "{number}")?,
            None => f.write_str("-")?,
        }
        match self.origin {
            Some(position) => write!(f, " {position}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Stamp {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (number, position) =
            text.split_once(' ').map_or((text, None), |(number, rest)| (number, Some(rest)));
        let edge = match number {
            "-" => None,
            _ => {
                Some(Seq(decimal(number).ok_or_else(|| ParseError::new("a decimal number or `-`", 0, text))?))
            }
        };
        let origin = position.map(|position| part(text, number.len() + 1, position)).transpose()?;
        Ok(Self { origin, edge })
    }
}

/// One invalidation, in the form that layers apply.
///
/// The text form is the scope's hash, the mode and the stamp: one line of the edge journal's
/// snapshot, version 1.
///
/// ```
/// use shared_keys::{Mode, Record, ScopeHash, Seq, Stamp};
/// let record = Record { scope: ScopeHash(1), mode: Mode::Expire, stamp: Stamp::edge(Seq(108)) };
/// assert_eq!(record.to_string(), "0000000000001 expire 108");
/// assert_eq!("0000000000001 expire 108".parse(), Ok(record));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// The scope that the record covers.
    pub scope: ScopeHash,
    /// The effect on the entries in the scope.
    pub mode: Mode,
    /// The place in the journals.
    pub stamp: Stamp,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.scope, self.mode, self.stamp)
    }
}

impl FromStr for Record {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let expected =
            || ParseError::new("a scope's hash, a mode and a stamp between spaces", text.len(), text);
        let (scope, rest) = text.split_once(' ').ok_or_else(expected)?;
        let (mode, stamp) = rest.split_once(' ').ok_or_else(expected)?;
        let mode_at = scope.len() + 1;
        Ok(Self {
            scope: part(text, 0, scope)?,
            mode: part(text, mode_at, mode)?,
            stamp: part(text, mode_at + mode.len() + 1, stamp)?,
        })
    }
}

/// Parses the part of `text` that begins at the byte `at`. An error counts its bytes from the
/// beginning of `text`.
fn part<T: FromStr<Err = ParseError>>(text: &str, at: usize, part: &str) -> Result<T, ParseError> {
    part.parse().map_err(|cause: ParseError| ParseError::new(cause.expected(), at + cause.at(), text))
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_error_says_where_in_the_whole_text_what_was_expected() {
        for (text, at, expected) in [
            ("", 0, "a scope's hash, a mode"),
            ("0000000000001 remove", 20, "a scope's hash, a mode"),
            ("000000000000U remove 1", 12, "13 characters"),
            ("0000000000001 drop 1", 14, "`remove` or `expire`"),
            ("0000000000001 remove 01", 21, "a decimal number or `-`"),
            ("0000000000001 remove 1 5", 24, "`-` between"),
            ("0000000000001 remove 1 5-x", 25, "a decimal number"),
        ] {
            let error = text.parse::<Record>().unwrap_err();
            assert_eq!(error.at(), at, "{error}");
            assert!(error.expected().starts_with(expected), "{error}");
        }
    }

    proptest! {
        #[test]
        fn a_record_prints_and_parses_back(scope: u64, remove: bool, edge: Option<u64>, origin: Option<(u64, u64)>) {
            let stamp = Stamp { edge: edge.map(Seq), origin: origin.map(|(ms, seq)| Position::new(ms, seq)) };
            let mode = if remove { Mode::Remove } else { Mode::Expire };
            let record = Record { scope: ScopeHash(scope), mode, stamp };
            prop_assert_eq!(record.to_string().parse(), Ok(record));
        }

        #[test]
        fn a_record_has_one_text(text in "0[0-9a-z]{12} (remove|expire) [0-9+-]{1,3}( [0-9]{1,2}-[0-9]{1,2} ?)?") {
            if let Ok(record) = text.parse::<Record>() {
                prop_assert_eq!(record.to_string(), text);
            }
        }
    }
}
