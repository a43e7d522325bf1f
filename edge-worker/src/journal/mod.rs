//! The edge journal: the list of invalidations that all data centres share.
//!
//! One Durable Object holds it and numbers its records. An isolate holds a [`snapshot`] of it, and
//! refreshes that at the intervals of [`timing`]. Everything here is pure; `runtime::journal`
//! fetches the snapshot, and `runtime::journal_object` is the object.

pub mod snapshot;
pub mod timing;

use std::time::SystemTime;

use shared_keys::purge::PurgeMessage;
use shared_keys::{Mode, Position, Record, ScopeHash, Seq, Stamp};

use crate::time::unix_ms;

/// The journal object's answer to an accepted purge message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The number of records in the message.
    pub accepted: usize,
    /// The journal number of the last of them.
    pub seq: u64,
}

impl Appended {
    /// Returns the text `<accepted> <seq>`.
    pub fn to_text(self) -> String {
        format!("{} {}", self.accepted, self.seq)
    }

    /// Parses the text that [`to_text`](Self::to_text) returns.
    pub fn parse(text: &str) -> Option<Self> {
        let (accepted, seq) = text.split_once(' ')?;
        Some(Self { accepted: accepted.parse().ok()?, seq: seq.parse().ok()? })
    }
}

/// The journal object's answer to targets that an unsafe request invalidated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetsAppended {
    /// The journal number of the last record; the others have the numbers before it.
    pub seq: u64,
    /// The last number that any of the targets had before; 0 without one.
    pub previous: u64,
}

impl TargetsAppended {
    /// Returns the text `<seq> <previous>`.
    pub fn to_text(self) -> String {
        format!("{} {}", self.seq, self.previous)
    }

    /// Parses the text that [`to_text`](Self::to_text) returns.
    pub fn parse(text: &str) -> Option<Self> {
        let (seq, previous) = text.split_once(' ')?;
        Some(Self { seq: seq.parse().ok()?, previous: previous.parse().ok()? })
    }
}

/// Returns the journal's records for targets that an unsafe request invalidated, the last of which
/// has the number `last_seq`.
pub fn target_records(targets: &[ScopeHash], last_seq: u64) -> impl Iterator<Item = Record> {
    let first_seq = (last_seq + 1).saturating_sub(targets.len() as u64);
    targets.iter().zip(first_seq..).map(|(target, seq)| Record {
        scope: *target,
        mode: Mode::Remove,
        stamp: Stamp::edge(Seq(seq)),
    })
}

/// Returns the stamp of a record that is read at `now`. An origin position that is ahead of the
/// clock counts as none: the record covers what was fetched before it, and not all until then.
pub fn record_stamp(stamp: Stamp, now: SystemTime) -> Stamp {
    Stamp { origin: stamp.origin.filter(|position| !position.is_ahead_of(unix_ms(now))), ..stamp }
}

/// Returns the position of a response that was received at `received`. A position that is ahead of
/// the clock counts as the one before every record: no record would cover the response until then.
pub fn response_position(position: Position, received: SystemTime) -> Position {
    if position.is_ahead_of(unix_ms(received)) { Position::ZERO } else { position }
}

/// Returns the journal's records for a message that was received at `now`, and whose last record
/// has the number `last_seq`.
///
/// Each record of the message gets the next number, and one journal record for each hash that a
/// stored response may carry for its scope (see
/// [`Scope::edge_hashes`](shared_keys::Scope::edge_hashes)).
pub fn numbered_records(
    message: &PurgeMessage,
    last_seq: u64,
    now: SystemTime,
) -> impl Iterator<Item = Record> {
    let first_seq = (last_seq + 1).saturating_sub(message.records.len() as u64);
    message.records.iter().zip(first_seq..).flat_map(move |(record, seq)| {
        let stamp = record_stamp(Stamp { origin: record.position, edge: Some(Seq(seq)) }, now);
        record.scope.edge_hashes().into_iter().map(move |scope| Record { scope, mode: record.mode, stamp })
    })
}

#[cfg(test)]
mod tests {
    use shared_keys::Scope;

    use super::*;
    use crate::policy::testing::at;

    #[test]
    fn a_position_from_the_future_counts_as_none() {
        let message =
            br#"{"v":1,"records":[{"scope":"tag:a","mode":"remove","position":"9000000000000-0"}]}"#;
        let message = PurgeMessage::parse(message).unwrap();
        let stamp = numbered_records(&message, 7, at(1_763_900_000)).next().unwrap().stamp;
        assert_eq!(stamp, Stamp::edge(Seq(7)));
        let ahead = Position::new(1_763_900_000_000 + 86_400_001, 0);
        assert_eq!(response_position(ahead, at(1_763_900_000)), Position::ZERO);
        assert_eq!(response_position(ahead, at(1_763_900_001)), ahead);
    }

    #[test]
    fn an_answer_parses_back() {
        let appended = Appended { accepted: 2, seq: 1_763_900_000_007 };
        assert_eq!(appended.to_text(), "2 1763900000007");
        assert_eq!(Appended::parse(&appended.to_text()), Some(appended));
        assert_eq!(["", "2", "2 x", "x 7"].map(Appended::parse), [None; 4]);
    }

    #[test]
    fn records_are_numbered_in_their_order_and_the_last_has_the_last_number() {
        let message = br#"{"v":1,"records":[{"scope":"tag:a","mode":"remove","position":"9-1"},
            {"scope":"all","mode":"expire"}]}"#;
        let message = PurgeMessage::parse(message).unwrap();
        let records: Vec<Record> = numbered_records(&message, 107, at(100)).collect();
        let of = |scope: &str, seq| {
            records.iter().find(|record| {
                record.scope == scope.parse::<Scope>().unwrap().hash() && record.stamp.edge == Some(Seq(seq))
            })
        };
        let (first, last) = (of("tag:a", 106).unwrap(), of("all", 107).unwrap());
        assert_eq!((first.mode, first.stamp.origin), (Mode::Remove, Some(Position::new(9, 1))));
        assert_eq!((last.mode, last.stamp.origin), (Mode::Expire, None));
        let hashes: usize = message.records.iter().map(|record| record.scope.edge_hashes().len()).sum();
        assert_eq!(records.len(), hashes);
    }
}
