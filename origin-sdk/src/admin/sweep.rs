//! Gives back the memory of entries that the journal has made dead: a sweep through the keyspace, a page at a time.
//!
//! Nothing depends on it. A dead entry is refused whenever it is read, and ends with its time to live; a sweep only ends it
//! earlier. It looks at keys with `SCAN`, never `KEYS`, reads no more than each entry's head, and takes dead ones out with
//! `UNLINK`, unless they were replaced meanwhile.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use shared_keys::{Scope, ScopeHash, Verdict};

use crate::clock::Clock;
use crate::codec;
use crate::error::{AdminError, AdminFailure};
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::store::RedisStore;

/// Keys looked at in one page: what Redis does for one command stays below a millisecond.
const PAGE: u32 = 100;

/// What a sweep has found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Swept {
    /// Keys of the app that were looked at. `SCAN` can show a key twice.
    pub scanned: u64,
    /// Entries among them that the journal covers with a `remove`.
    pub dead: u64,
    /// Dead entries that were taken out; the others had been replaced or had ended in the meantime.
    pub unlinked: u64,
    /// Keys that hold something else than an entry of this SDK. They are left alone.
    pub foreign: u64,
}

/// How a sweep goes about it.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Sweep {
    keys_per_sec: NonZeroU32,
    dry_run: bool,
}

impl Sweep {
    /// Looks at no more than so many keys a second, so that the service does not feel it. 1,000 is a good choice.
    pub const fn paced(keys_per_sec: NonZeroU32) -> Self {
        Self { keys_per_sec, dry_run: false }
    }

    /// Only counts what is dead, and takes nothing out.
    pub const fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }
}

pub(super) async fn sweep(store: &Arc<RedisStore>, app: &str, sweep: Sweep) -> Result<Swept, AdminError> {
    // To follow a journal that is not there would make one.
    if !store.apps().await?.iter().any(|known| known == app) {
        return Err(AdminFailure::NoJournal(app.to_owned()).into());
    }
    let (clock, metrics) = (Clock::system(), Arc::new(Metrics::default()));
    let journal = Journal::new(Arc::clone(store) as _, clock, metrics, Duration::MAX);
    // What is dead by the journal as it is now stays dead, however long the sweep takes.
    journal.catch_up().await?;

    let page = sweep.keys_per_sec.get().min(PAGE);
    let mut pace = tokio::time::interval(Duration::from_secs(1) * page / sweep.keys_per_sec.get());
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut cursor, mut swept) = (0, Swept::default());
    loop {
        pace.tick().await;
        let keys;
        (cursor, keys) = store.scan(app, cursor, page).await?;
        for (key, head) in store.heads(keys).await? {
            swept.scanned += 1;
            match verdict(&journal, &key, &head) {
                None => swept.foreign += 1,
                Some(Verdict::Removed) => {
                    swept.dead += 1;
                    if !sweep.dry_run && store.unlink_unless_replaced(&key, &head).await? {
                        swept.unlinked += 1;
                    }
                }
                Some(Verdict::Valid | Verdict::Expired) => {}
            }
        }
        if cursor == 0 {
            return Ok(swept);
        }
    }
}

/// What the rule says of the entry that begins with `head`; `None` if that is no entry's.
fn verdict(journal: &Journal, key: &str, head: &[u8]) -> Option<Verdict> {
    let meta = codec::peek(head)?;
    let tags = meta.tags.into_iter().map(|tag| Scope::Tag(tag).hash());
    let scopes: Vec<_> = ScopeHash::of_key(key).into_iter().chain(tags).collect();
    Some(journal.verdict(&scopes, meta.loaded_at))
}
