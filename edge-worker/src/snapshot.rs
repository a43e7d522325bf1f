//! The edge journal as it travels and as an isolate holds it. Pure: `journal` fetches it, `journal_object` makes it.
//!
//! The journal object answers `GET /snapshot` with text, newest record first, and with `?window=SECONDS` leaves out what is
//! older than that:
//!
//! ```text
//! strata-journal 1 <first> <after> <seq>
//! floor <seq> [<origin position>]                      one or two, a `Stamp` each
//! <scope> <remove|expire> <seq> [<origin position>]    a `Record`
//! ```
//!
//! `first` is the number that the object began to count at: an object that lost its storage begins at a higher one, and
//! what an isolate knew of the other is then dropped. Records up to `after` are left out, `seq` is up to where this text is
//! complete. Records are compacted: per scope and mode the last with an origin position and
//! the last without, which is all that [`Applied`] keeps of them. A floor stands for records that were dropped, and for all
//! that might have been before `first`.

use std::time::{Duration, SystemTime};

use shared_keys::{Applied, Record, Seq, Stamp};

use crate::error::{Error, ErrorKind};

/// The version of the text.
const VERSION: &str = "1";

/// Records that the object keeps; beyond it the older quarter goes and the floor rises.
pub const MAX_RECORDS: usize = 10_000;

/// Scopes that an isolate keeps: more than the object, so that the isolate never forgets what the object still knows.
const MAX_SCOPES: usize = 2 * MAX_RECORDS;

/// How far back the recent records reach that an isolate asks for: over all that one that is refreshed in time can have
/// missed, and over the age that a shared text of either kind can have.
#[must_use]
pub fn recent_window(max_lag: Duration) -> Duration {
    2 * max_lag + Duration::from_secs(5)
}

/// A snapshot as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotText {
    /// Where the object began to count.
    pub first: Seq,
    /// Records up to here are left out; [`Self::first`] if none are.
    pub after: Seq,
    /// Complete up to here.
    pub seq: Seq,
    /// What stands for dropped records.
    pub floors: Vec<Stamp>,
    /// The records, newest first.
    pub records: Vec<Record>,
}

impl SnapshotText {
    /// The text form.
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

    /// Whether it leaves out nothing that somebody lacks who knows the journal that began at `first` up to `seq`.
    #[must_use]
    pub fn follows(&self, first: Seq, seq: Seq) -> bool {
        self.first == first && self.after <= seq
    }

    /// The snapshot that a text is.
    ///
    /// # Errors
    /// [`ErrorKind::Journal`] with the line that could not be read.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut lines = text.lines();
        let head = lines.next().unwrap_or_default();
        let (first, after, seq) = parse_head(head).ok_or_else(|| unreadable(head))?;
        let mut snapshot = Self { first, after, seq, floors: Vec::new(), records: Vec::new() };
        for line in lines {
            if let Some(stamp) = line.strip_prefix("floor ") {
                snapshot.floors.push(stamp.parse().map_err(|_| unreadable(line))?);
            } else {
                snapshot.records.push(line.parse().map_err(|_| unreadable(line))?);
            }
        }
        Ok(snapshot)
    }
}

/// What an isolate knows of the journal.
#[derive(Debug)]
pub struct Snapshot {
    first: Seq,
    seq: Seq,
    applied: Applied,
    known_at: SystemTime,
}

impl Snapshot {
    /// What a first text says; `None` if it leaves records out.
    pub fn new(text: &SnapshotText, asked_at: SystemTime) -> Option<Self> {
        if text.after != text.first {
            return None;
        }
        let mut snapshot =
            Self { first: text.first, seq: text.seq, applied: Applied::new(MAX_SCOPES), known_at: asked_at };
        snapshot.take_in(text);
        Some(snapshot)
    }

    /// Takes in a later text that was asked for at `asked_at`; `false` if it does not follow on what is known, and the whole is needed.
    pub fn update(&mut self, text: &SnapshotText, asked_at: SystemTime) -> bool {
        if !text.follows(self.first, self.seq) {
            return match Self::new(text, asked_at) {
                Some(other) => {
                    *self = other;
                    true
                }
                None => false,
            };
        }
        self.take_in(text);
        // A shared text can be older than what is known: then nothing is new, and it is complete all the same.
        self.seq = self.seq.max(text.seq);
        self.known_at = self.known_at.max(asked_at);
        true
    }

