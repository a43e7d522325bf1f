//! A snapshot of the edge journal: its text form, and an isolate's copy.
//!
//! The journal object answers `GET /snapshot` with text, newest record first. With
//! `?window=SECONDS` it omits older records:
//!
//! ```text
//! strata-journal 1 <first> <after> <seq>
//! floor <seq> [<origin position>]                      one or two, a `Stamp` each
//! <scope> <remove|expire> <seq> [<origin position>]    a `Record`
//! ```
//!
//! - `first` is the number at which the object began to count. An object that lost its storage
//!   begins at a higher number; an isolate then drops its copy of the former journal.
//! - Records up to `after` are omitted. The text is complete up to `seq`.
//! - Records are compacted: per scope and mode the last record with an origin position and the last
//!   without remain, which is all that [`Applied`] stores of them.
//! - A floor stands for the records that were dropped, and for all that may have existed before
//!   `first`.

use std::time::{Duration, SystemTime};

use shared_keys::{Applied, Record, Seq, Stamp};

use super::record_stamp;
use crate::error::{Error, ErrorKind};

/// The version of the text.
const VERSION: &str = "1";

/// The number of records that the journal object stores. Beyond it the object drops the older
/// quarter and raises the floor.
pub const MAX_RECORDS: usize = 10_000;

/// The number of scopes that an isolate stores: more than the object, so that an isolate never
/// forgets a record that the object still has.
const MAX_SCOPES: usize = 2 * MAX_RECORDS;

/// The parsed text of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotText {
    /// The number at which the object began to count.
    pub first: Seq,
    /// Records up to this number are omitted; equal to [`Self::first`] if none are.
    pub after: Seq,
    /// The text is complete up to this number.
    pub seq: Seq,
    /// The floors that stand for dropped records.
    pub floors: Vec<Stamp>,
    /// The records, newest first.
    pub records: Vec<Record>,
}

impl SnapshotText {
    /// Returns the text form.
    pub fn render(&self) -> String {
        let mut text = format!("strata-journal {VERSION} {} {} {}\n", self.first.0, self.after.0, self.seq.0);
        for floor in &self.floors {
            text += &format!("floor {floor}\n");
        }
        for record in &self.records {
            text += &format!("{record}\n");
        }
        text
    }

    /// Returns whether it connects to a copy of the journal that began at `first` and is complete
    /// up to `seq`: whether it omits no record that the copy lacks.
    #[must_use]
    pub fn connects_to(&self, first: Seq, seq: Seq) -> bool {
        self.first == first && self.after <= seq
    }

    /// Parses the text form.
    ///
    /// # Errors
    /// [`ErrorKind::Journal`] with the line that is invalid.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut lines = text.lines();
        let head = lines.next().unwrap_or_default();
        let (first, after, seq) = parse_head(head).ok_or_else(|| invalid_line(head))?;
        let mut snapshot = Self { first, after, seq, floors: Vec::new(), records: Vec::new() };
        for line in lines {
            if let Some(stamp) = line.strip_prefix("floor ") {
                snapshot.floors.push(stamp.parse().map_err(|_| invalid_line(line))?);
            } else {
                snapshot.records.push(line.parse().map_err(|_| invalid_line(line))?);
            }
        }
        Ok(snapshot)
    }
}

/// An isolate's copy of the journal.
#[derive(Debug)]
pub struct Snapshot {
    first: Seq,
    seq: Seq,
    applied: Applied,
    /// The time at which the copy was complete.
    complete_at: SystemTime,
}

impl Snapshot {
    /// Creates the copy from a text that was requested at `requested_at`; `None` if the text omits
    /// records.
    pub fn new(text: &SnapshotText, requested_at: SystemTime) -> Option<Self> {
        if text.after != text.first {
            return None;
        }
        let mut snapshot = Self {
            first: text.first,
            seq: text.seq,
            applied: Applied::new(MAX_SCOPES),
            complete_at: requested_at,
        };
        snapshot.apply_all(text, requested_at);
        Some(snapshot)
    }

    /// Updates the copy from a text that was requested at `requested_at`. Returns `false` if the
    /// text does not connect to the copy; the caller then needs the whole journal.
    pub fn update(&mut self, text: &SnapshotText, requested_at: SystemTime) -> bool {
        if !text.connects_to(self.first, self.seq) {
            return match Self::new(text, requested_at) {
                Some(other) => {
                    *self = other;
                    true
                }
                None => false,
            };
        }
        self.apply_all(text, requested_at);
        // A shared text can be older than the copy. It then adds nothing, and takes nothing away.
        self.seq = self.seq.max(text.seq);
        self.complete_at = self.complete_at.max(requested_at);
        true
    }

