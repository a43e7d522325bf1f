//! A sweep through Redis's keyspace that deletes dead entries, which are those that a journal
//! record has removed.
//!
//! A sweep only frees memory. A dead entry is refused on every read and expires with its TTL
//! anyway. The sweep lists keys with `SCAN`, never `KEYS`, reads only the head of each entry, and
//! deletes dead entries with `UNLINK`, unless they have been replaced in the meantime.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use shared_keys::Verdict;

use crate::clock::Clock;
use crate::codec;
use crate::entry;
use crate::error::{AdminError, AdminFailure};
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::store::RedisStore;

/// The most keys in one page. Each command takes Redis less than a millisecond at this size.
const PAGE: u32 = 100;

/// The counts of a finished sweep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct SweepCounts {
    /// The app's keys that were read. `SCAN` can return a key twice.
    pub scanned: u64,
    /// The dead entries among them: a `remove` record covers them.
    pub dead: u64,
    /// The dead entries that were deleted. The others had been replaced or had expired in the
    /// meantime, or the sweep was a dry run.
    pub unlinked: u64,
    /// The keys that hold something other than an entry of this SDK. They are not changed.
    pub foreign: u64,
}

/// The options of a sweep.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Sweep {
    keys_per_sec: NonZeroU32,
    dry_run: bool,
}

impl Sweep {
    /// Creates a sweep that reads at most this number of keys per second, which bounds its load on
    /// Redis. 1,000 is a good choice.
    pub const fn paced(keys_per_sec: NonZeroU32) -> Self {
        Self { keys_per_sec, dry_run: false }
    }

    /// Sets whether dead entries are only counted, and not deleted. Default `false`.
    pub const fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }
}

pub(super) async fn sweep(
    store: &Arc<RedisStore>,
    app: &str,
    sweep: Sweep,
) -> Result<SweepCounts, AdminError> {
    // Checked first, because following a missing journal would create it.
    if !store.apps().await?.iter().any(|known| known == app) {
        return Err(AdminFailure::NoJournal(app.to_owned()).into());
    }
    // Caught up once: an entry that is dead now stays dead for the rest of the sweep.
    let journal = journal(store).await?;

    let page = sweep.keys_per_sec.get().min(PAGE);
    let mut pace = tokio::time::interval(Duration::from_secs(1) * page / sweep.keys_per_sec.get());
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut cursor, mut counts) = (0, SweepCounts::default());
    loop {
        pace.tick().await;
        let keys;
        (cursor, keys) = store.scan(app, cursor, page).await?;
        for (key, head) in store.heads(keys).await? {
            counts.scanned += 1;
            match verdict(&journal, &key, &head) {
                None => counts.foreign += 1,
                Some(Verdict::Removed) => {
                    counts.dead += 1;
                    if !sweep.dry_run && store.unlink_unless_replaced(&key, &head).await? {
                        counts.unlinked += 1;
                    }
                }
                Some(Verdict::Valid | Verdict::Expired) => {}
            }
        }
        if cursor == 0 {
            return Ok(counts);
        }
    }
}

/// Returns the journal as it is now. Creates it if it is missing.
pub(super) async fn journal(store: &Arc<RedisStore>) -> Result<Journal, AdminError> {
    let (clock, metrics) = (Clock::system(), Arc::new(Metrics::default()));
    let journal = Journal::new(Arc::clone(store) as _, clock, metrics, Arc::default(), Duration::MAX);
    journal.catch_up().await?;
    Ok(journal)
}

/// Returns the journal's verdict on the entry that starts with `head`, or `None` if `head` is not
/// the head of an entry.
pub(super) fn verdict(journal: &Journal, key: &str, head: &[u8]) -> Option<Verdict> {
    let meta = codec::peek(head)?;
    Some(journal.verdict(&entry::scopes(key, &meta.tags), meta.loaded_at))
}
