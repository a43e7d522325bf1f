//! Positions, stamps and records have one text each, and the validity rule agrees with a search
//! through every record.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared_keys::{Applied, Mode, Position, Record, Scope, Stamp, Verdict};

fuzz_target!(|text: &str| {
    if let Ok(position) = text.parse::<Position>() {
        assert_eq!(position.to_string(), text);
        assert_eq!(Position::from_bytes(position.to_bytes()), position);
    }
    // A line is a record. The entry has the first record's scope, and was loaded at the last one's
    // stamp.
    let parsed = text.lines().map(|line| (line, line.parse::<Record>()));
    let mut records = Vec::new();
    for (line, record) in parsed {
        if let Ok(record) = record {
            assert_eq!(record.to_string(), line);
            records.push(record);
        }
    }
    let (Some(first), Some(last)) = (records.first(), records.last()) else { return };
    let (scope, loaded_at) = (first.scope, last.stamp);
    let mut applied = Applied::new(1000);
    let mut small = Applied::new(2);
    let mut expected = Verdict::Valid;
    for record in &records {
        applied.apply(*record);
        small.apply(*record);
        if (record.scope == scope || record.scope == Scope::All.hash()) && is_after(record.stamp, loaded_at) {
            expected =
                expected.max(if record.mode == Mode::Remove { Verdict::Removed } else { Verdict::Expired });
        }
    }
    assert_eq!(applied.verdict([scope], loaded_at), expected);
    assert!(
        small.verdict([scope], loaded_at) >= expected,
        "what is forgotten makes entries invalid, never valid"
    );
});

/// Compares stamps in the two orders.
fn is_after(record: Stamp, loaded_at: Stamp) -> bool {
    match (record.origin, loaded_at.origin) {
        (Some(record), Some(loaded_at)) => record > loaded_at,
        _ => match (record.edge, loaded_at.edge) {
            (Some(record), loaded_at) => record > loaded_at.unwrap_or_default(),
            (None, _) => true,
        },
    }
}
