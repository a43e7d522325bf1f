//! A cached value, and the metadata that decides whether it may be served.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use shared_keys::{Lifetime, Position, Scope, ScopeHash, Tag, Verdict};

use crate::clock::{Clock, nanos};
use crate::journal::Journal;
use crate::memory::Keyed;
use crate::stampede::xfetch;

/// The metadata of a value, stored beside it in every tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Meta {
    /// The journal position applied before the load began.
    pub(crate) loaded_at: Position,
    pub(crate) lifetime: Lifetime,
    /// How long the loader ran; zero if that is unknown.
    pub(crate) delta: Duration,
    pub(crate) tags: Vec<Tag>,
}

/// The longest part of a stored lifetime: a hundred years. Redis counts times to live in 63 bits of
/// milliseconds from 1970, so that longer ones would not fit.
const MAX_PART: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Returns the lifetime as every tier can keep it: each part in whole milliseconds, rounded down,
/// and at most [`MAX_PART`].
pub(crate) fn storable(lifetime: Lifetime) -> Lifetime {
    let part = |part: Duration| {
        let part = part.min(MAX_PART);
        part - Duration::from_nanos(u64::from(part.subsec_nanos() % 1_000_000))
    };
    Lifetime::fresh(part(lifetime.fresh_for()))
        .stale_while_revalidate(part(lifetime.swr_for()))
        .stale_if_error(part(lifetime.sie_for()))
}

/// A decoded value in memory. Its fields are as small as they can be, since there are millions.
#[derive(Debug)]
pub(crate) struct Entry<V> {
    pub(crate) value: Arc<V>,
    pub(crate) key: Box<str>,
    pub(crate) tags: Box<[Tag]>,
    pub(crate) loaded_at: Position,
    lifetime: CompactLifetime,
    /// How long the loader ran, in microseconds.
    delta: u32,
    /// The clock's reading in nanoseconds when this entry was created.
    created_at: u64,
    /// The value's age at `created_at`, in nanoseconds. It can exceed the clock's reading.
    initial_age: u64,
    /// The journal's change count when the entry was last found valid.
    valid_at: AtomicU64,
    /// The clock's reading, in nanoseconds, until which the lifetime need not be looked at: see
    /// [`is_plain`](Self::is_plain). 0 once the entry has [ended](Self::end).
    plain_until: AtomicU64,
    /// Whether the value stands for an absent one.
    pub(crate) is_negative: bool,
}

/// A [storable] lifetime: the milliseconds of its parts, in the six bytes that [`MAX_PART`] takes.
#[derive(Debug, Clone, Copy)]
struct CompactLifetime([[u8; 6]; 3]);

impl CompactLifetime {
    fn new(lifetime: Lifetime) -> Self {
        let part = |part: Duration| {
            let [bytes @ .., _, _] = (part.min(MAX_PART).as_millis() as u64).to_le_bytes();
            bytes
        };
        Self([lifetime.fresh_for(), lifetime.swr_for(), lifetime.sie_for()].map(part))
    }

    fn get(self) -> Lifetime {
        let [fresh, swr, sie] = self
            .0
            .map(|[a, b, c, d, e, f]| Duration::from_millis(u64::from_le_bytes([a, b, c, d, e, f, 0, 0])));
        Lifetime::fresh(fresh).stale_while_revalidate(swr).stale_if_error(sie)
    }
}

/// Whether an entry may be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryState {
    Fresh,
    /// Stale, and may be served while a refresh runs.
    Revalidate,
    /// Stale, and may be served only if a load fails.
    IfError,
    Unusable {
        /// Whether a record covers the entry. Otherwise it is too old.
        by_journal: bool,
    },
}

/// Returns the scopes of a value: its key, the key's prefixes and its tags.
pub(crate) fn scopes(key: &str, tags: &[Tag]) -> Vec<ScopeHash> {
    let tags = tags.iter().map(|tag| Scope::Tag(tag.clone()).hash());
    ScopeHash::of_key(key).into_iter().chain(tags).collect()
}

impl<V: Send + Sync + 'static> Keyed for Entry<V> {
    #[inline]
    fn key(&self) -> &str {
        &self.key
    }
}

impl<V> Entry<V> {
    /// Creates an entry whose value has this age at the clock's reading `now`.
    ///
    /// A position that was ahead of the clock when the value was loaded counts as none: no record
    /// would cover the entry until then.
    pub(crate) fn new(
        key: &str,
        value: Arc<V>,
        mut meta: Meta,
        clock: &Clock,
        now: Duration,
        age: Duration,
    ) -> Self {
        let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        if meta.loaded_at.is_ahead_of(clock.unix_ms().saturating_sub(age_ms)) {
            meta.loaded_at = Position::ZERO;
        }
        Self {
            value,
            key: key.into(),
            tags: meta.tags.into(),
            loaded_at: meta.loaded_at,
            lifetime: CompactLifetime::new(meta.lifetime),
            delta: u32::try_from(meta.delta.as_micros()).unwrap_or(u32::MAX),
            created_at: nanos(now),
            initial_age: nanos(age),
            valid_at: AtomicU64::new(0),
            plain_until: AtomicU64::new(1),
            is_negative: false,
        }
    }