    /// Applies a record before a text contains it. The copy stays complete up to the same number,
    /// unless the record has the next one.
    pub fn apply(&mut self, record: Record) {
        self.applied.apply(record);
        if let Some(next) = self.seq.0.checked_add(1).map(Seq)
            && record.stamp.edge == Some(next)
        {
            self.seq = next;
        }
    }

    /// Returns the records.
    pub fn applied(&self) -> &Applied {
        &self.applied
    }

    /// Returns the number up to which the copy is complete. A fetch that starts now is stamped with
    /// it.
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// Returns the time since the copy was complete. If the clock was set back since, the age is
    /// [`Duration::MAX`], so that the copy is refreshed.
    pub fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.complete_at).unwrap_or(Duration::MAX)
    }

    fn apply_all(&mut self, text: &SnapshotText, requested_at: SystemTime) {
        for floor in &text.floors {
            self.applied.raise_floor(record_stamp(*floor, requested_at));
        }
        for record in &text.records {
            self.applied.apply(Record { stamp: record_stamp(record.stamp, requested_at), ..*record });
        }
    }
}

fn parse_head(line: &str) -> Option<(Seq, Seq, Seq)> {
    let parts: Vec<&str> = line.split(' ').collect();
    let ["strata-journal", VERSION, first, after, seq] = parts[..] else { return None };
    let (first, after, seq) = (first.parse().ok()?, after.parse().ok()?, seq.parse().ok()?);
    // With numbers out of order, an isolate would take the text for another journal and drop its
    // copy.
    (first <= after && after <= seq).then_some((Seq(first), Seq(after), Seq(seq)))
}

