//! The edge journal's snapshot, and its update in an isolate.
#![no_main]

use std::time::UNIX_EPOCH;

use edge_worker::journal::snapshot::{Snapshot, SnapshotText};
use libfuzzer_sys::fuzz_target;
use shared_keys::Verdict;

// Two snapshots with an empty line between them: the known one and its update.
fuzz_target!(|text: &str| {
    let (known, next) = text.split_once("\n\n").unwrap_or((text, ""));
    let Some(known) = parse(known) else { return };
    let Some(mut snapshot) = Snapshot::new(&known, UNIX_EPOCH) else { return };
    assert_eq!(snapshot.seq(), known.seq);
    let removed_before: Vec<_> = known.records.iter().map(|record| verdict(&snapshot, record)).collect();
    let Some(next) = parse(next) else { return };
    if snapshot.update(&next, UNIX_EPOCH) && next.first == known.first {
        assert!(snapshot.seq() >= known.seq, "nothing is taken back");
        let after = known.records.iter().map(|record| verdict(&snapshot, record));
        assert!(
            after.zip(removed_before).all(|(after, before)| after >= before),
            "nothing becomes valid again"
        );
    }
});

fn parse(text: &str) -> Option<SnapshotText> {
    let snapshot = SnapshotText::parse(text).ok()?;
    assert_eq!(
        SnapshotText::parse(&snapshot.render()).as_ref(),
        Ok(&snapshot),
        "what is printed parses back"
    );
    Some(snapshot)
}

/// Returns the verdict on an entry with the record's scope that was loaded before everything.
fn verdict(snapshot: &Snapshot, record: &shared_keys::Record) -> Verdict {
    snapshot.applied().verdict([record.scope], shared_keys::Stamp::default())
}
