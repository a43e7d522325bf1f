//! A cached value with all that decides whether it may be served.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use shared_keys::{Lifetime, Position, Scope, ScopeHash, Tag, Verdict};

use crate::journal::Journal;

/// What is stored beside a value, in every tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Meta {
    /// The journal position applied before the load began.
    pub(crate) loaded_at: Position,
    pub(crate) lifetime: Lifetime,
    /// How long the loader took; zero if nobody knows.
    pub(crate) delta: Duration,
    pub(crate) tags: Vec<Tag>,
}

/// A decoded value in memory.
#[derive(Debug)]
pub(crate) struct Entry<V> {
    pub(crate) value: Arc<V>,
    pub(crate) meta: Meta,
    pub(crate) key: Box<str>,
    /// Key, prefixes and tags.
    scopes: Box<[ScopeHash]>,
    /// The clock's reading when this was made, and how old the value was then: it can be older than the clock itself.
    made_at: Duration,
    age_then: Duration,
    /// The journal's change count at which it was last found valid.
    valid_at: AtomicU64,
}

/// What may be done with an entry now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryState {
    Fresh,
    /// May be served while a refresh runs.
    Revalidate,
    /// May be served only if a load fails.
    IfError,
    Unusable {
        /// A record covers it; else it is merely too old.
        by_journal: bool,
    },
}

/// The scopes of a value: its key, the key's prefixes, its tags.
pub(crate) fn scopes(key: &str, tags: &[Tag]) -> Vec<ScopeHash> {
    let tags = tags.iter().map(|tag| Scope::Tag(tag.clone()).hash());
    ScopeHash::of_key(key).into_iter().chain(tags).collect()
}

impl<V> Entry<V> {
    /// An entry of this age at the clock's reading `now`.
    pub(crate) fn new(key: &str, value: Arc<V>, meta: Meta, now: Duration, age: Duration) -> Self {
        let scopes = scopes(key, &meta.tags).into();
        Self { value, meta, key: key.into(), scopes, made_at: now, age_then: age, valid_at: AtomicU64::new(0) }
    }

    pub(crate) fn age(&self, now: Duration) -> Duration {
        self.age_then.saturating_add(now.saturating_sub(self.made_at))
    }

    /// How long this copy has been in this process's memory.
    pub(crate) fn time_here(&self, now: Duration) -> Duration {
        now.saturating_sub(self.made_at)
    }

    /// The clock's reading at which it ceases to be fresh.
    pub(crate) fn expiry(&self) -> Duration {
        self.made_at.saturating_add(self.meta.lifetime.fresh_for()).saturating_sub(self.age_then)
    }

    /// The rule, asked again only if the journal has changed since the entry was last found valid.
    pub(crate) fn verdict(&self, journal: &Journal) -> Verdict {
        // Read before asking: a record that is applied meanwhile makes the next read ask again.
        let changes = journal.changes();
        if self.valid_at.load(Ordering::Acquire) == changes {
            return Verdict::Valid;
        }
        let verdict = journal.verdict(&self.scopes, self.meta.loaded_at);
        if verdict == Verdict::Valid {
            self.valid_at.store(changes, Ordering::Release);
        }
        verdict
    }

    /// The rule, for what was made at this position of what this entry was.
    pub(crate) fn verdict_since(&self, journal: &Journal, position: Position) -> Verdict {
        journal.verdict(&self.scopes, position)
    }

    pub(crate) fn standing(&self, journal: &Journal, now: Duration) -> EntryState {
        let age = self.age(now);
        let left = self.meta.lifetime.remaining(age);
        match self.verdict(journal) {
            Verdict::Removed => EntryState::Unusable { by_journal: true },
            Verdict::Valid if !left.fresh_for().is_zero() => EntryState::Fresh,
            // What a record expired is stale from now on; its windows still end when they would have.
            _ if !left.swr_for().is_zero() => EntryState::Revalidate,
            _ if !left.sie_for().is_zero() => EntryState::IfError,
            verdict => EntryState::Unusable { by_journal: verdict != Verdict::Valid },
        }
    }
}
