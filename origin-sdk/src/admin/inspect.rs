//! The inspection of one key: the stored entry, and the journal's verdict on it.

use std::time::Duration;

use serde::Serialize;
use shared_keys::{Applied, Mode, Position, Scope, Stamp, Verdict};

use super::{all_as_text, as_text, mode_as_text};
use crate::codec;
use crate::error::AdminError;
use crate::store::{FeedRecord, RedisStore};

/// The state of a key in Redis, and the journal's verdict on it.
///
/// Copies in the memory of processes are not included. They obey the same rule but cannot be read
/// from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// The key.
    pub key: String,
    /// The stored entry; `None` if Redis holds none, or a value of another format.
    pub entry: Option<StoredEntry>,
    /// The scopes of the key and of the entry. A record of any of them covers the entry.
    #[serde(serialize_with = "all_as_text")]
    pub scopes: Vec<Scope>,
    /// The last record of each of these scopes that the journal's ledger holds, latest first.
    pub records: Vec<CoveringRecord>,
    /// `fresh`, `stale` (older than its lifetime), `expired` or `removed` (by a record), `absent`,
    /// or `foreign` (not an entry of this SDK).
    pub verdict: &'static str,
}

/// An entry in Redis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StoredEntry {
    /// The size in bytes, including the entry's header.
    pub bytes: usize,
    /// The journal position that the loading process had applied before the load began.
    #[serde(serialize_with = "as_text")]
    pub loaded_at: Position,
    /// The time since the load, in milliseconds.
    pub age_ms: u64,
    /// The freshness lifetime, in milliseconds.
    pub fresh_ms: u64,
    /// The `stale_while_revalidate` window after that, in milliseconds.
    pub stale_while_revalidate_ms: u64,
    /// The `stale_if_error` window after the freshness lifetime, in milliseconds.
    pub stale_if_error_ms: u64,
    /// The remaining TTL in Redis, in milliseconds.
    pub ttl_left_ms: u64,
    /// The duration of the load, in milliseconds; 0 if unknown.
    pub load_ms: u64,
}

/// A journal record that covers one of the key's scopes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CoveringRecord {
    /// The scope that the record covers.
    #[serde(serialize_with = "as_text")]
    pub scope: Scope,
    /// Whether the record removes or expires entries.
    #[serde(serialize_with = "mode_as_text")]
    pub mode: Mode,
    /// The record's position in the journal.
    #[serde(serialize_with = "as_text")]
    pub position: Position,
    /// Whether the record comes after the entry's `loaded_at`, and so covers the entry. `false`
    /// without an entry.
    pub covers: bool,
}

pub(super) async fn inspect(store: &RedisStore, key: &str) -> Result<Inspection, AdminError> {
    let stored = store.head(key).await?;
    let found = stored.as_ref().and_then(|head| Some((head, codec::peek(&head.bytes)?)));
    let mut scopes = Scope::of_key(key);
    if let Some((_, meta)) = &found {
        scopes.extend(meta.tags.iter().cloned().map(Scope::Tag));
    }
    scopes.push(Scope::All);
    let loaded_at = found.as_ref().map(|(_, meta)| meta.loaded_at);
    let records = records_of(store, &scopes, loaded_at).await?;

    let entry = found.map(|(stored, meta)| StoredEntry {
        bytes: stored.size,
        loaded_at: meta.loaded_at,
        age_ms: ms(meta.lifetime.total().saturating_sub(stored.ttl_left)),
        fresh_ms: ms(meta.lifetime.fresh_for()),
        stale_while_revalidate_ms: ms(meta.lifetime.swr_for()),
        stale_if_error_ms: ms(meta.lifetime.sie_for()),
        ttl_left_ms: ms(stored.ttl_left),
        load_ms: ms(meta.delta),
    });
    let verdict = match &entry {
        None if stored.is_some() => "foreign",
        None => "absent",
        Some(entry) => verdict(entry, &records),
    };
    Ok(Inspection { key: key.to_owned(), entry, scopes, records, verdict })
}

/// Returns the ledger's records that cover one of these scopes. Applies the validity rule itself,
/// so that the result cannot differ from the verdict of a process.
async fn records_of(
    store: &RedisStore,
    scopes: &[Scope],
    loaded_at: Option<Position>,
) -> Result<Vec<CoveringRecord>, AdminError> {
    let hashes: Vec<_> = scopes.iter().map(Scope::hash).collect();
    let covers = |scope: &Scope, mode, position, loaded_at| {
        let mut alone = Applied::new(2);
        alone.apply_scope(scope, mode, Stamp::origin(position));
        alone.verdict(hashes.iter().copied(), Stamp::origin(loaded_at)) != Verdict::Valid
    };
    let mut records = Vec::new();
    for FeedRecord { position, mode, scopes } in store.ledger().await? {
        for scope in scopes.into_iter().filter(|scope| covers(scope, mode, position, Position::ZERO)) {
            let covers = loaded_at.is_some_and(|loaded_at| covers(&scope, mode, position, loaded_at));
            records.push(CoveringRecord { scope, mode, position, covers });
        }
    }
    records.sort_by_key(|record| std::cmp::Reverse(record.position));
    Ok(records)
}

fn verdict(entry: &StoredEntry, records: &[CoveringRecord]) -> &'static str {
    let covered = |mode| records.iter().any(|record| record.covers && record.mode == mode);
    if covered(Mode::Remove) {
        "removed"
    } else if covered(Mode::Expire) {
        "expired"
    } else if entry.age_ms >= entry.fresh_ms {
        "stale"
    } else {
        "fresh"
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