    /// Applies a record ahead of the text that will bring it. What is complete grows only if the record is the very next.
    pub fn apply(&mut self, record: Record) {
        self.applied.apply(record);
        if let Some(next) = self.seq.0.checked_add(1).map(Seq)
            && record.stamp.edge == Some(next)
        {
            self.seq = next;
        }
    }

    /// The records.
    pub fn applied(&self) -> &Applied {
        &self.applied
    }

    /// Up to where all records are known: what a fetch that starts now is stamped with.
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// How long ago the records were known to be all; for ever if the clock was set back since, so that they are asked for.
    pub fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.known_at).unwrap_or(Duration::MAX)
    }

    fn take_in(&mut self, text: &SnapshotText) {
        for floor in &text.floors {
            self.applied.raise_floor(*floor);
        }
        for record in &text.records {
            self.applied.apply(*record);
        }
    }
}

fn parse_head(line: &str) -> Option<(Seq, Seq, Seq)> {
    let parts: Vec<&str> = line.split(' ').collect();
    let ["strata-journal", VERSION, first, after, seq] = parts[..] else { return None };
    let (first, after, seq) = (first.parse().ok()?, after.parse().ok()?, seq.parse().ok()?);
    // What is complete up to before where it begins would let an isolate take it for another journal, and drop what it knows.
    (first <= after && after <= seq).then_some((Seq(first), Seq(after), Seq(seq)))
}

fn unreadable(line: &str) -> Error {
    let shown: String = line.chars().take(64).collect();
    Error::new(ErrorKind::Journal, format!("expected a line of a version {VERSION} journal snapshot, got {shown:?}"))
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
        SnapshotText { first: Seq(100), after: Seq(after), seq: Seq(seq), floors: vec![stamp(100, None)], records }
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
    fn an_entry_from_before_the_journal_counts_as_removed() {
        let snapshot = Snapshot::new(&text(100, 100, vec![]), at(0)).unwrap();
        assert_eq!(snapshot.applied().verdict([TAG], stamp(99, None)), Verdict::Removed);
        assert_eq!(snapshot.applied().verdict([TAG], stamp(100, None)), Verdict::Valid);
    }

    #[test]
    fn an_update_adds_what_is_new() {
        let mut snapshot = Snapshot::new(&text(100, 105, vec![]), at(10)).unwrap();
        assert!(snapshot.update(&text(105, 106, vec![record(106, None)]), at(20)));
        assert_eq!((snapshot.seq(), snapshot.age(at(21)).as_secs()), (Seq(106), 1));
        assert_eq!(snapshot.age(at(19)), Duration::MAX, "a clock that went back proves nothing");
        assert_eq!(snapshot.applied().verdict([TAG], stamp(105, None)), Verdict::Removed);
    }

    #[test]
    fn a_shared_text_older_than_what_is_known_takes_nothing_back() {
        let mut snapshot = Snapshot::new(&text(100, 106, vec![record(106, None)]), at(10)).unwrap();
        assert!(snapshot.update(&text(100, 105, vec![]), at(20)));
        assert_eq!(snapshot.seq(), Seq(106));
        assert_eq!(snapshot.applied().verdict([TAG], stamp(105, None)), Verdict::Removed);
    }

    #[test]
    fn a_record_applied_ahead_completes_what_is_known_only_without_a_gap() {
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
    fn a_journal_that_began_again_removes_what_came_before_it() {
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
    fn a_text_whose_numbers_contradict_each_other_is_refused() {
        for (head, is_read) in
            [("100 100 100", true), ("100 103 106", true), ("100 100 10", false), ("100 99 106", false)]
        {
            assert_eq!(SnapshotText::parse(&format!("strata-journal 1 {head}\n")).is_ok(), is_read, "{head}");
        }
    }

    #[test]
    fn the_last_number_of_all_has_none_after_it() {
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
