//! One key: what is stored under it, and whether it may be served.

use std::time::Duration;

use serde::Serialize;
use shared_keys::{Applied, Mode, Position, Scope, Stamp, Verdict};

use super::{all_as_text, as_text, mode_as_text};
use crate::codec;
use crate::error::AdminError;
use crate::store::{FeedRecord, RedisStore, ValueStore};

/// What Redis holds under a key, and what the journal says of it. Each process's memory holds its own copies, which obey the
/// same rule and cannot be seen from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// The key.
    pub key: String,
    /// What is stored; `None` if nothing is.
    pub entry: Option<StoredEntry>,
    /// The key's and the entry's scopes: a record of any of these covers it.
    #[serde(serialize_with = "all_as_text")]
    pub scopes: Vec<Scope>,
    /// The last records that cover one of these scopes, as far as the journal's ledger knows them, latest first, each with
    /// whether it covers the entry.
    pub records: Vec<Covering>,
    /// `fresh`, `stale` (too old), `expired` (a record says so), `removed`, `absent`, or `foreign` (no entry of this SDK).
    pub verdict: &'static str,
}

/// An entry in Redis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StoredEntry {
    /// Its size, with its header.
    pub bytes: usize,
    /// The journal position that was known before its load began.
    #[serde(serialize_with = "as_text")]
    pub loaded_at: Position,
    /// Milliseconds since it was loaded.
    pub age_ms: u64,
    /// How long it is fresh, in milliseconds.
    pub fresh_ms: u64,
    /// How long after that it may be served while it is refreshed, in milliseconds.
    pub stale_while_revalidate_ms: u64,
    /// How long after that it may be served if a load fails, in milliseconds.
    pub stale_if_error_ms: u64,
    /// When Redis drops it, in milliseconds from now.
    pub ttl_left_ms: u64,
    /// How long its load took, in milliseconds; 0 if nobody knows.
    pub load_ms: u64,
}

/// A record that covers something with the key's scopes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Covering {
    /// What it covers.
    #[serde(serialize_with = "as_text")]
    pub scope: Scope,
    /// What it does.
    #[serde(serialize_with = "mode_as_text")]
    pub mode: Mode,
    /// Where it stands.
    #[serde(serialize_with = "as_text")]
    pub position: Position,
    /// Whether it stands after the entry's `loaded_at`.
    pub covers: bool,
}

pub(super) async fn inspect(store: &RedisStore, key: &str) -> Result<Inspection, AdminError> {
    let stored = store.get(key).await?;
    let found = stored.as_ref().and_then(|stored| Some((stored, codec::peek(&stored.bytes)?)));
    let mut scopes = Scope::of_key(key);
    if let Some((_, meta)) = &found {
        scopes.extend(meta.tags.iter().cloned().map(Scope::Tag));
    }
    scopes.push(Scope::All);
    let loaded_at = found.as_ref().map(|(_, meta)| meta.loaded_at);
    let records = records_of(store, &scopes, loaded_at).await?;

    let entry = found.map(|(stored, meta)| StoredEntry {
        bytes: stored.bytes.len(),
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

/// The ledger's records that cover something with these scopes, by the rule itself.
async fn records_of(
    store: &RedisStore,
    scopes: &[Scope],
    loaded_at: Option<Position>,
) -> Result<Vec<Covering>, AdminError> {
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
            records.push(Covering { scope, mode, position, covers });
        }
    }
    records.sort_by_key(|record| std::cmp::Reverse(record.position));
    Ok(records)
}

fn verdict(entry: &StoredEntry, records: &[Covering]) -> &'static str {
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