fn invalid_line(line: &str) -> Error {
    let shown: String = line.chars().take(64).collect();
    let message = format!(
        "expected a line of a version {VERSION} journal snapshot, got {shown:?}; deploy one version of the worker \
         everywhere"
    );
    Error::new(ErrorKind::Journal, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared_keys::{Mode, Position, Scope, ScopeHash, Verdict};

    use super::*;
    use crate::policy::testing::at;

    const TAG: ScopeHash = ScopeHash(1);

    fn stamp(seq: u64, origin: Option<u64>) -> Stamp {
        Stamp { edge: Some(Seq(seq)), origin: origin.map(|ms| Position::new(ms, 0)) }
    }

    fn record(seq: u64, origin: Option<u64>) -> Record {
        Record { scope: TAG, mode: Mode::Remove, stamp: stamp(seq, origin) }
    }

    fn text(after: u64, seq: u64, records: Vec<Record>) -> SnapshotText {
        SnapshotText {
            first: Seq(100),
            after: Seq(after),
            seq: Seq(seq),
            floors: vec![stamp(100, None)],
            records,
        }
    }

    #[test]
    fn a_row_or_floor_from_the_future_covers_only_what_was_fetched_before_it() {
        const FUTURE: Option<u64> = Some(9_000_000_000_000);
        let text = SnapshotText {
            floors: vec![stamp(103, FUTURE), stamp(100, None)],
            ..text(100, 109, vec![record(105, FUTURE)])
        };
        let snapshot = Snapshot::new(&text, at(1_763_900_000)).unwrap();
        let verdict = |seq| snapshot.applied().verdict([TAG], stamp(seq, Some(1_763_900_000_000)));
        assert_eq!((verdict(104), verdict(105)), (Verdict::Removed, Verdict::Valid));
    }

    #[test]
    fn the_text_of_version_1() {
        let snapshot = SnapshotText {
            floors: vec![stamp(105, Some(7)), stamp(103, None)],
            ..text(100, 109, vec![record(109, Some(9)), Record { mode: Mode::Expire, ..record(108, None) }])
        };
        let expected = "strata-journal 1 100 100 109\nfloor 105 7-0\nfloor 103\n\
            0000000000001 remove 109 9-0\n0000000000001 expire 108\n";
        assert_eq!(snapshot.render(), expected);
        assert_eq!(SnapshotText::parse(expected), Ok(snapshot));
    }

    #[test]
    fn a_response_from_before_the_journal_counts_as_removed() {
        let snapshot = Snapshot::new(&text(100, 100, vec![]), at(0)).unwrap();
        assert_eq!(snapshot.applied().verdict([TAG], stamp(99, None)), Verdict::Removed);
        assert_eq!(snapshot.applied().verdict([TAG], stamp(100, None)), Verdict::Valid);
    }

    #[test]
    fn an_update_adds_new_records() {
        let mut snapshot = Snapshot::new(&text(100, 105, vec![]), at(10)).unwrap();
        assert!(snapshot.update(&text(105, 106, vec![record(106, None)]), at(20)));
        assert_eq!((snapshot.seq(), snapshot.age(at(21)).as_secs()), (Seq(106), 1));
        assert_eq!(snapshot.age(at(19)), Duration::MAX, "the clock was set back");
        assert_eq!(snapshot.applied().verdict([TAG], stamp(105, None)), Verdict::Removed);
    }

    #[test]
    fn a_shared_text_older_than_the_copy_removes_no_record() {
        let mut snapshot = Snapshot::new(&text(100, 106, vec![record(106, None)]), at(10)).unwrap();
        assert!(snapshot.update(&text(100, 105, vec![]), at(20)));
        assert_eq!(snapshot.seq(), Seq(106));
        assert_eq!(snapshot.applied().verdict([TAG], stamp(105, None)), Verdict::Removed);
    }

    #[test]
    fn a_record_applied_early_advances_the_number_only_without_a_gap() {
        let mut snapshot = Snapshot::new(&text(100, 105, vec![]), at(10)).unwrap();
        snapshot.apply(record(107, None));
        assert_eq!(snapshot.seq(), Seq(105));
        assert_eq!(snapshot.applied().verdict([TAG], stamp(106, None)), Verdict::Removed);
        snapshot.apply(record(106, None));
        assert_eq!(snapshot.seq(), Seq(106));
    }

    #[test]
    fn a_text_with_a_gap_is_refused() {
        assert!(Snapshot::new(&text(103, 106, vec![]), at(10)).is_none());
        let mut snapshot = Snapshot::new(&text(100, 102, vec![]), at(10)).unwrap();
        assert!(!snapshot.update(&text(103, 106, vec![]), at(20)));
        assert_eq!((snapshot.seq(), snapshot.age(at(21)).as_secs()), (Seq(102), 11));
    }

    #[test]
    fn a_journal_that_lost_its_storage_removes_all_earlier_responses() {
        let mut snapshot = Snapshot::new(&text(100, 105, vec![]), at(10)).unwrap();
        let again = SnapshotText {
            first: Seq(900),
            after: Seq(900),
            seq: Seq(900),
            floors: vec![stamp(900, None)],
            records: vec![],
        };
        assert!(snapshot.update(&again, at(20)));
        assert_eq!(snapshot.seq(), Seq(900));
        assert_eq!(snapshot.applied().verdict([TAG], stamp(105, None)), Verdict::Removed);
        assert_eq!(snapshot.applied().verdict([Scope::All.hash()], stamp(900, None)), Verdict::Valid);
    }

    #[test]
    fn a_text_with_numbers_out_of_order_is_refused() {
        for (head, is_read) in
            [("100 100 100", true), ("100 103 106", true), ("100 100 10", false), ("100 99 106", false)]
        {
            assert_eq!(SnapshotText::parse(&format!("strata-journal 1 {head}\n")).is_ok(), is_read, "{head}");
        }
    }

    #[test]
    fn the_largest_number_does_not_overflow() {
        let mut snapshot = Snapshot::new(&text(100, u64::MAX, vec![]), at(10)).unwrap();
        snapshot.apply(record(0, None));
        assert_eq!(snapshot.seq(), Seq(u64::MAX));
    }

    proptest! {
        #[test]
        fn a_text_parses_back(
            records in proptest::collection::vec((any::<u64>(), any::<bool>(), any::<u64>(), proptest::option::of(any::<u64>())), 0..9),
        ) {
            let records = records.into_iter().map(|(scope, remove, seq, origin)| Record {
                scope: ScopeHash(scope),
                mode: if remove { Mode::Remove } else { Mode::Expire },
                stamp: stamp(seq, origin),
            });
            let snapshot = text(100, 105, records.collect());
            prop_assert_eq!(SnapshotText::parse(&snapshot.render()), Ok(snapshot));
        }

        #[test]
        fn hostile_text_never_panics(text in "(strata-journal 1 1 1 1\n)?[ -~\n]{0,60}") {
            let _ = SnapshotText::parse(&text);
        }
    }
}