    /// Returns the metadata to store beside the value in another tier.
    pub(crate) fn meta(&self) -> Meta {
        let (loaded_at, lifetime, delta) = (self.loaded_at, self.lifetime(), self.delta());
        Meta { loaded_at, lifetime, delta, tags: self.tags.to_vec() }
    }

    pub(crate) fn lifetime(&self) -> Lifetime {
        self.lifetime.get()
    }

    /// Returns how long the loader ran; zero if that is unknown. Counted up to 71 minutes.
    pub(crate) fn delta(&self) -> Duration {
        Duration::from_micros(self.delta.into())
    }

    /// Computes the scopes. They are needed only after records have been applied, and would take
    /// more memory than the rest of the entry.
    fn scopes(&self) -> Vec<ScopeHash> {
        scopes(&self.key, &self.tags)
    }

    /// Makes a valid entry [plain](Self::is_plain) while it is fresh, no XFetch draw makes it due for a
    /// refresh, and it has not been in this process for `memory_ttl`.
    pub(crate) fn plain_within(mut self, xfetch_beta: f64, memory_ttl: Option<Duration>) -> Self {
        let until = xfetch::earliest(self.expiry(), self.delta(), xfetch_beta);
        let removal = memory_ttl.map_or(u64::MAX, |ttl| self.created_at.saturating_add(nanos(ttl)));
        self.plain_until = AtomicU64::new(nanos(until).min(removal).max(1));
        self
    }

    /// Returns whether the entry is to be served as fresh at the clock's reading `now`, in
    /// nanoseconds, with nothing else to do, and was found valid after the last applied record.
    ///
    /// Where this is false, [`state`](Self::state) decides.
    #[inline]
    pub(crate) fn is_plain(&self, journal: &Journal, now: u64) -> bool {
        now < self.plain_until.load(Ordering::Acquire)
            && self.valid_at.load(Ordering::Acquire) == journal.changes()
    }

    /// Ends the entry: it is not served again, also by readers that hold it already.
    pub(crate) fn end(&self) {
        self.plain_until.store(0, Ordering::Release);
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.plain_until.load(Ordering::Acquire) == 0
    }

    pub(crate) fn age(&self, now: Duration) -> Duration {
        self.age_at(nanos(now))
    }

    /// Like [`age`](Self::age), at a reading in nanoseconds.
    #[inline]
    pub(crate) fn age_at(&self, now: u64) -> Duration {
        Duration::from_nanos(self.initial_age.saturating_add(now.saturating_sub(self.created_at)))
    }

    /// Returns how long this copy has been in this process's memory.
    pub(crate) fn time_here(&self, now: Duration) -> Duration {
        Duration::from_nanos(nanos(now).saturating_sub(self.created_at))
    }

    /// Returns the clock's reading at which the entry becomes stale.
    pub(crate) fn expiry(&self) -> Duration {
        let fresh_for = nanos(self.lifetime().fresh_for());
        Duration::from_nanos(self.created_at.saturating_add(fresh_for).saturating_sub(self.initial_age))
    }

    /// Applies the journal's rule, unless the journal has not changed since the entry was last
    /// found valid.
    pub(crate) fn verdict(&self, journal: &Journal) -> Verdict {
        // Read before the verdict: if a record is applied in between, the next read checks again.
        let changes = journal.changes();
        if self.valid_at.load(Ordering::Acquire) == changes {
            return Verdict::Valid;
        }
        let verdict = journal.verdict(&self.scopes(), self.loaded_at);
        if verdict == Verdict::Valid {
            self.valid_at.store(changes, Ordering::Release);
        }
        verdict
    }

    /// Like [`verdict`](Self::verdict), but as if the entry had been loaded at `position`.
    pub(crate) fn verdict_since(&self, journal: &Journal, position: Position) -> Verdict {
        journal.verdict(&self.scopes(), position)
    }

    pub(crate) fn state(&self, journal: &Journal, now: Duration) -> EntryState {
        let age = self.age(now);
        let left = self.lifetime().remaining(age);
        match self.verdict(journal) {
            Verdict::Removed => EntryState::Unusable { by_journal: true },
            _ if self.is_ended() => EntryState::Unusable { by_journal: false },
            Verdict::Valid if !left.fresh_for().is_zero() => EntryState::Fresh,
            // A record has expired the entry: it is stale, and its windows end when they would
            // have.
            _ if !left.swr_for().is_zero() => EntryState::Revalidate,
            _ if !left.sie_for().is_zero() => EntryState::IfError,
            verdict => EntryState::Unusable { by_journal: verdict != Verdict::Valid },
        }
    }
}
