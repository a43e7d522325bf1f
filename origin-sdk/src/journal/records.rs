//! The division of an invalidation into records of bounded size.

use shared_keys::Scope;

/// The most scopes of one record, which Redis appends in about a millisecond.
const MAX_SCOPES: usize = 500;
/// The size of one record's scopes as text, in bytes. A single longer scope is a record of its own.
const MAX_BYTES: usize = 64 << 10;

/// Divides the scopes of an invalidation into records that are appended one by one, so that no
/// command takes the store long, however many scopes there are.
pub(crate) fn records(mut scopes: &[Scope]) -> impl Iterator<Item = &[Scope]> {
    std::iter::from_fn(move || {
        let (record, rest) = scopes.split_at(record_len(scopes));
        scopes = rest;
        (!record.is_empty()).then_some(record)
    })
}

/// Returns how many of the first scopes fit into one record: at least one, if there is one.
fn record_len(scopes: &[Scope]) -> usize {
    let mut bytes = 0;
    let fits = |scope: &&Scope| {
        bytes += scope.to_string().len();
        bytes <= MAX_BYTES
    };
    let fitting = scopes.iter().take(MAX_SCOPES).take_while(fits).count();
    fitting.max(1).min(scopes.len())
}

#[cfg(test)]
mod tests {
    use shared_keys::Tag;

    use super::*;

    fn lengths(scopes: &[Scope]) -> Vec<usize> {
        let lengths = records(scopes).map(<[_]>::len).collect::<Vec<_>>();
        assert_eq!(records(scopes).flatten().count(), scopes.len());
        lengths
    }

    #[test]
    fn a_record_is_bounded_by_its_scopes_and_by_their_bytes() {
        let tags = |count, width: usize| -> Vec<Scope> {
            (0..count).map(|n| Scope::Tag(Tag::new(&format!("{n:0width$}")).unwrap())).collect()
        };
        assert_eq!(lengths(&[]), [0; 0]);
        assert_eq!(lengths(&tags(1, 5)), [1]);
        assert_eq!(lengths(&tags(1_200, 5)), [500, 500, 200]);
        // `tag:` and 1,020 bytes are 1 KiB.
        assert_eq!(lengths(&tags(100, 1_020)), [64, 36]);
    }
}
